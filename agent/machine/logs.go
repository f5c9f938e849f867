package machine

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/scarab-ops/scarab/client"
	"github.com/scarab-ops/scarab/wire/agentapi"
)

const (
	maxQueue   = 4096     // records that wait for the controller
	maxMessage = 64 << 10 // bytes of one record
	maxLogFile = 10 << 20
	sinkRetry  = 5 * time.Second
)

// logs takes the lines of the machine agent and of all unit agents: into a
// local file of bounded size, and to the controller as far as it listens. What
// cannot be kept is counted and said. It never blocks who logs.
type logs struct {
	machine string // tag
	queue   chan agentapi.LogRecord
	dropped atomic.Int64
	levels  atomic.Pointer[levels]

	mu   sync.Mutex
	path string
	file *os.File
	size int64
}

func newLogs(path, machine string) (*logs, error) {
	l := &logs{machine: machine, path: path, queue: make(chan agentapi.LogRecord, maxQueue)}
	l.configure("")
	if err := l.open(); err != nil {
		return nil, fmt.Errorf("cannot open log: %w", err)
	}
	return l, nil
}

func (l *logs) open() error {
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return err
	}
	fi, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return err
	}
	l.file, l.size = f, fi.Size()
	return nil
}

// of returns a function that logs for one entity.
func (l *logs) of(entity string) func(level, module, message string) {
	return func(level, module, message string) { l.add(entity, level, module, message) }
}

// configure sets what is kept from now on.
func (l *logs) configure(text string) {
	lv := parseLevels(text)
	l.levels.Store(&lv)
}

func (l *logs) add(entity, level, module, message string) {
	if !l.levels.Load().keep(module, level) {
		return
	}
	if len(message) > maxMessage {
		message = message[:maxMessage] + " (cut)"
	}
	r := agentapi.LogRecord{Time: time.Now().UTC(), Module: module, Level: level, Message: message} //nolint:forbidigo // a line's time
	if entity != l.machine {
		r.Entity = entity
	}
	select {
	case l.queue <- r:
	default:
		l.dropped.Add(1)
	}
	l.write(entity, r)
}

// write appends to the local file, which has one predecessor at most.
func (l *logs) write(entity string, r agentapi.LogRecord) {
	line := fmt.Appendf(nil, "%s %s %s %s %q\n", r.Time.Format(time.RFC3339Nano), entity, r.Level, r.Module, r.Message)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return
	}
	if l.size+int64(len(line)) > maxLogFile {
		_ = l.file.Close()
		l.file = nil
		_ = os.Rename(l.path, l.path+".1")
		if err := l.open(); err != nil {
			l.dropped.Add(1)
			return
		}
	}
	n, err := l.file.Write(line)
	l.size += int64(n)
	if err != nil { // a full disk must not stop a hook
		l.dropped.Add(1)
	}
}

func (l *logs) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		_ = l.file.Close()
		l.file = nil
	}
}

// stream sends the queue to the controller until ctx ends.
func (l *logs) stream(ctx context.Context, conn func(context.Context) (*client.Conn, error)) {
	var held *agentapi.LogRecord // taken from the queue, not yet sent
	for ctx.Err() == nil {
		held = l.session(ctx, conn, held)
		_ = pause(ctx, spread(sinkRetry))
	}
}

func (l *logs) session(ctx context.Context, conn func(context.Context) (*client.Conn, error), held *agentapi.LogRecord) *agentapi.LogRecord {
	c, err := conn(ctx)
	if err != nil {
		return held
	}
	sink, err := c.OpenLogSink(ctx)
	if err != nil {
		return held
	}
	defer func() { _ = sink.Close() }()
	for {
		if held == nil {
			if n := l.dropped.Swap(0); n > 0 {
				held = &agentapi.LogRecord{Time: time.Now().UTC(), Module: "agent.log", Level: "WARNING", Message: fmt.Sprintf("%d log records were dropped", n)} //nolint:forbidigo // a line's time
			}
		}
		if held == nil {
			select {
			case <-ctx.Done():
				return nil
			case <-sink.Done():
				return nil
			case r := <-l.queue:
				held = &r
			}
		}
		wctx, cancel := context.WithTimeout(ctx, callTime)
		err := sink.Write(wctx, *held)
		cancel()
		if err != nil {
			return held
		}
		held = nil
	}
}
