package state_test

import (
	"fmt"
	"testing"

	"github.com/scarab-ops/scarab/state"
)

type row struct {
	Name, Application, Machine, Status, Message string
	Ports                                       []int
}

var rows = state.Table[row]{Kind: "unit", ID: func(r row) string { return r.Name }}

func fill(b *testing.B, s *state.Store, m state.Scope, n int) {
	b.Helper()
	for i := range n {
		put(b, s, m, row{fmt.Sprintf("app/%d", i), "app", "1", "active", "ready", []int{80, 443}})
	}
}

func put(t testing.TB, s *state.Store, m state.Scope, r row) {
	t.Helper()
	if err := s.Update(t.Context(), func(tx *state.Tx) error { return rows.Put(tx, m, r) }); err != nil {
		t.Fatal(err)
	}
}

func BenchmarkScan1000(b *testing.B) {
	s := open(b, state.NewMem())
	m := state.Model("x")
	fill(b, s, m, 1000)
	for b.Loop() {
		n := 0
		for range rows.All(s.View(), m) {
			n++
		}
		if n != 1000 {
			b.Fatal(n)
		}
	}
}

func BenchmarkTxScan1000(b *testing.B) {
	s := open(b, state.NewMem())
	m := state.Model("x")
	fill(b, s, m, 1000)
	for b.Loop() {
		if err := s.Update(b.Context(), func(tx *state.Tx) error {
			for _, err := range rows.All(tx, m) {
				if err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPut(b *testing.B) {
	s := open(b, state.NewMem())
	m := state.Model("x")
	fill(b, s, m, 1000)
	for b.Loop() {
		put(b, s, m, row{Name: "app/500"})
	}
}

// BenchmarkNotifySame is one commit that concerns every one of 1,000 subscribers,
// up to each having taken it.
func BenchmarkNotifySame1000(b *testing.B) {
	s := open(b, state.NewMem())
	m := state.Model("x")
	subs := make([]*state.Subscription, 1000)
	for i := range subs {
		subs[i] = s.Subscribe(rows.Key(m, "app/0"))
	}
	for b.Loop() {
		put(b, s, m, row{Name: "app/0"})
		for _, sub := range subs {
			<-sub.C()
			if len(sub.Take()) != 1 {
				b.Fatal("nothing taken")
			}
		}
	}
}

// BenchmarkNotifyOne is one commit that concerns one of 10,000 subscribers.
func BenchmarkNotifyOneOf10000(b *testing.B) {
	s := open(b, state.NewMem())
	m := state.Model("x")
	subs := make([]*state.Subscription, 10000)
	for i := range subs {
		subs[i] = s.Subscribe(rows.KeysUnder(m, fmt.Sprintf("app/%d/", i)))
	}
	for b.Loop() {
		put(b, s, m, row{Name: "app/77/x"})
		<-subs[77].C()
		if len(subs[77].Take()) != 1 || len(subs[78].C()) != 0 {
			b.Fatal("wrong subscribers woken")
		}
	}
}
