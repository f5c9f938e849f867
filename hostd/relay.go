package hostd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Bounds of what passes between the two halves and through a relay.
const (
	maxNote      = 16 << 10
	maxRelayed   = 4096
	dialPatience = 5 * time.Second
)

// packetPair gives two ends whose messages keep their bounds.
func packetPair() (ours *net.UnixConn, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot make a socket pair: %w", err)
	}
	file := os.NewFile(uintptr(fds[0]), "inside")
	defer file.Close()
	theirs = os.NewFile(uintptr(fds[1]), "outside")
	conn, err := net.FileConn(file)
	if err != nil {
		_ = theirs.Close()
		return nil, nil, fmt.Errorf("cannot make a socket pair: %w", err)
	}
	return conn.(*net.UnixConn), theirs, nil
}

func say(conn *net.UnixConn, v any) error {
	data, err := json.Marshal(v)
	if err == nil {
		_, err = conn.Write(data)
	}
	if err != nil {
		return fmt.Errorf("cannot tell the supervisor's other half: %w", err)
	}
	return nil
}

// hear reads one message, and the descriptor that came with it or -1.
func hear(conn *net.UnixConn, v any) (fd int, err error) {
	data, oob := make([]byte, maxNote), make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := conn.ReadMsgUnix(data, oob)
	if err != nil {
		return -1, fmt.Errorf("cannot hear the supervisor's other half: %w", err)
	}
	fd = -1
	if msgs, err := unix.ParseSocketControlMessage(oob[:oobn]); err == nil && len(msgs) == 1 {
		if fds, err := unix.ParseUnixRights(&msgs[0]); err == nil && len(fds) == 1 {
			fd = fds[0]
			unix.CloseOnExec(fd)
		}
	}
	if n == 0 {
		return fd, io.EOF
	}
	if err := json.Unmarshal(data[:n], v); err != nil {
		return fd, fmt.Errorf("cannot hear the supervisor's other half: %w", err)
	}
	return fd, nil
}

func listenerOf(fd int) (net.Listener, error) {
	file := os.NewFile(uintptr(fd), "listener")
	defer file.Close()
	l, err := net.FileListener(file)
	if err != nil {
		return nil, fmt.Errorf("cannot take a listener over: %w", err)
	}
	return l, nil
}

// relay hands each connection of a listener on to one address, until ctx ends.
func relay(ctx context.Context, wg *sync.WaitGroup, l net.Listener, to string) {
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	slots := make(chan struct{}, maxRelayed)
	for {
		conn, err := l.Accept()
		var passing net.Error
		if errors.As(err, &passing) && passing.Timeout() {
			continue
		}
		if err != nil {
			return
		}
		select {
		case slots <- struct{}{}:
			wg.Go(func() {
				defer func() { <-slots }()
				pass(ctx, conn, to)
			})
		default:
			_ = conn.Close()
		}
	}
}

// pass copies both ways until both sides are done or ctx ends.
func pass(ctx context.Context, from net.Conn, to string) {
	defer from.Close()
	d := net.Dialer{Timeout: dialPatience}
	other, err := d.DialContext(ctx, "tcp", to)
	if err != nil {
		return
	}
	defer other.Close()
	stop := context.AfterFunc(ctx, func() { _ = from.Close(); _ = other.Close() })
	defer stop()
	done := make(chan struct{}, 2)
	one := func(dst, src net.Conn) {
		_, _ = io.Copy(dst, src)
		if c, ok := dst.(*net.TCPConn); ok {
			_ = c.CloseWrite()
		}
		done <- struct{}{}
	}
	go one(other, from)
	go one(from, other)
	<-done
	<-done
}
