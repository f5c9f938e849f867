// Package task owns operations and their tasks: rows of kinds "operation" and
// "task" in model scope. One counter numbers both.
package task

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/scarab-ops/scarab/domain/sequence"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/state"
)

// An Operation groups the tasks of one request.
type Operation struct {
	ID       names.Operation `json:"id"`
	Summary  string          `json:"summary"`
	Enqueued time.Time       `json:"enqueued"`
	Tasks    []names.Task    `json:"tasks"`
}

// A Message is one line of progress.
type Message struct {
	Time    time.Time `json:"time"`
	Message string    `json:"message"`
}

// A Row is one task of one receiver.
type Row struct {
	ID        names.Task      `json:"id"`
	Operation names.Operation `json:"operation"`
	Receiver  string          `json:"receiver"` // unit name or machine id
	Name      string          `json:"name"`     // "juju-exec" for commands
	Params    map[string]any  `json:"params,omitempty"`
	Parallel  bool            `json:"parallel,omitempty"`
	Group     string          `json:"execution-group,omitempty"`
	Timeout   time.Duration   `json:"timeout,omitempty"`
	Status    string          `json:"status"` // pending running completed failed cancelled aborting aborted error
	Message   string          `json:"message,omitempty"`
	Output    map[string]any  `json:"output,omitempty"`
	Log       []Message       `json:"log,omitempty"`
	Enqueued  time.Time       `json:"enqueued"`
	Started   time.Time       `json:"started,omitzero"`
	Completed time.Time       `json:"completed,omitzero"`
}

// A Queue lists a receiver's active tasks, oldest first, so that an agent's
// watch wakes for its own tasks only.
type Queue struct {
	Receiver string       `json:"receiver"`
	Tasks    []names.Task `json:"tasks"`
}

// Tables, in model scope.
var (
	Table      = state.Table[Row]{Kind: "task", ID: func(r Row) string { return string(r.ID) }}
	Queues     = state.Table[Queue]{Kind: "task-queue", ID: func(q Queue) string { return q.Receiver }}
	Operations = state.Table[Operation]{Kind: "operation", ID: func(o Operation) string { return string(o.ID) }}
)

// Bounds on what is kept.
const (
	MaxTasks   = 500     // in one operation
	maxLog     = 200     // messages of a task
	maxMessage = 4 << 10 // bytes of a message
	maxOutput  = 1 << 20 // bytes of a task's results

	maxParams    = 256 << 10 // bytes of a task's parameters
	maxOperation = 4 << 20   // and of those of all tasks of an operation
)

// A LargeError reports parameters that are larger than can be kept.
type LargeError struct{ Size, Most int }

func (e *LargeError) Error() string {
	return fmt.Sprintf("cannot enqueue parameters of %d bytes: at most %d", e.Size, e.Most)
}

// Code is the wire code of the error.
func (e *LargeError) Code() string { return "bad request" }

// Measure returns the size of a task's parameters, and refuses what is too
// large for one task.
func Measure(params map[string]any) (int, error) {
	raw, err := json.Marshal(params)
	if err != nil {
		return 0, fmt.Errorf("cannot enqueue parameters: %w", err)
	}
	if len(raw) > maxParams {
		return 0, &LargeError{len(raw), maxParams}
	}
	return len(raw), nil
}

// Active tells whether the task can still change.
func (r Row) Active() bool {
	return r.Status == "pending" || r.Status == "running" || r.Status == "aborting"
}

// Enqueue makes an operation of tasks; their IDs and states are filled in.
func Enqueue(tx *state.Tx, s state.Scope, summary string, tasks []Row, now time.Time) (Operation, []Row, error) {
	if len(tasks) == 0 || len(tasks) > MaxTasks {
		return Operation{}, nil, fmt.Errorf("cannot enqueue %d tasks: between 1 and %d can run in one operation", len(tasks), MaxTasks)
	}
	total := 0
	for _, t := range tasks {
		n, err := Measure(t.Params)
		if err != nil {
			return Operation{}, nil, err
		}
		if total += n; total > maxOperation {
			return Operation{}, nil, &LargeError{total, maxOperation}
		}
	}
	n, err := sequence.Next(tx, s, "task", 1)
	if err != nil {
		return Operation{}, nil, err
	}
	op := Operation{ID: names.Operation(strconv.Itoa(n)), Summary: summary, Enqueued: now}
	for i := range tasks {
		n, err := sequence.Next(tx, s, "task", 1)
		if err != nil {
			return Operation{}, nil, err
		}
		t := &tasks[i]
		t.ID, t.Operation, t.Status, t.Enqueued = names.Task(strconv.Itoa(n)), op.ID, "pending", now
		op.Tasks = append(op.Tasks, t.ID)
		if err := Table.Put(tx, s, *t); err != nil {
			return Operation{}, nil, err
		}
		if err := queue(tx, s, t.Receiver, t.ID, true); err != nil {
			return Operation{}, nil, err
		}
	}
	return op, tasks, Operations.Put(tx, s, op)
}

// queue adds a task to its receiver's queue or takes it out.
func queue(tx *state.Tx, s state.Scope, receiver string, id names.Task, add bool) error {
	q, err := Queues.Get(tx, s, receiver)
	if err != nil {
		q = Queue{Receiver: receiver}
	}
	q.Tasks = slices.DeleteFunc(slices.Clone(q.Tasks), func(t names.Task) bool { return t == id })
	if add {
		if len(q.Tasks) >= MaxTasks {
			return fmt.Errorf("cannot enqueue a task: %q has %d waiting already", receiver, len(q.Tasks))
		}
		q.Tasks = append(q.Tasks, id)
	}
	return Queues.Put(tx, s, q)
}

// For returns the active tasks of a receiver, oldest first.
func For(r state.Reader, s state.Scope, receiver string) []Row {
	q, err := Queues.Get(r, s, receiver)
	if err != nil {
		return nil
	}
	var out []Row
	for _, id := range q.Tasks {
		if t, err := Table.Get(r, s, string(id)); err == nil && t.Active() {
			out = append(out, t)
		}
	}
	return out
}

// Abandon ends a receiver's tasks because the receiver is gone.
func Abandon(tx *state.Tx, s state.Scope, receiver string, now time.Time) error {
	for _, t := range For(tx, s, receiver) {
		t.Status, t.Message, t.Completed = "cancelled", "the receiver was removed", now
		if err := Table.Put(tx, s, t); err != nil {
			return err
		}
	}
	if !Queues.Has(tx, s, receiver) {
		return nil
	}
	return Queues.Delete(tx, s, receiver)
}

// own returns a task if it is the receiver's.
func own(tx *state.Tx, s state.Scope, receiver string, id names.Task) (Row, error) {
	t, err := Table.Get(tx, s, string(id))
	if err != nil || t.Receiver != receiver {
		return Row{}, &NotFoundError{id}
	}
	return t, nil
}

// NotFoundError reports a task that is not there.
type NotFoundError struct{ ID names.Task }

func (e *NotFoundError) Error() string { return fmt.Sprintf("task %q not found", string(e.ID)) }

// Code is the wire code of the error.
func (e *NotFoundError) Code() string { return "not found" }

// Start marks a task as running; again is no change. An ended task is refused.
func Start(tx *state.Tx, s state.Scope, receiver string, id names.Task, now time.Time) error {
	t, err := own(tx, s, receiver, id)
	if err != nil {
		return err
	}
	if t.Status == "running" {
		return nil // it said so before
	}
	if t.Status != "pending" {
		return fmt.Errorf("cannot start task %s: it is %s", id, t.Status)
	}
	t.Status, t.Started = "running", now
	return Table.Put(tx, s, t)
}

// Finish ends a task; finishing an ended task changes nothing.
func Finish(tx *state.Tx, s state.Scope, receiver string, id names.Task, end Row, now time.Time) error {
	t, err := own(tx, s, receiver, id)
	if err != nil {
		return err
	}
	if !t.Active() {
		return nil
	}
	if t.Status == "aborting" {
		end.Status = "aborted"
	}
	switch end.Status {
	case "completed", "failed", "aborted":
	default:
		return fmt.Errorf("cannot finish task %s: %q is no final status", id, end.Status)
	}
	if raw, err := json.Marshal(end.Output); err != nil || len(raw) > maxOutput {
		end.Output = map[string]any{"return-code": end.Output["return-code"]}
		end.Message = strings.TrimSpace(end.Message + " (the output was larger than can be kept)")
	}
	if len(end.Message) > maxMessage {
		end.Message = end.Message[:maxMessage]
	}
	t.Status, t.Message, t.Output, t.Completed = end.Status, end.Message, end.Output, now
	if err := Table.Put(tx, s, t); err != nil {
		return err
	}
	return queue(tx, s, receiver, id, false)
}

// Log adds a line of progress; the oldest lines go when there are too many.
func Log(tx *state.Tx, s state.Scope, receiver string, id names.Task, text string, now time.Time) error {
	t, err := own(tx, s, receiver, id)
	if err != nil {
		return err
	}
	if len(text) > maxMessage {
		text = text[:maxMessage]
	}
	t.Log = append(t.Log, Message{now, text})
	if len(t.Log) > maxLog {
		t.Log = t.Log[len(t.Log)-maxLog:]
	}
	return Table.Put(tx, s, t)
}

// Cancel ends a pending task and asks a running one to end.
func Cancel(tx *state.Tx, s state.Scope, id names.Task, now time.Time) (Row, error) {
	t, err := Table.Get(tx, s, string(id))
	if err != nil {
		return Row{}, &NotFoundError{id}
	}
	switch t.Status {
	case "pending":
		t.Status, t.Completed = "cancelled", now
		if err := queue(tx, s, t.Receiver, t.ID, false); err != nil {
			return Row{}, err
		}
	case "running":
		t.Status = "aborting"
	default:
		return t, nil
	}
	return t, Table.Put(tx, s, t)
}

// StatusOf aggregates the statuses of an operation's tasks.
func StatusOf(tasks []Row) string {
	count := map[string]int{}
	for _, t := range tasks {
		count[t.Status]++
	}
	switch {
	case count["running"]+count["aborting"] > 0:
		return "running"
	case count["pending"] == len(tasks):
		return "pending"
	case count["pending"] > 0:
		return "running"
	}
	for _, s := range []string{"error", "failed", "aborted", "cancelled"} {
		if count[s] > 0 {
			return s
		}
	}
	return "completed"
}
