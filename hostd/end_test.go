package hostd

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestUninstallEndsWhatHangs: a supervisor that cannot be asked any more, with
// its controller, does not outlive the removal, and nobody has to help.
func TestUninstallEndsWhatHangs(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, cfg *Config, pid int){
		"no socket": func(t *testing.T, cfg *Config, _ int) {
			if err := os.RemoveAll(filepath.Dir(cfg.Socket)); err != nil {
				t.Fatal(err)
			}
		},
		"no run folders": func(t *testing.T, cfg *Config, _ int) {
			if err := errors.Join(os.RemoveAll(filepath.Dir(cfg.Socket)), os.RemoveAll(cfg.RunDir)); err != nil {
				t.Fatal(err)
			}
		},
		"hangs": func(t *testing.T, _ *Config, pid int) {
			if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
		},
		"killed": func(t *testing.T, _ *Config, pid int) {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig(t)
			dir := filepath.Dir(filepath.Dir(cfg.Socket))
			file := filepath.Join(dir, "host.json")
			t.Setenv(hostEnv, file)
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			inst := Installation{Program: []string{self, "--config", file}, File: file, Log: filepath.Join(dir, "log", "host.log")}
			cfg.Controller = &ControllerConfig{Argv: []string{"/bin/sh", "-c", "sleep 1000; " + dir}, Dir: filepath.Join(dir, "controller"), UID: testUID, GID: testUID}
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			if err := Install(ctx, inst, cfg); err != nil {
				t.Fatal(err)
			}
			st := statusOf(t, cfg.Socket)
			cfg.fill()
			found := supervisors(&inst, &cfg)
			if len(found) != 1 {
				t.Fatalf("%d supervisors were found", len(found))
			}
			pid := found[0].pid
			release(found)
			// The lock alone tells it too.
			byLock := inst
			byLock.Program = inst.Program[:1]
			if found = supervisors(&byLock, &cfg); len(found) != 1 || found[0].pid != pid {
				t.Errorf("by its lock: %v, want %d", found, pid)
			}
			release(found)
			spoil(t, &cfg, pid)
			began := time.Now()
			if err := Uninstall(ctx, inst, func(string) {}); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("it took %s", took)
			}
			for what, p := range map[string]int{"supervisor": pid, "controller": st.ControllerPid} {
				if alive(p) {
					t.Errorf("the %s is left", what)
				}
			}
			if _, err := os.Lstat(file); !os.IsNotExist(err) {
				t.Errorf("the configuration is left: %v", err)
			}
			if left := supervisors(&inst, &cfg); len(left) > 0 {
				t.Errorf("a supervisor is left: %v", left)
			}
		})
	}
}

// alive tells whether a process runs; one that ended and was not waited for
// does not.
func alive(pid int) bool { return unix.Kill(pid, 0) == nil && processStart(pid) != "" }

func TestCommandLines(t *testing.T) {
	tail := []string{"--config", "/x/host.json"}
	for _, c := range []struct {
		argv []string
		want bool
	}{
		{[]string{"/x/scarab-agent", "host", "--config", "/x/host.json"}, true},
		{[]string{"/x/scarab-agent", "host", "--config", "/y/host.json"}, false},
		{[]string{"--config", "/x/host.json"}, false},
		{[]string{"/x/scarab-agent"}, false},
		{nil, false},
	} {
		if got := endsWith(c.argv, tail); got != c.want {
			t.Errorf("%v: %v", c.argv, got)
		}
	}
	if endsWith([]string{"a", "b"}, nil) {
		t.Error("everything ends with nothing")
	}
}
