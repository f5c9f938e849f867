package etcdstate_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/state/etcdstate"
)

// serverEnv, when set, makes the test binary the server of the history test.
const serverEnv = "SCARAB_TEST_HISTORY_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(serverEnv); dir != "" {
		if err := serve(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

type marker struct{ ID string }

var markers = state.Table[marker]{Kind: "marker", ID: func(m marker) string { return m.ID }}

// serve answers the requests on standard input, each in its own goroutine, on
// file 3. Two stores take turns, as two controllers would.
func serve(dir string) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	b, err := etcdstate.Open(ctx, etcdstate.Config{Dir: dir})
	if err != nil {
		return err
	}
	var stores []*state.Store
	for range 2 {
		s, err := state.Open(ctx, b)
		if err != nil {
			return err
		}
		stores = append(stores, s)
	}
	out := json.NewEncoder(os.NewFile(3, "answers"))
	var mu sync.Mutex
	var wg sync.WaitGroup
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var r request
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return err
		}
		wg.Go(func() {
			resp := answer(ctx, stores[r.ID%2], r)
			mu.Lock()
			defer mu.Unlock()
			_ = out.Encode(resp) // the end of the process is the only cause
		})
	}
	wg.Wait()
	return b.Close()
}

var errRefused = errors.New("refused")

func answer(ctx context.Context, s *state.Store, r request) response {
	resp := response{ID: r.ID}
	var err error
	switch r.Op {
	case "fresh":
		if err = s.Fresh(ctx); err == nil {
			resp.Bank, err = readBank(s.View())
		}
	case "applied":
		err = s.Update(ctx, func(tx *state.Tx) error {
			resp.Applied = nil
			for _, id := range r.IDs {
				if markers.Has(tx, state.Controller, strconv.Itoa(id)) {
					resp.Applied = append(resp.Applied, id)
				}
			}
			return nil
		})
	default:
		err = s.Update(ctx, func(tx *state.Tx) (err error) {
			resp.Bank, err = perform(tx, r)
			return err
		})
	}
	if errors.Is(err, errRefused) {
		resp.Refused = true
	} else if err != nil {
		resp.Error = err.Error()
	}
	return resp
}

func accountID(i int) string { return fmt.Sprintf("a/%d", i) }

func readBank(r state.Reader) (b bank, err error) {
	for i := range b {
		b[i] = absent
	}
	for a, err := range accounts.Under(r, state.Model("bank"), "a/") {
		if err != nil {
			return b, err
		}
		i, err := strconv.Atoi(a.ID[len("a/"):])
		if err != nil {
			return b, err
		}
		b[i] = a.Balance
	}
	return b, nil
}

// perform is request r on the store. It reads no more than it needs, so that
// conflicts are found by keys and by ranges both.
func perform(tx *state.Tx, r request) (bank, error) {
	sc := state.Model("bank")
	put := func(i, n int) error { return accounts.Put(tx, sc, account{ID: accountID(i), Balance: n}) }
	var err error
	switch r.Op {
	case "read":
		return readBank(tx)
	case "transfer":
		from, err1 := accounts.Get(tx, sc, accountID(r.From))
		to, err2 := accounts.Get(tx, sc, accountID(r.To))
		if err1 != nil || err2 != nil || from.Balance < r.Amount || r.From == r.To {
			return bank{}, errRefused
		}
		err = errors.Join(put(r.From, from.Balance-r.Amount), put(r.To, to.Balance+r.Amount))
	case "put":
		err = put(r.To, r.Amount) // blind
	case "delete":
		if accounts.Delete(tx, sc, accountID(r.To)) != nil {
			return bank{}, errRefused
		}
	case "spread":
		var b bank
		if b, err = readBank(tx); err != nil {
			return bank{}, err
		}
		i := slices.Index(b[:], absent)
		if i < 0 {
			return bank{}, errRefused
		}
		sum := 0
		for _, n := range b {
			sum += max(n, 0)
		}
		err = put(i, sum%1000)
	}
	if err != nil {
		return bank{}, err
	}
	return bank{}, markers.Put(tx, state.Controller, marker{strconv.Itoa(r.ID)})
}
