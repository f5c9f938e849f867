package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/scarab-ops/scarab/container"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/provider"
	"github.com/scarab-ops/scarab/tests/cluster"
	wireclient "github.com/scarab-ops/scarab/wire/client"
)

// noHooks are the hooks of a charm that does nothing but say that it is active.
func noHooks(sayActive bool) map[string]string {
	hooks := map[string]string{}
	for _, name := range []string{"install", "leader-elected", "config-changed", "start"} {
		hooks[name] = "#!/bin/sh\nexit 0\n"
	}
	if sayActive {
		hooks["start"] = "#!/bin/sh\nstatus-set active\n"
	}
	return hooks
}

// deployUnit compares a unit of a charm that does nothing, from the request
// until it is active, with making the same machine and running the same
// scripts by hand as soon as it is ready; and, for information, once it has
// booted, as its services would need it. It then weighs the agent.
func deployUnit(b *bench) ([]line, error) {
	root, err := imageRoot(b.ctx)
	if err != nil {
		return nil, err
	}
	h, err := newHost(b)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err := h.stop(); err != nil {
			b.Error(err)
		}
	}()
	rt, err := container.New(otherRuntime(b.TempDir()))
	if err != nil {
		return nil, err
	}
	defer rt.Close()
	defer func() { _ = rt.Teardown() }() // what is left is told by the next New
	n := 0
	var took, booted []time.Duration // for the second line
	ours := func() (time.Duration, error) {
		n++
		app := names.Application(fmt.Sprintf("web%d", n))
		begun := time.Now()
		if err := deployWeb(b, h.admin, app, noHooks(true)); err != nil {
			return 0, err
		}
		err := h.active(b, app)
		took = append(took, time.Since(begun))
		return took[len(took)-1], err
	}
	floor := func() (time.Duration, error) {
		n++
		ready, boot, err := byHand(b, rt, root, fmt.Sprint(n))
		booted = append(booted, boot)
		return ready, err
	}
	l, err := b.pair("no-op unit active over the machine made and the hooks by hand", 1.5, 1, b.runs, ours, floor)
	if err != nil {
		return nil, err
	}
	lines := []line{l, {
		what: "the same over the machine booted and the hooks by hand", value: float64(median(took[1:])) / float64(median(booted[1:])), unit: "x",
		detail: fmt.Sprintf("%s over %s", round(median(took[1:])), round(median(booted[1:]))),
	}}
	agent, err := h.agentMemory(b)
	return append(lines, line{what: "memory of an idle machine agent with a unit", value: float64(agent) / mib, target: 25, unit: "MiB"}), err
}

// otherRuntime does not meet the host's.
func otherRuntime(dir string) container.Config {
	c := runtimeConfig(dir)
	c.Bridge, c.PortPrefix, c.Table, c.Cgroups, c.IDBase = "schbr0", "sch", "scarabhand", "scarabhand", 0x7c000000
	return c
}

// active waits until a new application's unit says that it is.
func (h *host) active(b *bench, app names.Application) error {
	return untilEvery(b.ctx, 15*time.Millisecond, 2*time.Minute, func() error {
		s, err := h.admin.FullStatus(b.ctx, wireclient.StatusParams{Patterns: []string{string(app)}})
		if err != nil {
			return err
		}
		u := s.Applications[string(app)].Units[string(app)+"/0"]
		if u.WorkloadStatus.Status != "active" {
			return fmt.Errorf("%s is %s: %s, its agent %s: %s", app, u.WorkloadStatus.Status, u.WorkloadStatus.Info, u.AgentStatus.Status, u.AgentStatus.Info)
		}
		return nil
	})
}

// byHand makes a machine, and runs the hooks once it has booted. It gives also
// the time without the boot.
func byHand(b *bench, rt *container.Runtime, root, key string) (ready, booted time.Duration, err error) {
	begun := time.Now()
	m, err := rt.Create(b.ctx, container.Spec{
		Key: key, Controller: "bench", Hostname: "m" + key, Root: root, Profile: container.ProfileSystem, Resolvers: []string{"192.0.2.53"},
	})
	made := time.Since(begun)
	if err != nil {
		return 0, 0, err
	}
	err = until(b.ctx, time.Minute, func() error {
		now, err := rt.Get(m.ID)
		if err == nil && now.Booted.IsZero() {
			err = errors.New("the machine has not booted")
		}
		return err
	})
	hooks := time.Now()
	for name, text := range noHooks(false) {
		if err != nil {
			break
		}
		var out strings.Builder
		var res container.ExecResult
		res, err = rt.Exec(b.ctx, m.ID, []string{"/bin/sh", "-s"}, strings.NewReader(text), &out, &out)
		if err == nil && res.Code != 0 {
			err = fmt.Errorf("%s: exit %d: %s", name, res.Code, out.String())
		}
	}
	booted, ready = time.Since(begun), made+time.Since(hooks)
	return ready, booted, errors.Join(err, rt.Destroy(b.ctx, m.ID))
}

// agentMemory weighs the agent in the first machine, once it has nothing to do.
func (h *host) agentMemory(b *bench) (int64, error) {
	select {
	case <-time.After(settle):
	case <-b.ctx.Done():
	}
	const script = `for p in /proc/[0-9]*; do
	if tr '\0' ' ' < $p/cmdline 2>/dev/null | grep -q 'scarab-agent machine'; then cat $p/status; exit; fi
done; exit 1`
	s, err := h.admin.FullStatus(b.ctx, wireclient.StatusParams{})
	if err != nil {
		return 0, err
	}
	for _, m := range s.Machines {
		out, code, err := h.api.Exec(b.ctx, provider.InstanceID(m.InstanceID), []string{"/bin/sh", "-c", script})
		if err != nil {
			return 0, err
		}
		if code != 0 {
			return 0, fmt.Errorf("there is no agent in machine %s of %s: %s", m.ID, cluster.AdminModel, out)
		}
		return fieldKiB(out, "VmRSS:")
	}
	return 0, errors.New("there is no machine")
}
