package hostd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const maxConnections = 256

// listen makes the supervisor's socket. Its folder belongs to the controller's
// user, who could put links into it: so the socket is made and given away in
// a folder of root, and only then moved to its place.
func listen(socket, private string, uid int) (net.Listener, error) {
	dir := filepath.Dir(socket)
	if err := os.MkdirAll(filepath.Dir(dir), 0o711); err != nil {
		return nil, fmt.Errorf("cannot listen: %w", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("cannot listen: %w", err)
	}
	if st, err := os.Lstat(dir); err != nil || !st.IsDir() {
		return nil, fmt.Errorf("cannot listen: %s is no folder", dir)
	}
	tmp := filepath.Join(private, "host.sock.new")
	if err := os.Remove(tmp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("cannot listen: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: tmp, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("cannot listen: %w", err)
	}
	l.SetUnlinkOnClose(false)
	err = errors.Join(os.Chmod(tmp, 0o600), os.Chown(tmp, uid, uid), os.Lchown(dir, uid, uid), os.Chmod(dir, 0o700), os.Rename(tmp, socket))
	if err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("cannot listen: %w", err)
	}
	return &peers{UnixListener: l, uid: uint32(uid), slots: make(chan struct{}, maxConnections)}, nil
}

// peers lets in only connections of root and of one user, as the kernel says,
// and not too many.
type peers struct {
	*net.UnixListener
	uid   uint32
	slots chan struct{}
}

// peer is a connection with the user at its other end.
type peer struct {
	net.Conn
	uid   uint32
	leave func()
}

func (p *peers) Accept() (net.Conn, error) {
	for {
		conn, err := p.AcceptUnix()
		if err != nil {
			return nil, err // as it is: the server looks at it
		}
		uid, err := peerOf(conn)
		if err != nil || uid != 0 && uid != p.uid || os.Geteuid() != 0 && confined(conn) {
			_ = conn.Close()
			continue
		}
		select {
		case p.slots <- struct{}{}:
			return &peer{Conn: conn, uid: uid, leave: func() { <-p.slots }}, nil
		default:
			_ = conn.Close()
		}
	}
}

func (p *peer) Close() error {
	err := p.Conn.Close()
	if err == nil { // the first time
		p.leave()
	}
	return err
}

func peerOf(conn *net.UnixConn) (uint32, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("cannot ask who connects: %w", err)
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) { cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err = errors.Join(err, credErr); err != nil {
		return 0, fmt.Errorf("cannot ask who connects: %w", err)
	}
	return cred.Uid, nil
}

// confined tells whether the peer is under more filters of system calls than
// we are, as the processes of a machine are: where machines have the same user
// as their supervisor, that is what they can be told by. A filter cannot be
// taken off. What cannot be looked at counts as confined.
func confined(conn *net.UnixConn) bool {
	raw, err := conn.SyscallConn()
	if err != nil {
		return true
	}
	pidfd, pid := -1, 0
	err = raw.Control(func(fd uintptr) {
		cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err != nil {
			return
		}
		pid = int(cred.Pid)
		pidfd, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PEERPIDFD)
		if err != nil {
			pidfd = -1
		}
	})
	if err != nil || pidfd < 0 {
		return true
	}
	defer unix.Close(pidfd)
	theirs, err := filters(strconv.Itoa(pid))
	ours, err2 := filters("self")
	// Only if the process still lives was it this one that we looked at.
	err = errors.Join(err, err2, unix.PidfdSendSignal(pidfd, 0, nil, 0))
	return err != nil || theirs > ours
}

// filters counts the system call filters of a process.
func filters(pid string) (int, error) {
	data, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		return 0, fmt.Errorf("cannot look at a caller: %w", err)
	}
	for line := range strings.Lines(string(data)) {
		if v, ok := strings.CutPrefix(line, "Seccomp_filters:"); ok {
			return strconv.Atoi(strings.TrimSpace(v))
		}
	}
	return 0, errors.New("cannot look at a caller: the kernel does not count its filters")
}

type peerKey struct{}

// withPeer remembers who is at the other end of a request's connection.
func withPeer(ctx context.Context, conn net.Conn) context.Context {
	if p, ok := conn.(*peer); ok {
		return context.WithValue(ctx, peerKey{}, p.uid)
	}
	return ctx
}

// callerIsRoot tells whether it is root, or the user whose supervisor this is,
// who calls. It is false for a connection of unknown origin.
func callerIsRoot(r *http.Request) bool {
	uid, ok := r.Context().Value(peerKey{}).(uint32)
	return ok && (uid == 0 || uid == uint32(os.Geteuid()))
}
