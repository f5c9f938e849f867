package main

import (
	"errors"
	"fmt"
	"os"
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
// scripts by hand. Hooks are promised a machine whose services can be used, so
// by hand too they run once that is so; for information, it is compared also
// with scripts that run before (in a machine that has no services yet) and
// with scripts that run once all of the boot is over. It then weighs the agent.
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
	var took, ready, booted []time.Duration // for the lines that inform
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
		t, err := byHand(b, rt, root, fmt.Sprint(n))
		ready, booted = append(ready, t.ready), append(booted, t.booted)
		return t.usable, err
	}
	l, err := b.pair("no-op unit active over a machine with services and the hooks by hand", 1.5, 1, b.runs, ours, floor)
	if err != nil {
		return nil, err
	}
	us, early, late := median(took[1:]), median(ready[1:]), median(booted[1:])
	lines := []line{l, {
		what: "the same over a machine without services yet", value: float64(us) / float64(early), unit: "x",
		detail: fmt.Sprintf("%s over %s", round(us), round(early)),
	}, {
		what: "the same over a machine that has booted", value: float64(us) / float64(late), unit: "x",
		detail: fmt.Sprintf("%s over %s", round(us), round(late)),
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

// A hand is how long a machine and its hooks took by hand: the hooks at once,
// as soon as services could be used, after all of the boot.
type hand struct{ ready, usable, booted time.Duration }

// handMark is a file that a machine made by hand makes as soon as an ordinary
// service would start.
const handMark = "/run/by-hand"

// byHand makes a machine, and runs the hooks as soon as an ordinary service
// would run; and once more when it has booted and is quiet, for the other times.
func byHand(b *bench, rt *container.Runtime, root, key string) (t hand, err error) {
	const unit = "/etc/systemd/system/by-hand.service"
	begun := time.Now()
	m, err := rt.Create(b.ctx, container.Spec{
		Key: key, Controller: "bench", Hostname: "m" + key, Root: root, Profile: container.ProfileSystem, Resolvers: []string{"192.0.2.53"},
		Files: []container.File{
			{Path: unit, Mode: 0o644, Data: []byte("[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/touch " + handMark + "\n")},
			{Path: "/etc/systemd/system/multi-user.target.wants/by-hand.service", Link: unit},
		},
	})
	made := time.Since(begun)
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, rt.Destroy(b.ctx, m.ID)) }()
	mark := fmt.Sprintf("/proc/%d/root%s", m.Pid, handMark)
	err = untilEvery(b.ctx, 2*time.Millisecond, time.Minute, func() error { _, err := os.Lstat(mark); return err })
	if err == nil {
		_, err = hooksByHand(b, rt, m.ID)
	}
	t.usable = time.Since(begun)
	if err != nil {
		return t, err
	}
	var boot time.Duration
	err = until(b.ctx, time.Minute, func() error {
		now, err := rt.Get(m.ID)
		if err == nil && now.Booted.IsZero() {
			err = errors.New("the machine has not booted")
		}
		boot = now.Booted.Sub(begun)
		return err
	})
	if err != nil {
		return t, err
	}
	hooks, err := hooksByHand(b, rt, m.ID)
	t.ready, t.booted = made+hooks, boot+hooks
	return t, err
}

// hooksByHand runs the scripts one after the other.
func hooksByHand(b *bench, rt *container.Runtime, id string) (time.Duration, error) {
	begun := time.Now()
	for name, text := range noHooks(false) {
		var out strings.Builder
		res, err := rt.Exec(b.ctx, id, []string{"/bin/sh", "-s"}, strings.NewReader(text), &out, &out)
		if err == nil && res.Code != 0 {
			err = fmt.Errorf("%s: exit %d: %s", name, res.Code, out.String())
		}
		if err != nil {
			return 0, err
		}
	}
	return time.Since(begun), nil
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
