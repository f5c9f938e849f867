package charm

import (
	"fmt"
	"regexp"
	"sort"

	"github.com/scarab-ops/scarab/charm/internal/schema"

	"github.com/scarab-ops/scarab/charm/internal/yamltree"
)

// Actions is what actions.yaml says.
type Actions struct {
	Specs map[string]ActionSpec `json:"specs,omitempty"`
}

// ActionSpec is one action.
type ActionSpec struct {
	Title          string `json:"title,omitempty"`
	Description    string `json:"description"`
	Parallel       bool   `json:"parallel,omitempty"`
	ExecutionGroup string `json:"execution-group,omitempty"`
	// Params is the JSON schema (draft 4) of the parameters.
	Params map[string]any `json:"params"`
}

var actionName = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$`)

// ParseActions reads actions.yaml of the named charm.
func ParseActions(data []byte) (Actions, error) { return parseActions(data, yamltree.DefaultLimits()) }

func parseActions(data []byte, lim yamltree.Limits) (Actions, error) {
	d, root := yamltree.Open(actionsFile, "actions", data, lim)
	a := Actions{Specs: map[string]ActionSpec{}}
	for _, f := range d.Mapping(root) {
		if len(f.Key) > maxName || !actionName.MatchString(f.Key) {
			d.Fail(f.Val, "bad action name %s", clip(f.Key))
			break
		}
		if reserved(f.Key) {
			d.Fail(f.Val, "cannot use action name %s: \"juju\" is a reserved name", f.Key)
			break
		}
		a.Specs[f.Key] = readAction(d, f)
	}
	if d.Err != nil {
		return Actions{}, d.Err
	}
	return a, nil
}

func readAction(d *yamltree.Decoder, f yamltree.Field) ActionSpec {
	spec := ActionSpec{Description: "No description"}
	params := map[string]any{"type": "object", "title": f.Key, "properties": map[string]any{}}
	for _, g := range d.Mapping(f.Val) {
		switch g.Key {
		case "description":
			spec.Description = d.Text(g.Val)
		case "title":
			spec.Title = d.Text(g.Val)
			params["title"] = spec.Title
		case "parallel":
			spec.Parallel = d.Boolean(g.Val)
		case "execution-group":
			spec.ExecutionGroup = d.Text(g.Val)
		case "params":
			if props, ok := d.Any(g.Val).(map[string]any); ok {
				params["properties"] = props
			} else if !g.Val.Null() {
				d.Mismatch(g.Val, "map")
			}
		default:
			params[g.Key] = d.Any(g.Val)
		}
	}
	params["type"] = "object"
	params["description"] = spec.Description
	if d.Err == nil {
		if err := schema.Check(params); err != nil {
			d.Fail(f.Val, "%v", err)
		}
	}
	spec.Params = params
	return spec
}

// Names lists the actions, sorted.
func (a Actions) Names() []string {
	out := sortedKeys(a.Specs)
	sort.Strings(out)
	return out
}

// Prepare checks the parameters of an action and gives them with the
// defaults of the schema inserted. It changes nothing of what it is given.
func (s ActionSpec) Prepare(params map[string]any) (map[string]any, error) {
	full := schema.Fill(s.Params, params)
	if err := schema.Validate(s.Params, full); err != nil {
		return nil, fmt.Errorf("validation failed: %w", err)
	}
	return full, nil
}

// JujuExec is the predefined action that runs a command line in a unit's
// context.
const JujuExec = "juju-exec"

// PredefinedAction gives the actions that every unit has.
func PredefinedAction(name string) (ActionSpec, bool) {
	if name != JujuExec {
		return ActionSpec{}, false
	}
	return ActionSpec{
		Description: "predefined juju-exec action",
		Params: map[string]any{
			"type": "object", "title": JujuExec, "description": "predefined juju-exec action params",
			"required": []any{"command", "timeout"},
			"properties": map[string]any{
				"command":          map[string]any{"type": "string", "description": "command to be ran under juju-exec"},
				"timeout":          map[string]any{"type": "number", "description": "timeout for command execution"},
				"workload-context": map[string]any{"type": "boolean", "description": "run the command in the workload context"},
			},
		},
	}, true
}
