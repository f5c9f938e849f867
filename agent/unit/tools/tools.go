// Package tools is what a hook can ask of its unit agent, one file for each
// tool. A tool reads the picture taken when the hook started, and asks for
// changes by appending to the hook's effects; only the few tools whose row says
// AtOnce reach the controller themselves. The package owns the tools' names,
// flags, output forms, errors and exit codes. It opens no file, runs no process
// and holds no state beyond one hook's session.
package tools

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/scarab-ops/scarab/agent/unit/effects"
	"github.com/scarab-ops/scarab/agent/unit/toolproto"
	"github.com/scarab-ops/scarab/wire/agentapi"
)

// Timing tells when a tool's effect happens. The zero value waits for the
// hook's success.
type Timing int

// Timings.
const (
	AtCommit Timing = iota
	AtOnce
)

// Place tells where a tool may run. The zero value is nowhere.
type Place int

// Places.
const (
	Hooks Place = 1 << iota
	Actions
	Anywhere = Hooks | Actions
)

// A Tool is one row: a name, its words, and a function.
type Tool struct {
	Name    string
	Args    string // how positionals are shown
	Purpose string
	Doc     string
	In      Place
	Effect  Timing
	// Setup declares flags and returns what runs once they are parsed.
	Setup func(c *Call, f *Flags) func(args []string) error
}

// Live is what the immediate tools need of the controller.
type Live interface {
	SetStatus(ctx context.Context, a agentapi.SetStatusArgs) error
	SetWorkloadVersion(ctx context.Context, version string) error
	LeaderSet(ctx context.Context, s agentapi.Settings) error
	ClaimLeadership(ctx context.Context) (agentapi.ClaimResult, error)
	GoalState(ctx context.Context) (agentapi.GoalState, error)
	TaskLog(ctx context.Context, a agentapi.TaskLogArgs) error
}

// A Session is one run of a hook or task, as its tools see it. Calls come one
// at a time.
type Session struct {
	Unit        string
	Application string
	ModelUUID   string
	Hook        string // empty in tasks
	RelationID  int    // -1 outside relation hooks
	RemoteUnit  string
	RemoteApp   string
	Picture     *agentapi.HookContext
	Effects     *effects.Effects
	Live        Live
	Log         func(level, module, message string)
	Task        *Task // nil in hooks
	// CanReboot tells that the machine can be rebooted from inside;
	// RebootNow ends the running hook and asks for it.
	CanReboot bool
	RebootNow func()
	// StatusSet is true once the charm has set its workload status.
	StatusSet bool

	deposed bool // a claim was refused in this session
}

// Task is the action in progress and what it has answered so far.
type Task struct {
	ID      string
	Name    string
	Params  map[string]any
	Results map[string]any
	Failed  bool
	Message string
	size    int
}

// A Call is one call of one tool.
type Call struct {
	*Session
	Ctx    context.Context //nolint:containedctx // a call is the context of one tool
	Stdout bytes.Buffer
	Stderr bytes.Buffer

	req     *toolproto.Request
	outFile string
}

// usageError ends a call with code 2.
type usageError struct{ msg string }

func (e *usageError) Error() string { return e.msg }

func usagef(format string, a ...any) error { return &usageError{fmt.Sprintf(format, a...)} }

// needInput ends a call by asking the tool for a file's content.
type needInput struct{ name string }

func (e *needInput) Error() string { return "needs input" }

// Input returns the content of a file named on the command line, "-" being
// standard input. A command must not have changed anything before it calls it.
func (c *Call) Input(name string) ([]byte, error) {
	if c.req.HasInput && c.req.InputName == name {
		return c.req.Input, nil
	}
	return nil, &needInput{name}
}

// Run answers one request.
func Run(ctx context.Context, s *Session, req *toolproto.Request) *toolproto.Reply {
	c := &Call{Session: s, Ctx: ctx, req: req}
	t := Lookup(req.Command)
	if t == nil {
		return failure(toolproto.ExitFailure, "bad request: unknown command: "+req.Command)
	}
	err := c.run(t)
	var need *needInput
	if errors.As(err, &need) {
		return &toolproto.Reply{NeedInput: true, InputName: need.name}
	}
	r := &toolproto.Reply{Stdout: c.Stdout.Bytes(), OutFile: c.outFile}
	var usage *usageError
	switch {
	case err == nil:
	case errors.As(err, &usage):
		r.Code, r.OutFile = toolproto.ExitUsage, ""
		fmt.Fprintf(&c.Stderr, "ERROR %v\n", err)
	default:
		r.Code, r.OutFile = toolproto.ExitFailure, ""
		fmt.Fprintf(&c.Stderr, "ERROR %v\n", err)
	}
	r.Stderr = c.Stderr.Bytes()
	if len(r.Stdout) > toolproto.MaxOutput {
		return failure(toolproto.ExitFailure, "cannot answer: output too large")
	}
	return r
}

// failure is a reply that only says what went wrong.
func failure(code int, msg string) *toolproto.Reply {
	return &toolproto.Reply{Code: code, Stderr: []byte("ERROR " + msg + "\n")}
}

func (c *Call) run(t *Tool) error {
	f := &Flags{}
	body := t.Setup(c, f)
	args, help, err := f.parse(c.req.Args)
	if err != nil {
		return err
	}
	if help {
		c.Stdout.WriteString(Help(t))
		c.outFile = ""
		return nil
	}
	place := Hooks
	if c.Task != nil {
		place = Actions
	}
	if t.In&place == 0 {
		if t.In == Actions {
			return errors.New("not running an action")
		}
		//lint:ignore ST1005 clients know this sentence
		return fmt.Errorf("%s is not supported when running an action.", t.Name) //nolint:revive,staticcheck // clients know this sentence
	}
	return body(args)
}

// Help is a tool's whole help text.
func Help(t *Tool) string {
	f := &Flags{}
	t.Setup(&Call{Session: &Session{Picture: &agentapi.HookContext{}, Effects: effects.New()}, req: &toolproto.Request{}}, f)
	var b strings.Builder
	fmt.Fprintf(&b, "Usage: %s", t.Name)
	if len(f.opts) > 0 {
		b.WriteString(" [options]")
	}
	if t.Args != "" {
		b.WriteString(" " + t.Args)
	}
	fmt.Fprintf(&b, "\n\nSummary:\n%s\n", t.Purpose)
	if len(f.opts) > 0 {
		b.WriteString("\nOptions:\n" + f.describe())
	}
	if t.Doc != "" {
		b.WriteString("\nDetails:\n" + strings.TrimSpace(t.Doc) + "\n")
	}
	return b.String()
}

// Lookup finds a tool by its name, or returns nil.
func Lookup(name string) *Tool {
	all := All()
	i := slices.IndexFunc(all, func(t *Tool) bool { return t.Name == name })
	if i < 0 {
		return nil
	}
	return all[i]
}

// leader claims or renews leadership. Once refused it stays refused for the
// session: a hook must not see itself led twice.
func (c *Call) leader() (bool, error) {
	if c.deposed {
		return false, nil
	}
	r, err := c.Live.ClaimLeadership(c.Ctx)
	if err != nil {
		return false, fmt.Errorf("leadership status unknown: %v", err)
	}
	c.deposed = !r.Leader
	return r.Leader, nil
}

func (c *Call) mustLead() error {
	led, err := c.leader()
	if err == nil && !led {
		err = errors.New("this unit is not the leader")
	}
	return err
}

// noMore refuses positionals that a tool does not take.
func noMore(args []string) error {
	if len(args) > 0 {
		return usagef("unrecognized args: %q", args)
	}
	return nil
}

// keyValues parses the key=value arguments that several tools share.
func keyValues(args []string) (agentapi.Settings, error) {
	out := agentapi.Settings{}
	for _, a := range args {
		if a == "" {
			continue
		}
		k, v, ok := strings.Cut(a, "=")
		k, v = strings.TrimSpace(k), strings.TrimSpace(v)
		if !ok || k == "" {
			return nil, usagef(`expected "key=value", got %q`, a)
		}
		if _, dup := out[k]; dup {
			return nil, usagef("key %q specified more than once", k)
		}
		out[k] = v
	}
	return out, nil
}
