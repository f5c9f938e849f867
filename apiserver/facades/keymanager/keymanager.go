// Package keymanager serves the facade KeyManager: the SSH keys that open the
// machines of a model. It takes plain public keys only: no options, no
// commands, one on each line, so that no key can bring another along.
package keymanager

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/scarab-ops/scarab/apiserver/facade"
	"github.com/scarab-ops/scarab/authz"
	"github.com/scarab-ops/scarab/domain/block"
	"github.com/scarab-ops/scarab/domain/model"
	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/wire"
	wirekm "github.com/scarab-ops/scarab/wire/keymanager"
)

// A Service is what the facade needs: nothing but the call's own state.
type Service struct{}

// setting is where a model keeps its keys, one on each line.
const setting = "authorized-keys"

// Bounds.
const (
	maxKeys = 200
	maxKey  = 16 << 10
)

// Endpoints binds the facade.
func Endpoints(s Service) ([]facade.Endpoint, error) {
	read, admin := authz.OnModel(authz.Admin).Reads(), authz.OnModel(authz.Admin).Changes()
	return facade.Bind(facade.Facade[Service]{Name: "KeyManager", Version: 1, Methods: []facade.Method[Service]{
		facade.One("ListKeys", read, list),
		facade.One("AddKeys", admin, add),
		facade.One("DeleteKeys", admin, remove),
		facade.One("ImportKeys", admin, imports),
	}}, s)
}

type key struct{ line, fingerprint, md5, comment string }

// parse reads one public key and prints it anew, so that nothing but the key
// and its comment is kept.
func parse(line string) (key, error) {
	if len(line) > maxKey || strings.ContainsAny(line, "\r\n\x00") {
		return key{}, errors.New("cannot read SSH key: give one key on one line")
	}
	pub, comment, options, _, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil {
		return key{}, fmt.Errorf("cannot read SSH key %.40q: not a public key", line)
	}
	if len(options) > 0 {
		return key{}, fmt.Errorf("cannot take SSH key %.40q: it has options", line)
	}
	text := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(pub)))
	if comment != "" {
		text += " " + comment
	}
	return key{text, ssh.FingerprintSHA256(pub), ssh.FingerprintLegacyMD5(pub), comment}, nil
}

// keys reads the keys of a model; lines that are none are passed over.
func keys(r state.Reader, m model.Row) ([]key, error) {
	cfg, err := model.EffectiveConfig(r, m)
	if err != nil {
		return nil, err
	}
	var out []key
	for line := range strings.SplitSeq(cfg.String(setting), "\n") {
		if k, err := parse(line); err == nil {
			out = append(out, k)
		}
	}
	return out, nil
}

func list(_ Service, c facade.Call, a wirekm.ListSSHKeys) (wire.StringsResults, error) {
	m, err := model.Get(c.View(), c.Caller.Model)
	if err != nil {
		return wire.StringsResults{}, err
	}
	ks, err := keys(c.View(), m)
	if err != nil {
		return wire.StringsResults{}, err
	}
	shown := []string{}
	for _, k := range ks {
		switch {
		case a.Mode:
			shown = append(shown, k.line)
		case k.comment != "":
			shown = append(shown, k.fingerprint+" ("+k.comment+")")
		default:
			shown = append(shown, k.fingerprint)
		}
	}
	n := len(a.Entities.Entities)
	if n > 100 {
		return wire.StringsResults{}, &facade.BadRequest{Reason: "cannot list keys of more than 100 users at once"}
	}
	out := wire.StringsResults{Results: make([]wire.StringsResult, n)}
	for i := range out.Results {
		out.Results[i].Result = shown
	}
	return out, nil
}

// change gives f the keys of the model and one text after another, and stores
// what it leaves.
func change(c facade.Call, texts []string, f func(all []key, text string) ([]key, error)) (wire.ErrorResults, error) {
	if len(texts) > maxKeys {
		return wire.ErrorResults{}, &facade.BadRequest{Reason: fmt.Sprintf("cannot change more than %d keys at once", maxKeys)}
	}
	out := wire.ErrorResults{Results: make([]wire.ErrorResult, len(texts))}
	err := c.Update(func(tx *state.Tx) error {
		m, err := model.Get(tx, c.Caller.Model) // who helps a dying model on logs in there
		if err != nil {
			return err
		}
		if err := block.Check(tx, model.ScopeOf(m.UUID), block.Change); err != nil {
			return err
		}
		all, err := keys(tx, m)
		if err != nil {
			return err
		}
		for i, text := range texts {
			left, err := f(all, text)
			out.Results[i].Error = facade.ToWire(err)
			if err == nil {
				all = left
			}
		}
		if len(all) > maxKeys {
			return &facade.BadRequest{Reason: fmt.Sprintf("cannot keep more than %d keys in a model", maxKeys)}
		}
		lines := make([]string, len(all))
		for i, k := range all {
			lines[i] = k.line
		}
		return model.SetConfig(tx, m, map[string]string{setting: strings.Join(lines, "\n")}, nil)
	})
	return out, err
}

func add(_ Service, c facade.Call, a wirekm.ModifyUserSSHKeys) (wire.ErrorResults, error) {
	return change(c, a.SSHKeys, func(all []key, text string) ([]key, error) {
		k, err := parse(text)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(all, func(o key) bool { return o.fingerprint == k.fingerprint }) {
			return nil, fmt.Errorf("cannot add SSH key: %s is there already", k.fingerprint)
		}
		return append(slices.Clone(all), k), nil
	})
}

func remove(_ Service, c facade.Call, a wirekm.ModifyUserSSHKeys) (wire.ErrorResults, error) {
	return change(c, a.SSHKeys, func(all []key, text string) ([]key, error) {
		left := slices.DeleteFunc(slices.Clone(all), func(k key) bool {
			return text == k.fingerprint || text == k.md5 || text != "" && text == k.comment || text == k.line
		})
		if len(left) == len(all) {
			return nil, fmt.Errorf("cannot remove SSH key: there is none with fingerprint or comment %.80q", text)
		}
		return left, nil
	})
}

type noImportError struct{}

func (noImportError) Error() string {
	return "cannot import SSH keys: this controller does not fetch from outside: add the keys themselves"
}
func (noImportError) Code() string { return "not supported" }

func imports(_ Service, _ facade.Call, a wirekm.ModifyUserSSHKeys) (wire.ErrorResults, error) {
	return wire.ErrorResults{}, noImportError{}
}
