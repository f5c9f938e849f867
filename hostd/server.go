package hostd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/scarab-ops/scarab/container"
	"github.com/scarab-ops/scarab/hostd/hostapi"
	"github.com/scarab-ops/scarab/image"
	"github.com/scarab-ops/scarab/provider"
)

// server answers the socket.
type server struct {
	cfg      Config
	machines *container.Runtime
	images   *image.Store
	child    controllerProcess
	rung     rung
	quit     context.CancelFunc

	hostOnce sync.Mutex
	host     map[string]string // settings of the host, once read
}

// route is one thing that can be asked. Who may ask is part of it.
type route struct {
	pattern  string
	rootOnly bool
	handle   func(w http.ResponseWriter, r *http.Request) error
}

func (s *server) routes() []route {
	return []route{
		{"GET /v1/status", false, s.status},
		{"GET /v1/machines", false, s.list},
		{"POST /v1/machines", false, s.start},
		{"POST /v1/machines/stop", false, s.stop},
		{"POST /v1/machines/rules", false, s.rules},
		{"GET /v1/watch", false, s.watch},
		{"POST /v1/prepare", false, s.prepare},
		{"GET /v1/images", false, s.listImages},
		{"POST /v1/images/build", true, s.buildImage},
		{"POST /v1/images", true, s.addImage},
		{"DELETE /v1/images", true, s.removeImage},
		{"POST /v1/exec", true, s.exec},
		{"POST /v1/shutdown", true, s.shutdown},
	}
}

var errForbidden = errors.New("cannot do that: only root may ask")

func (s *server) serve(ctx context.Context, l net.Listener) error {
	mux := http.NewServeMux()
	for _, rt := range s.routes() {
		mux.HandleFunc(rt.pattern, func(w http.ResponseWriter, r *http.Request) {
			if rt.rootOnly && !callerIsRoot(r) {
				fail(w, http.StatusForbidden, errForbidden)
				return
			}
			if err := rt.handle(w, r); err != nil {
				fail(w, http.StatusUnprocessableEntity, err)
			}
		})
	}
	srv := &http.Server{
		Handler: mux, ConnContext: withPeer, ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 16 << 10,
		IdleTimeout: 2 * time.Minute, BaseContext: func(net.Listener) context.Context { return ctx },
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		<-ctx.Done()
		// Those who watch end with ctx; others get a moment to finish.
		patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		if srv.Shutdown(patience) != nil {
			_ = srv.Close()
		}
	})
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("cannot serve: %w", err)
	}
	return nil
}

func fail(w http.ResponseWriter, code int, err error) {
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(hostapi.NewError(err))
}

func answer(w http.ResponseWriter, v any) error {
	if err := json.NewEncoder(w).Encode(v); err != nil {
		return fmt.Errorf("cannot answer: %w", err)
	}
	return nil
}

// decode reads a bounded body.
func decode(r *http.Request, v any) error {
	d := json.NewDecoder(io.LimitReader(r.Body, hostapi.MaxRequest))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("cannot read the request: %w: %w", err, provider.ErrBadSpec)
	}
	return nil
}

// controllerOf checks that the caller may speak for a controller.
func (s *server) controllerOf(r *http.Request, id string) error {
	if id == "" {
		return fmt.Errorf("cannot do that: no controller was named: %w", provider.ErrBadSpec)
	}
	if !callerIsRoot(r) && s.cfg.ControllerID != "" && id != s.cfg.ControllerID {
		return fmt.Errorf("cannot do that: controller %.64q is not this host's: %w", id, provider.ErrCredential)
	}
	return nil
}

// lines starts a stream of lines.
func lines(w http.ResponseWriter) func(hostapi.Line) {
	w.Header().Set("Content-Type", "application/json-lines")
	w.WriteHeader(http.StatusOK)
	c, enc := http.NewResponseController(w), json.NewEncoder(w)
	var mu sync.Mutex
	return func(l hostapi.Line) {
		mu.Lock()
		defer mu.Unlock()
		_ = enc.Encode(l) // a caller that went away ends the request's context
		_ = c.Flush()
	}
}

// work runs something long whose steps are told.
func work(w http.ResponseWriter, f func(progress func(string)) error) error {
	say := lines(w)
	err := f(func(step string) { say(hostapi.Line{Step: step}) })
	if err != nil {
		say(hostapi.Line{Error: hostapi.NewError(err)})
		return nil
	}
	say(hostapi.Line{Done: true})
	return nil
}

func (s *server) status(w http.ResponseWriter, _ *http.Request) error {
	st := hostapi.Status{
		Version: s.cfg.Version, Isolation: string(s.rung.kind), Why: s.rung.why, Relayed: s.rung.relayed, Subnet: s.machines.Subnet().String(),
		Gateway: s.machines.Gateway().String(), Machines: len(s.machines.List()),
	}
	st.ControllerPid, st.Restarts = s.child.state()
	st.ControllerUID = s.cfg.controllerUID()
	return answer(w, st)
}

func (s *server) list(w http.ResponseWriter, r *http.Request) error {
	id := r.URL.Query().Get("controller")
	if err := s.controllerOf(r, id); err != nil {
		return err
	}
	out := []provider.Instance{}
	for _, m := range s.machines.List() {
		if m.Controller == id && m.State != container.StateRemoving {
			out = append(out, instanceOf(&m))
		}
	}
	return answer(w, out)
}

func (s *server) start(w http.ResponseWriter, r *http.Request) error {
	var spec provider.StartSpec
	if err := decode(r, &spec); err != nil {
		return err
	}
	if err := s.controllerOf(r, spec.ControllerID); err != nil {
		return err
	}
	inst, err := s.startMachine(r.Context(), &spec)
	if err != nil {
		return err
	}
	return answer(w, inst)
}

func (s *server) stop(w http.ResponseWriter, r *http.Request) error {
	var req hostapi.StopRequest
	if err := decode(r, &req); err != nil {
		return err
	}
	if err := s.controllerOf(r, req.Controller); err != nil {
		return err
	}
	var ids []string
	for _, id := range req.IDs {
		m, err := s.machines.Get(string(id))
		if err == nil && m.Controller == req.Controller { // what is not its own is unknown to it
			ids = append(ids, m.ID)
		}
	}
	// A removal that began is finished, whatever the caller does.
	if err := s.machines.DestroyAll(context.WithoutCancel(r.Context()), ids...); err != nil {
		return err
	}
	return answer(w, struct{}{})
}

func (s *server) rules(w http.ResponseWriter, r *http.Request) error {
	var req hostapi.RulesRequest
	if err := decode(r, &req); err != nil {
		return err
	}
	if err := s.controllerOf(r, req.Controller); err != nil {
		return err
	}
	m, err := s.machines.Get(string(req.ID))
	if err != nil || m.Controller != req.Controller {
		return fmt.Errorf("cannot set rules: machine %.64q: %w", req.ID, provider.ErrNotFound)
	}
	rules, err := s.rulesOf(req.Controller, req.Rules)
	if err != nil {
		return err
	}
	if err := s.machines.SetRules(r.Context(), m.ID, rules); err != nil {
		return err
	}
	return answer(w, struct{}{})
}

// watch sends a line at once and after every change of a machine.
func (s *server) watch(w http.ResponseWriter, r *http.Request) error {
	if err := s.controllerOf(r, r.URL.Query().Get("controller")); err != nil {
		return err
	}
	changes, end := s.machines.Watch()
	defer end()
	say := lines(w)
	say(hostapi.Line{Changed: true})
	alive := time.NewTicker(15 * time.Second)
	defer alive.Stop()
	for {
		select {
		case <-changes:
			say(hostapi.Line{Changed: true})
		case <-alive.C:
			say(hostapi.Line{Alive: true})
		case <-r.Context().Done():
			return nil
		}
	}
}

func (s *server) prepare(w http.ResponseWriter, r *http.Request) error {
	return work(w, func(progress func(string)) error {
		if s.rung.kind == container.IsolationProcess {
			return nil // machines run the host's own programs
		}
		_, err := s.images.Ensure(r.Context(), s.cfg.DefaultImage, progress)
		return err
	})
}

func (s *server) listImages(w http.ResponseWriter, _ *http.Request) error {
	images, err := s.images.List()
	if err != nil {
		return err
	}
	return answer(w, images)
}

func (s *server) buildImage(w http.ResponseWriter, r *http.Request) error {
	return work(w, func(progress func(string)) error {
		_, err := s.images.Ensure(r.Context(), r.URL.Query().Get("name"), progress)
		return err
	})
}

func (s *server) addImage(w http.ResponseWriter, r *http.Request) error {
	// The body is read before the first line is sent: HTTP/1 is half duplex.
	_, err := s.images.Add(r.Context(), r.URL.Query().Get("name"), r.Body)
	return work(w, func(func(string)) error { return err })
}

func (s *server) removeImage(w http.ResponseWriter, r *http.Request) error {
	var inUse []string
	for _, m := range s.machines.List() {
		inUse = append(inUse, m.Root)
	}
	if err := s.images.Remove(r.Context(), r.URL.Query().Get("name"), inUse); err != nil {
		return err
	}
	return answer(w, struct{}{})
}

func (s *server) exec(w http.ResponseWriter, r *http.Request) error {
	var req hostapi.ExecRequest
	if err := decode(r, &req); err != nil {
		return err
	}
	out := &limited{}
	res, err := s.machines.Exec(r.Context(), string(req.ID), req.Argv, nil, out, out)
	if err != nil {
		return err
	}
	return answer(w, hostapi.ExecAnswer{Output: out.String(), Code: res.Code})
}

// limited keeps the beginning of an output.
type limited struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *limited) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	room := hostapi.MaxAnswer/2 - l.buf.Len()
	l.buf.Write(p[:min(len(p), max(0, room))])
	return len(p), nil
}

func (l *limited) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// shutdown removes everything and ends the supervisor.
func (s *server) shutdown(w http.ResponseWriter, r *http.Request) error {
	ctx := context.WithoutCancel(r.Context())
	err := work(w, func(progress func(string)) error {
		progress("stopping the controller")
		if err := s.child.stop(ctx); err != nil {
			return err
		}
		for left := s.machines.List(); len(left) > 0; left = s.machines.List() {
			progress(fmt.Sprintf("removing %d machines", len(left)))
			var ids []string
			for _, m := range left {
				ids = append(ids, m.ID)
			}
			if err := s.machines.DestroyAll(ctx, ids...); err != nil {
				return err
			}
		}
		progress("removing the network")
		return s.machines.Teardown()
	})
	s.quit()
	return err
}
