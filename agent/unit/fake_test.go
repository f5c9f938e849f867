package unit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/scarab-ops/scarab/wire/agentapi"
)

// fake is a controller in memory. It keeps what a real one must: commits are
// answered once for each id, and a change wakes those who wait.
type fake struct {
	mu       sync.Mutex
	want     agentapi.Want
	picture  agentapi.HookContext
	charm    []byte
	leader   bool
	down     bool
	refuse   string // commits of this hook are refused
	commits  []agentapi.CommitArgs
	seen     map[string]bool
	statuses []string
	tasks    []string // started and finished
	finished map[string]agentapi.FinishTaskArgs
	dead     bool
	change   chan struct{}
	log      []string
}

func newFake(charm string) *fake {
	sum := sha256.Sum256([]byte(charm))
	return &fake{
		charm: []byte(charm), leader: true, seen: map[string]bool{}, change: make(chan struct{}),
		finished: map[string]agentapi.FinishTaskArgs{},
		want: agentapi.Want{
			Life: "alive", Unit: "app/0", Application: "app", ModelUUID: "11111111-2222-3333-4444-555555555555", ModelName: "m",
			MachineID: "0", CharmURL: "local:app-1", CharmSHA256: hex.EncodeToString(sum[:]), RetryHooks: true, APIAddresses: []string{"h:1"},
		},
		picture: agentapi.HookContext{Config: map[string]any{"k": "v"}, WorkloadStatus: agentapi.Status{Status: "waiting"}},
	}
}

var errDown = errors.New("connection lost")

// edit changes the fake and wakes everybody.
func (f *fake) edit(change func(*fake)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
	close(f.change)
	f.change = make(chan struct{})
}

// until waits for a condition.
func (f *fake) until(ctx context.Context, cond func(*fake) bool) error {
	for {
		f.mu.Lock()
		ok, change := cond(f), f.change
		f.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			f.mu.Lock()
			defer f.mu.Unlock()
			return fmt.Errorf("never happened; hooks %v statuses %v tasks %v", f.hooks(), f.statuses, f.tasks)
		case <-change:
		}
	}
}

// hooks are the names of the committed hooks.
func (f *fake) hooks() []string {
	var out []string
	for _, c := range f.commits {
		if c.Hook != "" {
			out = append(out, c.Hook)
		}
	}
	return out
}

func (f *fake) do(change func() error) error {
	var err error
	f.edit(func(*fake) {
		if err = errDown; !f.down {
			err = change()
		}
	})
	return err
}

func (f *fake) Want(context.Context) (w agentapi.Want, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down {
		return w, errDown
	}
	w = f.want
	w.Tasks, w.Relations = slices.Clone(w.Tasks), slices.Clone(w.Relations)
	return w, nil
}

func (f *fake) AwaitChange(ctx context.Context) error {
	f.mu.Lock()
	change := f.change
	f.mu.Unlock()
	select {
	case <-ctx.Done():
	case <-change:
	}
	return nil
}

func (f *fake) Context(context.Context, agentapi.ContextArgs) (agentapi.HookContext, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down {
		return agentapi.HookContext{}, errDown
	}
	var c agentapi.HookContext
	data, err := json.Marshal(f.picture)
	if err == nil {
		err = json.Unmarshal(data, &c)
	}
	return c, err
}

func (f *fake) Commit(_ context.Context, a agentapi.CommitArgs) error {
	return f.do(func() error {
		if f.refuse != "" && a.Hook == f.refuse {
			return &RefusedError{errors.New("not the leader")}
		}
		if f.seen[a.OpID] {
			return nil
		}
		f.seen[a.OpID] = true
		f.commits = append(f.commits, a)
		if a.ClearResolved {
			f.want.Resolved = ""
		}
		return nil
	})
}

func (f *fake) scope(id int, in bool) error {
	return f.do(func() error {
		for i := range f.want.Relations {
			if f.want.Relations[i].ID == id {
				f.want.Relations[i].InScope = in
			}
		}
		return nil
	})
}

func (f *fake) EnterScope(_ context.Context, a agentapi.ScopeArgs) error {
	return f.scope(a.RelationID, true)
}

func (f *fake) LeaveScope(_ context.Context, a agentapi.ScopeArgs) error {
	return f.scope(a.RelationID, false)
}

func (f *fake) Dead(context.Context) error {
	return f.do(func() error { f.dead = true; f.want.Life = "dead"; return nil })
}

func (f *fake) Charm(_ context.Context, _, _ string, w io.Writer) error {
	f.mu.Lock()
	data := f.charm
	f.mu.Unlock()
	_, err := w.Write(data)
	return err
}

func (f *fake) StartTask(_ context.Context, a agentapi.TaskArgs) error {
	return f.do(func() error { f.tasks = append(f.tasks, "start "+a.ID); return nil })
}

func (f *fake) FinishTask(_ context.Context, a agentapi.FinishTaskArgs) error {
	return f.do(func() error {
		if _, done := f.finished[a.ID]; done {
			return &RefusedError{errors.New("already finished")}
		}
		f.tasks = append(f.tasks, a.Status+" "+a.ID+" "+a.Message)
		f.finished[a.ID] = a
		f.want.Tasks = slices.DeleteFunc(f.want.Tasks, func(t agentapi.Task) bool { return t.ID == a.ID })
		return nil
	})
}

func (f *fake) SetStatus(_ context.Context, a agentapi.SetStatusArgs) error {
	return f.do(func() error {
		f.statuses = append(f.statuses, strings.TrimSpace(a.Kind+" "+a.Status+" "+a.Message))
		return nil
	})
}
func (f *fake) SetWorkloadVersion(context.Context, string) error   { return nil }
func (f *fake) LeaderSet(context.Context, agentapi.Settings) error { return nil }
func (f *fake) GoalState(context.Context) (agentapi.GoalState, error) {
	return agentapi.GoalState{}, nil
}

func (f *fake) TaskLog(_ context.Context, a agentapi.TaskLogArgs) error {
	return f.do(func() error { f.tasks = append(f.tasks, "log "+a.ID+" "+a.Message); return nil })
}

func (f *fake) ClaimLeadership(context.Context) (r agentapi.ClaimResult, err error) {
	err = f.do(func() error { r.Leader = f.leader; return nil })
	return r, err
}

// serve offers the fake on a socket, so that it outlives the agent that a test
// kills.
func (f *fake) serve(l net.Listener) *http.Server {
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var out any
		if err == nil {
			out, err = f.dispatch(r.Context(), strings.TrimPrefix(r.URL.Path, "/"), body)
		}
		if err != nil {
			code := http.StatusServiceUnavailable
			if refused(err) {
				code = http.StatusConflict
			}
			http.Error(w, err.Error(), code)
			return
		}
		if err := json.NewEncoder(w).Encode(out); err != nil {
			return // the agent was killed
		}
	})}
	go func() { _ = s.Serve(l) }()
	return s
}

func with[A any](body []byte, call func(A) error) error {
	var a A
	if err := json.Unmarshal(body, &a); err != nil {
		return err
	}
	return call(a)
}

func (f *fake) dispatch(ctx context.Context, method string, body []byte) (any, error) {
	switch method {
	case "Want":
		return f.Want(ctx)
	case "AwaitChange":
		return nil, f.AwaitChange(ctx)
	case "Context":
		return f.Context(ctx, agentapi.ContextArgs{})
	case "Commit":
		return nil, with(body, func(a agentapi.CommitArgs) error { return f.Commit(ctx, a) })
	case "Dead":
		return nil, f.Dead(ctx)
	case "Charm":
		var b bytes.Buffer
		err := f.Charm(ctx, "", "", &b)
		return b.Bytes(), err
	case "StartTask":
		return nil, with(body, func(a agentapi.TaskArgs) error { return f.StartTask(ctx, a) })
	case "FinishTask":
		return nil, with(body, func(a agentapi.FinishTaskArgs) error { return f.FinishTask(ctx, a) })
	case "SetStatus":
		return nil, with(body, func(a agentapi.SetStatusArgs) error { return f.SetStatus(ctx, a) })
	case "ClaimLeadership":
		return f.ClaimLeadership(ctx)
	case "EnterScope":
		return nil, with(body, func(a agentapi.ScopeArgs) error { return f.EnterScope(ctx, a) })
	case "LeaveScope":
		return nil, with(body, func(a agentapi.ScopeArgs) error { return f.LeaveScope(ctx, a) })
	}
	return nil, fmt.Errorf("no method %s", method)
}

// remote is the other end of serve.
type remote struct {
	*fake // methods that the killed agent never calls
	c     *http.Client
}

func dialFake(path string) *remote {
	return &remote{c: &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}}}}
}

func (r *remote) call(ctx context.Context, method string, in, out any) error {
	data, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://x/"+method, bytes.NewReader(data))
	if err != nil {
		return err
	}
	resp, err := r.c.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return err
	case resp.StatusCode == http.StatusConflict:
		return &RefusedError{errors.New(string(body))}
	case resp.StatusCode != http.StatusOK:
		return errors.New(string(body))
	case out == nil:
		return nil
	}
	return json.Unmarshal(body, out)
}

func (r *remote) Want(ctx context.Context) (w agentapi.Want, err error) {
	return w, r.call(ctx, "Want", nil, &w)
}

func (r *remote) AwaitChange(ctx context.Context) error { return r.call(ctx, "AwaitChange", nil, nil) }

func (r *remote) Context(ctx context.Context, a agentapi.ContextArgs) (c agentapi.HookContext, err error) {
	return c, r.call(ctx, "Context", a, &c)
}

func (r *remote) Commit(ctx context.Context, a agentapi.CommitArgs) error {
	return r.call(ctx, "Commit", a, nil)
}
func (r *remote) Dead(ctx context.Context) error { return r.call(ctx, "Dead", nil, nil) }
func (r *remote) Charm(ctx context.Context, _, _ string, w io.Writer) error {
	var b []byte
	if err := r.call(ctx, "Charm", nil, &b); err != nil {
		return err
	}
	_, err := w.Write(b)
	return err
}

func (r *remote) StartTask(ctx context.Context, a agentapi.TaskArgs) error {
	return r.call(ctx, "StartTask", a, nil)
}

func (r *remote) FinishTask(ctx context.Context, a agentapi.FinishTaskArgs) error {
	return r.call(ctx, "FinishTask", a, nil)
}

func (r *remote) SetStatus(ctx context.Context, a agentapi.SetStatusArgs) error {
	return r.call(ctx, "SetStatus", a, nil)
}

func (r *remote) ClaimLeadership(ctx context.Context) (c agentapi.ClaimResult, err error) {
	return c, r.call(ctx, "ClaimLeadership", nil, &c)
}

func (r *remote) EnterScope(ctx context.Context, a agentapi.ScopeArgs) error {
	return r.call(ctx, "EnterScope", a, nil)
}

func (r *remote) LeaveScope(ctx context.Context, a agentapi.ScopeArgs) error {
	return r.call(ctx, "LeaveScope", a, nil)
}
