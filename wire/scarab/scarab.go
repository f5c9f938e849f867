// Package scarab holds the wire types of facade Scarab, which is our own and
// has no schema: what clients of ours ask that others do not know. It is pure
// data.
package scarab

import (
	"time"

	"github.com/scarab-ops/scarab/wire"
)

// WhyArgs names what to explain: a tag, or a plain name such as "mysql/0".
// Both empty is the whole model.
type WhyArgs struct {
	Tag  string `json:"tag,omitempty"`
	Name string `json:"name,omitempty"`
}

// Cause is one link of a chain of causes.
type Cause struct {
	Entity  string     `json:"entity"` // tag
	State   string     `json:"state"`
	Because string     `json:"because"`
	Since   *time.Time `json:"since,omitempty"`
	Next    string     `json:"next"`
}

// WhyResult is a chain of causes, the thing asked for first. It is empty when
// all is well.
type WhyResult struct {
	Causes []Cause `json:"causes"`
}

// VersionResult is our own version, beside the one that clients know.
type VersionResult struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
}

// Methods lists what version 1 of facade Scarab offers.
var Methods = []wire.MethodInfo{
	{Name: "Version", Params: "", Result: "VersionResult"},
	{Name: "Why", Params: "WhyArgs", Result: "WhyResult"},
}
