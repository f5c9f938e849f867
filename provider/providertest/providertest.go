// Package providertest is what every cloud must pass. It is imported by the
// tests of providers only.
package providertest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/provider"
)

// Run tests a cloud. open gives the cloud to a controller; the same controller
// opened twice sees the same machines, as after a crash. The cloud is empty at
// first and left empty.
func Run(t *testing.T, open func(controller string) provider.Instances) {
	s := suite{open}
	for name, f := range map[string]func(*testing.T){
		"StartIsIdempotent": s.startIsIdempotent, "StartsAtOnceMakeOne": s.startsAtOnceMakeOne, "ListAfterCrash": s.listAfterCrash,
		"OthersAreUnknown": s.othersAreUnknown, "StopOfUnknown": s.stopOfUnknown, "EndedContext": s.endedContext,
		"BadSpec": s.badSpec, "Watch": s.watch, "Rules": s.rules, "Prepare": s.prepare,
	} {
		t.Run(name, f)
	}
}

type suite struct {
	open func(string) provider.Instances
}

const patience = 2 * time.Minute

func spec(key string) provider.StartSpec {
	return provider.StartSpec{Key: key, ModelUUID: "11111111-2222-4333-8444-555555555555", ModelName: "m", MachineID: "0", Hostname: "scarab-111111-0"}
}

func (s suite) cloud(t *testing.T, controller string) (provider.Instances, context.Context) {
	t.Helper()
	c := s.open(controller)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(func() {
		defer cancel()
		list, err := c.List(ctx)
		if err != nil {
			t.Error(err)
		}
		for _, i := range list {
			if err := c.Stop(ctx, i.ID); err != nil {
				t.Error(err)
			}
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c, ctx
}

func start(t *testing.T, ctx context.Context, c provider.Instances, key string) provider.Instance {
	t.Helper()
	inst, err := c.Start(ctx, spec(key))
	if err != nil {
		t.Fatal(err)
	}
	return inst
}

func ids(t *testing.T, ctx context.Context, c provider.Instances) []provider.InstanceID {
	t.Helper()
	list, err := c.List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	out := []provider.InstanceID{}
	for _, i := range list {
		out = append(out, i.ID)
	}
	slices.Sort(out)
	return out
}

func (s suite) startIsIdempotent(t *testing.T) {
	c, ctx := s.cloud(t, "one")
	a := start(t, ctx, c, "model/0")
	if a.ID == "" || a.Key != "model/0" || a.Status != "running" || len(a.Addresses) == 0 || a.Ready.IsZero() {
		t.Errorf("a new machine is %+v", a)
	}
	if a.Hardware.Arch == "" || a.Hardware.Cores < 1 || a.Hardware.MemMiB < 1 || a.Base.Name == "" {
		t.Errorf("a machine does not tell what it is: %+v", a)
	}
	if again := start(t, ctx, c, "model/0"); again.ID != a.ID || !slices.Equal(again.Addresses, a.Addresses) {
		t.Errorf("the same key gave %v and %v", a, again)
	}
	b := start(t, ctx, c, "model/1")
	if b.ID == a.ID || b.Addresses[0] == a.Addresses[0] {
		t.Errorf("two keys share a machine or an address: %v, %v", a, b)
	}
	if got := ids(t, ctx, c); len(got) != 2 {
		t.Errorf("there are %v", got)
	}
	if err := c.Stop(ctx, a.ID); err != nil {
		t.Fatal(err)
	}
	if got := ids(t, ctx, c); !slices.Equal(got, []provider.InstanceID{b.ID}) {
		t.Errorf("after Stop there are %v, want %v", got, b.ID)
	}
}

func (s suite) startsAtOnceMakeOne(t *testing.T) {
	c, ctx := s.cloud(t, "one")
	var wg sync.WaitGroup
	got := make([]provider.InstanceID, 8)
	for i := range got {
		wg.Go(func() {
			inst, err := c.Start(ctx, spec("model/0"))
			if err != nil {
				t.Error(err)
			}
			got[i] = inst.ID
		})
	}
	wg.Wait()
	if slices.Sort(got); got[0] != got[len(got)-1] || len(ids(t, ctx, c)) != 1 {
		t.Errorf("one key gave %v", got)
	}
}

func (s suite) listAfterCrash(t *testing.T) {
	c, ctx := s.cloud(t, "one")
	a := start(t, ctx, c, "model/0")
	again, ctx2 := s.cloud(t, "one") // nothing was closed, nothing handed over
	list, err := again.List(ctx2)
	if err != nil || len(list) != 1 || list[0].ID != a.ID || list[0].Key != a.Key {
		t.Errorf("after a crash there are %v, %v", list, err)
	}
	if b := start(t, ctx2, again, "model/0"); b.ID != a.ID {
		t.Errorf("after a crash the key gave %v, want %v", b.ID, a.ID)
	}
}

func (s suite) othersAreUnknown(t *testing.T) {
	one, ctx := s.cloud(t, "one")
	two, _ := s.cloud(t, "two")
	a := start(t, ctx, one, "model/0")
	if got := ids(t, ctx, two); len(got) != 0 {
		t.Errorf("another controller sees %v", got)
	}
	if err := two.Stop(ctx, a.ID); err != nil {
		t.Errorf("stopping another's machine tells that it is there: %v", err)
	}
	if got := ids(t, ctx, one); !slices.Equal(got, []provider.InstanceID{a.ID}) {
		t.Errorf("another controller stopped the machine: %v are left", got)
	}
	if f, ok := two.(provider.Firewall); ok {
		if err := f.SetRules(ctx, a.ID, nil); !errors.Is(err, provider.ErrNotFound) {
			t.Errorf("rules of another's machine: %v", err)
		}
	}
	if b := start(t, ctx, two, "model/0"); b.ID == a.ID {
		t.Error("two controllers share a machine")
	}
}

func (s suite) stopOfUnknown(t *testing.T) {
	c, ctx := s.cloud(t, "one")
	a := start(t, ctx, c, "model/0")
	if err := c.Stop(ctx, "no-such-machine", "../../etc", a.ID, a.ID); err != nil {
		t.Errorf("got %v", err)
	}
	if err := c.Stop(ctx); err != nil {
		t.Errorf("stopping nothing: %v", err)
	}
	if got := ids(t, ctx, c); len(got) != 0 {
		t.Errorf("there are %v", got)
	}
}

func (s suite) endedContext(t *testing.T) {
	c, ctx := s.cloud(t, "one")
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := c.Start(ended, spec("model/0")); !errors.Is(err, context.Canceled) {
		t.Errorf("Start: %v", err)
	}
	if _, err := c.List(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("List: %v", err)
	}
	// Whether it was made or not, the key gives one machine.
	start(t, ctx, c, "model/0")
	if got := ids(t, ctx, c); len(got) != 1 {
		t.Errorf("there are %v", got)
	}
}

func (s suite) badSpec(t *testing.T) {
	c, ctx := s.cloud(t, "one")
	for name, change := range map[string]func(*provider.StartSpec){
		"no key":   func(s *provider.StartSpec) { s.Key = "" },
		"hostname": func(s *provider.StartSpec) { s.Hostname = "a b\n" },
		"arch":     func(s *provider.StartSpec) { s.Constraints.Arch = "s390x" },
	} {
		bad := spec("model/0")
		change(&bad)
		if _, err := c.Start(ctx, bad); !errors.Is(err, provider.ErrBadSpec) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := ids(t, ctx, c); len(got) != 0 {
		t.Errorf("there are %v", got)
	}
}

func (s suite) watch(t *testing.T) {
	c, ctx := s.cloud(t, "one")
	w, ok := c.(provider.Watcher)
	if !ok {
		t.Log("this cloud cannot tell of changes")
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	changes, done := make(chan struct{}, 100), make(chan error, 1)
	go func() { done <- w.Watch(ctx, func() { changes <- struct{}{} }) }()
	wait := func(n int) {
		t.Helper()
		for {
			if len(ids(t, ctx, c)) == n {
				return
			}
			select {
			case <-changes:
			case <-ctx.Done():
				t.Fatalf("no change led to %d machines", n)
			}
		}
	}
	<-changes // it watches now
	inst := make(chan provider.Instance, 1)
	go func() {
		i, err := c.Start(ctx, spec("model/0"))
		if err != nil {
			t.Error(err)
		}
		inst <- i
	}()
	wait(1)
	if err := c.Stop(ctx, (<-inst).ID); err != nil {
		t.Fatal(err)
	}
	wait(0)
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Watch ended with %v", err)
	}
}

func (s suite) rules(t *testing.T) {
	c, ctx := s.cloud(t, "one")
	f, ok := c.(provider.Firewall)
	if !ok {
		t.Log("this cloud cannot filter")
		return
	}
	a := start(t, ctx, c, "model/0")
	good := []provider.Rule{
		{Protocol: "tcp", From: 80, To: 90, Sources: []string{"0.0.0.0/0"}},
		{Protocol: "icmp", Sources: []string{"10.0.0.0/8"}},
		{Protocol: "udp", From: 1, To: 65535, Peers: []provider.InstanceID{"not-there-yet"}},
	}
	for range 2 {
		if err := f.SetRules(ctx, a.ID, good); err != nil {
			t.Error(err)
		}
	}
	if err := f.SetRules(ctx, a.ID, nil); err != nil {
		t.Error(err)
	}
	for _, bad := range []provider.Rule{{Protocol: "tcp"}, {Protocol: "sctp", From: 1, To: 2}, {Protocol: "tcp", From: 9, To: 8}, {Protocol: "udp", From: 1, To: 70000}} {
		if err := f.SetRules(ctx, a.ID, []provider.Rule{bad}); !errors.Is(err, provider.ErrBadSpec) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	if err := f.SetRules(ctx, "no-such-machine", good); !errors.Is(err, provider.ErrNotFound) {
		t.Errorf("unknown machine: %v", err)
	}
}

func (s suite) prepare(t *testing.T) {
	c, ctx := s.cloud(t, "one")
	p, ok := c.(provider.Progress)
	if !ok {
		t.Log("this cloud needs no preparation")
		return
	}
	for range 2 {
		if err := p.Prepare(ctx, func(string) {}); err != nil {
			t.Error(err)
		}
	}
}
