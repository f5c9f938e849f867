package decide

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/scarab-ops/scarab/wire/agentapi"
)

var update = flag.Bool("update", false, "rewrite the expected operations")

// world is a unit and a controller without wires between them.
type world struct {
	l    Local
	w    agentapi.Want
	fail map[string]int // hook -> how often it still fails
	log  []Op
}

func newWorld() *world {
	return &world{
		l:    Local{Now: Now{BootID: "b1"}},
		w:    agentapi.Want{Unit: "app/0", Application: "app", Life: "alive", CharmURL: "ch:1", RetryHooks: true},
		fail: map[string]int{},
	}
}

// step does one operation and returns it; done is true when there is nothing
// left to do.
func (d *world) step() (o Op, done bool) {
	d.l = Prune(d.l, d.w)
	o = Next(d.l, d.w)
	switch o.Kind {
	case Idle, Blocked, Exit:
		return o, true
	}
	d.log = append(d.log, o)
	if o.Resolved {
		d.w.Resolved = ""
	}
	if o.Kind == Hook && d.fail[o.Hook] > 0 {
		d.fail[o.Hook]--
		d.l = Fail(d.l, o)
		return o, false
	}
	d.l = Done(d.l, o)
	d.observe(o)
	return o, false
}

// observe is what the controller learns from an operation.
func (d *world) observe(o Op) {
	if o.Kind == Task {
		d.w.Tasks = d.w.Tasks[1:]
	}
	r := find(d.w, o.RelationID)
	if r == nil {
		return
	}
	switch {
	case o.Kind == EnterScope, o.Step == Created:
		r.InScope = true
	case o.Kind == LeaveScope, o.Step == Broken && o.Kind != Forget:
		r.InScope = false
	}
}

func (d *world) rel(id string) *agentapi.WantRelation {
	n, err := strconv.Atoi(id)
	if err != nil {
		panic(err)
	}
	return find(d.w, n)
}

// apply runs one line of a scenario that changes the world.
func (d *world) apply(f []string) {
	switch f[0] {
	case "life":
		d.w.Life = f[1]
	case "leader":
		d.w.Leader = f[1] == "true"
	case "leader-settings":
		d.w.LeaderSettings++
	case "config":
		d.w.ConfigHash = f[1]
	case "charm":
		d.w.CharmURL = f[1]
	case "force":
		d.w.ForceUpgrade = true
	case "subordinates":
		d.w.HasSubordinates = f[1] == "true"
	case "resolved":
		d.w.Resolved = f[1]
	case "no-retry":
		d.w.RetryHooks = false
	case "task":
		d.w.Tasks = append(d.w.Tasks, agentapi.Task{ID: f[1], Name: "act"})
	case "boot":
		d.l.Now.BootID = f[1]
	case "restart":
		d.l.Now = Now{BootID: d.l.Now.BootID}
	case "interrupt":
		o := Next(d.l, d.w)
		d.l = Interrupt(d.l, o)
	case "due":
		d.l.Now.UpdateStatusDue = d.l.Now.UpdateStatusDue || f[1] == "update-status"
		d.l.Now.RetryDue = d.l.Now.RetryDue || f[1] == "retry"
	case "fail":
		d.fail[f[1]]++
	default:
		d.applyRelation(f)
	}
}

func (d *world) applyRelation(f []string) {
	switch f[0] {
	case "relation": // id endpoint role remote-app [implicit]
		id, err := strconv.Atoi(f[1])
		if err != nil {
			panic(err)
		}
		d.w.Relations = append(d.w.Relations, agentapi.WantRelation{
			ID: id, Endpoint: f[2], Role: f[3], RemoteApp: f[4], Life: "alive",
			Implicit: len(f) > 5, Members: map[string]int64{},
		})
	case "member": // id unit version
		v, err := strconv.Atoi(f[3])
		if err != nil {
			panic(err)
		}
		d.rel(f[1]).Members[f[2]] = int64(v)
	case "gone":
		delete(d.rel(f[1]).Members, f[2])
	case "app-bag":
		d.rel(f[1]).RemoteAppVersion++
	case "relation-life":
		d.rel(f[1]).Life = f[2]
	case "suspended":
		d.rel(f[1]).Suspended = f[2] == "true"
	case "drop":
		r := d.rel(f[1])
		*r = d.w.Relations[len(d.w.Relations)-1]
		d.w.Relations = d.w.Relations[:len(d.w.Relations)-1]
	default:
		panic("unknown line " + strings.Join(f, " "))
	}
}

// TestScenarios runs testdata/*.txtar. Each file of an archive is a scenario:
// lines change the world, "run" works until there is nothing to do, and the
// lines "= op" under it are what was done.
func TestScenarios(t *testing.T) {
	names, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(names) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, name := range names {
		ar, err := txtar.ParseFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for i, f := range ar.Files {
			t.Run(f.Name, func(t *testing.T) {
				got := scenario(string(f.Data))
				if *update {
					ar.Files[i].Data = []byte(got)
				} else if got != string(f.Data) {
					t.Errorf("got:\n%s\nwant:\n%s", got, f.Data)
				}
			})
		}
		if *update {
			if err := os.WriteFile(name, txtar.Format(ar), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func scenario(in string) string {
	d := newWorld()
	var b strings.Builder
	for _, line := range strings.Split(strings.TrimRight(in, "\n"), "\n") {
		if strings.HasPrefix(line, "= ") {
			continue
		}
		fmt.Fprintln(&b, line)
		switch f := strings.Fields(line); {
		case len(f) == 0 || f[0] == "#":
		case f[0] == "run", f[0] == "step":
			for range 60 {
				o, done := d.step()
				fmt.Fprintf(&b, "= %v\n", o)
				if done || f[0] == "step" {
					break
				}
			}
		default:
			d.apply(f)
		}
	}
	return b.String()
}
