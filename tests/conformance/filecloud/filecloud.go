// Package filecloud is a cloud whose machines are files: one folder for each
// machine, with what it was started from. Whoever watches the folder brings
// the machines to life. It survives its controller, as clouds do, and refuses
// nothing. It is for tests.
package filecloud

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/scarab-ops/scarab/provider"
)

// Cloud is the cloud of one folder.
type Cloud struct{ Dir string }

// Machine is what a machine's file holds.
type Machine struct {
	Spec  provider.StartSpec
	Rules []provider.Rule
}

func (c *Cloud) path(key string) string {
	return filepath.Join(c.Dir, strings.ReplaceAll(key, "/", "_")+".json")
}

func (c *Cloud) read(key string) (m Machine, err error) {
	data, err := os.ReadFile(c.path(key))
	if err == nil {
		err = json.Unmarshal(data, &m)
	}
	return m, err
}

func (c *Cloud) write(key string, m Machine) error {
	data, err := json.Marshal(m)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(c.Dir, ".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), c.path(key))
}

// Machines returns what there is, by key.
func (c *Cloud) Machines() (map[string]Machine, error) {
	names, err := filepath.Glob(filepath.Join(c.Dir, "*.json"))
	if err != nil {
		return nil, err
	}
	out := map[string]Machine{}
	for _, n := range names {
		m, err := c.read(strings.TrimSuffix(filepath.Base(n), ".json"))
		if errors.Is(err, fs.ErrNotExist) {
			continue // it was stopped meanwhile
		}
		if err != nil {
			return nil, err
		}
		out[m.Spec.Key] = m
	}
	return out, nil
}

func instance(s provider.StartSpec) provider.Instance {
	return provider.Instance{
		ID: provider.InstanceID(s.Key), Key: s.Key, Status: "running", Addresses: []string{"192.0.2.10"},
		Hardware: provider.Hardware{Arch: "amd64", Cores: 1, MemMiB: 512}, Isolation: "process",
		Base: provider.Base{Name: "debian", Channel: "12"},
	}
}

// Start implements provider.Instances.
func (c *Cloud) Start(_ context.Context, s provider.StartSpec) (provider.Instance, error) {
	if old, err := c.read(s.Key); err == nil {
		return instance(old.Spec), nil
	}
	return instance(s), c.write(s.Key, Machine{Spec: s})
}

// Stop implements provider.Instances.
func (c *Cloud) Stop(_ context.Context, ids ...provider.InstanceID) error {
	for _, id := range ids {
		if err := os.Remove(c.path(string(id))); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// List implements provider.Instances.
func (c *Cloud) List(context.Context) ([]provider.Instance, error) {
	all, err := c.Machines()
	var out []provider.Instance
	for _, m := range all {
		out = append(out, instance(m.Spec))
	}
	return out, err
}

// SetRules implements provider.Firewall.
func (c *Cloud) SetRules(_ context.Context, id provider.InstanceID, rules []provider.Rule) error {
	m, err := c.read(string(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	m.Rules = rules
	return c.write(string(id), m)
}

// Close implements provider.Instances.
func (c *Cloud) Close() error { return nil }
