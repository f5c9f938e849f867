package wire

import (
	"encoding/json"
	"fmt"
)

// Delta is one change that an AllWatcher reports. On the wire it is the list
// [kind, "change" or "remove", object].
type Delta struct {
	// Kind is one of the kinds that package multiwatch names.
	Kind    string
	Removed bool
	// Entity is the entity's info type when encoded. After decoding it is a
	// json.RawMessage.
	Entity any
}

// MarshalJSON implements json.Marshaler.
func (d Delta) MarshalJSON() ([]byte, error) {
	verb := "change"
	if d.Removed {
		verb = "remove"
	}
	return json.Marshal([]any{d.Kind, verb, d.Entity})
}

// UnmarshalJSON implements json.Unmarshaler.
func (d *Delta) UnmarshalJSON(b []byte) error {
	var parts []json.RawMessage
	if err := json.Unmarshal(b, &parts); err != nil {
		return fmt.Errorf("cannot decode delta: %v", err)
	}
	if len(parts) != 3 {
		return fmt.Errorf("cannot decode delta: %d elements, want 3", len(parts))
	}
	var kind, verb string
	if err := json.Unmarshal(parts[0], &kind); err != nil {
		return fmt.Errorf("cannot decode kind of delta: %v", err)
	}
	if err := json.Unmarshal(parts[1], &verb); err != nil {
		return fmt.Errorf("cannot decode verb of delta: %v", err)
	}
	if verb != "change" && verb != "remove" {
		return fmt.Errorf("cannot decode delta: verb %q is neither change nor remove", verb)
	}
	*d = Delta{Kind: kind, Removed: verb == "remove", Entity: parts[2]}
	return nil
}
