package decide

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/scarab-ops/scarab/wire/agentapi"
)

// checker watches the operations that succeed and knows nothing of how they
// were chosen.
type checker struct {
	installed, led, configured, started, stopped, removed bool
	mustNext                                              string // hook that has to come directly
	created, everBroken                                   map[int]bool
	joined                                                map[int]map[string]bool
	atFirst                                               map[int]bool // relations when config-changed first began
}

// begin sees every operation that is chosen, whatever becomes of it.
func (c *checker) begin(o Op, w agentapi.Want) {
	if o.Hook != ConfigChanged || c.atFirst != nil {
		return
	}
	c.atFirst = map[int]bool{}
	for _, r := range w.Relations {
		c.atFirst[r.ID] = r.Life == "alive" && !r.Suspended
	}
}

func (c *checker) see(o Op, w agentapi.Want, l Local) error {
	if o.Kind != Hook && o.Kind != Skip {
		return nil
	}
	if c.removed {
		return fmt.Errorf("%v after remove", o)
	}
	if c.mustNext != "" && o.Hook+" "+o.RemoteUnit != c.mustNext {
		return fmt.Errorf("%v, but %s had to come directly", o, c.mustNext)
	}
	c.mustNext = ""
	if !c.installed && o.Hook != Install {
		return fmt.Errorf("%v before install", o)
	}
	if c.stopped && o.Hook != Remove {
		return fmt.Errorf("%v after stop", o)
	}
	if o.RelationID >= 0 {
		return c.relation(o, w)
	}
	return c.plain(o, w, l)
}

func (c *checker) plain(o Op, w agentapi.Want, l Local) error {
	switch o.Hook {
	case Install:
		if c.installed {
			return fmt.Errorf("install twice")
		}
		c.installed = true
	case LeaderElected, LeaderSettingsChanged:
		c.led = true
	case ConfigChanged:
		if !c.led {
			return fmt.Errorf("config-changed before leadership was settled")
		}
		if !c.configured {
			for _, r := range w.Relations {
				if r.Life == "alive" && !r.Suspended && !r.Implicit && c.atFirst[r.ID] && !c.created[r.ID] && !c.everBroken[r.ID] {
					return fmt.Errorf("first config-changed before relation-created of %d", r.ID)
				}
			}
			c.mustNext = "start "
		}
		c.configured = true
	case Start:
		if !c.configured {
			return fmt.Errorf("start before config-changed")
		}
		c.started = true
	case UpgradeCharm:
		c.mustNext = "config-changed "
	case UpdateStatus:
		waited := l.Failed != nil || l.Queued != nil // chosen earlier
		if !waited && (!c.started || w.Life != "alive" || l.Hashes != hashes(w) || len(w.Tasks) > 0) {
			return fmt.Errorf("update-status while there is more to do")
		}
	case Stop:
		for id := range c.created {
			if r := find(w, id); r != nil && r.Role != "peer" && !c.everBroken[id] {
				return fmt.Errorf("stop before relation-broken of %d", id)
			}
		}
		c.stopped = true
	case Remove:
		if !c.stopped {
			return fmt.Errorf("remove before stop")
		}
		c.removed = true
	}
	return nil
}

func (c *checker) relation(o Op, w agentapi.Want) error {
	members := c.joined[o.RelationID]
	if o.Step != Created && !c.created[o.RelationID] {
		return fmt.Errorf("%v before relation-created", o)
	}
	switch o.Step {
	case Created:
		c.created[o.RelationID], c.everBroken[o.RelationID] = true, false
		c.joined[o.RelationID] = map[string]bool{}
	case Joined:
		if members[o.RemoteUnit] {
			return fmt.Errorf("%v twice", o)
		}
		members[o.RemoteUnit] = true
		c.mustNext = o.Endpoint + "-relation-changed " + o.RemoteUnit
	case Changed:
		if o.RemoteUnit != "" && !members[o.RemoteUnit] {
			return fmt.Errorf("%v without joined", o)
		}
	case Departed:
		if !members[o.RemoteUnit] {
			return fmt.Errorf("%v without joined", o)
		}
		delete(members, o.RemoteUnit)
	case Broken:
		if len(members) > 0 || o.Peer || c.everBroken[o.RelationID] {
			return fmt.Errorf("%v with members %v", o, members)
		}
		c.everBroken[o.RelationID] = true
		delete(c.created, o.RelationID)
	}
	return nil
}

// TestRandomLives draws changes, failures, interruptions and restarts, and
// lets the checker judge every hook that succeeded.
func TestRandomLives(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := newWorld()
		c := &checker{created: map[int]bool{}, everBroken: map[int]bool{}, joined: map[int]map[string]bool{}}
		version := 1
		for range rapid.IntRange(1, 60).Draw(t, "turns") {
			version++
			for range rapid.IntRange(0, 2).Draw(t, "changes") {
				mutate(t, d, version)
			}
			for range rapid.IntRange(0, 4).Draw(t, "steps") {
				turn(t, d, c)
			}
		}
		settle(t, d, c)
	})
}

func turn(t *rapid.T, d *world, c *checker) {
	var back Local // the state must survive its own file
	data, err := json.Marshal(d.l)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	back.Now = d.l.Now
	d.l = back
	if rapid.IntRange(0, 9).Draw(t, "fate") == 0 {
		if o := Next(Prune(d.l, d.w), d.w); o.Kind == Hook {
			c.begin(o, d.w)
			if rapid.Bool().Draw(t, "interrupt") {
				d.l = Interrupt(d.l, o)
			} else {
				d.fail[o.Hook] = 1
			}
		}
	}
	wantBefore, localBefore := d.w, d.l
	c.begin(Next(Prune(d.l, d.w), d.w), d.w)
	o, done := d.step()
	if again := Next(localBefore, wantBefore); again.String() != o.String() && !done {
		t.Fatalf("same inputs, two answers: %v and %v", o, again)
	}
	if done || d.l.Failed != nil && d.l.Failed.Hook == o.Hook && o.Kind == Hook {
		return
	}
	if err := c.see(o, wantBefore, localBefore); err != nil {
		t.Fatalf("%v\nlog: %v", err, d.log)
	}
}

func mutate(t *rapid.T, d *world, version int) {
	lines := []string{
		"leader true", "leader false", "leader-settings", "due update-status", "due retry", "restart",
		fmt.Sprintf("config c%d", version), fmt.Sprintf("boot b%d", version), "resolved retry-hooks", "resolved no-hooks",
		fmt.Sprintf("charm ch:%d", version), "life dying",
	}
	line := rapid.SampledFrom(lines).Draw(t, "change")
	switch {
	case line == "life dying" && rapid.IntRange(0, 9).Draw(t, "really") > 0:
	case strings.HasPrefix(line, "resolved") && d.l.Failed == nil:
	case strings.HasPrefix(line, "charm") && !d.l.Started:
	default:
		d.apply(strings.Fields(line))
	}
	id := rapid.IntRange(0, 3).Draw(t, "relation")
	r := find(d.w, id)
	if r == nil {
		if d.w.Life == "alive" {
			role := []string{"requirer", "peer", "provider", "requirer"}[id]
			d.apply([]string{"relation", fmt.Sprint(id), fmt.Sprintf("ep%d", id), role, "other"})
		}
		return
	}
	unit := fmt.Sprintf("other/%d", rapid.IntRange(0, 2).Draw(t, "unit"))
	switch rapid.IntRange(0, 7).Draw(t, "what") {
	case 0, 1, 2:
		r.Members[unit] = int64(version)
	case 3:
		delete(r.Members, unit)
	case 4:
		r.RemoteAppVersion++
	case 5:
		if r.Role != "peer" {
			r.Life = "dying"
		}
	case 6:
		r.Suspended = r.Role != "peer" && !r.Suspended
	}
}

// settle lets a dying unit come to its end: nothing may hang.
func settle(t *rapid.T, d *world, c *checker) {
	d.w.Life, d.fail = "dying", map[string]int{}
	for range 200 {
		d.l.Now.RetryDue = true
		wantBefore, localBefore := d.w, d.l
		c.begin(Next(Prune(d.l, d.w), d.w), d.w)
		o, done := d.step()
		if err := c.see(o, wantBefore, localBefore); err != nil && !done {
			t.Fatalf("%v\nlog: %v", err, d.log)
		}
		if o.Kind == Exit {
			return
		}
	}
	t.Fatalf("the unit never ended: %v", d.log)
}
