// Package charm owns the charm format: the metadata, configuration, action
// and manifest files, charm URLs and endpoints, and the archive that carries
// them. It reads hostile input and is the only package beside image/ that may
// touch archive/zip.
//
// It refuses whatever is ambiguous, unbounded or points out of the charm, and
// it writes only below a directory that the caller names. It holds no state
// and knows nothing of models, units or the network.
package charm

import (
	"fmt"

	"github.com/scarab-ops/scarab/charm/internal/yamltree"
)

// SyntaxError is a fault in one of a charm's YAML files: its text, file and
// line.
type SyntaxError = yamltree.SyntaxError

// A Charm is all that the controller keeps of a charm's files. It is stored
// as JSON.
type Charm struct {
	Meta       Meta        `json:"meta"`
	Manifest   Manifest    `json:"manifest"`
	Config     Config      `json:"config"`
	Actions    Actions     `json:"actions"`
	LXDProfile *LXDProfile `json:"lxd-profile,omitempty"`
	// Revision is the number in the archive's revision file, 0 without one.
	Revision int `json:"revision"`
	// Version is the first line of the archive's version file.
	Version string `json:"version,omitempty"`
	// HasDispatch says that one executable serves every hook and action.
	HasDispatch bool `json:"has-dispatch"`
}

// Names of the files at the root of a charm that this package reads.
const (
	metadataFile   = "metadata.yaml"
	manifestFile   = "manifest.yaml"
	configFile     = "config.yaml"
	actionsFile    = "actions.yaml"
	lxdProfileFile = "lxd-profile.yaml"
	revisionFile   = "revision"
	versionFile    = "version"
	dispatchFile   = "dispatch"
	charmcraftFile = "charmcraft.yaml"
	hooksDir       = "hooks"
)

// FormatVersion is 2 for charms that name their bases in a manifest, and 1
// for those that name series in their metadata.
func (c *Charm) FormatVersion() int {
	if len(c.Meta.Series) == 0 && len(c.Manifest.Bases) > 0 {
		return 2
	}
	return 1
}

// Check does the checks that need more than one file.
func (c *Charm) Check() error {
	m := &c.Meta
	if c.FormatVersion() == 1 {
		if len(m.Assumes) > 0 {
			return fmt.Errorf("assumes in metadata v1 not valid")
		}
		if len(m.Containers) > 0 {
			if len(c.Manifest.Bases) == 0 {
				return fmt.Errorf("containers without a manifest.yaml not valid")
			}
			return fmt.Errorf("containers in metadata v1 not valid")
		}
		return nil
	}
	if m.MinVersion != "" {
		return fmt.Errorf("min-juju-version in metadata v2 not valid")
	}
	if m.Deployment != nil {
		return fmt.Errorf("deployment in metadata v2 not valid")
	}
	return nil
}

// IsKubernetes says whether the charm can run on Kubernetes models only by
// its own declaration.
func (c *Charm) IsKubernetes() bool {
	if c.FormatVersion() == 2 {
		return len(c.Meta.Containers) > 0
	}
	for _, s := range c.Meta.Series {
		if s == "kubernetes" {
			return true
		}
	}
	return false
}
