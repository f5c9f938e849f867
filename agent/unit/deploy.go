package unit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/scarab-ops/scarab/agent/unit/charmfiles"
	"github.com/scarab-ops/scarab/agent/unit/journal"
	"github.com/scarab-ops/scarab/wire/agentapi"
)

// maxCharm bounds an archive.
const maxCharm = 2 << 30

// deploy fetches a charm, checks it, and puts it in place. It can be repeated
// from the start at any moment.
func (a *Agent) deploy(ctx context.Context, e journal.Entry) error {
	c := e.Op.Charm
	a.agent(ctx, "executing", "fetching charm "+c.URL)
	if err := a.deployCharm(ctx, e); err != nil {
		if ctx.Err() == nil && a.local.Installed {
			a.agent(ctx, "error", "upgrade failed")
		}
		return fmt.Errorf("cannot deploy charm %s: %w", c.URL, err)
	}
	a.logf("INFO", "deployed charm %s", c.URL)
	return nil
}

func (a *Agent) deployCharm(ctx context.Context, e journal.Entry) error {
	c := e.Op.Charm
	same := c.URL == a.local.Charm.URL && c.SHA256 == a.local.Charm.SHA256
	var archive string
	if !same {
		var err error
		if archive, err = a.fetch(ctx, c.URL, c.SHA256); err != nil {
			return err
		}
		defer func() { _ = os.Remove(archive) }()
	}
	args := agentapi.CommitArgs{OpID: e.ID, RelationID: -1, CharmURL: c.URL}
	if err := a.cfg.Controller.Commit(ctx, args); err != nil {
		return err
	}
	if same { // only a resource changed
		return nil
	}
	state := filepath.Join(a.stateDir(), "deployer")
	if err := os.MkdirAll(state, 0o700); err != nil {
		return err
	}
	if err := a.cfg.Unpack(archive, a.charmDir(), state); err != nil {
		return err
	}
	if a.cfg.User.UID == 0 {
		return nil
	}
	// Units whose charms do not run as root are kept from each other by
	// ownership, wherever their processes run.
	if err := charmfiles.Own(a.charmDir(), a.cfg.User.UID, a.cfg.User.GID); err != nil {
		return err
	}
	return os.Chmod(a.charmDir(), 0o700)
}

// fetch downloads an archive and believes it only by its digest.
func (a *Agent) fetch(ctx context.Context, url, digest string) (string, error) {
	f, err := os.CreateTemp(a.stateDir(), "charm-*.part")
	if err != nil {
		return "", err
	}
	h := sha256.New()
	err = a.cfg.Controller.Charm(ctx, url, digest, &capped{w: io.MultiWriter(f, h), left: maxCharm})
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if got := hex.EncodeToString(h.Sum(nil)); err == nil && got != digest {
		err = fmt.Errorf("its SHA-256 is %s, not %s", got, digest)
	}
	if err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

type capped struct {
	w    io.Writer
	left int64
}

func (c *capped) Write(p []byte) (int, error) {
	if int64(len(p)) > c.left {
		return 0, fmt.Errorf("it is larger than %d bytes", int64(maxCharm))
	}
	c.left -= int64(len(p))
	return c.w.Write(p)
}
