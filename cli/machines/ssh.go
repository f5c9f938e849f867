package machines

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"

	"github.com/scarab-ops/scarab/cli/session"
	"github.com/scarab-ops/scarab/cli/store"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/wire"
	"github.com/scarab-ops/scarab/wire/keymanager"
	"github.com/scarab-ops/scarab/wire/sshclient"
)

type sshFlags struct {
	noHostKeys, proxy bool
	pty               string
}

func sshCommand(s *session.Session) *cobra.Command {
	var f sshFlags
	c := s.Command(session.Spec{
		Use: "ssh [USER@]MACHINE|UNIT [SSH-OPTIONS...] [COMMAND...]", Short: "Open a shell on a machine, or run a command there", Group: group, Scope: session.OnModel, Min: 1, Max: -1,
		Long: `
Starts the system's ssh program with the client's own key. The host keys come from the controller, over the connection that is already
trusted; a machine that shows another key is refused.`,
		Example: "scarab ssh mysql/0\nscarab ssh 3 -- sudo systemctl status\nscarab ssh mysql/0 -L 8080:localhost:80\nscarab ssh mysql/leader",
	}, func(ctx context.Context, args []string) error {
		own, command, err := programOptions(args[1:], sshValues)
		if err != nil {
			return err
		}
		r, err := newRemote(ctx, s, f)
		if err != nil {
			return err
		}
		t, err := r.target(ctx, args[0])
		if err != nil {
			return err
		}
		defer r.close()
		argv, err := r.options([]endpoint{t})
		if err != nil {
			return err
		}
		if tty := f.pty; tty == "true" || (tty == "" && len(command) > 0 && s.Term().StdinIsTerminal() && s.Term().StdoutIsTerminal()) {
			argv = append(argv, "-t")
		}
		argv = append(append(argv, "-l", t.user), own...)
		argv = append(argv, "--", t.address)
		return r.run(ctx, "ssh", append(argv, command...))
	})
	f.register(c)
	c.Flags().StringVar(&f.pty, "pty", "", "Ask for a terminal on the other side (true or false)")
	c.Flags().SetInterspersed(false)
	return c
}

func (f *sshFlags) register(c *cobra.Command) {
	c.Flags().BoolVar(&f.noHostKeys, "no-host-key-checks", false, "Refused: host keys are always checked")
	c.Flags().BoolVar(&f.proxy, "proxy", false, "Go through the controller")
}

func scpCommand(s *session.Session) *cobra.Command {
	var f sshFlags
	var recursive bool
	c := s.Command(session.Spec{
		Names: "file", Use: "scp [-- SCP-OPTIONS...] SOURCE... TARGET", Short: "Copy files to or from machines", Group: group, Scope: session.OnModel, Min: 2, Max: -1,
		Example: "scarab scp ./dump.sql mysql/0:/tmp/\nscarab scp -r mysql/0:/var/log/mysql .\nscarab scp -- -C -l 8000 mysql/0:/srv/big .",
	}, func(ctx context.Context, args []string) error {
		r, err := newRemote(ctx, s, f)
		if err != nil {
			return err
		}
		defer r.close()
		own, args, err := programOptions(args, scpValues)
		if err != nil {
			return err
		}
		var ends []endpoint
		var paths []string
		for _, a := range args {
			host, path, isRemote := strings.Cut(a, ":")
			if !isRemote || strings.HasPrefix(a, "/") || strings.HasPrefix(a, ".") {
				paths = append(paths, s.Path(a))
				continue
			}
			t, err := r.target(ctx, host)
			if err != nil {
				return err
			}
			ends = append(ends, t)
			paths = append(paths, t.user+"@"+bracket(t.address)+":"+path)
		}
		if len(ends) == 0 {
			return &session.Usage{Text: "cannot copy: neither side is a machine or unit; write mysql/0:/path"}
		}
		argv, err := r.options(ends)
		if err != nil {
			return err
		}
		if recursive {
			argv = append(argv, "-r")
		}
		return r.run(ctx, "scp", append(append(append(argv, own...), "--"), paths...))
	})
	f.register(c)
	c.Flags().BoolVarP(&recursive, "recursive", "r", false, "Copy directories")
	return c
}

func bracket(address string) string {
	if strings.Contains(address, ":") {
		return "[" + address + "]"
	}
	return address
}

// endpoint is one machine to reach, with what is known of it.
type endpoint struct {
	user, address string
	keys          []string
}

type remote struct {
	s     *session.Session
	m     *session.Model
	key   store.SSHKey
	hosts string // the private known_hosts file
}

func newRemote(ctx context.Context, s *session.Session, f sshFlags) (*remote, error) {
	if f.noHostKeys {
		return nil, session.Advise(errors.New("cannot connect without checking host keys: the controller knows them, and checking costs nothing"),
			"leave --no-host-key-checks out")
	}
	if f.proxy {
		return nil, errors.New("cannot go through the controller: machines of the local cloud are reached directly; leave --proxy out")
	}
	m, err := s.OpenModel(ctx)
	if err != nil {
		return nil, err
	}
	key, err := s.Store().SSHKey(ctx)
	if err != nil {
		return nil, err
	}
	r := &remote{s: s, m: m, key: key}
	return r, r.allow(ctx)
}

// allow makes sure that the model's machines accept the client's key.
func (r *remote) allow(ctx context.Context) error {
	res, err := session.Do[wire.StringsResults](ctx, r.m, "KeyManager", "ListKeys",
		keymanager.ListSSHKeys{Entities: wire.Entities{Entities: []wire.Entity{{Tag: "admin"}}}, Mode: true})
	if err != nil || len(res.Results) != 1 || res.Results[0].Error != nil {
		r.s.Verbose("cannot see the model's ssh keys; going on with the client's key")
		return nil //nolint:nilerr // the key may be there all the same
	}
	want := strings.Fields(r.key.Public)
	for _, k := range res.Results[0].Result {
		if have := strings.Fields(k); len(have) > 1 && have[1] == want[1] {
			return nil
		}
	}
	added, err := session.Do[wire.ErrorResults](ctx, r.m, "KeyManager", "AddKeys", keymanager.ModifyUserSSHKeys{User: "admin", SSHKeys: []string{r.key.Public}})
	if err == nil {
		err = session.Errors(added.Results, nil)
	}
	if err != nil {
		return session.Advise(fmt.Errorf("cannot let the client's ssh key log in: %w", err), "ask an administrator of the model to add it: scarab add-ssh-key")
	}
	r.s.Info("Added this client's ssh key to model %q.", r.m.Name)
	return nil
}

var userName = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,31}$`)

func (r *remote) target(ctx context.Context, text string) (endpoint, error) {
	e := endpoint{user: "ubuntu"}
	if user, rest, ok := strings.Cut(text, "@"); ok {
		if !userName.MatchString(user) {
			return e, &session.Usage{Text: fmt.Sprintf("cannot log in as %q: it is no user name", user)}
		}
		e.user, text = user, rest
	}
	tag, err := r.tag(ctx, text)
	if err != nil {
		return e, err
	}
	if e.keys, err = r.hostKeys(ctx, tag, text); err != nil {
		return e, err
	}
	e.address, err = r.address(ctx, tag, text)
	return e, err
}

func (r *remote) tag(ctx context.Context, text string) (string, error) {
	if app, ok := strings.CutSuffix(text, "/leader"); ok && names.ValidApplication(app) {
		res, err := session.Do[wire.StringResult](ctx, r.m, "Application", "Leader", wire.Entity{Tag: "application-" + app})
		if err == nil && res.Error != nil {
			err = res.Error
		}
		if err != nil {
			return "", fmt.Errorf("cannot find the leader of %q: %w", app, err)
		}
		text = res.Result
	}
	switch {
	case names.ValidUnit(text):
		return names.Unit(text).Tag().String(), nil
	case names.ValidMachine(text):
		return names.Machine(text).Tag().String(), nil
	}
	return "", &session.Usage{Text: fmt.Sprintf("cannot connect to %q: name a machine or a unit", text)}
}

// hostKeys asks the controller for the keys of a machine, which it learns only when the machine has started.
func (r *remote) hostKeys(ctx context.Context, tag, name string) ([]string, error) {
	p := r.s.Progress()
	defer p.End()
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	for {
		res, err := session.Do[sshclient.SSHPublicKeysResults](ctx, r.m, "SSHClient", "PublicKeys", wire.Entities{Entities: []wire.Entity{{Tag: tag}}})
		if err != nil {
			return nil, fmt.Errorf("cannot read the host keys of %s: %w", name, err)
		}
		one, err := session.One(res.Results, func(x sshclient.SSHPublicKeysResult) *wire.Error { return x.Error })
		if err == nil {
			return checkKeys(one.PublicKeys, name)
		}
		// Waiting is for keys that are not known yet, not for a machine or unit that does not exist.
		absent := strings.HasSuffix(err.Error(), "not found") && strings.Contains(err.Error(), name)
		if !session.IsNotFound(err) || absent {
			return nil, fmt.Errorf("cannot read the host keys of %s: %w", name, err)
		}
		p.Waiting("waiting for the host keys of " + name)
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return nil, session.Advise(fmt.Errorf("cannot read the host keys of %s: %w", name, err), "see what it waits for: scarab why "+name)
		}
	}
}

// checkKeys parses keys and writes them anew, so that nothing else from the wire reaches the known_hosts file.
func checkKeys(lines []string, name string) ([]string, error) {
	var out []string
	for _, l := range lines {
		k, _, _, _, err := ssh.ParseAuthorizedKey([]byte(l))
		if err != nil {
			return nil, fmt.Errorf("cannot read a host key of %s: %w", name, err)
		}
		out = append(out, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(k))))
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("cannot connect to %s: the controller knows no host key of it yet", name)
	}
	return out, nil
}

func (r *remote) address(ctx context.Context, tag, name string) (string, error) {
	res, err := session.Do[sshclient.SSHAddressesResults](ctx, r.m, "SSHClient", "AllAddresses", wire.Entities{Entities: []wire.Entity{{Tag: tag}}})
	if err != nil {
		return "", fmt.Errorf("cannot find the address of %s: %w", name, err)
	}
	one, err := session.One(res.Results, func(x sshclient.SSHAddressesResult) *wire.Error { return x.Error })
	if err != nil {
		return "", fmt.Errorf("cannot find the address of %s: %w", name, err)
	}
	var good []string
	for _, a := range one.Addresses {
		if ip, err := netip.ParseAddr(a); err == nil && !ip.IsLoopback() && !ip.IsUnspecified() && ip.Zone() == "" {
			good = append(good, ip.String())
		}
	}
	if len(good) == 0 {
		return "", session.Advise(fmt.Errorf("cannot connect to %s: it has no address yet", name), "see what it waits for: scarab why "+name)
	}
	return reachable(ctx, good), nil
}

// reachable is the first address whose ssh port answers; one that does not is for ssh to complain about.
func reachable(ctx context.Context, addresses []string) string {
	if len(addresses) == 1 {
		return addresses[0]
	}
	d := net.Dialer{Timeout: 2 * time.Second}
	for _, a := range addresses {
		c, err := d.DialContext(ctx, "tcp", net.JoinHostPort(a, "22"))
		if err == nil {
			_ = c.Close() // it was only to see whether somebody answers
			return a
		}
	}
	return addresses[0]
}

// options writes the private known_hosts file and returns the options that ssh and scp share.
func (r *remote) options(ends []endpoint) ([]string, error) {
	dir, err := r.s.Store().Subdir("ssh")
	if err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(dir, "known_hosts-*")
	if err != nil {
		return nil, fmt.Errorf("cannot write the known host keys: %w", err)
	}
	r.hosts = f.Name()
	for _, e := range ends {
		for _, k := range e.keys {
			if _, err := fmt.Fprintf(f, "%s %s\n", e.address, k); err != nil {
				return nil, fmt.Errorf("cannot write the known host keys: %w", errors.Join(err, f.Close()))
			}
		}
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("cannot write the known host keys: %w", err)
	}
	return []string{
		"-o", "StrictHostKeyChecking=yes", "-o", "UserKnownHostsFile=" + quoted(r.hosts), "-o", "GlobalKnownHostsFile=/dev/null",
		"-o", "PasswordAuthentication=no", "-o", "IdentitiesOnly=yes", "-o", "ServerAliveInterval=30", "-o", "UpdateHostKeys=no", "-i", r.key.Path,
	}, nil
}

// quoted protects blanks in a path inside an ssh option.
func quoted(path string) string {
	if strings.ContainsAny(path, " \t") {
		return `"` + path + `"`
	}
	return path
}

func (r *remote) run(ctx context.Context, program string, argv []string) error {
	path, err := r.s.Programs().Find(program)
	if err != nil {
		return session.Advise(fmt.Errorf("cannot find the program %s: %w", program, err), "install the package openssh-client")
	}
	code, err := r.s.Programs().Run(ctx, path, argv)
	if err != nil {
		return fmt.Errorf("cannot run %s: %w", program, err)
	}
	if code != 0 {
		return &session.ExitError{Code: code}
	}
	return nil
}

func (r *remote) close() {
	if r.hosts != "" {
		os.Remove(r.hosts) //nolint:errcheck // what stays is public and in a private folder
	}
}
