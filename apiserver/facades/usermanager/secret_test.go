package usermanager

import (
	"bytes"
	"testing"

	"github.com/scarab-ops/scarab/apiserver/facades/facadetest"
	"github.com/scarab-ops/scarab/domain/user"
	"github.com/scarab-ops/scarab/password"
	"github.com/scarab-ops/scarab/state"
)

func TestPasswordsAreStoredAsHashesOnly(t *testing.T) {
	w := facadetest.New(t)
	s := w.Session("eve", "")
	const marker = "canary-91bc-password"
	if _, err := w.Call(s, endpoints(t, w), "UserManager.3.SetPassword", "", `{"changes":[{"tag":"user-eve","password":"`+marker+`"}]}`); err != nil {
		t.Fatal(err)
	}
	var dump bytes.Buffer
	if err := w.Store.View().Dump(&dump); err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(dump.Bytes(), []byte(marker)) {
		t.Error("the password is in the store")
	}
	row, err := user.Table.Get(w.Store.View(), state.Controller, "eve")
	if err != nil {
		t.Fatal(err)
	}
	if !password.Hash(row.Verifier).Matches(password.NewSecret(marker)) || row.Generation != 1 {
		t.Errorf("generation %d; the stored hash does not match the password", row.Generation)
	}
}
