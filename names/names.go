// Package names owns the identifiers of everything an operator can name:
// models, applications, units, machines, relations, users. It parses,
// validates and prints them, and their wire form, the tag. It imports nothing
// of this module and holds no state.
//
// The grammar is the one clients and charms rely on: an application name's
// dash-separated parts after the first each hold a letter ("db-2" is no name),
// a unit is "application/number", a machine "0" or "0/lxd/1".
package names

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Identifiers. Each is a string in its plain (not tag) form.
type (
	// Application is an application's name, such as "postgresql".
	Application string
	// Unit is "application/number", such as "postgresql/0".
	Unit string
	// Machine is "0" or, for a container, "0/lxd/1".
	Machine string
	// Model is a model's UUID in lower case.
	Model string
	// ControllerID is a controller's UUID in lower case.
	ControllerID string
	// User is "bob", or "bob@domain" for external users.
	User string
	// Relation is a relation's key: "wordpress:db mysql:server", or
	// "mysql:cluster" for a peer relation.
	Relation string
	// Cloud is a cloud's name.
	Cloud string
	// Task is the decimal number of an action's task.
	Task string
	// Operation is the decimal number of an operation, a group of tasks.
	Operation string
)

const (
	number  = `(?:0|[1-9][0-9]*)`
	app     = `(?:[a-z][a-z0-9]*(?:-[a-z0-9]*[a-z][a-z0-9]*)*)`
	endp    = `[a-z][a-z0-9]*(?:[_-][a-z0-9]+)*`
	uuid    = `[a-f0-9]{8}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{4}-[a-f0-9]{12}`
	user    = `[a-zA-Z0-9][a-zA-Z0-9.+-]*[a-zA-Z0-9]`
	cloud   = `[a-zA-Z0-9][a-zA-Z0-9._-]*`
	machine = number + `(?:/[a-z]+/` + number + `)*`
)

var patterns = struct {
	app, unit, machine, uuid, user, cloud, number, relation, modelName, endpoint *regexp.Regexp
}{
	app:       regexp.MustCompile(`^` + app + `$`),
	unit:      regexp.MustCompile(`^` + app + `/` + number + `$`),
	machine:   regexp.MustCompile(`^` + machine + `$`),
	uuid:      regexp.MustCompile(`^` + uuid + `$`),
	user:      regexp.MustCompile(`^` + user + `(?:@` + user + `)?$`),
	cloud:     regexp.MustCompile(`^` + cloud + `$`),
	number:    regexp.MustCompile(`^` + number + `$`),
	relation:  regexp.MustCompile(`^` + app + `:` + endp + `(?: ` + app + `:` + endp + `)?$`),
	modelName: regexp.MustCompile(`^[a-z0-9]+[a-z0-9-]*$`),
	endpoint:  regexp.MustCompile(`^` + endp + `$`),
}

// maxLen bounds every identifier before a pattern sees it.
const maxLen = 512

func valid(re *regexp.Regexp, s string) bool { return len(s) <= maxLen && re.MatchString(s) }

// Validity of plain identifiers.
func ValidApplication(s string) bool { return valid(patterns.app, s) }
func ValidUnit(s string) bool        { return valid(patterns.unit, s) }
func ValidMachine(s string) bool     { return valid(patterns.machine, s) }
func ValidUUID(s string) bool        { return valid(patterns.uuid, s) }
func ValidUser(s string) bool        { return valid(patterns.user, s) }
func ValidCloud(s string) bool       { return valid(patterns.cloud, s) }
func ValidNumber(s string) bool      { return valid(patterns.number, s) }
func ValidModelName(s string) bool   { return valid(patterns.modelName, s) }
func ValidEndpoint(s string) bool    { return valid(patterns.endpoint, s) }
func ValidRelation(s string) bool    { return valid(patterns.relation, s) }

// Application returns the application that the unit belongs to.
func (u Unit) Application() Application {
	a, _, _ := strings.Cut(string(u), "/")
	return Application(a)
}

// Number returns the unit's number within its application, or -1.
func (u Unit) Number() int {
	_, n, _ := strings.Cut(string(u), "/")
	i, err := strconv.Atoi(n)
	if err != nil {
		return -1
	}
	return i
}

// UnitOf names the n-th unit of an application.
func UnitOf(a Application, n int) Unit { return Unit(string(a) + "/" + strconv.Itoa(n)) }

// Parent returns the machine that hosts a container machine, and whether m is
// one.
func (m Machine) Parent() (Machine, bool) {
	parts := strings.Split(string(m), "/")
	if len(parts) < 3 {
		return "", false
	}
	return Machine(strings.Join(parts[:len(parts)-2], "/")), true
}

// Local drops the domain "local", so that "bob@local" equals "bob".
func (u User) Local() User { return User(strings.TrimSuffix(string(u), "@local")) }

// Endpoints splits a relation's key into its one or two "app:endpoint" parts.
func (r Relation) Endpoints() []string { return strings.Fields(string(r)) }

// A Kind is the first word of a tag.
type Kind string

// The kinds of tag this module uses.
const (
	KindUser        Kind = "user"
	KindMachine     Kind = "machine"
	KindUnit        Kind = "unit"
	KindApplication Kind = "application"
	KindModel       Kind = "model"
	KindController  Kind = "controller"
	KindRelation    Kind = "relation"
	KindCloud       Kind = "cloud"
	KindCloudCred   Kind = "cloudcred"
	KindAction      Kind = "action"
	KindOperation   Kind = "operation"
	KindCharm       Kind = "charm"
	KindStorage     Kind = "storage"
	KindSpace       Kind = "space"
)

// A Tag is the wire form of an identifier: "<kind>-<suffix>", for example
// "unit-mysql-0". The zero Tag names nothing.
type Tag struct {
	Kind Kind
	ID   string // plain identifier, such as "mysql/0"
}

// String returns the wire form.
func (t Tag) String() string {
	if t.Kind == "" {
		return ""
	}
	return string(t.Kind) + "-" + encode(t.Kind, t.ID)
}

// Tags of typed identifiers.
func (u Unit) Tag() Tag         { return Tag{KindUnit, string(u)} }
func (a Application) Tag() Tag  { return Tag{KindApplication, string(a)} }
func (m Machine) Tag() Tag      { return Tag{KindMachine, string(m)} }
func (m Model) Tag() Tag        { return Tag{KindModel, string(m)} }
func (c ControllerID) Tag() Tag { return Tag{KindController, string(c)} }
func (u User) Tag() Tag         { return Tag{KindUser, string(u.Local())} }
func (r Relation) Tag() Tag     { return Tag{KindRelation, string(r)} }
func (c Cloud) Tag() Tag        { return Tag{KindCloud, string(c)} }
func (t Task) Tag() Tag         { return Tag{KindAction, string(t)} }
func (o Operation) Tag() Tag    { return Tag{KindOperation, string(o)} }

func encode(k Kind, id string) string {
	switch k {
	case KindMachine:
		return strings.ReplaceAll(id, "/", "-")
	case KindUnit, KindStorage:
		if i := strings.LastIndexByte(id, '/'); i >= 0 {
			return id[:i] + "-" + id[i+1:]
		}
		return id
	case KindRelation:
		return strings.NewReplacer(":", ".", " ", "#").Replace(id)
	case KindCloudCred:
		return strings.ReplaceAll(strings.ReplaceAll(id, "_", "%5f"), "/", "_")
	default:
		return id
	}
}

// InvalidTagError reports text that is no tag, or no tag of the wanted kind.
type InvalidTagError struct {
	Text string
	Kind Kind // empty if any kind would have done
}

func (e *InvalidTagError) Error() string {
	if e.Kind == "" {
		return fmt.Sprintf("%q is not a valid tag", e.Text)
	}
	return fmt.Sprintf("%q is not a valid %s tag", e.Text, e.Kind)
}

// ParseTag reads a tag of any known kind.
func ParseTag(s string) (Tag, error) {
	kind, suffix, ok := strings.Cut(s, "-")
	if !ok || len(s) > maxLen {
		return Tag{}, &InvalidTagError{Text: s}
	}
	id, ok := decode(Kind(kind), suffix)
	if !ok {
		return Tag{}, &InvalidTagError{Text: s}
	}
	return Tag{Kind(kind), id}, nil
}

func decode(k Kind, s string) (string, bool) {
	switch k {
	case KindUser:
		return string(User(s).Local()), ValidUser(s)
	case KindMachine:
		id := strings.ReplaceAll(s, "-", "/")
		return id, ValidMachine(id)
	case KindUnit, KindStorage:
		i := strings.LastIndexByte(s, '-')
		if i < 0 {
			return "", false
		}
		id := s[:i] + "/" + s[i+1:]
		return id, ValidUnit(id)
	case KindApplication:
		return s, ValidApplication(s)
	case KindModel, KindController:
		return s, ValidUUID(s)
	case KindRelation:
		id := strings.NewReplacer(".", ":", "#", " ").Replace(s)
		return id, ValidRelation(id)
	case KindCloud:
		return s, ValidCloud(s)
	case KindCloudCred:
		id := strings.ReplaceAll(strings.ReplaceAll(s, "_", "/"), "%5f", "_")
		return id, strings.Count(id, "/") == 2
	case KindAction, KindOperation:
		return s, ValidNumber(s)
	case KindSpace:
		return s, ValidModelName(s)
	case KindCharm:
		return s, s != ""
	}
	return "", false
}

// Parse reads a tag of one kind and returns its plain identifier.
func Parse(s string, want Kind) (string, error) {
	t, err := ParseTag(s)
	if err != nil || t.Kind != want {
		return "", &InvalidTagError{Text: s, Kind: want}
	}
	return t.ID, nil
}

// Typed readers of tags.
func ParseUnit(s string) (Unit, error) { id, err := Parse(s, KindUnit); return Unit(id), err }

func ParseApplication(s string) (Application, error) {
	id, err := Parse(s, KindApplication)
	return Application(id), err
}

func ParseMachine(s string) (Machine, error) {
	id, err := Parse(s, KindMachine)
	return Machine(id), err
}
func ParseModel(s string) (Model, error) { id, err := Parse(s, KindModel); return Model(id), err }
func ParseUser(s string) (User, error)   { id, err := Parse(s, KindUser); return User(id), err }
