package threats_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/client"
	"github.com/scarab-ops/scarab/domain/application"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/tests/cluster"
	"github.com/scarab-ops/scarab/tests/threats/bench"
)

func limitParts() []part {
	return []part{
		{"F-AG-CHARM-A", "actions", "parameters of actions over the limit, of one task or of many together, are refused; nothing is stored", largeActions},
		{"F-CTRL-DB-A", "watchdog", "a store that is slow and then fails ends nothing: connections stay, refusals have a type, workers go on when it is well again", sickStore},
		{"F-AG-CTRL-A", "reserve", "guesses from many addresses at once, for agents and invented people: agents and people who were here before come in", manySources},
	}
}

func largeActions(t *testing.T, e *env) {
	w := e.world()
	owner := w.AsUser(t, bench.Owner1, bench.M1)
	v := w.Latest("Action")
	call := func(method string, args any) ([]byte, error) {
		return owner.Call(cluster.Context(t), "Action", v, method, "", args)
	}
	enqueue := func(n, size int) ([]byte, error) {
		var as []map[string]any
		for range n {
			as = append(as, map[string]any{
				"receiver": "unit-a-0", "name": "juju-exec",
				"parameters": map[string]any{"command": strings.Repeat("x", size), "timeout": 1e9, "workload-context": false},
			})
		}
		return call("EnqueueOperation", map[string]any{"actions": as})
	}
	many := make([]string, 500)
	for i := range many {
		many[i] = "a/0"
	}
	w.Unchanged(t, func() {
		for what, try := range map[string]func() ([]byte, error){
			"one task of 300 KiB":         func() ([]byte, error) { return enqueue(1, 300<<10) },
			"one task of 3 MiB":           func() ([]byte, error) { return enqueue(1, 3<<20) },
			"500 tasks of 100 KiB":        func() ([]byte, error) { return call("Run", run(many, 100<<10)) },
			"a command of 200 KiB":        func() ([]byte, error) { return call("Run", run(many[:1], 200<<10)) },
			"many names in one parameter": func() ([]byte, error) { return call("EnqueueOperation", wide()) },
		} {
			b, err := try()
			if err == nil && !bytes.Contains(b, []byte(`"code":"bad request"`)) || err != nil && !bench.Refused(err) {
				t.Errorf("%s was taken: %v %.200s", what, err, b)
			}
		}
	})
	if b, err := enqueue(1, 100<<10); err != nil || bytes.Contains(b, []byte(`"error"`)) {
		t.Errorf("a task of 100 KiB: %v %.200s", err, b)
	}
}

func run(units []string, size int) map[string]any {
	return map[string]any{"commands": strings.Repeat("x", size), "timeout": time.Second, "units": units}
}

func wide() map[string]any {
	params := map[string]any{"command": "x", "timeout": 1e9, "workload-context": false}
	for i := range 3000 {
		params[fmt.Sprintf("%0100d", i)] = i
	}
	return map[string]any{"actions": []map[string]any{{"receiver": "unit-a-0", "name": "juju-exec", "parameters": params}}}
}

var errSick = errors.New("cannot commit: the disk does not answer")

// sickStore plays a disk that gets slow, then fails, then recovers. Nobody may
// take that for a reason to end a process, or to try again without pause.
func sickStore(t *testing.T, _ *env) {
	w := bench.New(t, bench.Options{})
	person := w.Login(t, bench.Writer, bench.Password(bench.Writer), bench.M1)
	agent := w.Unit(t, bench.M1, "a/0").Connect(t, w.Cluster)
	w.Settle(t)
	lines := bytes.Count(w.Log.Bytes(), []byte("\n"))
	grow := func() {
		w.Do(t, func(tx *state.Tx) error { // behind the controller's back: its workers have to act
			row, err := model.Get(tx, bench.M1)
			if err != nil {
				return err
			}
			_, err = application.AddUnits(tx, row, "c", 1, nil, time.Now())
			return err
		})
	}
	sick := time.Duration(count(2, 60)) * time.Second
	var typed, untyped atomic.Int64
	for _, fail := range []error{nil, errSick} {
		w.Delay.Set(700 * time.Millisecond)
		w.Delay.Fail(fail)
		grow()
		ctx, cancel := context.WithTimeout(t.Context(), sick)
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				for j := 0; ctx.Err() == nil; j++ {
					err := agent.Unit().SetWorkloadVersion(t.Context(), fmt.Sprint(i, j))
					var coded interface{ ErrorCode() string }
					switch {
					case errors.As(err, &coded):
						typed.Add(1)
					case err != nil:
						untyped.Add(1)
						return
					}
				}
			})
		}
		for ctx.Err() == nil {
			if err := person.Ping(t.Context()); err != nil {
				t.Fatalf("a connection ended with the store %v: %v", fail, err)
			}
			time.Sleep(20 * time.Millisecond)
		}
		cancel()
		wg.Wait()
	}
	w.Delay.Set(0)
	w.Delay.Fail(nil)
	if typed.Load() == 0 || untyped.Load() > 0 {
		t.Errorf("%d writes failed by an answer, %d otherwise", typed.Load(), untyped.Load())
	}
	if more := bytes.Count(w.Log.Bytes(), []byte("\n")) - lines; more > 3000+200*int(sick.Seconds()) {
		t.Errorf("%d lines of log about it: something tries without pause", more)
	}
	for _, u := range []names.Unit{"c/1", "c/2"} {
		host := w.Host(t, bench.M1, u)
		cluster.Eventually(t, "the machine of "+string(u)+" is started", func() bool {
			_, ok := w.Cloud.Spec(string(bench.M1) + "/" + string(host))
			return ok
		})
	}
	if err := agent.Unit().SetWorkloadVersion(cluster.Context(t), "well"); err != nil {
		t.Errorf("the agent's old connection: %v", err)
	}
	if err := person.Ping(cluster.Context(t)); err != nil {
		t.Errorf("the person's old connection: %v", err)
	}
}

// manySources floods from many addresses in many networks, each with few tries.
func manySources(t *testing.T, _ *env) {
	w := bench.New(t, bench.Options{Abroad: true})
	agent := w.Unit(t, bench.M1, "a/0")
	cert := agent.Certificate(t)
	_ = w.Login(t, bench.Writer, bench.Password(bench.Writer), bench.M1).Close() // known here from now on
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var guesses, answered, waited atomic.Int64
	for i := range count(16, 200) {
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				from := fmt.Sprintf("127.18.%d.%d", (i+n)%250, (i*7+n)%250+1)
				tag := names.User(fmt.Sprintf("invented%d-%d", i, n)).Tag()
				if n%3 == 0 {
					tag = agent.Tag
				}
				guesses.Add(1)
				if took := guessFrom(ctx, t, w, from, tag); took > 0 && tag.Kind == names.KindUser {
					answered.Add(1)
					waited.Add(int64(took))
				}
			}
		})
	}
	cluster.Eventually(t, "the flood runs", func() bool { return answered.Load() > 4 })
	var slow, honest time.Duration
	tries := count(3, 60)
	for i := range tries {
		start := time.Now()
		conn, err := dialAgent(t.Context(), w, agent, cert)
		if err != nil {
			t.Errorf("an honest agent, try %d: %v", i, err)
			continue
		}
		_ = conn.Close()
		slow = max(slow, time.Since(start))
		start = time.Now()
		r, err := loginFrom(t, w, "", bench.Writer)
		if err != nil {
			t.Errorf("an honest person, try %d: %v", i, err)
			continue
		}
		r.Close()
		honest += time.Since(start) / time.Duration(tries)
	}
	mean := time.Duration(waited.Load() / max(answered.Load(), 1)) // how long the strangers' line is
	cancel()
	wg.Wait()
	if honest > mean/2 {
		t.Errorf("an honest person waits %s, strangers %s: they stand in one line", honest, mean)
	}
	if slow > 5*time.Second {
		t.Errorf("an agent with its certificate waited %s", slow)
	}
	t.Logf("%d guesses of %s each; people who were here before took %s, the slowest agent %s", guesses.Load(), mean, honest, slow)
}

// guessFrom makes one guess and returns how long the answer took.
func guessFrom(ctx context.Context, t *testing.T, w *bench.World, from string, tag names.Tag) time.Duration {
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	r, err := w.RawFrom(ctx, t, from, bench.M1, nil)
	if err != nil {
		return 0
	}
	defer r.Close()
	pw := client.NewSecret("guess-guess-guess-guess-guess")
	_, err = r.Call(ctx, "Admin", 3, "Login", "", bench.LoginArgs(tag, pw, ""))
	if err == nil {
		t.Error("a guess was right")
	}
	if !bench.Refused(err) {
		return 0
	}
	return time.Since(start)
}
