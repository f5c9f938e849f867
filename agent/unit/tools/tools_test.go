package tools

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/agent/unit/effects"
	"github.com/scarab-ops/scarab/agent/unit/toolproto"
	"github.com/scarab-ops/scarab/wire/agentapi"
)

var update = flag.Bool("update", false, "rewrite the expected output")

// live records what reached the controller at once.
type live struct {
	leader bool
	down   bool
	calls  []string
}

func (l *live) note(v ...any) error {
	l.calls = append(l.calls, strings.TrimSuffix(fmt.Sprintln(v...), "\n"))
	return nil
}

func (l *live) SetStatus(_ context.Context, a agentapi.SetStatusArgs) error {
	return l.note("status", a.Kind, a.Status, a.Message)
}
func (l *live) SetWorkloadVersion(_ context.Context, v string) error { return l.note("version", v) }
func (l *live) LeaderSet(_ context.Context, s agentapi.Settings) error {
	return l.note("leader-settings", s)
}

func (l *live) ClaimLeadership(context.Context) (agentapi.ClaimResult, error) {
	if l.down {
		return agentapi.ClaimResult{}, context.DeadlineExceeded
	}
	return agentapi.ClaimResult{Leader: l.leader}, nil
}

func (l *live) GoalState(context.Context) (agentapi.GoalState, error) {
	at := time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC)
	return agentapi.GoalState{
		Units:     map[string]agentapi.GoalStatus{"app/0": {Status: "active", Since: at}},
		Relations: map[string]map[string]agentapi.GoalStatus{"db": {"pg": {Status: "joined", Since: at}}},
	}, nil
}

func (l *live) TaskLog(_ context.Context, a agentapi.TaskLogArgs) error {
	return l.note("task-log", a.ID, a.Message)
}

func picture(t *testing.T) *agentapi.HookContext {
	t.Helper()
	data, err := os.ReadFile("testdata/picture.json")
	if err != nil {
		t.Fatal(err)
	}
	var p agentapi.HookContext
	if err := json.Unmarshal(data, &p); err != nil {
		t.Fatal(err)
	}
	return &p
}

// session builds a session from the words in a script's first line.
func session(t *testing.T, words []string) (*Session, *live) {
	l := &live{leader: slices.Contains(words, "leader"), down: slices.Contains(words, "down")}
	s := &Session{
		Unit: "app/0", Application: "app", ModelUUID: "11111111-2222-3333-4444-555555555555", Hook: "config-changed",
		RelationID: -1, Picture: picture(t), Effects: effects.New(), Live: l,
		Log:       func(level, module, msg string) { _ = l.note("log", level, module, msg) },
		RebootNow: func() { _ = l.note("reboot now") }, CanReboot: slices.Contains(words, "reboot"),
	}
	for _, w := range words {
		switch {
		case w == "action":
			s.Hook = ""
			s.Task = &Task{ID: "7", Name: "do", Params: map[string]any{"a": map[string]any{"b": "c"}, "n": float64(1000000)}}
		case strings.HasPrefix(w, "hook="):
			s.Hook = w[5:]
			s.RelationID, s.RemoteApp = 4, "pg"
			if strings.HasSuffix(w, "joined") || strings.HasSuffix(w, "changed") {
				s.RemoteUnit = "pg/0"
			}
		}
	}
	return s, l
}

// TestScripts runs testdata/*.txt: a first line of words that make the
// session, then "$ command" lines, each followed by what it answers. "<<" ends
// a command that reads a one-line file.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, f := range files {
		t.Run(filepath.Base(f), func(t *testing.T) {
			data, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			got := script(t, string(data))
			if *update {
				if err := os.WriteFile(f, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(data) {
				t.Errorf("got:\n%s\nwant:\n%s", got, data)
			}
		})
	}
}

func script(t *testing.T, in string) string {
	var out strings.Builder
	s, l := (*Session)(nil), (*live)(nil)
	for _, line := range strings.Split(in, "\n") {
		switch {
		case strings.HasPrefix(line, "# "):
			fmt.Fprintln(&out, line)
			s, l = session(t, strings.Fields(line[2:]))
		case line == "$ commit":
			fmt.Fprintln(&out, line)
			var a agentapi.CommitArgs
			s.Effects.Fill(&a)
			b, err := json.Marshal(a)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&out, "%s\n", b)
		case line == "$ task":
			b, err := json.Marshal(s.Task)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&out, "%s\n%s\n", line, b)
		case strings.HasPrefix(line, "$ "):
			fmt.Fprintln(&out, line)
			answer(&out, s, l, line[2:])
		}
	}
	return out.String()
}

func answer(out *strings.Builder, s *Session, l *live, line string) {
	line, file, hasFile := strings.Cut(line, " << ")
	req := &toolproto.Request{}
	for i, w := range strings.Fields(line) {
		w = strings.ReplaceAll(w, "~", " ")
		w = strings.ReplaceAll(w, `''`, "")
		if i == 0 {
			req.Command = w
			continue
		}
		req.Args = append(req.Args, w)
	}
	r := Run(context.Background(), s, req)
	if r.NeedInput {
		fmt.Fprintf(out, "needs %s\n", r.InputName)
		if hasFile {
			req.HasInput, req.InputName, req.Input = true, r.InputName, []byte(strings.ReplaceAll(file, `\n`, "\n"))
			r = Run(context.Background(), s, req)
		}
	}
	if r.OutFile != "" {
		fmt.Fprintf(out, "to %s:\n", r.OutFile)
	}
	out.Write(r.Stdout)
	out.Write(r.Stderr)
	if r.Code != 0 {
		fmt.Fprintf(out, "exit %d\n", r.Code)
	}
	for _, c := range l.calls {
		fmt.Fprintf(out, "sent: %s\n", c)
	}
	l.calls = nil
}

func TestHelpIsGolden(t *testing.T) {
	var b strings.Builder
	for _, tool := range All() {
		fmt.Fprintf(&b, "==== %s\n%s\n", tool.Name, Help(tool))
	}
	if *update {
		if err := os.WriteFile("testdata/help.golden", []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/help.golden")
	if err != nil || b.String() != string(want) {
		t.Fatalf("help changed (%v), run with -update and review", err)
	}
}

func TestRowsAreComplete(t *testing.T) {
	all := All()
	if !slices.IsSortedFunc(all, func(a, b *Tool) int { return strings.Compare(a.Name, b.Name) }) {
		t.Error("the list is not sorted")
	}
	for _, tool := range all {
		if tool.In == 0 || tool.Purpose == "" || tool.Setup == nil {
			t.Errorf("%s: row is incomplete", tool.Name)
		}
	}
}
