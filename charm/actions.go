package charm

import (
	"fmt"
	"regexp"
	"sort"
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
func ParseActions(data []byte) (Actions, error) { return parseActions(data, defaultYAMLLimits()) }

func parseActions(data []byte, lim yamlLimits) (Actions, error) {
	d, root := openYAML(actionsFile, "actions", data, lim)
	a := Actions{Specs: map[string]ActionSpec{}}
	for _, f := range d.mapping(root) {
		if len(f.key) > maxName || !actionName.MatchString(f.key) {
			d.fail(f.val, "bad action name %s", clip(f.key))
			break
		}
		if reserved(f.key) {
			d.fail(f.val, "cannot use action name %s: \"juju\" is a reserved name", f.key)
			break
		}
		a.Specs[f.key] = readAction(d, f)
	}
	if d.err != nil {
		return Actions{}, d.err
	}
	return a, nil
}

func readAction(d *decoder, f field) ActionSpec {
	spec := ActionSpec{Description: "No description"}
	schema := map[string]any{"type": "object", "title": f.key, "properties": map[string]any{}}
	for _, g := range d.mapping(f.val) {
		switch g.key {
		case "description":
			spec.Description = d.text(g.val)
		case "title":
			spec.Title = d.text(g.val)
			schema["title"] = spec.Title
		case "parallel":
			spec.Parallel = d.boolean(g.val)
		case "execution-group":
			spec.ExecutionGroup = d.text(g.val)
		case "params":
			if props, ok := d.any(g.val).(map[string]any); ok {
				schema["properties"] = props
			} else if !g.val.null() {
				d.mismatch(g.val, "map")
			}
		default:
			schema[g.key] = d.any(g.val)
		}
	}
	schema["type"] = "object"
	schema["description"] = spec.Description
	if d.err == nil {
		if err := checkSchema(schema, 0); err != nil {
			d.fail(f.val, "%v", err)
		}
	}
	spec.Params = schema
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
	full, _ := insertDefaults(s.Params, copyTree(params), 0).(map[string]any)
	if full == nil {
		full = map[string]any{}
	}
	if err := validateSchema(s.Params, full); err != nil {
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
