package client_test

import (
	"runtime"
	"testing"

	"github.com/scarab-ops/scarab/client"
	"github.com/scarab-ops/scarab/names"
)

// TestManyConnections holds many TLS connections at once, both ends in this
// process, and bounds what one costs.
func TestManyConnections(t *testing.T) {
	s := start(t)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	goroutines := runtime.NumGoroutine()
	const n = 200
	conns := make([]*client.Conn, n)
	for i := range conns {
		c, err := s.dial(t, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Login(testContext(t), client.Credentials{Tag: names.User("admin").Tag(), Password: client.NewSecret("pw")}); err != nil {
			t.Fatal(err)
		}
		conns[i] = c
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	perG := float64(runtime.NumGoroutine()-goroutines) / n
	perB := (after.HeapInuse + after.StackInuse - before.HeapInuse - before.StackInuse) / n
	t.Logf("one connection, both ends: %.1f goroutines, %d KiB", perG, perB>>10)
	if perG > 8 {
		t.Errorf("%.1f goroutines for each connection", perG)
	}
	if perB > 256<<10 {
		t.Errorf("%d bytes for each connection", perB)
	}
	runtime.KeepAlive(conns)
}
