package etcdstate_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"pgregory.net/rapid"
)

// The history test drives a store in another process with several clients at
// once, kills that process again and again, and has a checker look for an order
// of all transactions that explains every answer. An order that respects real
// time exists only if the store is linearizable and loses nothing that it
// acknowledged.

const (
	accountCount = 4
	absent       = -1
)

// bank is the state of the model: a balance for each account, or absent.
type bank [accountCount]int

// request is one transaction.
type request struct {
	ID     int // unique; a transaction that writes also writes a marker of it
	Op     string
	From   int
	To     int
	Amount int
	IDs    []int `json:",omitempty"` // markers to look for
}

type response struct {
	ID      int
	Refused bool
	Bank    bank
	Applied []int `json:",omitempty"`
	Error   string
}

var bankModel = porcupine.Model{
	Init: func() any { return bank{absent, absent, absent, absent} },
	Step: func(st, in, out any) (bool, any) {
		b, req, resp := st.(bank), in.(request), out.(response)
		next, refused := b.apply(req)
		if req.Op == "read" || req.Op == "fresh" {
			return resp.Bank == b, b
		}
		return resp.Refused == refused, next
	},
	DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v -> %+v", in, out) },
}

// apply is what each operation means.
func (b bank) apply(r request) (next bank, refused bool) {
	switch r.Op {
	case "transfer":
		if b[r.From] < r.Amount || b[r.To] == absent || r.From == r.To {
			return b, true
		}
		b[r.From] -= r.Amount
		b[r.To] += r.Amount
	case "put":
		b[r.To] = r.Amount
	case "delete":
		if b[r.To] == absent {
			return b, true
		}
		b[r.To] = absent
	case "spread": // scan, and give the first absent account what all have together
		i := slices.Index(b[:], absent)
		if i < 0 {
			return b, true
		}
		sum := 0
		for _, n := range b {
			sum += max(n, 0)
		}
		b[i] = sum % 1000
	}
	return b, false
}

// server is the process with the store.
type server struct {
	cmd *exec.Cmd
	in  io.WriteCloser

	mu      sync.Mutex
	waiting map[int]chan response // nil once the process is gone
}

func startServer(t *testing.T, dir string) *server {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	s := &server{cmd: exec.CommandContext(t.Context(), os.Args[0]), waiting: map[int]chan response{}}
	s.cmd.Env = append(os.Environ(), serverEnv+"="+dir)
	s.cmd.Stderr = os.Stderr
	s.cmd.ExtraFiles = []*os.File{w}
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	go s.receive(r)
	return s
}

func (s *server) receive(r *os.File) {
	defer r.Close()
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		var resp response
		if json.Unmarshal(lines.Bytes(), &resp) != nil {
			break // cut off by the kill
		}
		s.mu.Lock()
		c := s.waiting[resp.ID]
		delete(s.waiting, resp.ID)
		s.mu.Unlock()
		if c != nil {
			c <- resp
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.waiting {
		close(c)
	}
	s.waiting = nil
}

// do sends r; ok is false when the process died before it answered.
func (s *server) do(r request) (resp response, ok bool) {
	c := make(chan response, 1)
	raw, err := json.Marshal(r)
	if err != nil {
		return resp, false
	}
	s.mu.Lock()
	if s.waiting == nil {
		s.mu.Unlock()
		return resp, false
	}
	s.waiting[r.ID] = c
	_, _ = s.in.Write(append(raw, '\n')) // if it fails, the end of the answers tells
	s.mu.Unlock()
	resp, ok = <-c
	return resp, ok
}

func (s *server) kill() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
	_ = s.in.Close()
}

// recorder collects the history.
type recorder struct {
	begin time.Time
	next  atomic.Int64

	mu      sync.Mutex
	ops     []porcupine.Operation
	pending []porcupine.Operation // without an answer
	errs    []string
}

func (rec *recorder) now() int64 { return int64(time.Since(rec.begin)) }

// run performs r and records it; it tells whether the server still lives.
func (rec *recorder) run(s *server, client int, r request) bool {
	op := porcupine.Operation{ClientId: client, Input: r, Call: rec.now()}
	resp, ok := s.do(r)
	op.Output, op.Return = resp, rec.now()
	rec.mu.Lock()
	defer rec.mu.Unlock()
	switch {
	case !ok:
		rec.pending = append(rec.pending, op)
	case resp.Error != "":
		rec.errs = append(rec.errs, resp.Error)
	default:
		rec.ops = append(rec.ops, op)
	}
	return ok
}

// settle asks for the markers of what had no answer. What was applied took
// effect before the kill and was allowed; the rest never happened.
func (rec *recorder) settle(t *testing.T, s *server) {
	t.Helper()
	q := request{ID: int(rec.next.Add(1)), Op: "applied"}
	for _, op := range rec.pending {
		q.IDs = append(q.IDs, op.Input.(request).ID)
	}
	resp, ok := s.do(q)
	if !ok || resp.Error != "" {
		t.Fatalf("the store did not come back: %v", resp.Error)
	}
	for _, op := range rec.pending {
		if slices.Contains(resp.Applied, op.Input.(request).ID) {
			op.Output = response{}
			rec.ops = append(rec.ops, op)
		}
	}
	rec.pending = nil
}

func TestHistory(t *testing.T) {
	const rounds, clients, each = 8, 6, 400
	rec := &recorder{begin: time.Now()}
	dir := t.TempDir()
	pick := rapid.Custom(drawRequest)
	for round := range rounds {
		s := startServer(t, dir)
		rec.settle(t, s)
		var done atomic.Int64
		killed := make(chan struct{})
		var wg sync.WaitGroup
		for c := range clients {
			wg.Go(func() {
				for i := range 10 * each {
					r := pick.Example(round<<20 + c<<16 + i)
					r.ID = int(rec.next.Add(1))
					if !rec.run(s, c, r) {
						return
					}
					if done.Add(1) == each {
						close(killed)
					}
				}
			})
		}
		<-killed
		s.kill()
		wg.Wait()
	}
	s := startServer(t, dir)
	rec.settle(t, s)
	rec.run(s, 0, request{ID: int(rec.next.Add(1)), Op: "read"})
	s.kill()

	if len(rec.errs) > 0 {
		t.Errorf("%d errors, the first: %s", len(rec.errs), rec.errs[0])
	}
	if len(rec.ops) < rounds*each {
		t.Errorf("only %d operations", len(rec.ops))
	}
	if res := porcupine.CheckOperationsTimeout(bankModel, rec.ops, 2*time.Minute); res != porcupine.Ok {
		t.Errorf("history of %d operations is %s, want linearizable", len(rec.ops), res)
	}

	// The checker must notice one wrong answer.
	bad := slices.Clone(rec.ops)
	last := &bad[len(bad)-1]
	resp := last.Output.(response)
	resp.Bank[0] += 1001
	last.Output = resp
	if res := porcupine.CheckOperationsTimeout(bankModel, bad, 2*time.Minute); res != porcupine.Illegal {
		t.Errorf("a wrong answer is %s, want illegal", res)
	}
}

func drawRequest(t *rapid.T) request {
	ops := []string{"transfer", "transfer", "transfer", "put", "delete", "spread", "spread", "read", "fresh"}
	return request{
		Op:     rapid.SampledFrom(ops).Draw(t, "op"),
		From:   rapid.IntRange(0, accountCount-1).Draw(t, "from"),
		To:     rapid.IntRange(0, accountCount-1).Draw(t, "to"),
		Amount: rapid.IntRange(1, 99).Draw(t, "amount"),
	}
}
