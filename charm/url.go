package charm

import (
	"fmt"
	"strconv"
	"strings"
)

// URL names a charm: "ch:amd64/jammy/postgresql-14" or "local:mine-0".
type URL struct {
	Schema   string // ch or local
	Arch     string
	Series   string
	Name     string
	Revision int // -1 if unset
}

// Schemas of charm URLs.
const (
	SchemaStore = "ch"
	SchemaLocal = "local"
)

// ParseURL reads a charm URL; without a scheme it is the store's.
func ParseURL(s string) (URL, error) {
	u := URL{Schema: SchemaStore, Revision: -1}
	bad := func(why string) (URL, error) {
		return URL{}, fmt.Errorf("cannot parse charm or bundle URL %q: %s", clip(s), why)
	}
	if len(s) > 512 {
		return bad("too long")
	}
	rest := s
	if scheme, tail, ok := strings.Cut(s, ":"); ok {
		u.Schema, rest = scheme, tail
	}
	if u.Schema != SchemaStore && u.Schema != SchemaLocal {
		return bad(fmt.Sprintf("schema %q not valid", clip(u.Schema)))
	}
	parts := strings.Split(rest, "/")
	if len(parts) > 3 || u.Schema == SchemaLocal && len(parts) > 2 {
		return bad("too many parts")
	}
	if strings.HasPrefix(parts[0], "~") {
		return bad("user names are not supported")
	}
	last := parts[len(parts)-1]
	parts = parts[:len(parts)-1]
	if i := strings.LastIndexByte(last, '-'); i > 0 && isDigits(last[i+1:]) {
		n, err := strconv.Atoi(last[i+1:])
		if err != nil || n > 1<<31-1 {
			return bad("revision not valid")
		}
		u.Name, u.Revision = last[:i], n
	} else {
		u.Name = last
	}
	if !ValidName(u.Name) {
		return bad(fmt.Sprintf("name %q not valid", clip(u.Name)))
	}
	for i, p := range parts {
		if arch, ok := NormaliseArch(p); ok && i == 0 && u.Schema == SchemaStore {
			u.Arch = arch
			continue
		}
		if u.Series != "" || !metaPatterns.series.MatchString(p) {
			return bad(fmt.Sprintf("series %q not valid", clip(p)))
		}
		u.Series = p
	}
	return u, nil
}

func isDigits(s string) bool {
	for _, c := range s {
		if c < '0' || c > '9' {
			return false
		}
	}
	return s != ""
}

// String prints the URL with its scheme.
func (u URL) String() string {
	var b strings.Builder
	b.WriteString(u.Schema + ":")
	for _, p := range []string{u.Arch, u.Series} {
		if p != "" {
			b.WriteString(p + "/")
		}
	}
	b.WriteString(u.Name)
	if u.Revision >= 0 {
		b.WriteString("-" + strconv.Itoa(u.Revision))
	}
	return b.String()
}

// WithRevision gives the URL with another revision.
func (u URL) WithRevision(n int) URL { u.Revision = n; return u }

// MarshalText and UnmarshalText make the URL a text in JSON.
func (u URL) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (u *URL) UnmarshalText(b []byte) error {
	v, err := ParseURL(string(b))
	if err != nil {
		return err
	}
	*u = v
	return nil
}
