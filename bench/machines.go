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
	rt, err := container.New(runtimeConfig(b.TempDir()))
	if err != nil {
		return nil, err
	}
	defer rt.Close()
	defer func() { _ = rt.Teardown() }() // what is left is told by the next New
	k := &kernels{b: b, rt: rt, image: image, self: self, dir: b.TempDir()}
	var lines []line
	for _, n := range []int{1, 50} {
		times := max(b.runs, 5)
		if n == 1 {
			times = 5 * b.runs
		}
		made, gone, err := k.compare(n, times)
		if err != nil {
			return lines, err
		}
		lines = append(lines, made)
		if n == 1 {
			lines = append(lines, gone)
		}
	}
	return lines, nil
}

// kernels makes machines both ways.
type kernels struct {
	b                *bench
	rt               *container.Runtime
	image, self, dir string
	made             int
}

// compare measures both ways n machines at once. Making and destroying are
// measured on the same machines.
func (k *kernels) compare(n, times int) (made, gone line, err error) {
	var endOurs, endBare []time.Duration
	create := func() (time.Duration, error) {
		up, down, err := k.ours(n)
		endOurs = append(endOurs, down)
		return up, err
	}
	bare := func() (time.Duration, error) {
		up, down, err := k.bare(n)
		endBare = append(endBare, down)
		return up, err
	}
	what := "a machine ready over the bare clone and mount calls"
	if n > 1 {
		what = fmt.Sprintf("%d machines ready at once over the bare calls", n)
	}
	made, err = k.b.pair(what, 1.5, 1, times, create, bare)
	if err != nil {
		return made, gone, err
	}
	x, y := median(endOurs[1:]), median(endBare[1:])
	return made, line{
		what: "a machine destroyed over the kernel's own teardown", target: 2, unit: "x", value: float64(x) / float64(y),
		detail: fmt.Sprintf("%s over %s, medians of %d", round(x), round(y), times),
	}, nil
}

func (k *kernels) ours(n int) (up, down time.Duration, err error) {
	ids := make([]string, n)
	first := k.made
	k.made += n
	begun := time.Now()
	err = atOnce(n, func(i int) error {
		key := fmt.Sprint(first + i)
		m, err := k.rt.Create(k.b.ctx, container.Spec{
			Key: key, Controller: "bench", Hostname: "m" + key, Root: k.image, Profile: container.ProfilePlain, Resolvers: []string{"192.0.2.53"},
		})
		ids[i] = m.ID
		return err
	})
	up = time.Since(begun)
	begun = time.Now()
	err = errors.Join(err, k.rt.DestroyAll(k.b.ctx, ids...))
	return up, time.Since(begun), err
}

func (k *kernels) bare(n int) (up, down time.Duration, err error) {
	dir, err := os.MkdirTemp(k.dir, "bare-")
	if err != nil {
		return 0, 0, err
	}
	ms := make([]*bareMachine, n)
	begun := time.Now()
	err = atOnce(n, func(i int) (err error) {
		ms[i], err = newBare(k.self, dir, k.image, i)
		return err
	})
	up = time.Since(begun)
	begun = time.Now()
	err = errors.Join(err, atOnce(n, func(i int) error {
		if ms[i] == nil {
			return nil
		}
		return ms[i].end()
	}))
	return up, time.Since(begun), errors.Join(err, os.RemoveAll(dir))
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
