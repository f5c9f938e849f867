package threats_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/scarab-ops/scarab/agent/machine"
	"github.com/scarab-ops/scarab/domain/agentcred"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/domain/status"
	"github.com/scarab-ops/scarab/tests/cluster"
	"github.com/scarab-ops/scarab/tests/threats/bench"
)

func diskParts() []part {
	return []part{
		{"F-SSH-AG-A", "disk", "enrolment on a full disk, at its start and when the certificate comes, and with broken files: nothing half, no token lost, a clear word, and it goes on with room", fullDisk},
	}
}

// smallDisk puts the agents' directories on a disk of their own.
func smallDisk(t *testing.T, r *realAgent) string {
	t.Helper()
	agents, dir := filepath.Join(r.cfg.DataDir, "agents"), filepath.Dir(r.conf)
	data := must[[]byte](t)(os.ReadFile(r.conf))
	err := unix.Mount("none", agents, "tmpfs", 0, "size=1m,mode=755")
	if err == nil {
		t.Cleanup(func() {
			r.halt(t)
			for unix.Unmount(agents, unix.MNT_DETACH) == nil { // the agent's own mount lies on it
			}
		})
		err = errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(r.conf, data, 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// fill takes what room there is; the returned function gives it back.
func fill(t *testing.T, dir string) func() {
	path := filepath.Join(dir, "filler")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Error(err)
		return func() {}
	}
	defer f.Close()
	page := make([]byte, 4096)
	for i := 0; err == nil && i < 1000; i++ {
		_, err = f.Write(page)
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Errorf("the disk is not full: %v", err)
	}
	return func() { _ = os.Remove(path) }
}

// confOf reads the agent's file as it lies there.
func confOf(t *testing.T, r *realAgent) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(must[[]byte](t)(os.ReadFile(r.conf)), &m); err != nil {
		t.Fatalf("half a file: %v", err)
	}
	return m
}

// said counts how often the agent's log says something.
func said(r *realAgent, what string) int {
	b, _ := os.ReadFile(filepath.Join(r.cfg.LogDir, "machine-0.log"))
	return bytes.Count(b, []byte(what))
}

func leftIn(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	for _, e := range must[[]os.DirEntry](t)(os.ReadDir(dir)) {
		out = append(out, e.Name())
	}
	return out
}

func fullDisk(t *testing.T, _ *env) {
	w := bench.New(t, bench.Options{})
	wire := bench.NewWire(t, w.Addr)
	r := newAgent(t, w, wire.Addr())
	dir := smallDisk(t, r)
	const full = "no space left on device"

	first := must[[]byte](t)(os.ReadFile(r.conf))
	free := fill(t, dir)
	r.start(t)
	cluster.Eventually(t, "the agent says why", func() bool { return said(r, full) > 0 })
	r.halt(t)
	if now := must[[]byte](t)(os.ReadFile(r.conf)); !bytes.Equal(now, first) {
		t.Errorf("a file that could not be written is not what it was: %d bytes, now %d", len(first), len(now))
	}
	if wire.Connections() > 0 {
		t.Error("the agent spoke before its key was on the disk")
	}
	if left := leftIn(t, dir); !slices.Equal(left, []string{"agent.conf", "filler"}) {
		t.Errorf("left on the disk: %v", left)
	}

	free() // room for key and password; it is full again when the controller answers
	var once sync.Once
	wire.Tap(bench.Taps{Down: func(_ int, p []byte) ([]byte, bool) { once.Do(func() { free = fill(t, dir) }); return p, true }})
	before := said(r, full)
	r.start(t)
	cluster.Eventually(t, "the certificate comes to a full disk", func() bool { return said(r, full) > before })
	wire.Tap(bench.Taps{})
	tokenLives(t, w, r)
	conns := wire.Connections()
	cluster.Eventually(t, "it tries again, and again", func() bool { return wire.Connections() > conns+1 })
	tokenLives(t, w, r)
	r.halt(t)
	r.start(t) // it knows what the disk knows
	time.Sleep(300 * time.Millisecond)
	tokenLives(t, w, r)
	free()
	cluster.Eventually(t, "with room it is in", func() bool { return agentStatus(w, "a/0") == "idle" })
	if c := confOf(t, r); c["certificate"] == nil || c["token"] != nil {
		t.Error("the certificate is not on the disk, and the agent is in")
	}
	r.halt(t)
	brokenFiles(t, w, r)
}

// tokenLives fails if the one-time token ended although the certificate is not
// on the disk: the agent could never come back.
func tokenLives(t *testing.T, w *bench.World, r *realAgent) {
	t.Helper()
	c := confOf(t, r)
	if c["certificate"] != nil {
		t.Fatal("the certificate was written to a full disk")
	}
	row, err := agentcred.Table.Get(w.Store.View(), model.ScopeOf(bench.M1), "machine-0")
	if err != nil || row.TokenVerifier == "" || c["token"] == nil {
		t.Errorf("the certificate is not on the disk, and the token is gone: %v", err)
	}
}

// brokenFiles cuts and blanks the files of the machine and of a unit.
func brokenFiles(t *testing.T, w *bench.World, r *realAgent) {
	t.Helper()
	whole := must[[]byte](t)(os.ReadFile(r.conf))
	for what, bad := range map[string][]byte{"cut": whole[:len(whole)/2], "blank": make([]byte, len(whole)), "empty": nil} {
		if err := os.WriteFile(r.conf, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := machine.New(r.cfg); err == nil || !bytes.Contains([]byte(err.Error()), []byte(r.conf)) {
			t.Errorf("a file that is %s: %v", what, err)
		}
		if now := must[[]byte](t)(os.ReadFile(r.conf)); !bytes.Equal(now, bad) {
			t.Errorf("a file that is %s was written over: what is left of it may be of use", what)
		}
	}
	if err := os.WriteFile(r.conf, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	unit := filepath.Join(r.cfg.DataDir, "agents/unit-a-0/agent.conf")
	own := must[[]byte](t)(os.ReadFile(unit))
	if err := os.WriteFile(unit, own[:len(own)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	before := said(r, "agent of a/0 ended: cannot read agent configuration "+unit)
	r.start(t)
	cluster.Eventually(t, "the unit's broken file is named", func() bool {
		return said(r, "agent of a/0 ended: cannot read agent configuration "+unit) > before
	})
	if now := must[[]byte](t)(os.ReadFile(unit)); !bytes.Equal(now, own[:len(own)/2]) {
		t.Error("the unit's broken file was written over")
	}
	if err := os.WriteFile(unit, own, 0o600); err != nil {
		t.Fatal(err)
	}
	since := time.Now()
	conn := w.Login(t, cluster.Admin, cluster.AdminPassword, bench.M1)
	if err := conn.SetConfig(cluster.Context(t), "a", map[string]string{"token": "after"}, ""); err != nil {
		t.Fatal(err)
	}
	cluster.Eventually(t, "the unit is back with its file", func() bool {
		e := status.Get(w.Store.View(), model.ScopeOf(bench.M1), status.OfUnitAgent("a/0"))
		return e.Status == "idle" && e.Since.After(since)
	})
}
