package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/cli/store"
)

// TestMain is also the writer that the kill test runs and kills.
func TestMain(m *testing.M) {
	if dir := os.Getenv("STORE_TEST_WRITE"); dir != "" {
		write(dir)
		return
	}
	os.Exit(m.Run())
}

func write(dir string) {
	st, err := store.New(store.Config{Dir: dir, UID: os.Geteuid()})
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	fmt.Println("ready")
	for i := 0; ; i++ {
		name := fmt.Sprintf("c%d", i%3)
		c := store.Controller{UUID: fmt.Sprint("u", i), Endpoints: []string{"10.0.0.1:17070"}, Cloud: strings.Repeat("x", i%5000)}
		err := errors.Join(st.SetController(ctx, name, c, true), st.SetAccount(ctx, name, store.Account{User: "admin", Password: store.NewPassword(fmt.Sprint(i))}),
			st.SetModel(ctx, name, "admin/m", store.Model{UUID: fmt.Sprint(i)}, true))
		if err != nil {
			fmt.Println(err)
			os.Exit(3)
		}
		if i%5 == 4 {
			if err := st.RemoveController(ctx, name); err != nil {
				fmt.Println(err)
				os.Exit(3)
			}
		}
	}
}

func open(t *testing.T) (*store.Store, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	st, err := store.New(store.Config{Dir: dir, UID: os.Geteuid()})
	if err != nil {
		t.Fatal(err)
	}
	return st, dir
}

func keep(t *testing.T, st *store.Store, name string) {
	t.Helper()
	ctx := context.Background()
	err := errors.Join(st.SetController(ctx, name, store.Controller{UUID: "u-" + name, Endpoints: []string{"10.0.0.9:17070"}}, false),
		st.SetAccount(ctx, name, store.Account{User: "bob", Password: store.NewPassword("pw-" + name)}),
		st.SetModel(ctx, name, "bob/dev", store.Model{UUID: "m-" + name, Type: "iaas"}, true))
	if err != nil {
		t.Fatal(err)
	}
}

func TestKilledWriterLosesNothing(t *testing.T) {
	st, dir := open(t)
	keep(t, st, "other")
	rounds := 60
	if testing.Short() {
		rounds = 10
	}
	for i := range rounds {
		killWriter(t, dir, time.Duration(i*i%37)*time.Millisecond/2)
		all, _, err := st.Controllers()
		if err != nil {
			t.Fatalf("round %d: %v", i, err)
		}
		if all["other"].UUID != "u-other" {
			t.Fatalf("round %d: the other controller is lost", i)
		}
		a, err := st.Account("other")
		if err != nil || a.Password.Reveal() != "pw-other" {
			t.Fatalf("round %d: account %v, %v", i, a, err)
		}
		if m, cur, err := st.Models("other"); err != nil || m["bob/dev"].UUID != "m-other" || cur != "bob/dev" {
			t.Fatalf("round %d: models %v %q %v", i, m, cur, err)
		}
	}
	keep(t, st, "after") // the lock of the dead does not hold
}

func killWriter(t *testing.T, dir string, after time.Duration) {
	t.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), "STORE_TEST_WRITE="+dir)
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	first := make([]byte, 5)
	if _, err := out.Read(first); err != nil || string(first) != "ready" {
		t.Fatalf("the writer said %q, %v", first, err)
	}
	timer := time.NewTimer(after)
	<-timer.C
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err != nil && c.ProcessState.ExitCode() == 3 {
		t.Fatalf("the writer failed: %v", err)
	}
}

func TestEveryTruncationIsNoticed(t *testing.T) {
	st, dir := open(t)
	keep(t, st, "one")
	keep(t, st, "two")
	path := filepath.Join(dir, "controllers.yaml")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for n := range len(whole) {
		if err := os.WriteFile(path, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		all, _, err := st.Controllers()
		var broken *store.BrokenError
		if !errors.As(err, &broken) {
			t.Fatalf("cut to %d of %d bytes: read %d controllers, error %v", n, len(whole), len(all), err)
		}
		if broken.Path != path || !strings.Contains(broken.Advice(), "repair-client-files") {
			t.Fatalf("cut to %d: %v", n, broken)
		}
		// A broken file is not overwritten by the next change.
		if err := st.SetCurrentController(context.Background(), "one"); err == nil {
			t.Fatal("a broken file was changed")
		}
	}
	done, err := st.Repair(context.Background(), time.Unix(0, 0))
	if err != nil || len(done) != 1 {
		t.Fatalf("repaired %v, %v", done, err)
	}
	if all, _, err := st.Controllers(); err != nil || len(all) != 2 {
		t.Fatalf("after the repair: %v, %v", all, err)
	}
	if back, err := os.ReadFile(path); err != nil || !bytes.Equal(back, whole) {
		t.Fatalf("after the repair the file differs: %v", err)
	}
}

func TestForeignOwnerIsRefused(t *testing.T) {
	_, dir := open(t)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	st, err := store.New(store.Config{Dir: dir, UID: os.Geteuid() + 1})
	if err != nil {
		t.Fatal(err)
	}
	var unsafe *store.UnsafeError
	if _, _, err := st.Controllers(); !errors.As(err, &unsafe) || !strings.Contains(err.Error(), "belongs to user id") {
		t.Fatalf("error %v", err)
	}
}

func TestModesOfWhatIsWritten(t *testing.T) {
	st, dir := open(t)
	keep(t, st, "one")
	if _, err := st.SSHKey(context.Background()); err != nil {
		t.Fatal(err)
	}
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		want := os.FileMode(0o600)
		if info.IsDir() {
			want = 0o700
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %v", path, info.Mode().Perm())
		}
		if strings.Contains(path, ".new-") {
			t.Errorf("%s was left over", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestWritersDoNotInterleave(t *testing.T) {
	st, _ := open(t)
	var wg sync.WaitGroup
	errs := make(chan error, 8)
	for i := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			errs <- st.SetController(context.Background(), fmt.Sprint("c", i), store.Controller{UUID: fmt.Sprint(i), Endpoints: []string{"x:1"}}, false)
		}()
	}
	wg.Wait()
	for range 8 {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	if all, _, err := st.Controllers(); err != nil || len(all) != 8 {
		t.Fatalf("%d controllers, %v", len(all), err)
	}
}

func TestSSHKeyStays(t *testing.T) {
	st, _ := open(t)
	one, err := st.SSHKey(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	two, err := st.SSHKey(context.Background())
	if err != nil || one != two || !strings.HasPrefix(one.Public, "ssh-ed25519 ") {
		t.Fatalf("%v then %v, %v", one, two, err)
	}
}

func TestPasswordDoesNotPrint(t *testing.T) {
	a := store.Account{User: "u", Password: store.NewPassword("s3cret")}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(verb, a); strings.Contains(text, "s3cret") {
			t.Errorf("%s prints it: %s", verb, text)
		}
	}
}

func TestUnknownKeysStay(t *testing.T) {
	st, dir := open(t)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	text := "# mine\ncontrollers:\n  one:\n    uuid: u\n    api-endpoints: ['a:1']\n    ca-cert: \"\"\n    proxy-config: {type: x, config: {a: b}}\n  two: {uuid: v, api-endpoints: ['b:1'], odd: 1}\nextra: {k: v}\n"
	if err := os.WriteFile(filepath.Join(dir, "controllers.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := st.SetController(context.Background(), "one", store.Controller{UUID: "u", Endpoints: []string{"c:1"}}, true); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(dir, "controllers.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"proxy-config:", "odd: 1", "extra: {k: v}", "c:1", "current-controller: one", "# mine"} {
		if !strings.Contains(string(got), want) {
			t.Errorf("%q is lost:\n%s", want, got)
		}
	}
}
