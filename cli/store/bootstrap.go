package store

import (
	"context"
	"fmt"

	"gopkg.in/yaml.v3"
)

// Bootstrap is one entry of bootstrap-config.yaml.
type Bootstrap struct {
	ControllerConfig    map[string]any `yaml:"controller-config"`
	ModelConfig         map[string]any `yaml:"model-config"`
	ControllerModelUUID string         `yaml:"controller-model-uuid"`
	Credential          string         `yaml:"credential,omitempty"`
	Cloud               string         `yaml:"cloud"`
	Type                string         `yaml:"type"`
	Region              string         `yaml:"region,omitempty"`
	Endpoint            string         `yaml:"endpoint,omitempty"`
}

// Bootstrap returns how a controller was bootstrapped from this client.
func (s *Store) Bootstrap(controller string) (Bootstrap, error) {
	root, err := s.load(bootstrapFile)
	if err != nil {
		return Bootstrap{}, err
	}
	n := child(child(root, "controllers"), controller)
	if n == nil {
		return Bootstrap{}, &NotFoundError{
			"the bootstrap record of controller", controller,
			"it was bootstrapped from elsewhere; forget it here with: scarab unregister " + controller,
		}
	}
	var b Bootstrap
	if err := n.Decode(&b); err != nil {
		return b, s.broken(bootstrapFile, n.Line, fmt.Sprintf("the record of %q has a value of the wrong kind", controller))
	}
	return b, nil
}

// SetBootstrap records how a controller was bootstrapped.
func (s *Store) SetBootstrap(ctx context.Context, controller string, b Bootstrap) error {
	return s.change(ctx, bootstrapFile, func(root *yaml.Node) error {
		return merge(childMap(root, "controllers"), controller, b, []string{"credential", "region", "endpoint"})
	})
}
