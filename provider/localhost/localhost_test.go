package localhost

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/container"
	"github.com/scarab-ops/scarab/hostd"
	"github.com/scarab-ops/scarab/hostd/hostapi"
	"github.com/scarab-ops/scarab/provider"
	"github.com/scarab-ops/scarab/provider/providertest"
)

func TestMain(m *testing.M) {
	if container.IsInit(os.Args) {
		container.InitMain()
	}
	if len(os.Args) == 2 && os.Args[1] == hostd.InsideArg {
		insideMain()
	}
	os.Exit(m.Run())
}

// supervisor runs a whole supervisor with names of its own.
func supervisor(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("these tests make real machines: run them as root")
	}
	dir := t.TempDir()
	m := container.Defaults()
	m.Dir, m.RunDir = filepath.Join(dir, "state"), filepath.Join(dir, "run")
	m.Bridge, m.PortPrefix, m.Table, m.Cgroups = "sclbr0", "scl", "scarablocaltest", "scarablocaltest"
	m.Subnet, m.IDBase = netip.MustParsePrefix("10.98.0.0/16"), 0x7a000000
	return serve(t, hostd.Config{Socket: filepath.Join(dir, "host", "host.sock"), Machines: &m})
}

// serve runs a supervisor until the test ends.
func serve(t *testing.T, cfg hostd.Config) string {
	t.Helper()
	socket := cfg.Socket
	done := make(chan error, 1)
	go func() { done <- hostd.Run(context.Background(), cfg) }()
	client := hostapi.NewClient(socket)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	t.Cleanup(func() {
		defer cancel()
		if err := client.Shutdown(ctx, func(string) {}); err != nil {
			t.Error(err)
		}
		client.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	for {
		if _, err := client.Status(ctx); err == nil {
			break
		}
		select {
		case err := <-done:
			done <- err
			t.Fatal(err)
		case <-time.After(5 * time.Millisecond):
		}
	}
	if err := client.Prepare(ctx, func(string) {}); err != nil {
		t.Fatal(err)
	}
	return socket
}

func TestConformance(t *testing.T) {
	socket := supervisor(t)
	providertest.Run(t, func(controller string) provider.Instances {
		c, err := New(Config{Socket: socket, ControllerID: controller})
		if err != nil {
			t.Fatal(err)
		}
		return c
	})
}
