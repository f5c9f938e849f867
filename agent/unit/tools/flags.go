package tools

import (
	"fmt"
	"sort"
	"strconv"
	"strings"
)

// Flags are one tool's options. They may stand anywhere before "--", mixed
// with positionals.
type Flags struct{ opts []*option }

type option struct {
	names  []string // one letter or long, without dashes
	usage  string
	value  string // shown default
	isBool bool
	set    func(string) error
}

// Func declares an option whose value goes to set while parsing.
func (f *Flags) Func(names, usage string, set func(string) error) {
	f.opts = append(f.opts, &option{names: strings.Split(names, ","), usage: usage, set: set})
}

// String declares a text option.
func (f *Flags) String(p *string, names, usage string) {
	f.opts = append(f.opts, &option{
		names: strings.Split(names, ","), usage: usage, value: *p,
		set: func(s string) error { *p = s; return nil },
	})
}

// Bool declares a switch.
func (f *Flags) Bool(p *bool, names, usage string) {
	f.opts = append(f.opts, &option{
		names: strings.Split(names, ","), usage: usage, isBool: true,
		set: func(s string) (err error) {
			*p, err = strconv.ParseBool(s)
			if err != nil {
				err = fmt.Errorf("expected true or false")
			}
			return err
		},
	})
}

func (f *Flags) find(name string) *option {
	for _, o := range f.opts {
		for _, n := range o.names {
			if n == name {
				return o
			}
		}
	}
	return nil
}

// parse splits args into options and positionals; help is true when the caller
// only wants to read.
func (f *Flags) parse(args []string) (rest []string, help bool, err error) {
	for i := 0; i < len(args); i++ {
		a := args[i]
		if a == "--" {
			return append(rest, args[i+1:]...), help, nil
		}
		if len(a) < 2 || a[0] != '-' {
			rest = append(rest, a)
			continue
		}
		if a == "-h" || a == "--help" {
			help = true
			continue
		}
		used, err := f.option(a, args[i+1:])
		if err != nil {
			return nil, false, err
		}
		i += used
	}
	return rest, help, nil
}

// option handles one option and tells how many following arguments it used.
func (f *Flags) option(a string, next []string) (int, error) {
	shown, value, hasValue := a, "", false
	name := strings.TrimPrefix(a, "-")
	if strings.HasPrefix(a, "--") {
		name = a[2:]
		if n, v, ok := strings.Cut(name, "="); ok {
			name, value, hasValue, shown = n, v, true, "--"+n
		}
	} else if len(name) > 1 {
		o := f.find(name[:1])
		if o == nil || o.isBool {
			return 0, usagef("option provided but not defined: %s", a)
		}
		name, value, hasValue, shown = name[:1], strings.TrimPrefix(name[1:], "="), true, a[:2]
	}
	o := f.find(name)
	if o == nil || (len(name) == 1) == strings.HasPrefix(shown, "--") {
		return 0, usagef("option provided but not defined: %s", shown)
	}
	used := 0
	if !hasValue {
		switch {
		case o.isBool:
			value = "true"
		case len(next) == 0:
			return 0, usagef("option needs an argument: %s", shown)
		default:
			value, used = next[0], 1
		}
	}
	if err := o.set(value); err != nil {
		return 0, usagef("invalid value %q for option %s: %v", value, shown, err)
	}
	return used, nil
}

// describe lists the options in alphabetical order.
func (f *Flags) describe() string {
	var lines []string
	for _, o := range f.opts {
		var names []string
		for _, n := range o.names {
			dash := "--"
			if len(n) == 1 {
				dash = "-"
			}
			names = append(names, dash+n)
		}
		line := strings.Join(names, ", ")
		if o.value != "" {
			line += fmt.Sprintf(" (= %s)", o.value)
		}
		lines = append(lines, line+"\n    "+o.usage+"\n")
	}
	sort.Strings(lines)
	return strings.Join(lines, "")
}
