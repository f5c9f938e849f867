package realm

import (
	"bufio"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
)

// A picture is what a host holds that a controller could leave behind, each
// thing as a line.
type picture map[string]bool

func (p picture) add(kind string, parts ...string) { p[kind+" "+strings.Join(parts, " ")] = true }

// take takes a picture of the host. Other tests may make machines of their own
// meanwhile, with names of their own: what bears the names of the ordinary
// cloud counts, and every file of the folders that hold a host's state.
func take(t *testing.T) picture {
	t.Helper()
	p := picture{}
	for _, look := range []func(picture) error{processes, links, filters, mounts, groups, files, settings} {
		if err := look(p); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func compare(t *testing.T, before, after picture) {
	t.Helper()
	for _, line := range slices.Sorted(maps.Keys(after)) {
		if !before[line] {
			t.Errorf("left behind: %s", line)
		}
	}
	for _, line := range slices.Sorted(maps.Keys(before)) {
		if !after[line] && !strings.HasPrefix(line, "file ") && !strings.HasPrefix(line, "process ") {
			t.Errorf("changed or gone: %s", line)
		}
	}
	left, err := os.ReadDir(host.tmp)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range left {
		t.Errorf("left behind in the folder of temporary files: %s", e.Name())
	}
}

// ourGroup is the folder of the ordinary cloud in every tree of control groups.
const ourGroup = "/scarab"

// processes are those that run our programs from the place of an installation,
// or in a control group of its machines.
func processes(p picture) error {
	list, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return err
	}
	for _, dir := range list {
		exe, _ := os.Readlink(filepath.Join(dir, "exe"))
		group, _ := os.ReadFile(filepath.Join(dir, "cgroup"))
		name, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		ours := strings.HasPrefix(exe, "/var/lib/scarab/") || strings.Contains(string(name), "/var/lib/scarab/")
		for line := range strings.Lines(string(group)) {
			ours = ours || strings.Contains(line, ":"+ourGroup+"/")
		}
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			return err
		}
		// What ended and waits for the host's own init to notice runs no more.
		if ours && processState(pid) != "Z" && processState(pid) != "" {
			p.add("process", filepath.Base(dir), strings.ReplaceAll(string(name), "\x00", " "))
		}
	}
	return nil
}

func links(p picture) error {
	list, err := netlink.LinkList()
	if err != nil {
		return err
	}
	for _, l := range list {
		if n := l.Attrs().Name; strings.HasPrefix(n, "scv") || n == "scarabbr0" {
			p.add("link", n)
		}
	}
	routes, err := netlink.RouteList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return err
	}
	for _, r := range routes {
		if r.Dst != nil && strings.HasPrefix(r.Dst.String(), "10.66.") {
			p.add("route", r.Dst.String())
		}
	}
	return nil
}

func filters(p picture) error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	tables, err := c.ListTables()
	if err != nil {
		return err
	}
	for _, t := range tables {
		if t.Name == "scarab" {
			p.add("table", t.Name)
		}
	}
	return nil
}

func mounts(p picture) error {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	defer f.Close()
	in := bufio.NewScanner(f)
	for in.Scan() {
		if fields := strings.Fields(in.Text()); len(fields) > 4 && strings.Contains(fields[4], "/scarab") {
			p.add("mount", fields[4])
		}
	}
	return in.Err()
}

func groups(p picture) error {
	for _, pattern := range []string{"/sys/fs/cgroup" + ourGroup, "/sys/fs/cgroup/*" + ourGroup} {
		list, err := filepath.Glob(pattern)
		if err != nil {
			return err
		}
		for _, dir := range list {
			p.add("group", dir)
		}
	}
	return nil
}

// files are all names in the folders of a host's state; packages that other
// work on this host installs meanwhile change some of them.
func files(p picture) error {
	skip := []string{"/var/lib/apt", "/var/lib/dpkg", "/var/lib/systemd", "/var/lib/ucf", "/var/log/apt", "/var/log/journal", "/run/user", "/run/lock", "/run/netns"}
	for _, root := range []string{"/var/lib", "/run", "/var/log", "/etc"} {
		err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
			switch {
			case err != nil && os.IsNotExist(err):
				return nil // it went meanwhile
			case err != nil:
				return err
			case slices.Contains(skip, name):
				return fs.SkipDir
			}
			// Runs of other tests have folders of their own below these.
			if dir, base := filepath.Split(name); dir == root+"/" && strings.HasPrefix(base, "scarab-") {
				if d.IsDir() {
					return fs.SkipDir
				}
				return nil
			}
			p.add("file", name)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// settings are the kernel's, of the network as a whole and of user namespaces.
func settings(p picture) error {
	for _, root := range []string{"/proc/sys/net", "/proc/sys/user"} {
		err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
			if err != nil {
				return nil //nolint:nilerr // an interface went meanwhile
			}
			if d.IsDir() {
				of := filepath.Base(filepath.Dir(name))
				if (of == "conf" || of == "neigh") && d.Name() != "all" && d.Name() != "default" {
					return fs.SkipDir
				}
				return nil
			}
			data, err := os.ReadFile(name)
			if err == nil && !strings.HasSuffix(name, "_count") && !strings.Contains(name, "/flush") && !strings.Contains(name, "_expect_") {
				p.add("setting", name, "=", strings.TrimSpace(string(data)))
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
