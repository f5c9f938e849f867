package etcdstate

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/scarab-ops/scarab/state"
)

type benchRow struct{ Name, Text string }

var (
	benchRows = state.Table[benchRow]{Kind: "row", ID: func(r benchRow) string { return r.Name }}
	benchText = strings.Repeat("x", 230)
)

func benchStore(b *testing.B, follow bool) (*Backend, *state.Store) {
	b.Helper()
	e, err := Open(b.Context(), Config{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = e.Close() })
	if !follow {
		return e, nil
	}
	s, err := state.Open(b.Context(), e)
	if err != nil {
		b.Fatal(err)
	}
	return e, s
}

func benchPut(b *testing.B, s *state.Store, id string) {
	err := s.Update(b.Context(), func(tx *state.Tx) error {
		return benchRows.Put(tx, state.Controller, benchRow{id, benchText})
	})
	if err != nil {
		b.Fatal(err)
	}
}

// BenchmarkRawPut is what BenchmarkPut is measured against: etcd with nothing
// that follows it.
func BenchmarkRawPut(b *testing.B) {
	e, _ := benchStore(b, false)
	i := 0
	for b.Loop() {
		i++
		key := fmt.Sprintf("/c/row/%d", i%1000)
		if _, err := e.client.Put(b.Context(), key, `{"Name":"1000","Text":"`+benchText+`"}`); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPut(b *testing.B) {
	_, s := benchStore(b, true)
	i := 0
	for b.Loop() {
		i++
		benchPut(b, s, fmt.Sprint(i%1000))
	}
}

// BenchmarkUpdate reads a row, changes it and writes it back.
func BenchmarkUpdate(b *testing.B) {
	_, s := benchStore(b, true)
	for i := range 1000 {
		benchPut(b, s, fmt.Sprint(i))
	}
	i := 0
	for b.Loop() {
		i++
		err := s.Update(b.Context(), func(tx *state.Tx) error {
			r, err := benchRows.Get(tx, state.Controller, fmt.Sprint(i%1000))
			if err != nil {
				return err
			}
			r.Text = benchText
			return benchRows.Put(tx, state.Controller, r)
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkScanUpdate scans 1,000 rows in the transaction and writes one.
func BenchmarkScanUpdate1000(b *testing.B) {
	_, s := benchStore(b, true)
	for i := range 1000 {
		benchPut(b, s, fmt.Sprint(i))
	}
	for b.Loop() {
		err := s.Update(b.Context(), func(tx *state.Tx) error {
			for _, err := range benchRows.All(tx, state.Controller) {
				if err != nil {
					return err
				}
			}
			return benchRows.Put(tx, state.Controller, benchRow{"7", benchText})
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRawPutParallel(b *testing.B) {
	e, _ := benchStore(b, false)
	var n atomic.Int64
	b.SetParallelism(64)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			key := fmt.Sprintf("/c/row/%d", n.Add(1)%1000)
			if _, err := e.client.Put(b.Context(), key, `{"Name":"1000","Text":"`+benchText+`"}`); err != nil {
				b.Error(err)
			}
		}
	})
}

func BenchmarkPutParallel(b *testing.B) {
	_, s := benchStore(b, true)
	var n atomic.Int64
	b.SetParallelism(64)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			benchPut(b, s, fmt.Sprint(n.Add(1)%1000))
		}
	})
}

func BenchmarkOpenEmpty(b *testing.B) {
	for b.Loop() {
		e, err := Open(b.Context(), Config{Dir: b.TempDir()})
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := e.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}
