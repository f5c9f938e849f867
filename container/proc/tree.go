package proc

import (
	"bytes"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// KillTree ends all processes of a process machine but its init, which gathers
// those that lose their parents. It gives up when new ones appear for too long:
// the init's end then leaves them to the supervisor.
func KillTree(init, uid int) {
	// One empty look is no proof: a process whose parent ends while the list is
	// read can be missed.
	for range 400 {
		left := Family(init, uid)
		if len(left) == 0 {
			left = Family(init, uid)
		}
		if len(left) == 0 {
			return
		}
		for _, pid := range left {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		time.Sleep(2 * time.Millisecond) //nolint:forbidigo // the kernel tells nobody that a process of others ended
	}
}

// process is what one line of /proc says.
type process struct {
	pid, parent, uid int
	ended            bool
}

// Family lists the living processes below one, and all of a user that is the
// machine's alone; uid 0 means none.
func Family(root, uid int) []int {
	all := processes()
	children := map[int][]process{}
	seen := map[int]bool{root: true}
	var out []int
	for _, p := range all {
		children[p.parent] = append(children[p.parent], p)
		if uid != 0 && p.uid == uid && !p.ended && !seen[p.pid] {
			seen[p.pid] = true
			out = append(out, p.pid)
		}
	}
	for todo := []int{root}; len(todo) > 0 && root > 1; todo = todo[1:] {
		for _, c := range children[todo[0]] {
			todo = append(todo, c.pid)
			if !c.ended && !seen[c.pid] {
				seen[c.pid] = true
				out = append(out, c.pid)
			}
		}
	}
	return out
}

func processes() []process {
	d, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil
	}
	var out []process
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		var st unix.Stat_t
		if unix.Stat("/proc/"+name, &st) != nil {
			continue
		}
		if parent, living := State(pid); parent >= 0 {
			out = append(out, process{pid, parent, int(st.Uid), !living})
		}
	}
	return out
}

// State tells a process' parent, -1 when there is none such, and whether it
// lives: one that has ended is listed until its end was taken.
func State(pid int) (parent int, living bool) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return -1, false
	}
	// The name, in parentheses, may hold anything.
	f := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(f) < 2 {
		return -1, false
	}
	if parent, err = strconv.Atoi(string(f[1])); err != nil {
		return -1, false
	}
	return parent, f[0][0] != 'Z' && f[0][0] != 'X'
}
