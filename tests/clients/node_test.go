package clients

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/scarab-ops/scarab/tests/cluster"
)

// install puts the pinned packages into node_modules, once for each lock file.
var install = sync.OnceValue(func() error {
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			return errors.New("cannot run the JavaScript client: " + tool + " is missing; run `make setup-test` as root, or install " + tool)
		}
	}
	lock, err := os.ReadFile("package-lock.json")
	if err != nil {
		return err
	}
	sum := sha256.Sum256(lock)
	mark, digest := filepath.Join("node_modules", ".installed"), hex.EncodeToString(sum[:])
	if have, err := os.ReadFile(mark); err == nil && string(have) == digest {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund").CombinedOutput()
	if err != nil {
		return errors.New("cannot install the JavaScript client with npm: " + err.Error() + "\n" + string(out))
	}
	return os.WriteFile(mark, []byte(digest), 0o600)
})

// A node is one process that runs the JavaScript client.
type node struct {
	t  testing.TB
	in io.Writer

	mu      sync.Mutex
	next    int
	waiting map[int]chan answer
	ended   chan struct{}
}

type answer struct {
	ID     int             `json:"id"`
	Result json.RawMessage `json:"result"`
	Error  string          `json:"error"`
}

// start runs the client, which trusts the controller's CA and nothing less
// than a verified name.
func start(t testing.TB, c *cluster.Cluster) *node {
	t.Helper()
	if err := install(); err != nil {
		t.Fatal(err)
	}
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, []byte(c.CACert), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("node", "driver.mjs")
	cmd.Env = append(os.Environ(), "NODE_EXTRA_CA_CERTS="+ca, "NODE_TLS_REJECT_UNAUTHORIZED=1", "NO_COLOR=1")
	var noise strings.Builder
	cmd.Stderr = &noise
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	n := &node{t: t, in: in, waiting: map[int]chan answer{}, ended: make(chan struct{})}
	go n.read(out)
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Process.Kill()
		<-n.ended
		_ = cmd.Wait() // it was killed
		if t.Failed() {
			t.Log("node wrote:", noise.String())
		}
	})
	return n
}

func (n *node) read(out io.Reader) {
	defer close(n.ended)
	lines := bufio.NewScanner(out)
	lines.Buffer(make([]byte, 64<<10), 16<<20)
	for lines.Scan() {
		var a answer
		if err := json.Unmarshal(lines.Bytes(), &a); err != nil {
			n.t.Errorf("node wrote %q: %v", lines.Text(), err)
			continue
		}
		n.mu.Lock()
		ch := n.waiting[a.ID]
		delete(n.waiting, a.ID)
		n.mu.Unlock()
		if ch != nil {
			ch <- a
		}
	}
}

// do passes one command and waits for its answer.
func (n *node) do(op string, args map[string]any) (json.RawMessage, error) {
	command := map[string]any{"op": op}
	for k, v := range args {
		command[k] = v
	}
	ch := make(chan answer, 1)
	n.mu.Lock()
	n.next++
	command["id"] = n.next
	n.waiting[n.next] = ch
	line, err := json.Marshal(command)
	if err == nil {
		_, err = n.in.Write(append(line, '\n'))
	}
	n.mu.Unlock()
	if err != nil {
		return nil, err
	}
	select {
	case a := <-ch:
		if a.Error != "" {
			return nil, errors.New(a.Error)
		}
		return a.Result, nil
	case <-n.ended:
		return nil, errors.New("node has ended")
	case <-time.After(time.Minute):
		return nil, errors.New("no answer from the JavaScript client after a minute")
	}
}

// A conn is one connection of the JavaScript client.
type conn struct {
	n        *node
	name     string
	Info     loginInfo      `json:"info"`
	Versions map[string]int `json:"versions"`
}

type loginInfo struct {
	ControllerTag string `json:"controllerTag"`
	ServerVersion string `json:"serverVersion"`
	Servers       [][]struct {
		Value, Scope string
		Port         int
	} `json:"servers"`
	User struct {
		Identity         string `json:"identity"`
		ControllerAccess string `json:"controller-access"`
		ModelAccess      string `json:"model-access"`
	} `json:"user"`
}

// open connects and logs in.
func (n *node) open(name, url, user, password string) (*conn, error) {
	if _, err := n.do("connect", map[string]any{"name": name, "url": url}); err != nil {
		return nil, err
	}
	raw, err := n.do("login", map[string]any{"name": name, "username": user, "password": password})
	if err != nil {
		return nil, err
	}
	c := &conn{n: n, name: name}
	return c, json.Unmarshal(raw, c)
}

// mustOpen is open for logins that have to succeed.
func (n *node) mustOpen(name, url, user, password string) *conn {
	n.t.Helper()
	c, err := n.open(name, url, user, password)
	if err != nil {
		n.t.Fatalf("%s cannot log in at %s: %v", user, url, err)
	}
	return c
}

// try calls a method of a facade.
func (c *conn) try(facade, method string, params any) (json.RawMessage, error) {
	return c.n.do("call", map[string]any{"name": c.name, "facade": facade, "method": method, "params": params})
}

// call calls a method that has to succeed and decodes its answer.
func (c *conn) call(facade, method string, params, result any) {
	c.n.t.Helper()
	raw, err := c.try(facade, method, params)
	if err != nil {
		c.n.t.Fatalf("%s.%s: %v", facade, method, err)
	}
	if result == nil {
		return
	}
	if err := json.Unmarshal(raw, result); err != nil {
		c.n.t.Fatalf("%s.%s answered %s: %v", facade, method, raw, err)
	}
}
