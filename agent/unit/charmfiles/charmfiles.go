// Package charmfiles touches files that a charm may change at any moment: it
// reads one, and gives a tree of them to the user that hooks run as.
//
// It refuses whatever is no plain file of bounded size, so that no pipe, device
// or endless file holds an agent up, and works on what it has opened, never on
// a name it looked at before, so that nothing can be swapped under it.
package charmfiles

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Read reads the plain file name below root, of at most limit bytes. It never
// waits for another process.
func Read(root *os.Root, name string, limit int64) ([]byte, error) {
	f, err := root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	fi, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !fi.Mode().IsRegular():
		return nil, fmt.Errorf("cannot read %s: it is not a plain file", name)
	}
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		return nil, fmt.Errorf("cannot read %s: it has more than %d bytes", name, limit)
	}
	return data, err
}

// What lies deeper, or past so many entries, no charm's archive brought: whoever
// made it owns it already.
const (
	maxDepth   = 100
	maxEntries = 1 << 20
)

// Own gives dir and everything below it to a user, without following links.
func Own(dir string, uid, gid int) error {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("cannot give %s away: %w", dir, err)
	}
	w := walk{uid: uid, gid: gid, left: maxEntries}
	if err := w.own(fd, 0); err != nil {
		return fmt.Errorf("cannot give %s away: %w", dir, err)
	}
	return nil
}

type walk struct {
	uid, gid int
	left     int
}

// own gives away what fd has open, and closes it.
func (w *walk) own(fd, depth int) error {
	defer func() { _ = unix.Close(fd) }()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR
	// A file with a second name is no file of ours: an upgrade must not be
	// tricked into giving another one away.
	if !isDir && st.Nlink > 1 {
		return nil
	}
	if int(st.Uid) != w.uid || int(st.Gid) != w.gid {
		if !isDir && !named(fd) {
			return nil
		}
		if err := unix.Fchownat(fd, "", w.uid, w.gid, unix.AT_EMPTY_PATH); err != nil {
			return err
		}
	}
	if !isDir || depth >= maxDepth {
		return nil
	}
	return w.below(fd, depth)
}

// named tells whether the name by which fd was opened is a name still. A file
// that had one name a moment ago, and still has the one it was opened by, had
// no other: without this look, a second name of another's file could be taken
// away between opening it and counting its names.
func named(fd int) bool {
	path, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	return err == nil && !strings.HasSuffix(path, " (deleted)")
}

func (w *walk) below(fd, depth int) error {
	open, err := unix.Openat(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	d := os.NewFile(uintptr(open), "charm")
	defer func() { _ = d.Close() }()
	for {
		names, err := d.Readdirnames(256)
		for _, n := range names {
			if w.left--; w.left < 0 {
				return nil
			}
			child, err := unix.Openat(fd, n, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
			if errors.Is(err, unix.ENOENT) {
				continue // the charm removed it meanwhile
			}
			if err != nil {
				return err
			}
			if err := w.own(child, depth+1); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
