package machine

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/scarab-ops/scarab/agent/unit"
	"github.com/scarab-ops/scarab/agent/unit/charmfiles"
	"github.com/scarab-ops/scarab/names"
)

const systemPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

const maxKeys = 1 << 20

// keys restores the login user's authorized_keys whenever it differs. The
// user's home is the user's: nothing in it is followed out of it.
func keys(home string, wanted []string) error {
	fi, err := os.Stat(home)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // an image without a login user
	}
	if err != nil {
		return err
	}
	uid, gid := owner(fi)
	root, err := os.OpenRoot(home)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	var want bytes.Buffer
	for _, k := range wanted {
		if strings.ContainsAny(k, "\r\n\x00") {
			return fmt.Errorf("cannot accept an authorised key: it is more than one line")
		}
		fmt.Fprintln(&want, k)
	}
	if have, err := charmfiles.Read(root, ".ssh/authorized_keys", maxKeys); err == nil && bytes.Equal(have, want.Bytes()) {
		return nil
	}
	if err := root.Mkdir(".ssh", 0o700); err == nil {
		err = root.Lchown(".ssh", uid, gid)
		if err != nil {
			return err
		}
	} else if !errors.Is(err, fs.ErrExist) {
		return err
	}
	return replaceKeys(root, want.Bytes(), uid, gid)
}

func replaceKeys(root *os.Root, data []byte, uid, gid int) error {
	const tmp = ".ssh/.authorized_keys.scarab"
	if err := root.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Chown(uid, gid)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = root.Rename(tmp, ".ssh/authorized_keys")
	}
	return err
}

// account finds who runs a unit's hooks, and makes that user if need be: each
// unit whose charm does not run as root has one of its own, so that units of a
// machine cannot read each other.
func account(ctx context.Context, u names.Unit, charmUser string) (unit.User, error) {
	if uid, gid := os.Geteuid(), os.Getegid(); uid != 0 {
		// A machine that is a process has one user, who can become nobody else.
		return unit.User{UID: uid, GID: gid, NoNewPrivs: true}, nil
	}
	switch charmUser {
	case "", "root":
		return unit.User{}, nil
	case "sudoer", "non-root":
	default:
		return unit.User{}, fmt.Errorf("cannot run hooks of %s: unknown charm-user %q", u, charmUser)
	}
	name := accountName(u)
	found, err := user.Lookup(name)
	var unknown user.UnknownUserError
	if errors.As(err, &unknown) {
		cmd := exec.CommandContext(ctx, "useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin", name)
		cmd.Env = []string{"PATH=" + systemPath}
		if out, err := cmd.CombinedOutput(); err != nil {
			return unit.User{}, fmt.Errorf("cannot make user %s: %v: %s", name, err, bytes.TrimSpace(out))
		}
		found, err = user.Lookup(name)
	}
	if err != nil {
		return unit.User{}, fmt.Errorf("cannot find user %s: %v", name, err)
	}
	uid, err1 := strconv.Atoi(found.Uid)
	gid, err2 := strconv.Atoi(found.Gid)
	if err1 != nil || err2 != nil || uid == 0 {
		return unit.User{}, fmt.Errorf("cannot use user %s: its ids are %s:%s", name, found.Uid, found.Gid)
	}
	if charmUser == "sudoer" {
		return unit.User{UID: uid, GID: gid, Groups: []int{gid}}, sudoer(name)
	}
	return unit.User{UID: uid, GID: gid, Groups: []int{gid}, NoNewPrivs: true}, nil
}

// accountName is at most 32 bytes and tells unit from unit.
func accountName(u names.Unit) string {
	sum := sha256.Sum256([]byte(u))
	name := "scarab-" + strings.ReplaceAll(string(u), "/", "-")
	if len(name) > 32 {
		name = name[:23] + "-" + hex.EncodeToString(sum[:4])
	}
	return name
}

func sudoer(name string) error {
	const dir = "/etc/sudoers.d"
	if _, err := os.Stat(dir); err != nil {
		return fmt.Errorf("cannot let %s use sudo: %w", name, err)
	}
	return writeAtomic(filepath.Join(dir, name), []byte(name+" ALL=(ALL) NOPASSWD: ALL\n"), 0o440)
}
