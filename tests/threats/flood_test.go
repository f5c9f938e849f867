package threats_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/apiserver"
	"github.com/scarab-ops/scarab/client"
	"github.com/scarab-ops/scarab/domain/application"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/tests/cluster"
	"github.com/scarab-ops/scarab/tests/threats/bench"
)

func floodParts() []part {
	return []part{
		{"F-AG-CTRL-A", "flood", "silent connections, guessed logins and big frames from outside: connected agents stay, people get in", outsideFlood},
		{"F-AG-CTRL-A", "return", "after a restart every agent is back in time, at no more than the limit of logins", herdReturns},
	}
}

func outsideFlood(t *testing.T, _ *env) {
	w := bench.New(t, bench.Options{Limits: apiserver.Limits{HeaderTimeout: time.Second, Connections: 400, PerSource: 300}})
	agents := []*client.Conn{}
	for _, u := range []names.Unit{"a/0", "b/0", "c/0"} {
		agents = append(agents, w.Unit(t, bench.M1, u).Connect(t, w.Cluster))
	}
	var silent []net.Conn
	bench.Bounded(t, func() {
		w.Alive(t, 20*time.Second, func() {
			for range count(150, 250) { // they say nothing
				if c, err := net.Dial("tcp", w.Addr); err == nil {
					silent = append(silent, c)
				}
			}
			var wg sync.WaitGroup
			for i := range count(8, 24) {
				wg.Go(func() { guess(t, w, i) })
			}
			wg.Wait()
			limit := time.Now().Add(10 * time.Second)
			for _, c := range silent {
				_ = c.SetReadDeadline(limit)
				if _, err := c.Read(make([]byte, 1)); err == nil || strings.Contains(err.Error(), "timeout") {
					t.Error("a silent connection is kept")
				}
				_ = c.Close()
			}
		})
	})
	for i, a := range agents {
		if err := a.Ping(cluster.Context(t)); err != nil {
			t.Errorf("agent %d was cut: %v", i, err)
		}
	}
	_ = w.Login(t, bench.Writer, bench.Password(bench.Writer), bench.M1).Close()
}

// guess tries passwords of agents and people that there are not, from outside.
func guess(t *testing.T, w *bench.World, n int) {
	for i := range count(3, 20) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		conn, err := client.Dial(ctx, client.Config{Addresses: []string{w.Addr}, CACert: w.CACert, Model: bench.M1, Version: "3.6.12"})
		if err == nil {
			tag := names.User(fmt.Sprintf("nobody%d", n)).Tag()
			if i%2 == 0 {
				tag = names.Unit("a/0").Tag()
			}
			if _, err := conn.Login(ctx, client.Credentials{Tag: tag, Password: client.NewSecret("guess-guess-guess-guess-guess")}); err == nil {
				t.Error("a guess was right")
			}
			_ = conn.Close()
		}
		cancel()
	}
}

func herdReturns(t *testing.T, _ *env) {
	const every = 100 * time.Millisecond
	limits := apiserver.Limits{AgentBurst: 4, AgentEvery: every}
	n := count(16, 400)
	w := bench.New(t, bench.Options{Limits: limits})
	w.Do(t, func(tx *state.Tx) error {
		row, err := model.Get(tx, bench.M1)
		if err != nil {
			return err
		}
		places := make([]application.Placement, n)
		for i := range places {
			places[i].Machine = "0"
		}
		_, err = application.AddUnits(tx, row, "a", n, places, time.Now())
		return err
	})
	host := w.Machine(t, bench.M1, "0")
	mc := again(w, host, t)
	var agents []*cluster.Agent
	for i := range n {
		u := names.Unit(fmt.Sprintf("a/%d", i+2))
		token := must[client.Secret](t)(mc.Machine().UnitToken(cluster.Context(t), u))
		a, csr := fresh(t, bench.M1, u.Tag())
		cluster.Eventually(t, string(u)+" enrols", func() bool { return enrolOnce(t.Context(), w, w.Addr, a, token, csr) == nil })
		agents = append(agents, a)
	}
	var refused, back atomic.Int64
	var times sync.Map
	var wg sync.WaitGroup
	w.Restart(t)
	start := time.Now()
	for i, a := range agents {
		wg.Go(func() {
			cert, err := certificateOf(a)
			if err != nil {
				t.Error(err)
				return
			}
			for wait := 20 * time.Millisecond; time.Since(start) < 2*time.Minute; wait = min(2*wait, time.Second) {
				conn, err := dialAgent(t.Context(), w, a, cert)
				if err == nil {
					back.Add(1)
					times.Store(i, time.Since(start))
					_ = conn.Ping(t.Context())
					_ = conn.Close()
					return
				}
				if client.Code(err) == "try again" {
					refused.Add(1)
				}
				time.Sleep(wait)
			}
		})
	}
	wg.Wait()
	took := time.Since(start)
	if int(back.Load()) != n {
		t.Errorf("%d of %d agents are back after %s", back.Load(), n, took)
	}
	if least := time.Duration(n-4-1) * every; took < least {
		t.Errorf("%d logins in %s: faster than the limit allows (%s)", n, took, least)
	}
	if refused.Load() == 0 {
		t.Error("no login was put off: nothing was limited")
	}
	t.Logf("%d agents back in %s, %d times put off", n, took, refused.Load())
}
