// Package toolserver is the trust boundary between a hook and its unit agent:
// one unix socket that exists while one hook runs. It owns the socket's place
// and modes, the check of who is calling, the token and the context id. It
// knows no tool; requests that pass go to a handler, one at a time.
//
// Four things must hold before a request is looked at: the socket's directory
// admits only the hook's user; the kernel says the caller is root or that
// user; the context id is the current one; the token, 256 bits that live as
// long as the hook, is the current one. No answer ever holds either of them.
package toolserver

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/scarab-ops/scarab/agent/unit/toolproto"
)

const (
	// maxConns bounds the calls that wait at once.
	maxConns = 32
	// callTime bounds how long a caller may take to send its request.
	callTime = 30 * time.Second
	// maxEcho bounds what an error repeats of what the caller sent.
	maxEcho = 200
)

// Config says where a hook's socket lives and who may use it.
type Config struct {
	// Dir is an existing directory of the agent's. Each hook gets a directory
	// of its own in it.
	Dir string
	// UID and GID are the hook's user.
	UID, GID int
	// Unit and Hook make the context id.
	Unit, Hook string
	Handle     func(context.Context, *toolproto.Request) *toolproto.Reply
	// Refused is told of callers that were turned away; it may be nil.
	Refused func(uid int, reason string)
}

// Server is the socket of one hook.
type Server struct {
	cfg       Config
	dir       string
	listener  *net.UnixListener
	contextID string
	token     string
	mu        sync.Mutex // one call at a time
}

// Open makes the socket and the credentials. Serve must follow, then Close.
func Open(cfg Config) (*Server, error) {
	var random [16 + toolproto.TokenSize + 8]byte
	if _, err := rand.Read(random[:]); err != nil {
		return nil, fmt.Errorf("cannot make hook context: %v", err)
	}
	s := &Server{
		cfg:       cfg,
		contextID: cfg.Unit + "-" + cfg.Hook + "-" + hex.EncodeToString(random[:16]),
		token:     hex.EncodeToString(random[16 : 16+toolproto.TokenSize]),
		dir:       filepath.Join(cfg.Dir, "h-"+hex.EncodeToString(random[16+toolproto.TokenSize:])),
	}
	if err := s.listen(); err != nil {
		_ = os.RemoveAll(s.dir)
		return nil, fmt.Errorf("cannot make hook tool socket: %w", err)
	}
	return s, nil
}

// listen binds inside a directory that is still the agent's alone, gives the
// socket to the hook's user, and only then the directory: after that the agent
// follows no path through it.
func (s *Server) listen() error {
	if err := os.Mkdir(s.dir, 0o700); err != nil {
		return err
	}
	path := s.Address()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return err
	}
	l.SetUnlinkOnClose(false)
	s.listener = l
	err = os.Chmod(path, 0o600)
	if err == nil {
		err = os.Lchown(path, s.cfg.UID, s.cfg.GID)
	}
	if err == nil {
		err = os.Lchown(s.dir, s.cfg.UID, s.cfg.GID)
	}
	if err != nil {
		_ = l.Close()
	}
	return err
}

// Address is the socket's path.
func (s *Server) Address() string { return filepath.Join(s.dir, "agent.socket") }

// ContextID names the hook's run.
func (s *Server) ContextID() string { return s.contextID }

// Env is what a tool needs to find and use the socket. It holds the token and
// must go to the hook's environment only.
func (s *Server) Env() []string {
	return []string{
		toolproto.EnvContext + "=" + s.contextID,
		toolproto.EnvAddress + "=" + s.Address(),
		toolproto.EnvNetwork + "=unix",
		toolproto.EnvToken + "=" + s.token,
	}
}

// Serve answers calls until Close or the end of ctx, and waits for those in
// progress.
func (s *Server) Serve(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() { _ = s.listener.Close() })
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	slots := make(chan struct{}, maxConns)
	for {
		conn, err := s.listener.AcceptUnix()
		if err != nil {
			return
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			s.answer(ctx, conn)
		})
	}
}

// Close ends the socket and forgets it. It is safe to call it twice.
func (s *Server) Close() {
	_ = s.listener.Close()
	_ = os.RemoveAll(s.dir)
}

func (s *Server) answer(ctx context.Context, conn *net.UnixConn) {
	defer func() { _ = conn.Close() }()
	if uid, err := peerUID(conn); err != nil || (uid != 0 && uid != s.cfg.UID) {
		s.refuse(uid, "wrong user")
		return
	}
	if err := conn.SetDeadline(time.Now().Add(callTime)); err != nil { //nolint:forbidigo // a socket deadline
		return
	}
	req, err := toolproto.ReadRequest(conn)
	if err != nil {
		if !errors.Is(err, io.EOF) {
			s.reply(conn, bad(err.Error()))
		}
		return
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return
	}
	s.reply(conn, s.call(ctx, req))
}

func (s *Server) refuse(uid int, reason string) {
	if s.cfg.Refused != nil {
		s.cfg.Refused(uid, reason)
	}
}

func (s *Server) reply(conn *net.UnixConn, r *toolproto.Reply) {
	_ = conn.SetWriteDeadline(time.Now().Add(callTime)) //nolint:forbidigo // a socket deadline
	if err := toolproto.WriteReply(conn, r); err != nil {
		_ = toolproto.WriteReply(conn, bad(err.Error()))
	}
}

func (s *Server) call(ctx context.Context, req *toolproto.Request) *toolproto.Reply {
	if !same(req.ContextID, s.contextID) {
		s.refuse(-1, "wrong context")
		return bad(fmt.Sprintf("wrong context ID; got %q", clip(req.ContextID)))
	}
	if !same(req.Token, s.token) {
		s.refuse(-1, "wrong token")
		return bad("token mismatch")
	}
	if req.Command == "" {
		return bad("command not specified")
	}
	if !filepath.IsAbs(req.Dir) {
		return bad("directory not absolute")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.handle(ctx, req)
}

// handle contains a panic of a tool: it is an error of that call.
func (s *Server) handle(ctx context.Context, req *toolproto.Request) (r *toolproto.Reply) {
	defer func() {
		if p := recover(); p != nil {
			r = bad("internal error in " + clip(req.Command))
		}
	}()
	return s.cfg.Handle(ctx, req)
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

func clip(s string) string {
	if len(s) > maxEcho {
		s = s[:maxEcho]
	}
	return strings.ToValidUTF8(s, "?")
}

func bad(msg string) *toolproto.Reply {
	return &toolproto.Reply{Code: toolproto.ExitFailure, Stderr: []byte("ERROR bad request: " + msg + "\n")}
}

func peerUID(conn *net.UnixConn) (int, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return -1, err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return -1, err
	}
	if credErr != nil {
		return -1, credErr
	}
	return int(cred.Uid), nil
}
