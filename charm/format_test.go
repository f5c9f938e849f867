package charm_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/scarab-ops/scarab/charm"
)

const head = "name: app\nsummary: s\ndescription: d\n"

func TestMetaErrors(t *testing.T) {
	for text, want := range map[string]string{
		"summary: s\ndescription: d\n":                                 `metadata: name: expected string, got nothing`,
		head + "subordinate: 7\n":                                      `metadata: subordinate: expected bool, got int("7") (metadata.yaml line 4)`,
		head + "requires: {db: {interface: x, limit: a}}":              `metadata: requires.db.limit: expected int, got str("a")`,
		head + "requires: {db: x}\nprovides: {db: x}\n":                `charm "app" using a duplicated relation name: "db"`,
		head + "requires: {juju-x: x}\n":                               `charm "app" using a reserved relation name: "juju-x"`,
		head + "provides: {x: juju-info}\n":                            `charm "app" relation "x" using a reserved interface: "juju-info"`,
		head + "subordinate: true\nrequires: {a: b}\n":                 `subordinate charm "app" lacks "requires" relation with container scope`,
		head + "charm-user: me\n":                                      `parsing charm-user: invalid charm-user "me" expected one of root, sudoer or non-root`,
		head + "series: [jammy]\nassumes: [juju]\n":                    `ambiguous metadata: keys "series" cannot be used with "assumes"`,
		head + "assumes: [\"juju > 3\"]\n":                             `malformed feature expression "juju > 3"`,
		head + "assumes: {a: b}\n":                                     `malformed "assumes" block; expected an expression list`,
		head + "storage: {s: {type: block, location: /x}}":             `location may not be specified for "type: block"`,
		head + "storage: {s: {type: block, multiple: {range: \"3\"}}}": `invalid range "3"`,
		head + "resources: {r: {type: exe}}":                           `unsupported resource type "exe"`,
		head + "resources: {r: {}}":                                    `resource missing filename`,
		head + "containers: {c: {resource: r}}":                        `parsing containers: referenced resource "r" not found`,
		head + "containers: {c: {uid: 1000}}":                          `parsing containers: container "c" has invalid uid 1000: uid cannot be in reserved range 1000-9999`,
		head + "extra-bindings: {}":                                    `expected at least one binding`,
	} {
		if _, err := charm.ParseMeta([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q:\n got %v\nwant %s", text, err, want)
		}
	}
}

func TestMetaRoundTrip(t *testing.T) {
	text := head + `
requires: {db: {interface: sql, limit: 1, scope: container}}
provides: {web: http}
peers: {ring: ring}
extra-bindings: {admin: }
storage: {data: {type: filesystem, multiple: {range: 0-}, minimum-size: 2G}}
resources: {f: {filename: f.tar}, i: {type: oci-image}}
containers: {c: {resource: i, mounts: [{storage: data, location: /d}], uid: 10000}}
assumes: [juju >= 3.1, {any-of: [k8s-api, foo]}]
unknown: {x: y}
`
	m, err := charm.ParseMeta([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	var again charm.Meta
	if err := json.Unmarshal(data, &again); err != nil || !reflect.DeepEqual(m, again) {
		t.Errorf("JSON loses something: %v\n%+v\n%+v", err, m, again)
	}
	if s := m.Storage["data"]; s.CountMin != 0 || s.CountMax != -1 || s.MinimumSize != 2048 {
		t.Errorf("storage %+v", s)
	}
	hooks := m.Hooks()
	for _, h := range []string{"install", "db-relation-broken", "ring-relation-created", "data-storage-attached", "c-pebble-ready"} {
		if !hooks[h] {
			t.Errorf("no hook %s", h)
		}
	}
	err = m.CheckAssumes([]charm.Feature{{Name: "juju", Version: "3.0.9"}})
	if err == nil || !strings.Contains(err.Error(), "charm requires Juju version >= 3.1, model has version 3.0.9") ||
		!strings.Contains(err.Error(), "charm requires at least one of the following:") {
		t.Errorf("assumes: %v", err)
	}
	if err := m.CheckAssumes([]charm.Feature{{Name: "juju", Version: "3.6.12"}, {Name: "foo"}}); err != nil {
		t.Errorf("assumes: %v", err)
	}
}

func TestConfig(t *testing.T) {
	c, err := charm.ParseConfig([]byte("options:\n  port: {type: int, default: 80}\n  f: {type: float, default: 2}\n  b: {type: boolean}\n  s: {default: \"\"}\n  k: {type: secret}\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		key  string
		in   any
		want any
	}{
		{"port", 3.0, int64(3)}, {"f", int64(2), 2.0}, {"b", true, true}, {"s", "x", "x"}, {"k", "secret:abc", "secret:abc"}, {"k", "", ""}, {"s", nil, nil},
	} {
		if got, err := c.Coerce(x.key, x.in); err != nil || got != x.want {
			t.Errorf("%s %v: %v, %v", x.key, x.in, got, err)
		}
	}
	for _, x := range []struct{ key, in, want string }{
		{"port", "eighty", `option "port" expected int, got "eighty"`},
		{"port", "", `option "port" expected int, got ""`},
		{"b", "yes", `option "b" expected boolean, got "yes"`},
		{"k", "http://x", `option "k" expected secret, got "http://x"`},
		{"x", "1", `unknown option "x"`},
	} {
		if _, err := c.ParseString(x.key, x.in); err == nil || err.Error() != x.want {
			t.Errorf("got %v, want %s", err, x.want)
		}
	}
	if _, err := c.Coerce("s", 3); err == nil || err.Error() != `option "s" expected string, got 3` {
		t.Errorf("got %v", err)
	}
	data, _ := json.Marshal(c)
	var again charm.Config
	if err := json.Unmarshal(data, &again); err != nil || !reflect.DeepEqual(c, again) {
		t.Errorf("JSON loses something: %v %+v %+v", err, c, again)
	}
	for text, want := range map[string]string{
		"":                                      "invalid config: empty configuration",
		"x: y":                                  "invalid config: empty configuration",
		"options: {a: {type: x}}":               `invalid config: option "a" has unknown type "x"`,
		"options: {a: {type: int, default: b}}": `invalid config default: option "a" expected int, got "b"`,
	} {
		if _, err := charm.ParseConfig([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
	if c, err := charm.ParseConfig([]byte("{}")); err != nil || len(c.Options) != 0 {
		t.Errorf("{}: %v, %v", c, err)
	}
}

func TestActions(t *testing.T) {
	a, err := charm.ParseActions([]byte(`
snapshot:
  description: take one
  params:
    name: {type: string, pattern: "^[a-z]+$"}
    opts: {type: object, properties: {level: {type: integer, default: 5, minimum: 1, maximum: 9}}}
    kind: {enum: [a, b], default: a}
  required: [name]
  additionalProperties: false
  parallel: true
`))
	if err != nil {
		t.Fatal(err)
	}
	s := a.Specs["snapshot"]
	got, err := s.Prepare(map[string]any{"name": "x"})
	want := map[string]any{"name": "x", "kind": "a", "opts": map[string]any{"level": int64(5)}}
	if err != nil || !reflect.DeepEqual(got, want) || !s.Parallel {
		t.Errorf("got %v, %v", got, err)
	}
	for _, c := range []struct {
		in   map[string]any
		want string
	}{
		{nil, `"name" property is missing and required`},
		{map[string]any{"name": 3}, `(root).name : must be of type string, given 3`},
		{map[string]any{"name": "A"}, `(root).name : does not match pattern`},
		{map[string]any{"name": "a", "kind": "c"}, `(root).kind : must match one of the enum values`},
		{map[string]any{"name": "a", "opts": map[string]any{"level": 10.0}}, `(root).opts.level : number must be 9 or less, given 10`},
		{map[string]any{"name": "a", "opts": map[string]any{"level": 1.5}}, `must be of type integer`},
		{map[string]any{"name": "a", "x": 1}, `additional property "x" is not allowed`},
	} {
		if _, err := s.Prepare(c.in); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %s", c.in, err, c.want)
		}
	}
	for text, want := range map[string]string{
		"Bad: {}":                       "bad action name Bad",
		"juju-x: {}":                    "cannot use action name juju-x",
		"a: {params: {p: {type: int}}}": `schema type "int" not valid`,
		"a: {params: {p: {$ref: x}}}":   `schema key "$ref" not compatible with this version of juju`,
	} {
		if _, err := charm.ParseActions([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

func TestInferRelation(t *testing.T) {
	eps := func(app, text string) []charm.Endpoint {
		m, err := charm.ParseMeta([]byte(head + text))
		if err != nil {
			t.Fatal(err)
		}
		out, err := charm.FilterEndpoints(m.Endpoints(app), "")
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	wp := eps("wordpress", "requires: {db: mysql, info: {interface: juju-info}, alt: mysql}\nprovides: {web: http}\n")
	one := eps("wordpress", "requires: {db: mysql, info: juju-info}\n")
	my := eps("mysql", "provides: {server: mysql}\npeers: {ring: mysql}\n")
	pair, err := charm.InferRelation(my, one)
	if err != nil || charm.RelationKey(pair[:]...) != "wordpress:db mysql:server" {
		t.Errorf("got %v, %v", pair, err)
	}
	_, err = charm.InferRelation(wp, my)
	if err == nil || err.Error() != `ambiguous relation: "wordpress mysql" could refer to "wordpress:alt mysql:server"; "wordpress:db mysql:server"` {
		t.Errorf("got %v", err)
	}
	pair, err = charm.InferRelation(one, eps("other", "provides: {x: y}\n"))
	if err != nil || charm.RelationKey(pair[:]...) != "wordpress:info other:juju-info" {
		t.Errorf("got %v, %v", pair, err)
	}
	if _, err = charm.InferRelation(my, eps("other", "provides: {x: y}\n")); err == nil || err.Error() != "no relations found" {
		t.Errorf("got %v", err)
	}
}

func TestURL(t *testing.T) {
	for in, want := range map[string]string{
		"postgresql": "ch:postgresql", "ch:amd64/jammy/pg-14": "ch:amd64/jammy/pg-14", "local:mine-0": "local:mine-0",
		"local:focal/mine-3": "local:focal/mine-3", "ch:x86_64/pg": "ch:amd64/pg", "a-b2-c": "ch:a-b2-c",
	} {
		u, err := charm.ParseURL(in)
		if err != nil || u.String() != want {
			t.Errorf("%q: %v, %v, want %s", in, u, err, want)
		}
	}
	for _, in := range []string{"", "cs:x", "~bob/x", "ch:a/b/c/d", "local:amd64/jammy/x", "ch:x/", "Ab", "x-99999999999999", "../x", "local:../x"} {
		if u, err := charm.ParseURL(in); err == nil {
			t.Errorf("%q accepted as %v", in, u)
		}
	}
}

func FuzzMetadata(f *testing.F) {
	f.Add([]byte(head))
	f.Add([]byte("a: &a [*a]\n<<: *a\n? [x]\n: y\n"))
	f.Add([]byte("options: {a: {type: int, default: 1}}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if m, err := charm.ParseMeta(data); err == nil {
			text, err := json.Marshal(m)
			var again charm.Meta
			if err != nil || json.Unmarshal(text, &again) != nil {
				t.Errorf("cannot keep %+v: %v", m, err)
			}
		}
		if c, err := charm.ParseConfig(data); err == nil {
			text, err := json.Marshal(c)
			var again charm.Config
			if err != nil {
				t.Errorf("cannot keep %+v: %v", c, err)
			} else if err := json.Unmarshal(text, &again); err != nil {
				t.Errorf("cannot read %s: %v", text, err)
			}
		}
		if a, err := charm.ParseActions(data); err == nil {
			for _, s := range a.Specs {
				if _, err := json.Marshal(s); err != nil {
					t.Errorf("cannot keep %+v: %v", s, err)
				}
			}
		}
	})
}
