package controller

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// An empty store waits for its init file; one that is not empty, or that need
// not wait, does not.
func TestAwaitInit(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "init.json")
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		for _, c := range []struct {
			empty bool
			wait  time.Duration
			took  time.Duration
		}{{false, time.Hour, 0}, {true, 0, 0}, {true, time.Second, time.Second}} {
			if in, err := awaitInit(t.Context(), file, c.empty, c.wait); in != nil || err != nil || time.Since(begun) != c.took {
				t.Errorf("%+v: %v, %v after %s", c, in, err, time.Since(begun))
			}
		}
		time.AfterFunc(time.Second, func() {
			if err := errors.Join(os.WriteFile(file+".new", []byte(`{"name":"late"}`), 0o600), os.Rename(file+".new", file)); err != nil {
				t.Error(err)
			}
		})
		begun = time.Now()
		in, err := awaitInit(t.Context(), file, true, time.Minute)
		if err != nil || in == nil || in.Name != "late" || time.Since(begun) > time.Second+2*initLook {
			t.Errorf("%+v, %v after %s", in, err, time.Since(begun))
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := awaitInit(ctx, file+"-none", true, time.Minute); !errors.Is(err, context.Canceled) {
			t.Errorf("an interrupt gave %v", err)
		}
	})
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := awaitInit(t.Context(), file, true, time.Minute); err == nil {
		t.Error("a file that others may read was used")
	}
}
