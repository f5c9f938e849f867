package machine

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// What a charm runs waits until the machine's services can be relied on, and
// not a moment longer; without a mark there is nothing to wait for.
func TestHooksWaitForServices(t *testing.T) {
	mark := filepath.Join(t.TempDir(), "mark")
	synctest.Test(t, func(t *testing.T) {
		m := &Machine{cfg: Config{BootMark: mark}, up: make(chan struct{})}
		go m.awaitMark(t.Context())
		got := make(chan error, 1)
		go func() {
			release, err := m.lock(t.Context(), "")
			if err == nil {
				release()
			}
			got <- err
		}()
		time.Sleep(time.Minute) // of the bubble's clock
		select {
		case err := <-got:
			t.Fatalf("a hook could run before the mark: %v", err)
		default:
		}
		if m.marked() {
			t.Error("the machine counts as up without its mark")
		}
		if err := os.WriteFile(mark, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * bootMarkLook)
		synctest.Wait()
		select {
		case err := <-got:
			if err != nil {
				t.Error(err)
			}
		default:
			t.Error("no hook runs though the mark is there")
		}
	})
	m := &Machine{up: make(chan struct{})}
	m.awaitMark(t.Context())
	if release, err := m.lock(t.Context(), ""); err != nil {
		t.Errorf("without a mark: %v", err)
	} else {
		release()
	}
}

// An agent that ends does not wait for services any more.
func TestWaitForServicesEnds(t *testing.T) {
	m := &Machine{cfg: Config{BootMark: filepath.Join(t.TempDir(), "mark")}, up: make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.lock(ctx, ""); !errors.Is(err, context.Canceled) {
		t.Errorf("the wait ended with %v", err)
	}
}
