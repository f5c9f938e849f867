package main

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/scarab-ops/scarab/container"
)

// machines compares machines that are ready and machines that are gone with
// the bare calls of the kernel, one at a time and 50 at once.
func machines(b *bench) ([]line, error) {
	image, err := imageRoot(b.ctx)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cfg := runtimeConfig(b.TempDir())
	rt, err := container.New(cfg)
	if err != nil {
		return nil, err
	}
	defer rt.Close()
	defer func() { _ = rt.Teardown() }() // what is left is told by the next New
	k := &kernels{b: b, rt: rt, image: image, self: self, dir: b.TempDir(), bridge: cfg.Bridge}
	var lines []line
	for _, x := range []struct {
		what     string
		n, times int
	}{
		{"a machine ready over the bare clone and mount calls", 1, 5 * b.runs},
		{"50 machines ready at once over the bare calls", 50, max(b.runs, 5)},
	} {
		l, err := b.pair(x.what, 1.5, 1, x.times, k.ready(x.n), k.bareReady(x.n))
		if err != nil {
			return lines, err
		}
		lines = append(lines, l)
	}
	l, err := b.pair("a machine destroyed over the kernel's own teardown", 2, 1, 5*b.runs, k.destroyed, k.tornDown)
	return append(lines, l), err
}

// kernels makes machines both ways.
type kernels struct {
	b                *bench
	rt               *container.Runtime
	image, self, dir string
	bridge           string
	made             int
}

// create makes n machines at once.
func (k *kernels) create(n int) ([]string, error) {
	ids := make([]string, n)
	first := k.made
	k.made += n
	return ids, atOnce(n, func(i int) error {
		key := fmt.Sprint(first + i)
		m, err := k.rt.Create(k.b.ctx, container.Spec{
			Key: key, Controller: "bench", Hostname: "m" + key, Root: k.image, Profile: container.ProfilePlain, Resolvers: []string{"192.0.2.53"},
		})
		ids[i] = m.ID
		return err
	})
}

func (k *kernels) ready(n int) side {
	return func() (time.Duration, error) {
		begun := time.Now()
		ids, err := k.create(n)
		took := time.Since(begun)
		return took, errors.Join(err, k.rt.DestroyAll(k.b.ctx, ids...))
	}
}

func (k *kernels) destroyed() (time.Duration, error) {
	ids, err := k.create(1)
	if err != nil {
		return 0, err
	}
	begun := time.Now()
	err = k.rt.Destroy(k.b.ctx, ids[0])
	return time.Since(begun), err
}

func (k *kernels) bareReady(n int) side {
	return func() (time.Duration, error) {
		dir, err := os.MkdirTemp(k.dir, "bare-")
		if err != nil {
			return 0, err
		}
		ms := make([]*bareMachine, n)
		begun := time.Now()
		err = atOnce(n, func(i int) (err error) {
			ms[i], err = newBare(k.self, dir, k.image, i)
			return err
		})
		took := time.Since(begun)
		for _, m := range ms {
			if m != nil {
				err = errors.Join(err, m.end())
			}
		}
		return took, errors.Join(err, os.RemoveAll(dir))
	}
}

// tornDown has the kernel take down the same parts, as many at once as can be:
// the processes with their namespaces and mounts, the network device on its
// bridge, then the control groups and the files that were written.
func (k *kernels) tornDown() (time.Duration, error) {
	dir, err := os.MkdirTemp(k.dir, "bare-")
	if err != nil {
		return 0, err
	}
	m, err := newBare(k.self, dir, k.image, 0)
	if err != nil {
		return 0, err
	}
	g, err := m.dress(k.bridge)
	if err != nil {
		return 0, errors.Join(err, m.end())
	}
	var answer <-chan error
	begun := time.Now()
	err = atOnce(2, func(i int) (err error) {
		if i == 0 {
			answer, err = linkGone(bareLink)
			return err
		}
		return errors.Join(m.end(), g.remove(), os.RemoveAll(dir))
	})
	took := time.Since(begun)
	return took, errors.Join(err, <-answer)
}

func atOnce(n int, f func(int) error) error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = f(i) })
	}
	wg.Wait()
	return errors.Join(errs...)
}
