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
	// Here tells whether there is something of this controller on this host. Of a controller without a record it can tell
	// only that something is there.
	Here(uuid string) (bool, error)
	// Asleep gives the command that starts this controller's supervisor, if it belongs to this host and does not run.
	Asleep(ctx context.Context, uuid string) string
}

// RunningError is a bootstrap that was refused because the host has a controller.
type RunningError struct {
	UUID, Address string // its API, for a client on this host
	Err           error
}

func (e *RunningError) Error() string { return e.Err.Error() }

// Unwrap gives the error below.
func (e *RunningError) Unwrap() error { return e.Err }

// Image is one base image of the local cloud. Its name is the base that it is used for: debian@12.
type Image struct {
	Name    string    `yaml:"name" json:"name"`
	Arch    string    `yaml:"arch" json:"arch"`
	Digest  string    `yaml:"digest" json:"digest"`
	Size    int64     `yaml:"size" json:"size"`
	Source  string    `yaml:"source" json:"source"`
	Created time.Time `yaml:"created" json:"created"`
}

// Images manages base images.
type Images interface {
	List(ctx context.Context) ([]Image, error)
	// Add builds the image of a base from the distribution's packages, or takes in a tarball when a file is named.
	Add(ctx context.Context, base, tarball string, report func(Step)) (Image, error)
	Remove(ctx context.Context, name string) error
}
