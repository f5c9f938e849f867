package state

import (
	"fmt"
	"strings"
)

// DefaultQuota is what a store takes unless [OpenQuota] is told otherwise: a
// quarter of what the backend does, as the rest is for its history, and for the
// controller's own rows.
const DefaultQuota = 1 << 30

// A Quota bounds what may be stored, in bytes of keys and values. All that is
// stored is held in memory too. Zero values are defaults: a model's is half of
// the store's.
type Quota struct{ Store, Model int64 }

// A Writer says for whom a transaction writes.
type Writer int

// The writers. What the controller does of itself keeps to no quota: it removes,
// and it records what others do.
const (
	Controllers Writer = iota
	Operators
	Agents
)

// What a transaction may add and still count as a small change.
const (
	smallOfAgent    = 1 << 10  // a status, a departure
	smallOfOperator = 64 << 10 // an order to remove
)

// share returns how many sixteenths of a quota a writer may fill by adding so
// many bytes. The last quarter is for small changes alone, and the last eighth
// for those of operators: whatever agents have stored, there is room to remove it.
func (w Writer) share(adds int64) int64 {
	switch {
	case w == Agents && adds > smallOfAgent:
		return 12
	case w == Agents || adds > smallOfOperator:
		return 14
	}
	return 16
}

// FullError reports a change that a quota refuses. Nothing was written.
type FullError struct {
	Model       string // its UUID; "" when it is the store that is full
	Used, Limit int64
}

// Error says what to do.
func (e *FullError) Error() string {
	what := "the store"
	if e.Model != "" {
		what = "model " + e.Model
	}
	return fmt.Sprintf("cannot store more: %s is full (%d of %d KiB); remove units, applications or models that are no longer needed",
		what, e.Used>>10, e.Limit>>10)
}

// Code is the wire code.
func (e *FullError) Code() string { return "quota limit exceeded" }

// By says for whom the transaction writes; without it, for the controller.
func (tx *Tx) By(w Writer) { tx.writer = w }

// Weigh returns how many bytes the rows under keys have as the transaction
// leaves them. Like [Tx.View] it is not checked at commit.
func (tx *Tx) Weigh(keys ...Key) int {
	n := 0
	for _, k := range keys {
		if k.prefix {
			for e := range tx.view.scan(k.s) {
				if _, mine := tx.writes[e.key]; !mine {
					n += e.size()
				}
			}
		} else if e := tx.view.get(k.s); e != nil {
			if _, mine := tx.writes[k.s]; !mine {
				n += e.size()
			}
		}
	}
	for key, val := range tx.writes {
		for _, k := range keys {
			if val != nil && k.Matches(Key{s: key}) {
				n += len(key) + len(val)
				break
			}
		}
	}
	return n
}

// Adds returns how many bytes the transaction has added to a scope so far, less
// what it has taken away.
func (tx *Tx) Adds(s Scope) int {
	prefix, n := "/"+string(s)+"/", 0
	for key, val := range tx.writes {
		if !strings.HasPrefix(key, prefix) {
			continue
		}
		if val != nil {
			n += len(key) + len(val)
		}
		if e := tx.view.get(key); e != nil {
			n -= e.size()
		}
	}
	return n
}

func (e *entry) size() int { return len(e.key) + len(e.val) }

// usage counts what is stored, in all and of each model.
type usage struct {
	quota Quota
	all   int64
	of    map[Scope]int64
}

func newUsage(q Quota) usage {
	if q.Store <= 0 {
		q.Store = DefaultQuota
	}
	if q.Model <= 0 {
		q.Model = q.Store / 2
	}
	return usage{quota: q, of: map[Scope]int64{}}
}

func (u *usage) change(ds []delta) {
	for _, d := range ds {
		n := 0
		if d.now != nil {
			n += d.now.size()
		}
		if d.old != nil {
			n -= d.old.size()
		}
		u.all += int64(n)
		s, _, _ := splitKey(d.key)
		if u.of[s] += int64(n); u.of[s] == 0 {
			delete(u.of, s)
		}
	}
}

// room refuses a transaction that adds more than there is room for. It may be a
// few commits behind, which the room in reserve makes up for.
func (s *Store) room(tx *Tx) error {
	if tx.writer == Controllers {
		return nil
	}
	scopes := map[Scope]int64{}
	adds := int64(0)
	for key := range tx.writes {
		sc, _, _ := splitKey(key)
		if _, known := scopes[sc]; known || tx.writer == Agents && sc == Controller {
			continue // what agents add there is the record of their call
		}
		scopes[sc] = int64(tx.Adds(sc))
		adds += scopes[sc]
	}
	if adds <= 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	share := tx.writer.share(adds)
	if limit := s.used.quota.Store / 16 * share; s.used.all+adds > limit {
		return &FullError{Used: s.used.all, Limit: limit}
	}
	limit := s.used.quota.Model / 16 * share
	for sc, n := range scopes {
		if uuid, ok := sc.ModelUUID(); ok && n > 0 && s.used.of[sc]+n > limit {
			return &FullError{Model: uuid, Used: s.used.of[sc], Limit: limit}
		}
	}
	return nil
}

// Used returns the bytes stored in a scope, and in all.
func (s *Store) Used(of Scope) (scope, all int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.used.of[of], s.used.all
}
