package store

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"gopkg.in/yaml.v3"
)

// Controller is one entry of controllers.yaml.
type Controller struct {
	UUID           string              `yaml:"uuid"`
	Endpoints      []string            `yaml:"api-endpoints,flow"`
	DNSCache       map[string][]string `yaml:"dns-cache,omitempty,flow"`
	PublicHostname string              `yaml:"public-hostname,omitempty"`
	CACert         string              `yaml:"ca-cert"`
	Cloud          string              `yaml:"cloud"`
	Region         string              `yaml:"region,omitempty"`
	Type           string              `yaml:"type,omitempty"`
	AgentVersion   string              `yaml:"agent-version,omitempty"`
	Machines       int                 `yaml:"controller-machine-count"`
	ActiveMachines int                 `yaml:"active-controller-machine-count"`
	MachineCount   *int                `yaml:"machine-count,omitempty"`
}

// controllerKeys are the keys of Controller, which an update may remove.
func controllerKeys() []string {
	return []string{"dns-cache", "public-hostname", "region", "type", "agent-version", "machine-count"}
}

var controllerName = regexp.MustCompile(`^[^:\s\x00-\x1f]{1,128}$`)

// CheckControllerName says whether a new controller may have the name.
func CheckControllerName(name string) error {
	if !controllerName.MatchString(name) {
		return fmt.Errorf("cannot use controller name %q: it must not be empty or hold a colon, a blank or control characters", name)
	}
	return nil
}

// Controllers returns every controller and the name of the current one.
func (s *Store) Controllers() (map[string]Controller, string, error) {
	root, err := s.load(controllersFile)
	if err != nil {
		return nil, "", err
	}
	out := map[string]Controller{}
	all := child(root, "controllers")
	for _, name := range keys(all) {
		c, err := s.decodeController(name, child(all, name))
		if err != nil {
			return nil, "", err
		}
		out[name] = c
	}
	return out, text(child(root, "current-controller")), nil
}

func (s *Store) decodeController(name string, n *yaml.Node) (Controller, error) {
	var c Controller
	if err := n.Decode(&c); err != nil {
		return c, s.broken(controllersFile, n.Line, fmt.Sprintf("controller %q has a value of the wrong kind: %s", name, oneLine(err)))
	}
	if c.UUID == "" || len(c.Endpoints) == 0 {
		return c, s.broken(controllersFile, n.Line, fmt.Sprintf("controller %q lacks uuid or api-endpoints", name))
	}
	return c, nil
}

func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

// Controller returns one controller by name.
func (s *Store) Controller(name string) (Controller, error) {
	root, err := s.load(controllersFile)
	if err != nil {
		return Controller{}, err
	}
	n := child(child(root, "controllers"), name)
	if n == nil {
		return Controller{}, &NotFoundError{"controller", name, "see the known ones with: scarab controllers"}
	}
	return s.decodeController(name, n)
}

// SetController adds or updates a controller; with current it becomes the current one.
func (s *Store) SetController(ctx context.Context, name string, c Controller, current bool) error {
	return s.change(ctx, controllersFile, func(root *yaml.Node) error {
		if err := merge(childMap(root, "controllers"), name, c, controllerKeys()); err != nil {
			return err
		}
		if current {
			put(root, "current-controller", scalar(name))
		}
		return nil
	})
}

// SetCurrentController makes a known controller the current one.
func (s *Store) SetCurrentController(ctx context.Context, name string) error {
	return s.change(ctx, controllersFile, func(root *yaml.Node) error {
		if child(child(root, "controllers"), name) == nil {
			return &NotFoundError{"controller", name, "see the known ones with: scarab controllers"}
		}
		put(root, "current-controller", scalar(name))
		return nil
	})
}

// RemoveController forgets a controller in all files, and what was trusted for it.
func (s *Store) RemoveController(ctx context.Context, name string) error {
	unlock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	// The entry itself goes last: while it is there, the command can be repeated.
	uuid := ""
	if c, err := s.Controller(name); err == nil {
		uuid = c.UUID
	}
	for _, file := range []string{accountsFile, modelsFile, bootstrapFile} {
		if err := s.changeLocked(file, func(root *yaml.Node) error { drop(child(root, "controllers"), name); return nil }); err != nil {
			return err
		}
	}
	if uuid != "" {
		if err := s.changeLocked(trustFile, func(root *yaml.Node) error { drop(child(root, "controllers"), uuid); return nil }); err != nil {
			return err
		}
	}
	return s.changeLocked(controllersFile, func(root *yaml.Node) error {
		if !drop(child(root, "controllers"), name) {
			return &NotFoundError{"controller", name, "see the known ones with: scarab controllers"}
		}
		if text(child(root, "current-controller")) == name {
			drop(root, "current-controller")
		}
		return nil
	})
}

// change edits one file under the lock: read, change, replace.
func (s *Store) change(ctx context.Context, file string, edit func(root *yaml.Node) error) error {
	unlock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	return s.changeLocked(file, edit)
}

func (s *Store) changeLocked(file string, edit func(root *yaml.Node) error) error {
	root, err := s.load(file)
	if err != nil {
		return err
	}
	before := len(root.Content)
	if err := edit(root); err != nil {
		return err
	}
	if before == 0 && len(root.Content) == 0 {
		return nil
	}
	return s.save(file, root)
}
