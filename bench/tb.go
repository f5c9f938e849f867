package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
)

// tb lets a measurement use what is made for tests, above all a whole
// controller in this process. A failure ends the measurement.
type tb struct {
	testing.TB // the methods that are not here are not called
	ctx        context.Context
	cancel     context.CancelFunc
	name       string

	mu       sync.Mutex
	cleanups []func()
	errs     []error
}

func newTB(ctx context.Context, name string) *tb {
	ctx, cancel := context.WithCancel(ctx)
	return &tb{ctx: ctx, cancel: cancel, name: name}
}

// ended is the panic that ends a measurement.
type ended struct{ err error }

func (t *tb) Helper()                  {}
func (t *tb) Name() string             { return t.name }
func (t *tb) Context() context.Context { return t.ctx }
func (t *tb) Log(...any)               {}
func (t *tb) Logf(string, ...any)      {}

func (t *tb) Fatal(args ...any)            { panic(ended{errors.New(fmt.Sprint(args...))}) }
func (t *tb) Fatalf(f string, args ...any) { panic(ended{fmt.Errorf(f, args...)}) }
func (t *tb) Error(args ...any)            { t.fail(errors.New(fmt.Sprint(args...))) }
func (t *tb) Errorf(f string, args ...any) { t.fail(fmt.Errorf(f, args...)) }

func (t *tb) fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.errs = append(t.errs, err)
}

// Failed tells whether anything has gone wrong.
func (t *tb) Failed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.errs) > 0
}

// Cleanup is run when the measurement ends, the last one first.
func (t *tb) Cleanup(f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cleanups = append(t.cleanups, f)
}

// TempDir makes a folder that goes with the measurement. Others may pass
// through it: the controller is another user.
func (t *tb) TempDir() string {
	dir, err := os.MkdirTemp("", "scarab-bench-")
	if err == nil {
		err = os.Chmod(dir, 0o711) //nolint:gosec // see above
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// finish cleans up and gives what went wrong.
func (t *tb) finish(panicked any, err error) error {
	t.cancel()
	for _, f := range slices.Backward(t.cleanups) {
		f()
	}
	if e, ok := panicked.(ended); ok {
		err = errors.Join(err, e.err)
	} else if panicked != nil {
		panic(panicked)
	}
	return errors.Join(append([]error{err}, t.errs...)...)
}
