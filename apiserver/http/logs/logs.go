// Package logs owns the two log routes: the stream that people follow and the
// sink that agents write to.
//
// It refuses agents that want to read logs, whoever they are, and lines in
// another's name: a line is its connection's, except that a machine may name a
// unit that is its own, which is asked of the state.
package logs

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/scarab-ops/scarab/apiserver/facade"
	"github.com/scarab-ops/scarab/apiserver/http/route"
	"github.com/scarab-ops/scarab/authz"
	"github.com/scarab-ops/scarab/logstore"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/wire/agentapi"
)

// Config says where logs are.
type Config struct {
	Store *logstore.Store
	// ControllerModel is whose log /log shows.
	ControllerModel names.Model
	// Hosts tells whether the unit is on the machine; nil means never.
	Hosts func(r state.Reader, model names.Model, m names.Machine, u names.Unit) bool
	// MaxDuration ends a stream; 0 means 24 hours.
	MaxDuration time.Duration
}

// Routes returns the log routes.
func Routes(cfg Config) []route.Route {
	if cfg.MaxDuration == 0 {
		cfg.MaxDuration = 24 * time.Hour
	}
	read := route.Policy{Auth: route.Basic, Rule: authz.OnModel(authz.Read).Reads(), Socket: true, Late: true}
	sink := route.Policy{Auth: route.Basic, Rule: authz.Self(authz.Agents).Reads(), Socket: true}
	return []route.Route{
		{Method: http.MethodGet, Path: "/log", Policy: read, Stream: cfg.follow},
		{Method: http.MethodGet, Path: "/model/{model}/log", Policy: read, Stream: cfg.follow},
		{Method: http.MethodGet, Path: "/model/{model}/logsink", Policy: sink, Stream: cfg.sink},
	}
}

// line is one frame of the stream.
type line struct {
	Tag      string   `json:"tag"`
	Time     string   `json:"ts"`
	Severity string   `json:"sev"`
	Module   string   `json:"mod"`
	Location string   `json:"loc"`
	Message  string   `json:"msg"`
	Labels   []string `json:"lab"` // null when there are none
}

// again is how often a follower's right to follow is asked anew.
const again = 2 * time.Second

func (cfg Config) follow(c facade.Call, ws route.Socket, r *http.Request) error {
	f, err := filter(r.URL.Query())
	if err != nil {
		return writeError(c, ws, err)
	}
	ctx, cancel := context.WithTimeout(ws.Listen(c), cfg.MaxDuration)
	defer cancel()
	stop := watchRight(ctx, c, cancel)
	defer stop()
	return cfg.Store.Tail(ctx, string(c.Caller.Model), f, func(rec logstore.Record) error {
		l := line{rec.Entity, rec.Time.UTC().Format(time.RFC3339Nano), rec.Level.String(), rec.Module, rec.Location, rec.Message, nil}
		if len(rec.Labels) > 0 {
			l.Labels = rec.Labels
		}
		raw, err := json.Marshal(l)
		if err != nil {
			return err
		}
		return ws.Write(ctx, append(raw, '\n'))
	})
}

// watchRight ends a stream whose reader has lost the right to it.
func watchRight(ctx context.Context, c facade.Call, cancel context.CancelFunc) (stop func()) {
	done := make(chan struct{})
	quit := make(chan struct{})
	go func() {
		defer close(done)
		t := time.NewTicker(again)
		defer t.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-quit:
				return
			case <-t.C:
				if !c.Holds(authz.Read, authz.Model(c.Caller.Model)) {
					cancel()
					return
				}
			}
		}
	}()
	return func() { close(quit); <-done }
}

func writeError(ctx context.Context, ws route.Socket, err error) error {
	raw, merr := json.Marshal(map[string]any{"error": facade.ToWire(err)})
	if merr != nil {
		return merr
	}
	return ws.Write(ctx, append(raw, '\n'))
}

// maxPatterns bounds each list of a filter.
const maxPatterns = 100

func filter(q url.Values) (logstore.Filter, error) {
	f := logstore.Filter{
		IncludeEntity: q["includeEntity"], ExcludeEntity: q["excludeEntity"],
		IncludeModule: q["includeModule"], ExcludeModule: q["excludeModule"],
		IncludeLabel: q["includeLabel"], ExcludeLabel: q["excludeLabel"],
	}
	for _, l := range [][]string{f.IncludeEntity, f.ExcludeEntity, f.IncludeModule, f.ExcludeModule, f.IncludeLabel, f.ExcludeLabel} {
		if len(l) > maxPatterns {
			return f, &facade.BadRequest{Reason: fmt.Sprintf("cannot follow log: more than %d patterns of one kind", maxPatterns)}
		}
	}
	var err error
	if s := q.Get("level"); s != "" {
		if f.Level, err = logstore.ParseLevel(s); err != nil {
			return f, &facade.BadRequest{Reason: err.Error()}
		}
	}
	for key, to := range map[string]*int{"backlog": &f.Backlog, "maxLines": &f.Max} {
		if err := number(q, key, to); err != nil {
			return f, err
		}
	}
	for key, to := range map[string]*bool{"replay": &f.Replay, "noTail": &f.NoTail} {
		if s := q.Get(key); s != "" {
			if *to, err = strconv.ParseBool(s); err != nil {
				return f, bad(key, s)
			}
		}
	}
	if s := q.Get("startTime"); s != "" {
		if f.Since, err = time.Parse(time.RFC3339Nano, s); err != nil {
			return f, bad("startTime", s)
		}
	}
	return f, nil
}

func number(q url.Values, key string, to *int) error {
	s := q.Get(key)
	if s == "" {
		return nil
	}
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		return bad(key, s)
	}
	*to = int(n)
	return nil
}

func bad(key, value string) error {
	return &facade.BadRequest{Reason: fmt.Sprintf("cannot follow log: %s value %.60q is not valid", key, value)}
}

// sink takes lines from an agent until it leaves.
func (cfg Config) sink(c facade.Call, ws route.Socket, _ *http.Request) error {
	self := c.Caller.Tag().String()
	for {
		raw, err := ws.Read(c)
		if err != nil {
			return nil //nolint:nilerr // it left
		}
		var rec agentapi.LogRecord
		if err := json.Unmarshal(raw, &rec); err != nil {
			ws.Refuse("bad record")
			return nil //nolint:nilerr // it was told
		}
		level, err := logstore.ParseLevel(rec.Level)
		if err != nil {
			level = logstore.Info
		}
		err = cfg.Store.Append(string(c.Caller.Model), cfg.entity(c, self, rec.Entity), logstore.Record{
			Time: rec.Time, Module: rec.Module, Location: rec.Location, Level: level, Message: rec.Message,
		})
		if err != nil {
			return err
		}
	}
}

// entity is whose line it is: the sender's, or that of a unit the sending
// machine hosts.
func (cfg Config) entity(c facade.Call, self, claimed string) string {
	if claimed == "" || claimed == self || c.Caller.Kind != authz.Machine || cfg.Hosts == nil {
		return self
	}
	u, err := names.ParseUnit(claimed)
	if err != nil || !cfg.Hosts(c.View(), c.Caller.Model, c.Caller.Machine, u) {
		return self
	}
	return u.Tag().String()
}
