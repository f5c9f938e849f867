package session

import (
	"context"
	"time"
)

// Step is one step of bootstrap, as it is reported.
type Step struct {
	Name string // "start the host agent"
	Done bool
	Err  error
	Note string
}

// BootstrapRequest asks for a new controller.
type BootstrapRequest struct {
	Cloud, Region    string
	Name             string
	ControllerConfig map[string]string
	ModelConfig      map[string]string
	Constraints      string
	Base             string
	AgentVersion     string
	CheckOnly        bool // only look whether it would work
}

// Bootstrapped is a controller that is up.
type Bootstrapped struct {
	ControllerUUID      string
	ControllerModelUUID string
	Addresses           []string
	CACert              string
	User                string
	Password            Secret
	CloudType           string
	Version             string
}

// DestroyRequest asks to take down the controller's own part of the cloud, after its models are gone.
type DestroyRequest struct {
	Name, Cloud, ControllerUUID string
	Kill                        bool // even when the controller cannot be asked
}

// Bootstrapper starts and destroys controllers.
type Bootstrapper interface {
	Start(ctx context.Context, r BootstrapRequest, report func(Step)) (Bootstrapped, error)
	Destroy(ctx context.Context, r DestroyRequest, report func(Step)) error
}

// Image is one base image of the local cloud.
type Image struct {
	Name    string    `yaml:"name" json:"name"`
	Base    string    `yaml:"base" json:"base"`
	Arch    string    `yaml:"arch" json:"arch"`
	Digest  string    `yaml:"digest" json:"digest"`
	Size    int64     `yaml:"size" json:"size"`
	Source  string    `yaml:"source" json:"source"`
	Created time.Time `yaml:"created" json:"created"`
	InUse   bool      `yaml:"in-use" json:"in-use"`
}

// Images manages base images.
type Images interface {
	List(ctx context.Context) ([]Image, error)
	Add(ctx context.Context, name, source, base string, report func(Step)) (Image, error)
	Remove(ctx context.Context, name string) error
}
