// Package space owns the user namespace in which an ordinary user is root, so that
// machines can be made without rights on the host: its making, with the range of
// ids that the host's administrator has set aside or with one id only, its
// connection to the network, and its end. It makes no machines.
package space

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/scarab-ops/scarab/container/proc"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Space is a user namespace of an ordinary user, who is root in it, with a
// network and mounts of its own. It is kept by a process that does nothing
// else, so that it outlives a supervisor; rootless machines are made inside.
type Space struct {
	Pid      int    `json:"pid"`
	PidStart uint64 `json:"pid-start"`
	BootID   string `json:"boot-id"`
	// IDs is how many ids a machine can have: 65,536, or 1.
	IDs int `json:"ids"`
	// Slirp is the process that connects the network, 0 without.
	Slirp      int    `json:"slirp"`
	SlirpStart uint64 `json:"slirp-start"`
	// Why says what the space lacks.
	Why []string `json:"why"`

	record       string
	first, guest int
}

// Config of a Space.
type Config struct {
	Record string // file to remember it by
	// First is where the machines' ids begin on the host, and Guest another user
	// of the host who is to have an id inside. They are for root only: others
	// have what their administrator gave them.
	First, Guest int
}

const (
	patience      = 10 * time.Second
	idsPerMachine = 65536
)

// Hidden subcommands of the supervisor's binary: the two steps of the keeper.
const (
	HoldArg = "container-hold"
	HeldArg = "container-held"
)

// Open gives the space of a record, a new one if that one is gone.
func Open(ctx context.Context, cfg Config) (*Space, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	s := &Space{record: cfg.Record, first: cfg.First, guest: cfg.Guest}
	if err := proc.ReadJSON(cfg.Record, s); err == nil && proc.Runs(s.Pid, s.PidStart, s.BootID) {
		if !proc.Runs(s.Slirp, s.SlirpStart, s.BootID) {
			return s, s.connect(ctx)
		}
		return s, nil
	}
	*s = Space{record: cfg.Record, first: cfg.First, guest: cfg.Guest, IDs: idsPerMachine, BootID: proc.BootID()}
	if os.Geteuid() == 0 {
		if err := s.make(ctx, nil); err != nil {
			return nil, err
		}
		return s, s.connect(ctx)
	}
	maps, err := rangeOf()
	if err == nil {
		err = s.make(ctx, maps)
	}
	if err != nil {
		s.Why = append(s.Why, "machines have one id only, so their packages cannot have users of their own: "+err.Error())
		s.IDs = 1
		if err := s.make(ctx, nil); err != nil {
			return nil, err
		}
	}
	return s, s.connect(ctx)
}

// idMaps are the arguments of newuidmap and newgidmap after the process.
type idMaps struct{ uid, gid []string }

// rangeOf finds the ids that the host's administrator has set aside for the
// user: himself is 0 in the space, the range begins at 1.
func rangeOf() (*idMaps, error) {
	for _, tool := range []string{"newuidmap", "newgidmap"} {
		if _, err := exec.LookPath(tool); err != nil {
			return nil, errors.New(tool + " is missing, install the package uidmap")
		}
	}
	names := []string{strconv.Itoa(os.Getuid())}
	if u, err := user.LookupId(names[0]); err == nil {
		names = append(names, u.Username)
	}
	maps := &idMaps{}
	for file, to := range map[string]*[]string{"/etc/subuid": &maps.uid, "/etc/subgid": &maps.gid} {
		own := os.Getuid()
		if to == &maps.gid {
			own = os.Getgid()
		}
		first, err := readRange(file, names)
		if err != nil {
			return nil, err
		}
		*to = []string{"0", strconv.Itoa(own), "1", "1", strconv.Itoa(first), strconv.Itoa(idsPerMachine)}
	}
	return maps, nil
}

func readRange(file string, names []string) (int, error) {
	f, err := os.Open(file)
	if err != nil {
		return 0, fmt.Errorf("cannot read %s", file)
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		fields := strings.Split(sc.Text(), ":")
		if len(fields) != 3 || fields[0] != names[0] && fields[0] != names[len(names)-1] {
			continue
		}
		first, err1 := strconv.Atoi(fields[1])
		count, err2 := strconv.Atoi(fields[2])
		if err1 == nil && err2 == nil && first > 0 && count >= idsPerMachine {
			return first, nil
		}
	}
	return 0, fmt.Errorf("%s has no range of %d ids for the user", file, idsPerMachine)
}

// GuestID is who another user of the host is inside, where root made the space:
// an id behind the machines' range.
const GuestID = 1 + idsPerMachine

// rootMaps are the ids of a space that root makes, who needs nobody's leave: his
// own, the machines' and the guest's.
func rootMaps(first, guest int) []syscall.SysProcIDMap {
	return []syscall.SysProcIDMap{{Size: 1}, {ContainerID: 1, HostID: first, Size: idsPerMachine}, {ContainerID: GuestID, HostID: guest, Size: 1}}
}

// make starts the process that keeps the namespaces. Without maps the user's
// own id is the only one in them, save root's.
func (s *Space) make(ctx context.Context, maps *idMaps) error {
	conn, theirs, err := proc.SocketPair()
	if err != nil {
		return err
	}
	defer conn.Close() // a keeper that was told nothing ends with this
	defer theirs.Close()
	cmd := exec.Command("/proc/self/exe", HoldArg)
	cmd.Env, cmd.Dir, cmd.ExtraFiles = []string{"GOMAXPROCS=1"}, "/", []*os.File{theirs}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET}
	switch {
	case os.Geteuid() == 0:
		ids := rootMaps(s.first, s.guest)
		cmd.SysProcAttr.UidMappings, cmd.SysProcAttr.GidMappings, cmd.SysProcAttr.GidMappingsEnableSetgroups = ids, ids, true
	case maps == nil:
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("cannot make a user namespace: %w", err)
	}
	go func() { _ = cmd.Wait() }() // it may end before we do
	s.Pid = cmd.Process.Pid
	if s.PidStart, err = proc.StartTime(s.Pid); err != nil {
		return err
	}
	if maps != nil {
		for tool, args := range map[string][]string{"newuidmap": maps.uid, "newgidmap": maps.gid} {
			out, err := exec.CommandContext(ctx, tool, append([]string{strconv.Itoa(s.Pid)}, args...)...).CombinedOutput()
			if err != nil {
				return fmt.Errorf("%s: %w: %.200s", tool, err, strings.TrimSpace(string(out)))
			}
		}
	}
	if _, err := conn.Write([]byte{1}); err != nil {
		return fmt.Errorf("cannot make a user namespace: %w", err)
	}
	if err := proc.AwaitReady(ctx, conn); err != nil {
		return err
	}
	return proc.WriteJSON(s.record, s)
}

// Hold is the keeper's first step: it waits until its ids are mapped and starts
// again, now as root of its namespace.
func Hold() error {
	if n, err := os.NewFile(3, "supervisor").Read(make([]byte, 1)); n != 1 || err != nil {
		return errors.New("cannot keep a user namespace: no ids were mapped")
	}
	return unix.Exec("/proc/self/exe", []string{"scarab-agent", HeldArg}, os.Environ())
}

// Held is the second: it prepares the namespaces and then only waits.
func Held() error {
	conn := os.NewFile(3, "supervisor")
	if err := prepare(); err != nil {
		_, _ = conn.WriteString(err.Error())
		return err
	}
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM)
	if _, err := conn.WriteString(proc.ReadyWord); err != nil {
		return err
	}
	_ = conn.Close()
	<-end
	os.Exit(0)
	return nil
}

func prepare() error {
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("cannot have private mounts: %w", err)
	}
	// Machines are begun from the supervisor's own program. Where they have its
	// user's id, only this mount keeps them from writing to it.
	self, err := os.Readlink("/proc/self/exe")
	if err == nil {
		err = bindReadOnly(filepath.Dir(self))
	}
	if err != nil {
		return fmt.Errorf("cannot protect the program: %w", err)
	}
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		return fmt.Errorf("cannot start the loopback interface: %w", err)
	}
	return nil
}

func bindReadOnly(dir string) error {
	if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	return unix.MountSetattr(unix.AT_FDCWD, dir, 0, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
}

// alone begins the sentence about a space without the outside.
const alone = "machines reach each other and the controller only"

// connect lets the space reach what the host reaches, but not the host's own
// loopback.
func (s *Space) connect(ctx context.Context) error {
	s.Slirp, s.Why = 0, slices.DeleteFunc(s.Why, func(w string) bool { return strings.HasPrefix(w, alone) })
	path, err := exec.LookPath("slirp4netns")
	if err != nil {
		s.Why = append(s.Why, alone+": install slirp4netns")
		return proc.WriteJSON(s.record, s)
	}
	ready, theirs, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("cannot connect the machines: %w", err)
	}
	defer ready.Close()
	log, err := os.OpenFile(s.record+".slirp.log", os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("cannot connect the machines: %w", err)
	}
	defer log.Close()
	cmd := exec.Command(path, "--configure", "--mtu=65520", "--disable-host-loopback", "--enable-sandbox", "--enable-seccomp",
		"--ready-fd=3", strconv.Itoa(s.Pid), "tap0")
	cmd.Env, cmd.Dir, cmd.ExtraFiles = []string{"PATH=/usr/bin:/bin"}, "/", []*os.File{theirs}
	cmd.Stderr, cmd.SysProcAttr = log, &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	_ = theirs.Close()
	if err != nil {
		return fmt.Errorf("cannot connect the machines: %w", err)
	}
	go func() { _ = cmd.Wait() }()
	stop := context.AfterFunc(ctx, func() { _ = ready.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if n, err := ready.Read(make([]byte, 1)); n != 1 || err != nil {
		_ = cmd.Process.Kill()
		said := make([]byte, 300)
		n, _ := log.ReadAt(said, 0)
		s.Why = append(s.Why, alone+": slirp4netns does not work here: "+
			strings.Join(strings.Fields(strings.ToValidUTF8(string(said[:n]), "?")), " "))
		return proc.WriteJSON(s.record, s)
	}
	s.Slirp = cmd.Process.Pid
	if s.SlirpStart, err = proc.StartTime(s.Slirp); err != nil {
		return err
	}
	return proc.WriteJSON(s.record, s)
}

// Command makes a command that runs inside the space as its root, on the
// host's files.
func (s *Space) Command(argv ...string) (*exec.Cmd, error) {
	nsenter, err := exec.LookPath("nsenter")
	if err != nil {
		return nil, fmt.Errorf("cannot enter the user namespace: install util-linux: %w", err)
	}
	return exec.Command(nsenter, append([]string{
		"--target", strconv.Itoa(s.Pid), "--user", "--mount", "--net",
		"--preserve-credentials", "--",
	}, argv...)...), nil
}

// End lets the space go, with all that is left in it.
func (s *Space) End() error {
	for pid, start := range map[int]uint64{s.Slirp: s.SlirpStart, s.Pid: s.PidStart} {
		fd, err := proc.Open(pid, start, s.BootID)
		if err != nil {
			continue // it is gone
		}
		_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
		proc.AwaitExit(fd, patience)
		_ = unix.Close(fd)
	}
	_ = os.Remove(s.record + ".slirp.log")
	if err := os.Remove(s.record); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("cannot forget the user namespace: %w", err)
	}
	return nil
}
