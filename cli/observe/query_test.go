package observe

import (
	"strings"
	"testing"
)

func TestQuery(t *testing.T) {
	f := map[string]any{"life": "alive", "status": "active", "n": 3.0, "exposed": true}
	for text, want := range map[string]bool{
		`life=="alive"`:                     true,
		`life=='dead' || status=="active"`:  true,
		`life=="alive" && status!="active"`: false,
		`!(life=="dead") && exposed`:        true,
		`n >= 3 && n < 4`:                   true,
		`false || (true && n==3)`:           true,
		`life=="dead" && nope=="x"`:         false, // the left side decides
		`status < "b"`:                      true,
	} {
		q, err := parseQuery(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if got, err := q.holds(f); err != nil || got != want {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
}

func TestBadQueries(t *testing.T) {
	for _, text := range []string{``, `status==`, `(a==b`, `"open`, `a = b`, `a==b c`, strings.Repeat("(", 100) + "a", strings.Repeat("a", 5000)} {
		if _, err := parseQuery(text); err == nil {
			t.Errorf("%.40q is taken", text)
		}
	}
	for _, text := range []string{`status`, `nope=="x"`, `n < "x"`, `status && exposed`} {
		q, err := parseQuery(text)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := q.holds(map[string]any{"status": "x", "n": 1.0, "exposed": true}); err == nil {
			t.Errorf("%q holds without an error", text)
		}
	}
}

func FuzzQuery(f *testing.F) {
	f.Add(`life=="alive" && (n<3 || !x)`)
	f.Fuzz(func(t *testing.T, text string) {
		q, err := parseQuery(text)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "cannot ") {
				t.Fatalf("error %q", err)
			}
			return
		}
		if _, err := q.holds(map[string]any{"life": "alive", "n": 1.0, "x": true}); err != nil && !strings.HasPrefix(err.Error(), "cannot ") {
			t.Fatalf("error %q", err)
		}
	})
}
