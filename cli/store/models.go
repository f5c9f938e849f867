package store

import (
	"context"
	"fmt"
	"strings"

	"gopkg.in/yaml.v3"
)

// Model is one entry of models.yaml. Its key is owner/name.
type Model struct {
	UUID   string `yaml:"uuid"`
	Type   string `yaml:"type"`
	Branch string `yaml:"branch"`
}

// Models returns the known models of a controller and the current one.
func (s *Store) Models(controller string) (map[string]Model, string, error) {
	root, err := s.load(modelsFile)
	if err != nil {
		return nil, "", err
	}
	entry := child(child(root, "controllers"), controller)
	out := map[string]Model{}
	all := child(entry, "models")
	for _, name := range keys(all) {
		var m Model
		n := child(all, name)
		if err := n.Decode(&m); err != nil || m.UUID == "" {
			return nil, "", s.broken(modelsFile, n.Line, fmt.Sprintf("model %q lacks a uuid or has a value of the wrong kind", name))
		}
		out[name] = m
	}
	return out, text(child(entry, "current-model")), nil
}

// SetModels replaces what is known of a controller's models. Extra keys of an entry that stays are kept.
func (s *Store) SetModels(ctx context.Context, controller string, models map[string]Model) error {
	return s.change(ctx, modelsFile, func(root *yaml.Node) error {
		entry := childMap(childMap(root, "controllers"), controller)
		all := childMap(entry, "models")
		for _, name := range keys(all) {
			if _, ok := models[name]; !ok {
				drop(all, name)
			}
		}
		for name, m := range models {
			if err := merge(all, name, m, nil); err != nil {
				return err
			}
		}
		if cur := text(child(entry, "current-model")); cur != "" {
			if _, ok := models[cur]; !ok {
				drop(entry, "current-model")
			}
		}
		return nil
	})
}

// SetModel records one model; with current it becomes the controller's current one.
func (s *Store) SetModel(ctx context.Context, controller, name string, m Model, current bool) error {
	return s.change(ctx, modelsFile, func(root *yaml.Node) error {
		entry := childMap(childMap(root, "controllers"), controller)
		if err := merge(childMap(entry, "models"), name, m, nil); err != nil {
			return err
		}
		if current {
			put(entry, "current-model", scalar(name))
		}
		return nil
	})
}

// RemoveModel forgets one model.
func (s *Store) RemoveModel(ctx context.Context, controller, name string) error {
	return s.change(ctx, modelsFile, func(root *yaml.Node) error {
		entry := child(child(root, "controllers"), controller)
		drop(child(entry, "models"), name)
		if text(child(entry, "current-model")) == name {
			drop(entry, "current-model")
		}
		return nil
	})
}

// SetCurrentModel makes a known model the current one of its controller.
func (s *Store) SetCurrentModel(ctx context.Context, controller, name string) error {
	return s.change(ctx, modelsFile, func(root *yaml.Node) error {
		entry := child(child(root, "controllers"), controller)
		if child(child(entry, "models"), name) == nil {
			return &NotFoundError{"model", controller + ":" + name, "see the known ones with: scarab models"}
		}
		put(entry, "current-model", scalar(name))
		return nil
	})
}

// SplitModel separates `[controller:][owner/]model`.
func SplitModel(s string) (controller, model string) {
	if c, m, ok := strings.Cut(s, ":"); ok {
		return c, m
	}
	return "", s
}

// Qualify puts the owner before a model name that has none.
func Qualify(model, user string) string {
	if strings.Contains(model, "/") {
		return model
	}
	return user + "/" + model
}
