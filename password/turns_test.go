package password_test

import (
	"fmt"
	"testing"

	"github.com/scarab-ops/scarab/password"
)

// serve ends the turn that was had and returns who has it next.
func serve(t *testing.T, had *password.Ticket, of map[string]*password.Ticket) string {
	t.Helper()
	had.Leave()
	found := ""
	for name, k := range of {
		if k.Has() {
			if found != "" {
				t.Fatalf("%s and %s have the only turn", found, name)
			}
			found = name
		}
	}
	return found
}

// Each branch gets as much as its neighbour, at every depth, however many wait
// in one of them and whoever came first.
func TestTurnsAreSharedByBranch(t *testing.T) {
	turns := password.NewTurns(1)
	had := turns.Join("busy")
	waits := map[string]*password.Ticket{}
	join := func(name string, path ...string) { waits[name] = turns.Join(path...) }
	for i := range 100 {
		join(fmt.Sprintf("flood%d", i), "net1", "host1", fmt.Sprintf("invented%d", i))
	}
	join("neighbour", "net1", "host2", "ann")
	join("bob", "net2", "host3", "bob")
	join("bob again", "net2", "host3", "bob")
	join("carl", "net2", "host3", "carl")
	at := map[string]int{}
	for i := range len(waits) {
		name := serve(t, had, waits)
		if name == "" {
			t.Fatalf("nobody has turn %d", i)
		}
		had = waits[name]
		delete(waits, name)
		at[name] = i
	}
	for name, latest := range map[string]int{"bob": 1, "neighbour": 2, "carl": 3, "bob again": 5, "flood99": 103} {
		if at[name] > latest {
			t.Errorf("%s had turn %d, want %d or before", name, at[name], latest)
		}
	}
	had.Leave()
	if k := turns.Join("after"); !k.Has() {
		t.Error("nobody waits and there is no turn")
	}
}

// A full queue costs the fullest branch its newest, and nobody else.
func TestTurnsAreBounded(t *testing.T) {
	turns := password.NewTurns(1)
	had := turns.Join("busy")
	bob := turns.Join("net2", "host", "bob")
	flood := map[string]*password.Ticket{}
	for i := range 2 * password.MaxWaiting {
		flood[fmt.Sprint(i)] = turns.Join("net1", "host", fmt.Sprint("invented", i))
	}
	late := turns.Join("net3", "host", "late")
	served := 0
	waits := map[string]*password.Ticket{"bob": bob, "late": late}
	for name, k := range flood {
		waits[name] = k
	}
	for {
		name := serve(t, had, waits)
		if name == "" {
			break
		}
		had = waits[name]
		delete(waits, name)
		served++
	}
	if served != password.MaxWaiting || waits["bob"] != nil || waits["late"] != nil {
		t.Errorf("%d were served, want %d and bob and the late one among them", served, password.MaxWaiting)
	}
	for _, k := range waits { // the ones that lost their place
		k.Leave()
		k.Leave()
	}
	if !turns.Join("after").Has() || turns.Join("after").Has() {
		t.Error("who lost its place gave a turn back that it never had")
	}
}

// Who loses patience leaves no trace.
func TestLeavingTheQueue(t *testing.T) {
	turns := password.NewTurns(1)
	had := turns.Join("a")
	gone, next := turns.Join("b", "x"), turns.Join("b", "y")
	gone.Leave()
	had.Leave()
	if gone.Has() || !next.Has() {
		t.Error("the turn went to who had left")
	}
	next.Leave()
	next.Leave()
	if !turns.Join("c").Has() || turns.Join("c").Has() {
		t.Error("a turn that was left twice was given twice")
	}
}
