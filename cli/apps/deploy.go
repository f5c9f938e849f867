package apps

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"gopkg.in/yaml.v3"

	"github.com/scarab-ops/scarab/charm"
	"github.com/scarab-ops/scarab/cli/session"
	"github.com/scarab-ops/scarab/cli/values"
	"github.com/scarab-ops/scarab/names"
	"github.com/scarab-ops/scarab/wire"
	"github.com/scarab-ops/scarab/wire/application"
)

type deployFlags struct {
	units                           int
	to, base, channel               string
	constraints, overlay            []string
	revision                        int
	config, bind, storage, resource []string
	attachStorage, device           []string
	trust, dryRun, force            bool
}

func deployCommand(s *session.Session) *cobra.Command {
	var f deployFlags
	c := s.Command(session.Spec{
		Names: "file", Use: "deploy CHARM [APPLICATION]", Short: "Deploy a charm as an application", Group: group, Scope: session.OnModel, Min: 1, Max: 2,
		Long: `
Deploys a local charm: a directory or a .charm file. The application takes the charm's name unless another one is given. Without --to
a clean machine is used or a new one made for every unit.

--config takes key=value (key=@FILE reads the value from a file) or the name of a YAML file with the application's name as its key.`,
		Example: "scarab deploy ./mysql\nscarab deploy ./wordpress_ubuntu-24.04-amd64.charm blog -n 2 --config tuning=fast\n" +
			"scarab deploy ./mysql --to 0 --constraints 'mem=2G cores=2' --trust",
	}, func(ctx context.Context, args []string) error {
		name := ""
		if len(args) == 2 {
			name = args[1]
		}
		return deploy(ctx, s, f, args[0], name)
	})
	fl := c.Flags()
	fl.IntVarP(&f.units, "num-units", "n", 1, "Number of units")
	fl.StringVar(&f.to, "to", "", "Where the units go: ids of machines, separated by commas")
	fl.StringArrayVar(&f.constraints, "constraints", nil, "Constraints of the machines: mem=2G cores=2")
	fl.IntVar(&f.revision, "revision", -1, "Revision of a store charm")
	fl.StringArrayVar(&f.overlay, "overlay", nil, "Overlays of a bundle")
	fl.StringArrayVar(&f.config, "config", nil, "Configuration: key=value or a YAML file")
	fl.StringVar(&f.base, "base", "", "Operating system: debian@12")
	fl.BoolVar(&f.trust, "trust", false, "Let the charm use the cloud's credential")
	fl.StringVar(&f.channel, "channel", "", "Channel of a store charm")
	fl.BoolVar(&f.force, "force", false, "Deploy on a base that the charm does not name")
	fl.BoolVar(&f.dryRun, "dry-run", false, "Only say what would be done")
	fl.StringArrayVar(&f.bind, "bind", nil, "Bind endpoints to spaces")
	fl.StringArrayVar(&f.storage, "storage", nil, "Storage directives")
	fl.StringArrayVar(&f.attachStorage, "attach-storage", nil, "Existing storage to attach")
	fl.StringArrayVar(&f.device, "device", nil, "Device directives")
	fl.StringArrayVar(&f.resource, "resource", nil, "Resources of the charm")
	return c
}

func (f deployFlags) refuse() error {
	if f.revision >= 0 || len(f.overlay) > 0 {
		return errors.New("cannot deploy with --revision or --overlay: these are for charms and bundles of the store, which are not supported; deploy a charm file")
	}
	if f.channel != "" {
		return errors.New("cannot deploy with --channel: a local charm comes from no channel; leave the flag out")
	}
	for flag, set := range map[string]bool{
		"--bind": len(f.bind) > 0, "--storage": len(f.storage) > 0, "--attach-storage": len(f.attachStorage) > 0,
		"--device": len(f.device) > 0, "--resource": len(f.resource) > 0,
	} {
		if set {
			return fmt.Errorf("cannot deploy with %s: the local cloud has one network and no separate storage, devices or resources; leave the flag out", flag)
		}
	}
	if f.units < 0 || f.units > 1000 {
		return &session.Usage{Text: "cannot deploy: --num-units must lie between 0 and 1000"}
	}
	return nil
}

// local tells a path from a charm of the store.
func local(ref string) bool {
	return strings.HasPrefix(ref, ".") || strings.HasPrefix(ref, "/") || strings.HasPrefix(ref, "local:") || strings.HasSuffix(ref, ".charm")
}

func deploy(ctx context.Context, s *session.Session, f deployFlags, ref, name string) error {
	if err := f.refuse(); err != nil {
		return err
	}
	path := s.Path(strings.TrimPrefix(ref, "local:"))
	info, err := os.Stat(path)
	if err != nil {
		if !local(ref) {
			return session.Advise(fmt.Errorf("cannot deploy %q: charms of the store are not supported and there is no such file here", ref),
				"download the charm and deploy the file: scarab deploy ./"+ref+".charm")
		}
		return session.Advise(fmt.Errorf("cannot deploy %q: %w", ref, err), "give the path of a charm's directory or of a .charm file")
	}
	p := s.Progress()
	defer p.End()
	ch, archive, cleanup, err := openCharm(path, info.IsDir(), p)
	if err != nil {
		return err
	}
	defer cleanup()
	plan, err := planDeploy(s, f, ch, name)
	if err != nil {
		return err
	}
	m, err := s.OpenModel(ctx)
	if err != nil {
		return err
	}
	if plan.Placement, err = values.Placements(f.to, m.UUID); err != nil {
		return &session.Usage{Text: err.Error()}
	}
	if f.dryRun {
		s.Info("Would deploy %q from charm %q revision %d with %d units.", plan.Application, ch.Meta.Name, ch.Revision, plan.NumUnits)
		return nil
	}
	up, ok := m.Conn.(session.CharmUploader)
	if !ok {
		return errors.New("cannot deploy: this connection takes no charms")
	}
	p.Report(session.Step{Name: "send the charm"})
	url, err := up.UploadCharm(ctx, ch.Meta.Name, ch.Revision, archive)
	if err != nil {
		return fmt.Errorf("cannot send charm %q: %w", ch.Meta.Name, err)
	}
	p.Report(session.Step{Name: "send the charm", Done: true, Note: url})
	plan.CharmURL = url
	plan.CharmOrigin.Revision = revisionOf(url)
	res, err := session.Do[wire.ErrorResults](ctx, m, "Application", "Deploy", application.ApplicationsDeploy{Applications: []application.ApplicationDeploy{plan}})
	if err == nil {
		err = session.Errors(res.Results, []string{plan.Application})
	}
	if err != nil {
		return optionHint(session.Because(fmt.Sprintf("cannot deploy %q", plan.Application), err), plan.Application)
	}
	on := ""
	if b := deployedBase(ctx, m, plan); b != nil {
		on = " on " + b.Name + "@" + strings.TrimSuffix(b.Channel, "/stable")
	}
	s.Info("Deployed %q from charm %q, revision %d%s. Watch it with: scarab status --watch 2s", plan.Application, ch.Meta.Name, *plan.CharmOrigin.Revision, on)
	return nil
}

// deployedBase is the base that was asked for, or the one that the controller chose; nil if it does not say.
func deployedBase(ctx context.Context, m *session.Model, plan application.ApplicationDeploy) *wire.Base {
	if plan.CharmOrigin.Base != nil {
		return plan.CharmOrigin.Base
	}
	res, err := session.Do[application.ApplicationInfoResults](ctx, m, "Application", "ApplicationsInfo",
		wire.Entities{Entities: []wire.Entity{{Tag: names.Application(plan.Application).Tag().String()}}})
	if err != nil || len(res.Results) != 1 || res.Results[0].Result == nil {
		return nil
	}
	return res.Results[0].Result.Base
}

func revisionOf(url string) *int {
	n := 0
	if i := strings.LastIndex(url, "-"); i >= 0 {
		if v, err := strconv.Atoi(url[i+1:]); err == nil {
			n = v
		}
	}
	return &n
}

func openCharm(path string, dir bool, p *session.Progress) (*charm.Charm, io.ReadSeeker, func(), error) {
	if !dir {
		f, err := os.Open(path)
		if err != nil {
			return nil, nil, nil, fmt.Errorf("cannot open charm %s: %w", path, err)
		}
		ch, err := charm.ReadArchiveFile(path)
		if err != nil {
			f.Close() //nolint:errcheck // read only
			return nil, nil, nil, fmt.Errorf("cannot read charm %s: %w", path, err)
		}
		return ch, f, func() { f.Close() }, nil //nolint:errcheck // read only
	}
	if err := aCharm(path); err != nil {
		return nil, nil, nil, err
	}
	p.Report(session.Step{Name: "pack the charm"})
	tmp, err := os.CreateTemp("", "scarab-charm-*")
	if err != nil {
		return nil, nil, nil, fmt.Errorf("cannot pack the charm: %w", err)
	}
	cleanup := func() { tmp.Close(); os.Remove(tmp.Name()) } //nolint:errcheck // a file that goes away
	ch, warnings, err := packCharm(tmp, path)
	if err != nil {
		cleanup()
		return nil, nil, nil, fmt.Errorf("cannot deploy %s: %w", path, err)
	}
	p.Report(session.Step{Name: "pack the charm", Done: true, Note: strings.Join(warnings, "; ")})
	return ch, tmp, cleanup, nil
}

// aCharm tells a folder that is no charm, and which charms are in it.
func aCharm(dir string) error {
	is := func(d string) bool {
		for _, f := range []string{"metadata.yaml", "charmcraft.yaml"} {
			if _, err := os.Stat(filepath.Join(d, f)); err == nil {
				return true
			}
		}
		return false
	}
	if is(dir) {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("cannot read %s: %w", dir, err)
	}
	var inside []string
	for _, e := range entries {
		if len(inside) < 10 && e.IsDir() && is(filepath.Join(dir, e.Name())) {
			inside = append(inside, filepath.Join(dir, e.Name()))
		}
	}
	err = fmt.Errorf("cannot deploy %s: it is no charm, as it has neither metadata.yaml nor charmcraft.yaml", dir)
	if len(inside) > 0 {
		return session.Advise(err, "there are charms in it, deploy one: scarab deploy "+strings.Join(inside, ", "))
	}
	return session.Advise(err, "give the path of a charm's directory or of a .charm file")
}

func packCharm(tmp *os.File, dir string) (*charm.Charm, []string, error) {
	warnings, err := charm.PackDir(dir, tmp)
	if err != nil {
		return nil, nil, err
	}
	if _, err := tmp.Seek(0, io.SeekStart); err != nil {
		return nil, nil, err
	}
	ch, err := charm.ReadArchiveFile(tmp.Name())
	return ch, warnings, err
}

func charmBases(ch *charm.Charm) []string {
	out := make([]string, 0, len(ch.Manifest.Bases))
	for _, b := range ch.Manifest.Bases {
		out = append(out, b.String())
	}
	return out
}

func planDeploy(s *session.Session, f deployFlags, ch *charm.Charm, name string) (application.ApplicationDeploy, error) {
	var plan application.ApplicationDeploy
	if name == "" {
		name = ch.Meta.Name
	}
	if err := checkApp(name); err != nil {
		return plan, err
	}
	cons, err := values.Constraints(strings.Join(f.constraints, " "))
	if err != nil {
		return plan, &session.Usage{Text: err.Error()}
	}
	b, err := chooseBase(f, ch)
	if err != nil {
		return plan, err
	}
	config, file, err := deployConfig(s, f.config, name)
	if err != nil {
		return plan, err
	}
	if f.trust {
		config["trust"] = "true"
	}
	units := f.units
	if ch.Meta.Subordinate {
		units = 0
	}
	return application.ApplicationDeploy{
		Application: name, Config: config, ConfigYAML: file, Constraints: cons, NumUnits: units, Force: f.force,
		CharmOrigin: &wire.CharmOrigin{Source: "local", Type: "charm", Base: b, Architecture: arch(cons)},
	}, nil
}

func arch(v wire.Value) string {
	if v.Arch != nil && *v.Arch != "" {
		return *v.Arch
	}
	return "amd64"
}

// chooseBase takes the base asked for, or the first one that the charm names. A charm that names none leaves it to the
// controller.
func chooseBase(f deployFlags, ch *charm.Charm) (*wire.Base, error) {
	want, err := values.Base(f.base)
	if err != nil {
		return nil, &session.Usage{Text: err.Error()}
	}
	offered := charmBases(ch)
	if want != nil {
		if len(offered) > 0 && !slices.Contains(offered, strings.TrimSuffix(want.Name+"@"+want.Channel, "/stable")) && !f.force {
			return nil, session.Advise(fmt.Errorf("cannot deploy on base %s: the charm names only %s", f.base, strings.Join(offered, ", ")),
				"choose one of these with --base, or insist with --force")
		}
		return want, nil
	}
	if len(offered) == 0 {
		return nil, nil
	}
	return values.Base(offered[0]) // what the author put first
}

// deployConfig splits --config into single values and the text of a file.
func deployConfig(s *session.Session, args []string, app string) (map[string]string, string, error) {
	var pairs []string
	file := ""
	for _, a := range args {
		if strings.Contains(a, "=") {
			pairs = append(pairs, a)
			continue
		}
		if file != "" {
			return nil, "", &session.Usage{Text: "cannot use two files with --config"}
		}
		data, err := readFile(s)(a)
		if err != nil {
			return nil, "", fmt.Errorf("cannot read the configuration: %w", err)
		}
		var m map[string]any
		if err := yaml.Unmarshal(data, &m); err != nil {
			return nil, "", fmt.Errorf("cannot read the configuration in %s: %w", a, err)
		}
		if _, ok := m[app]; !ok {
			return nil, "", session.Advise(fmt.Errorf("cannot use the configuration in %s: it has no entry for application %q", a, app),
				fmt.Sprintf("begin the file with the line %q, and indent the options below it", app+":"))
		}
		file = string(data)
	}
	config, err := values.Pairs(pairs, readFile(s))
	if err != nil {
		return nil, "", &session.Usage{Text: err.Error()}
	}
	return config, file, nil
}
