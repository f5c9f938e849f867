package sealed_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/scarab-ops/scarab/state"
	"github.com/scarab-ops/scarab/state/sealed"
)

type secret struct{ ID, Text string }

var (
	secrets = sealed.Table[secret]{Kind: "secret-content", ID: func(s secret) string { return s.ID }}
	tokens  = sealed.Table[secret]{Kind: "token", ID: func(s secret) string { return s.ID }}
	model   = state.Model("m1")
)

const needle = "hunter2-hunter2"

func newKey(t *testing.T) sealed.Key {
	t.Helper()
	k, err := sealed.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func newBox(t *testing.T, key sealed.Key, older ...sealed.Key) *sealed.Box {
	t.Helper()
	b, err := sealed.NewBox(key, older...)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func newStore(t *testing.T) *state.Store {
	t.Helper()
	s, err := state.Open(t.Context(), state.NewMem())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func update(t *testing.T, s *state.Store, f func(*state.Tx) error) {
	t.Helper()
	if err := s.Update(t.Context(), f); err != nil {
		t.Fatal(err)
	}
}

func TestTable(t *testing.T) {
	b, s := newBox(t, newKey(t)), newStore(t)
	update(t, s, func(tx *state.Tx) error {
		if err := secrets.Put(tx, b, model, secret{"a", needle}); err != nil {
			return err
		}
		return secrets.Put(tx, b, model, secret{"b", ""})
	})
	got, err := secrets.Get(s.View(), b, model, "a")
	if err != nil || got.Text != needle {
		t.Fatalf("got %v, %v", got, err)
	}
	var dump bytes.Buffer
	if err := s.View().Dump(&dump); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(dump.String(), "hunter") || !strings.Contains(dump.String(), "Ciphertext") {
		t.Errorf("the view shows %s", dump.String())
	}
	n := 0
	for v, err := range secrets.All(s.View(), b, model) {
		if err != nil || v.ID == "" {
			t.Error(v, err)
		}
		n++
	}
	if n != 2 {
		t.Errorf("%d rows, want 2", n)
	}
	var missing *state.NotFoundError
	if _, err := secrets.Get(s.View(), b, model, "c"); !errors.As(err, &missing) {
		t.Errorf("absent row: %v", err)
	}
	update(t, s, func(tx *state.Tx) error { return secrets.Delete(tx, model, "a") })
	if secrets.Has(s.View(), model, "a") {
		t.Error("deleted row is still there")
	}
}

// TestTampered moves and changes ciphertexts in every way that somebody with
// write access to the store could.
func TestTampered(t *testing.T) {
	b, s := newBox(t, newKey(t)), newStore(t)
	other := state.Model("m2")
	fill := func(tx *state.Tx) error {
		return errors.Join(
			secrets.Put(tx, b, model, secret{"a", needle}), secrets.Put(tx, b, model, secret{"b", needle}),
			secrets.Put(tx, b, other, secret{"a", needle}), tokens.Put(tx, b, model, secret{"a", needle}))
	}
	row := func(tab sealed.Table[secret], sc state.Scope, id string) sealed.Row {
		r, err := tab.Rows().Get(s.View(), sc, id)
		if err != nil {
			t.Fatal(err)
		}
		r.ID, r.Nonce, r.Ciphertext = "a", bytes.Clone(r.Nonce), bytes.Clone(r.Ciphertext)
		return r
	}
	for name, change := range map[string]func() sealed.Row{
		"another id":    func() sealed.Row { return row(secrets, model, "b") },
		"another model": func() sealed.Row { return row(secrets, other, "a") },
		"another kind":  func() sealed.Row { return row(tokens, model, "a") },
		"bit":           func() sealed.Row { r := row(secrets, model, "a"); r.Ciphertext[3] ^= 1; return r },
		"nonce":         func() sealed.Row { r := row(secrets, model, "a"); r.Nonce[0] ^= 1; return r },
		"short nonce":   func() sealed.Row { r := row(secrets, model, "a"); r.Nonce = r.Nonce[1:]; return r },
		"cut":           func() sealed.Row { r := row(secrets, model, "a"); r.Ciphertext = r.Ciphertext[:8]; return r },
		"empty":         func() sealed.Row { r := row(secrets, model, "a"); r.Ciphertext, r.Nonce = nil, nil; return r },
	} {
		t.Run(name, func(t *testing.T) {
			update(t, s, fill)
			r := change()
			update(t, s, func(tx *state.Tx) error { return secrets.Rows().Put(tx, model, r) })
			_, err := secrets.Get(s.View(), b, model, "a")
			var tampered *sealed.TamperedError
			if !errors.Is(err, sealed.ErrTampered) || !errors.As(err, &tampered) || tampered.Name.ID != "a" {
				t.Fatalf("opened: %v", err)
			}
			if msg := err.Error(); !strings.Contains(msg, `secret-content "a"`) || strings.Contains(msg, "hunter") {
				t.Errorf("message %q", msg)
			}
		})
	}
}

func TestNames(t *testing.T) {
	b := newBox(t, newKey(t))
	e, err := b.Seal(sealed.Name{Scope: "c", Kind: "ab", ID: "c"}, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Open(sealed.Name{Scope: "ca", Kind: "ab", ID: ""}, e); !errors.Is(err, sealed.ErrTampered) {
		t.Errorf("names with the same letters are the same: %v", err)
	}
	again, err := b.Seal(sealed.Name{Scope: "c", Kind: "ab", ID: "c"}, []byte("x"))
	if err != nil || bytes.Equal(e.Nonce, again.Nonce) || bytes.Equal(e.Ciphertext, again.Ciphertext) {
		t.Errorf("sealing twice gives the same: %v", err)
	}
	if _, err := b.Seal(sealed.Name{Scope: "c", Kind: "k", ID: "i"}, make([]byte, sealed.MaxPlaintext+1)); !errors.Is(err, state.ErrTooLarge) {
		t.Errorf("too much: %v", err)
	}
	big := secret{"big", strings.Repeat("y", sealed.MaxPlaintext-100)}
	s := newStore(t)
	update(t, s, func(tx *state.Tx) error { return secrets.Put(tx, b, model, big) })
}

func TestRotation(t *testing.T) {
	k1, k2 := newKey(t), newKey(t)
	b1, s := newBox(t, k1), newStore(t)
	update(t, s, func(tx *state.Tx) error {
		return errors.Join(secrets.Put(tx, b1, model, secret{"a", needle}), secrets.Put(tx, b1, model, secret{"b", needle}))
	})
	var unknown *sealed.UnknownKeyError
	if _, err := secrets.Get(s.View(), newBox(t, k2), model, "a"); !errors.As(err, &unknown) || unknown.KeyID != b1.KeyID() {
		t.Errorf("wrong key: %v", err)
	}
	both := newBox(t, k2, k1)
	for _, want := range []int{1, 1, 0} {
		update(t, s, func(tx *state.Tx) error {
			n, err := secrets.Reseal(tx, both, model, 1)
			if n != want {
				t.Errorf("resealed %d, want %d", n, want)
			}
			return err
		})
	}
	if v, err := secrets.Get(s.View(), newBox(t, k2), model, "b"); err != nil || v.Text != needle {
		t.Errorf("after rotation: %v, %v", v, err)
	}
	from, err := sealed.KeyFromBytes(bytes.Repeat([]byte{7}, 32))
	if err != nil || newBox(t, from).KeyID() == both.KeyID() {
		t.Errorf("key from bytes: %v", err)
	}
	if _, err := sealed.KeyFromBytes(make([]byte, 31)); err == nil {
		t.Error("a short key was accepted")
	}
	if _, err := sealed.NewBox(sealed.Key{}); err == nil {
		t.Error("an empty key was accepted")
	}
}

func TestKeyFile(t *testing.T) {
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	file := filepath.Join(dir, "unseal.key")
	if _, err := sealed.Open(sealed.Config{KeyFile: file, DataDir: data}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("absent file: %v", err)
	}
	b1, err := sealed.Open(sealed.Config{KeyFile: file, DataDir: data, Create: true})
	if err != nil {
		t.Fatal(err)
	}
	b2, err := sealed.Open(sealed.Config{KeyFile: file, DataDir: data, Create: true})
	if err != nil || b1.KeyID() != b2.KeyID() {
		t.Errorf("opened again: %v", err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	refuse := func(name, part string, cfg sealed.Config) {
		t.Helper()
		if _, err := sealed.Open(cfg); err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%s: %v, want %q", name, err, part)
		}
	}
	write := func(name string, content []byte, mode os.FileMode) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, content, mode); err != nil {
			t.Fatal(err)
		}
		return p
	}
	refuse("open mode", "chmod", sealed.Config{KeyFile: write("open", raw, 0o640)})
	refuse("damaged", "damaged", sealed.Config{KeyFile: write("short", raw[:len(raw)-8], 0o600)})
	refuse("empty", "damaged", sealed.Config{KeyFile: write("empty", nil, 0o600), Create: true})
	refuse("directory", "regular", sealed.Config{KeyFile: dir})
	refuse("relative", "absolute", sealed.Config{KeyFile: "key"})
	refuse("beside the data", "data directory", sealed.Config{KeyFile: file, DataDir: dir})
	link := filepath.Join(dir, "link")
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	refuse("link", "cannot open", sealed.Config{KeyFile: link})
}

func TestKeyDoesNotPrint(t *testing.T) {
	k := newKey(t)
	b := newBox(t, k)
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "key", k, "box", b)
	for _, s := range []string{
		fmt.Sprint(k), fmt.Sprintf("%v %+v %#v %s %x %d", k, k, k, k, k, k), fmt.Sprintf("%v %#v %+v", b, b, struct{ K sealed.Key }{k}), log.String(),
	} {
		if strings.Count(s, "[unseal key]") == 0 || strings.Contains(s, "0x") || strings.Contains(s, "set") {
			t.Errorf("printed %s", s)
		}
	}
	if out, err := json.Marshal(k); err == nil {
		t.Errorf("marshalled to %s", out)
	}
	//lint:ignore SA9005 that nothing comes out is the point
	if out, err := json.Marshal(b); err == nil && //nolint:staticcheck // as said
		strings.Trim(string(out), "{}") != "" {
		t.Errorf("marshalled to %s", out)
	}
}
