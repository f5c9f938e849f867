// Package tasks holds the commands that run something on units and machines and follow it: exec, run, and what shows
// tasks and operations. Output of programs is escaped on a terminal and untouched in a pipe.
package tasks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/scarab-ops/scarab/cli/output"
	"github.com/scarab-ops/scarab/cli/session"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/wire"
	"github.com/scarab-ops/scarab/wire/action"
)

const group = "tasks"

// Commands are the commands of this package.
func Commands(s *session.Session) []*cobra.Command {
	return []*cobra.Command{
		execCommand(s), runCommand(s), actionsCommand(s), showTaskCommand(s), showOperationCommand(s), operationsCommand(s), cancelTaskCommand(s),
	}
}

func untag(tag string) string {
	if t, err := names.ParseTag(tag); err == nil {
		return t.ID
	}
	return tag
}

func ended(status string) bool {
	switch status {
	case "completed", "failed", "cancelled", "aborted", "error":
		return true
	}
	return false
}

// taskDoc is one task as YAML and JSON show it.
type taskDoc struct {
	ID      string            `yaml:"id" json:"id"`
	Unit    string            `yaml:"unit,omitempty" json:"unit,omitempty"`
	Machine string            `yaml:"machine,omitempty" json:"machine,omitempty"`
	Action  string            `yaml:"action,omitempty" json:"action,omitempty"`
	Status  string            `yaml:"status" json:"status"`
	Message string            `yaml:"message,omitempty" json:"message,omitempty"`
	Log     []string          `yaml:"log,omitempty" json:"log,omitempty"`
	Results map[string]any    `yaml:"results,omitempty" json:"results,omitempty"`
	Timing  map[string]string `yaml:"timing,omitempty" json:"timing,omitempty"`
}

func document(r action.ActionResult, utc bool) taskDoc {
	d := taskDoc{Status: r.Status, Message: r.Message, Results: output.NumbersIn(r.Output), Timing: map[string]string{}}
	if r.Action != nil {
		d.ID, d.Action = untag(r.Action.Tag), r.Action.Name
		if names.ValidMachine(untag(r.Action.Receiver)) {
			d.Machine = untag(r.Action.Receiver)
		} else {
			d.Unit = untag(r.Action.Receiver)
		}
	}
	if r.Error != nil {
		d.Status, d.Message = "error", r.Error.Message
	}
	for key, t := range map[string]*time.Time{"enqueued": r.Enqueued, "started": r.Started, "completed": r.Completed} {
		if t != nil && !t.IsZero() {
			d.Timing[key] = stamp(*t, utc)
		}
	}
	for _, l := range r.Log {
		d.Log = append(d.Log, stamp(l.Timestamp, utc)+" "+l.Message)
	}
	return d
}

func stamp(t time.Time, utc bool) string {
	if utc {
		return t.UTC().Format("2006-01-02 15:04:05 -0700 MST")
	}
	return t.Local().Format("2006-01-02 15:04:05 -0700 MST")
}

func (d taskDoc) receiver() string {
	if d.Unit != "" {
		return d.Unit
	}
	return d.Machine
}

// follow waits until all tasks have ended. With a wait of zero it waits without end.
func follow(ctx context.Context, s *session.Session, m session.Conn, tags []string, wait time.Duration) ([]action.ActionResult, error) {
	if wait > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, wait)
		defer cancel()
	}
	p := s.Progress()
	defer p.End()
	var last []action.ActionResult
	told := 0
	for delay := 20 * time.Millisecond; ; delay = min(delay*3/2, 2*time.Second) {
		res, err := tasksByTag(ctx, m, tags)
		if err == nil {
			last = res
			for ; len(res) == 1 && told < len(res[0].Log); told++ {
				p.End()
				s.Info("%s %s", res[0].Log[told].Timestamp.Local().Format("15:04:05"), res[0].Log[told].Message)
			}
			var open []string
			for _, r := range res {
				if !ended(r.Status) && r.Error == nil && r.Action != nil {
					open = append(open, untag(r.Action.Receiver)+" ("+r.Status+")")
				}
			}
			if len(open) == 0 {
				return res, nil
			}
			if s.Term().StderrIsTerminal() && p.Elapsed() > time.Second {
				p.Waiting("waiting for " + strings.Join(open, ", "))
			}
		} else if ctx.Err() == nil {
			return nil, err
		}
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return last, errTimeout
			}
			return last, ctx.Err()
		}
	}
}

var errTimeout = errors.New("cannot wait any longer: the tasks still run")

func tasksByTag(ctx context.Context, m session.Conn, tags []string) ([]action.ActionResult, error) {
	var e wire.Entities
	for _, t := range tags {
		e.Entities = append(e.Entities, wire.Entity{Tag: t})
	}
	res, err := session.Do[action.ActionResults](ctx, m, "Action", "Actions", e)
	if err != nil {
		return nil, err
	}
	if len(res.Results) != len(tags) {
		return nil, fmt.Errorf("cannot read the controller's answer: %d tasks, expected %d", len(res.Results), len(tags))
	}
	return res.Results, nil
}

// enqueued takes the tags of what was started; errors of single receivers are joined.
func enqueued(r action.EnqueuedActions) (tags []string, err error) {
	var errs []error
	for _, a := range r.Actions {
		switch {
		case a.Error != nil:
			errs = append(errs, a.Error)
		case a.Action != nil:
			tags = append(tags, a.Action.Tag)
		}
	}
	return tags, errors.Join(errs...)
}

// results prints ended tasks and turns failures into the exit code.
func results(s *session.Session, format *output.Format, res []action.ActionResult, utc bool) error {
	doc := map[string]taskDoc{}
	var order []taskDoc
	for _, r := range res {
		d := document(r, utc)
		doc[d.receiver()] = d
		order = append(order, d)
	}
	if err := format.Write(s.Stdout.Raw(), doc, func(w io.Writer) error { return plain(s, w, order, format.File != "") }); err != nil {
		return err
	}
	var failed []string
	code, last := 0, ""
	for _, d := range order {
		c := returnCode(d)
		if d.Status != "completed" || c != 0 {
			failed = append(failed, fmt.Sprintf("task %s on %s", d.ID, d.receiver()))
			code, last = c, d.ID
		}
	}
	if len(failed) == 0 {
		return nil
	}
	if len(order) == 1 && code > 0 && code < 256 {
		return &session.ExitError{Code: code, Text: fmt.Sprintf("cannot report success: the following task failed: %s with return code %d", failed[0], code)}
	}
	if len(failed) == 1 {
		return session.Advise(fmt.Errorf("cannot report success: the following task failed: %s", failed[0]), "see more with: scarab show-task "+last)
	}
	return session.Advise(fmt.Errorf("cannot report success: the following tasks failed: %s", strings.Join(failed, ", ")), "see more with: scarab show-task "+last)
}

func returnCode(d taskDoc) int {
	n, err := strconv.Atoi(fmt.Sprint(d.Results["return-code"]))
	if err != nil {
		return 0 // an action need not have one
	}
	return n
}

// plain prints what the programs printed: alone for one task, below a heading for several.
func plain(s *session.Session, w io.Writer, tasks []taskDoc, file bool) error {
	escape := func(t string) string { return t }
	if s.Term().StdoutIsTerminal() && !file {
		escape = output.EscapeText
	}
	for i, d := range tasks {
		if len(tasks) > 1 {
			if i > 0 {
				fmt.Fprintln(w)
			}
			fmt.Fprintf(w, "%s:\n", output.Escape(d.receiver()))
		}
		if d.Status != "completed" && d.Message != "" {
			fmt.Fprintf(s.Stderr, "%s: %s\n", d.Status, d.Message)
		}
		if text, ok := d.Results["stdout"].(string); ok {
			if _, err := io.WriteString(w, escape(text)); err != nil {
				return err
			}
		}
		if text, ok := d.Results["stderr"].(string); ok {
			if _, err := io.WriteString(s.Stderr, text); err != nil {
				return err
			}
		}
		if err := plainResults(w, d.Results); err != nil {
			return err
		}
	}
	return nil
}

// plainResults prints the values that an action set.
func plainResults(w io.Writer, r map[string]any) error {
	rest := map[string]any{}
	for k, v := range r {
		if k != "stdout" && k != "stderr" && k != "return-code" && k != "stdout-encoding" && k != "stderr-encoding" {
			rest[k] = v
		}
	}
	if len(rest) == 0 {
		return nil
	}
	return output.YAML(w, rest)
}
