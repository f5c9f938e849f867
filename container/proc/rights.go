package proc

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// maxDescriptors bounds what comes with one message.
const maxDescriptors = 260

// The supervisor and the first process of a machine talk over a socket pair:
// one message with descriptors to the machine, one word back.

// Send writes one message; the descriptors go with its first byte.
func Send(conn *net.UnixConn, data []byte, fds []int) error {
	head := binary.BigEndian.AppendUint32(nil, uint32(len(data)))
	if _, _, err := conn.WriteMsgUnix(head, unix.UnixRights(fds...), nil); err != nil {
		return fmt.Errorf("cannot tell the machine what to be: %w", err)
	}
	if _, err := conn.Write(data); err != nil {
		return fmt.Errorf("cannot tell the machine what to be: %w", err)
	}
	return nil
}

// Receive reads one message of at most limit bytes.
func Receive(f *os.File, limit int) ([]byte, []int, error) {
	head, oob := make([]byte, 4), make([]byte, unix.CmsgSpace(4*maxDescriptors))
	n, oobn, _, _, err := unix.Recvmsg(int(f.Fd()), head, oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil || n != 4 {
		return nil, nil, fmt.Errorf("cannot learn what to be: %w", errors.Join(err, io.ErrUnexpectedEOF))
	}
	size := int(binary.BigEndian.Uint32(head))
	if size > limit {
		return nil, nil, errors.New("cannot learn what to be: the message is too large")
	}
	var fds []int
	msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return nil, nil, fmt.Errorf("cannot learn what to be: %w", err)
	}
	for _, m := range msgs {
		got, err := unix.ParseUnixRights(&m)
		if err != nil {
			return nil, nil, fmt.Errorf("cannot learn what to be: %w", err)
		}
		fds = append(fds, got...)
	}
	data := make([]byte, size)
	if _, err := io.ReadFull(f, data); err != nil {
		return nil, nil, fmt.Errorf("cannot learn what to be: %w", err)
	}
	return data, fds, nil
}

// SocketPair gives both ends: ours to use, the other to hand to a child.
func SocketPair() (*net.UnixConn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot make a socket pair: %w", err)
	}
	ours := os.NewFile(uintptr(fds[0]), "machine")
	defer ours.Close()
	theirs := os.NewFile(uintptr(fds[1]), "supervisor")
	conn, err := net.FileConn(ours)
	if err != nil {
		_ = theirs.Close()
		return nil, nil, fmt.Errorf("cannot make a socket pair: %w", err)
	}
	return conn.(*net.UnixConn), theirs, nil
}

// AwaitReady reads the word of the first process: it says ready as the last
// thing before it becomes the machine's init, or what went wrong.
func AwaitReady(ctx context.Context, conn *net.UnixConn) error {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	buf := make([]byte, 1024)
	n, err := conn.Read(buf)
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("cannot wait for the machine: %w", ctx.Err())
	case err != nil:
		return fmt.Errorf("cannot start the machine: its first process ended early: %w", err)
	case string(buf[:n]) != ReadyWord:
		return errors.New(strings.ToValidUTF8(string(buf[:n]), "?"))
	}
	return nil
}
