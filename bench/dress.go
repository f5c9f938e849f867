package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// bareLink is the host's end of a bare machine's network.
const bareLink = "scbbare0"

// groups are a machine's control groups, one of each hierarchy.
type groups []string

// dress gives a bare machine the network device on the bridge and the control
// groups that a real one has. It is not measured.
func (m *bareMachine) dress(bridge string) (groups, error) {
	pid := strconv.Itoa(m.cmd.Process.Pid)
	for _, args := range [][]string{
		{"ip", "link", "add", bareLink, "up", "master", bridge, "type", "veth", "peer", "name", "eth0", "netns", pid},
		{"nsenter", "--target", pid, "--net", "ip", "link", "set", "eth0", "up"},
	} {
		out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
		if err != nil {
			return nil, fmt.Errorf("cannot make a network device: %w: %s", err, out)
		}
	}
	var g groups
	for _, name := range []string{"memory", "cpu", "pids", "unified"} {
		dir := filepath.Join("/sys/fs/cgroup", name)
		if _, err := os.Stat(filepath.Join(dir, "cgroup.procs")); err != nil {
			continue // this host has no such hierarchy
		}
		dir = filepath.Join(dir, "scarab-bench-bare")
		if err := os.Mkdir(dir, 0o755); err != nil { //nolint:gosec // as all of them
			return g, err
		}
		g = append(g, dir)
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(pid), 0o600); err != nil {
			return g, err
		}
	}
	return g, nil
}

// remove removes the groups; the kernel may need a moment until they are empty.
func (g groups) remove() error {
	for _, dir := range g {
		err := unix.Rmdir(dir)
		for end := time.Now().Add(5 * time.Second); errors.Is(err, unix.EBUSY) && time.Now().Before(end); err = unix.Rmdir(dir) {
			time.Sleep(50 * time.Microsecond) //nolint:forbidigo // the kernel tells of this in no other way
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// linkGone has the kernel remove the device and returns when it is found no
// more. The answer comes later, on the channel: the kernel first waits until
// nothing in it remembers the device.
func linkGone(name string) (<-chan error, error) {
	answer := make(chan error, 1)
	go func() { answer <- deleteLink(name) }()
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(100 * time.Microsecond) { //nolint:forbidigo // the floor is at its fastest
		if _, err := os.Stat("/sys/class/net/" + name); errors.Is(err, os.ErrNotExist) {
			return answer, nil
		}
		if time.Now().After(end) {
			return answer, fmt.Errorf("device %s does not go away", name)
		}
	}
}

// deleteLink is one request to the kernel, and its answer.
func deleteLink(name string) error {
	link, err := net.InterfaceByName(name)
	if err != nil {
		return nil //nolint:nilerr // it went with the other end
	}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	var msg bytes.Buffer
	for _, v := range []any{
		uint32(32), uint16(unix.RTM_DELLINK), uint16(unix.NLM_F_REQUEST | unix.NLM_F_ACK), uint32(1), uint32(0), // the header
		uint8(unix.AF_UNSPEC), uint8(0), uint16(0), int32(link.Index), uint32(0), uint32(0), // the device
	} {
		if err := binary.Write(&msg, binary.NativeEndian, v); err != nil {
			return err
		}
	}
	if err := unix.Sendto(fd, msg.Bytes(), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil || n < 20 {
		return fmt.Errorf("cannot read the kernel's answer of %d bytes: %w", n, err)
	}
	if code := int32(binary.NativeEndian.Uint32(answer[16:])); code != 0 && unix.Errno(-code) != unix.ENODEV { //nolint:gosec // an errno
		return unix.Errno(-code)
	}
	return nil
}
