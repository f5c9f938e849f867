package unzip

import (
	"path"
	"strings"
)

// maxHops is how many symlinks one path may lead through, as in the kernel.
const maxHops = 40

// checkTree checks the members together: nothing lies below a file or a
// symlink, and every symlink, followed through all others, stays within.
func (a *Archive) checkTree() error {
	dirs := map[string]bool{}
	for _, m := range a.Members {
		for dir := path.Dir(m.Name); dir != "." && !dirs[dir]; dir = path.Dir(dir) {
			dirs[dir] = true
			at, ok := a.byName[dir]
			if !ok || a.Members[at].Mode.IsDir() {
				continue
			}
			if a.Members[at].Target != "" {
				return refuse(ErrArchiveSymlink, m.Name, "it lies behind the symlink %q", clip(dir))
			}
			return refuse(ErrArchiveFormat, m.Name, "it lies below the file %q", clip(dir))
		}
	}
	links := map[string]string{}
	for _, m := range a.Members {
		if m.Target != "" {
			links[m.Name] = m.Target
		}
	}
	for _, m := range a.Members {
		if m.Target == "" {
			continue
		}
		if why := FollowLink(links, m.Name); why != "" {
			return refuse(ErrArchiveSymlink, m.Name, "symlink %q %s", clip(m.Target), why)
		}
	}
	return nil
}

// FollowLink walks a symlink as the kernel would, among the given links
// (name to target), and says what is wrong with it, if anything. Both the
// literal reading and the true walk must stay within the root.
func FollowLink(links map[string]string, name string) string {
	target := links[name]
	if path.IsAbs(target) {
		return "is absolute"
	}
	if lexical := path.Join(path.Dir(name), target); lexical == ".." || strings.HasPrefix(lexical, "../") {
		return "leads out of scope"
	}
	at := splitPath(path.Dir(name))
	rest := strings.Split(target, "/")
	hops := 1
	for steps := 0; len(rest) > 0; steps++ {
		if steps > 100*maxHops {
			return "leads through too many directories"
		}
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			if len(at) == 0 {
				return "leads out of scope"
			}
			at = at[:len(at)-1]
			continue
		}
		next := strings.Join(append(append([]string(nil), at...), part), "/")
		t, isLink := links[next]
		if !isLink {
			at = append(at, part)
			continue
		}
		if hops++; hops > maxHops {
			return "leads in a circle, or through too many others"
		}
		rest = append(strings.Split(t, "/"), rest...)
	}
	return ""
}

func splitPath(p string) []string {
	if p == "." || p == "" {
		return nil
	}
	return strings.Split(p, "/")
}
