package state

import (
	"fmt"
	"strings"
)

// A key is "/" scope "/" kind "/" id. Scopes are "c" or "m/" and one segment,
// kinds are one segment, so the id may hold any character, "/" too, without
// being taken for anything else, and the order of keys is the order of ids.

// A Scope is a subtree of keys that belong together: the controller, or one
// model. Make one with [Controller] or [Model] only.
type Scope string

// Controller is the scope of rows that belong to no model.
const Controller Scope = "c"

const modelPrefix = "m/"

// Model returns the scope of the model with the given UUID. Anything that could
// end the segment early is escaped, so a hostile uuid reaches no other scope.
func Model(uuid string) Scope {
	if strings.ContainsAny(uuid, "/%") {
		uuid = strings.NewReplacer("%", "%25", "/", "%2F").Replace(uuid)
	}
	return Scope(modelPrefix + uuid)
}

// ModelUUID returns the uuid given to [Model]; ok is false for the controller scope.
func (s Scope) ModelUUID() (uuid string, ok bool) {
	uuid, ok = strings.CutPrefix(string(s), modelPrefix)
	if strings.Contains(uuid, "%") {
		uuid = strings.NewReplacer("%25", "%", "%2F", "/").Replace(uuid)
	}
	return uuid, ok
}

// A Key stands for one row or for all rows with a common prefix. Get one from a
// [Table], from [ModelKeys] or from [AllKeys].
type Key struct {
	s      string
	prefix bool
}

// ModelKeys stands for every row of a model.
func ModelKeys(uuid string) Key { return ScopeKeys(Model(uuid)) }

// ScopeKeys stands for every row of a scope.
func ScopeKeys(s Scope) Key { return Key{s: "/" + string(s) + "/", prefix: true} }

// AllKeys stands for every row.
func AllKeys() Key { return Key{s: "/", prefix: true} }

// ModelOf returns the uuid of the model that k lies in; ok is false when it lies
// in none, or in more than one.
func ModelOf(k Key) (uuid string, ok bool) {
	s, _, _ := splitKey(k.s)
	return s.ModelUUID()
}

// Matches tells whether row lies within k.
func (k Key) Matches(row Key) bool {
	if k.prefix {
		return strings.HasPrefix(row.s, k.s)
	}
	return k == row
}

// String is for logs.
func (k Key) String() string {
	if k.prefix {
		return k.s + "*"
	}
	return k.s
}

func rowKey(s Scope, kind, id string) string {
	return "/" + string(s) + "/" + kind + "/" + id
}

// fenceKey is written whenever a row of the table is deleted. A scan reads it,
// because a deleted row leaves nothing in its range to compare against.
func fenceKey(s Scope, kind string) string { return rowKey(s, fenceKind, kind) }

// splitKey undoes rowKey. A key that is none yields empty strings.
func splitKey(key string) (s Scope, kind, id string) {
	rest, ok := strings.CutPrefix(key, "/")
	if !ok {
		return "", "", ""
	}
	head, rest, ok := strings.Cut(rest, "/")
	if ok && head+"/" == modelPrefix {
		var uuid string
		uuid, rest, ok = strings.Cut(rest, "/")
		head = modelPrefix + uuid
	}
	if !ok {
		return "", "", ""
	}
	kind, id, _ = strings.Cut(rest, "/")
	return Scope(head), kind, id
}

func isSeparator(c byte) bool { return c == '/' || c == '#' || c == ':' }

// cut shortens a prefix to its last separator, which is where it is indexed.
func cut(prefix string) string {
	for i := len(prefix) - 1; i >= 0; i-- {
		if isSeparator(prefix[i]) {
			return prefix[:i+1]
		}
	}
	return ""
}

// kindsOf returns the distinct kinds of keys, sorted, fences apart.
func kindsOf(keys func(yield func(string) bool)) []string {
	seen := map[string]struct{}{}
	for k := range keys {
		if _, kind, _ := splitKey(k); kind != fenceKind {
			seen[kind] = struct{}{}
		}
	}
	return sortedKeys(seen)
}

func tooMany(what string) error {
	return fmt.Errorf("%w: more than %d %s in one transaction; do it in steps", ErrTooLarge, MaxTxRows, what)
}
