package observe

import (
	"fmt"
	"strconv"
	"strings"
)

// query is a parsed condition of wait-for: comparisons of fields with texts, numbers and truth values, joined by && and ||,
// negated by !, grouped by parentheses.
type query struct {
	eval func(fields map[string]any) (any, error)
}

// maxQuery bounds the text, and with it the depth of the parser.
const maxQuery = 4096

func parseQuery(text string) (*query, error) {
	if len(text) > maxQuery {
		return nil, fmt.Errorf("cannot read the query: it is longer than %d characters", maxQuery)
	}
	toks, err := scan(text)
	if err != nil {
		return nil, err
	}
	p := &parser{toks: toks}
	e, err := p.or(0)
	if err != nil {
		return nil, err
	}
	if p.pos < len(p.toks) {
		return nil, fmt.Errorf("cannot read the query: unexpected %q", p.toks[p.pos].text)
	}
	return &query{e}, nil
}

func (q *query) holds(fields map[string]any) (bool, error) {
	v, err := q.eval(fields)
	if err != nil {
		return false, err
	}
	b, ok := v.(bool)
	if !ok {
		return false, fmt.Errorf("cannot use the query: it gives %v, not true or false", v)
	}
	return b, nil
}

type token struct {
	kind byte // 'i' identifier, 's' text, 'n' number, 'o' operator
	text string
}

func scan(s string) ([]token, error) {
	var out []token
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == ' ' || c == '\t' || c == '\n':
			i++
		case c == '"' || c == '\'':
			end := strings.IndexByte(s[i+1:], c)
			if end < 0 {
				return nil, fmt.Errorf("cannot read the query: a text is not closed")
			}
			out = append(out, token{'s', s[i+1 : i+1+end]})
			i += end + 2
		case c >= '0' && c <= '9':
			j := i
			for j < len(s) && (s[j] >= '0' && s[j] <= '9' || s[j] == '.') {
				j++
			}
			out = append(out, token{'n', s[i:j]})
			i = j
		case letter(c):
			j := i
			for j < len(s) && (letter(s[j]) || s[j] >= '0' && s[j] <= '9' || s[j] == '-') {
				j++
			}
			out = append(out, token{'i', s[i:j]})
			i = j
		default:
			op := operator(s[i:])
			if op == "" {
				return nil, fmt.Errorf("cannot read the query: unexpected %q", string(c))
			}
			out = append(out, token{'o', op})
			i += len(op)
		}
	}
	return out, nil
}

func letter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' }

func operator(s string) string {
	for _, op := range []string{"&&", "||", "==", "!=", "<=", ">=", "<", ">", "!", "(", ")"} {
		if strings.HasPrefix(s, op) {
			return op
		}
	}
	return ""
}

type evalFunc = func(map[string]any) (any, error)

type parser struct {
	toks []token
	pos  int
}

func (p *parser) accept(ops ...string) string {
	if p.pos < len(p.toks) && p.toks[p.pos].kind == 'o' {
		for _, op := range ops {
			if p.toks[p.pos].text == op {
				p.pos++
				return op
			}
		}
	}
	return ""
}

func (p *parser) or(depth int) (evalFunc, error) {
	return p.joined(depth, "||", p.and, func(a bool) bool { return a })
}

func (p *parser) and(depth int) (evalFunc, error) {
	return p.joined(depth, "&&", p.compare, func(a bool) bool { return !a })
}

// joined parses operands of one operator; stop says which left side decides alone.
func (p *parser) joined(depth int, op string, operand func(int) (evalFunc, error), stop func(bool) bool) (evalFunc, error) {
	left, err := operand(depth)
	for err == nil && p.accept(op) != "" {
		var right evalFunc
		right, err = operand(depth)
		l := left
		left = func(f map[string]any) (any, error) {
			v, err := truth(l, f)
			if err != nil || stop(v) {
				return v, err
			}
			return truth(right, f)
		}
	}
	return left, err
}

func truth(e evalFunc, f map[string]any) (bool, error) {
	v, err := e(f)
	if err != nil {
		return false, err
	}
	b, ok := v.(bool)
	if !ok {
		return false, fmt.Errorf("cannot use the query: %v is not true or false", v)
	}
	return b, nil
}

func (p *parser) compare(depth int) (evalFunc, error) {
	left, err := p.primary(depth)
	if err != nil {
		return nil, err
	}
	op := p.accept("==", "!=", "<=", ">=", "<", ">")
	if op == "" {
		return left, nil
	}
	right, err := p.primary(depth)
	if err != nil {
		return nil, err
	}
	return func(f map[string]any) (any, error) {
		a, err := left(f)
		if err != nil {
			return nil, err
		}
		b, err := right(f)
		if err != nil {
			return nil, err
		}
		return apply(op, a, b)
	}, nil
}

func apply(op string, a, b any) (any, error) {
	switch op {
	case "==":
		return a == b, nil
	case "!=":
		return a != b, nil
	}
	var c int
	switch x := a.(type) {
	case float64:
		y, ok := b.(float64)
		if !ok {
			return nil, fmt.Errorf("cannot compare %v with %v", a, b)
		}
		c = int(max(-1, min(1, (x-y)*1e9)))
	case string:
		y, ok := b.(string)
		if !ok {
			return nil, fmt.Errorf("cannot compare %v with %v", a, b)
		}
		c = strings.Compare(x, y)
	default:
		return nil, fmt.Errorf("cannot compare %v with %v", a, b)
	}
	return map[string]bool{"<": c < 0, "<=": c <= 0, ">": c > 0, ">=": c >= 0}[op], nil
}

func (p *parser) primary(depth int) (evalFunc, error) {
	if depth > 50 {
		return nil, fmt.Errorf("cannot read the query: it is nested too deeply")
	}
	if p.accept("!") != "" {
		e, err := p.primary(depth + 1)
		if err != nil {
			return nil, err
		}
		return func(f map[string]any) (any, error) {
			b, err := truth(e, f)
			return !b, err
		}, nil
	}
	if p.accept("(") != "" {
		e, err := p.or(depth + 1)
		if err == nil && p.accept(")") == "" {
			err = fmt.Errorf("cannot read the query: a parenthesis is not closed")
		}
		return e, err
	}
	if p.pos >= len(p.toks) {
		return nil, fmt.Errorf("cannot read the query: it ends too early")
	}
	t := p.toks[p.pos]
	p.pos++
	switch t.kind {
	case 's':
		return constant(t.text), nil
	case 'n':
		n, err := strconv.ParseFloat(t.text, 64)
		if err != nil {
			return nil, fmt.Errorf("cannot read the query: %q is no number", t.text)
		}
		return constant(n), nil
	case 'i':
		return identifier(t.text), nil
	}
	return nil, fmt.Errorf("cannot read the query: unexpected %q", t.text)
}

func constant(v any) evalFunc { return func(map[string]any) (any, error) { return v, nil } }

func identifier(name string) evalFunc {
	if name == "true" || name == "false" {
		return constant(name == "true")
	}
	return func(f map[string]any) (any, error) {
		v, ok := f[name]
		if !ok {
			return nil, fmt.Errorf("cannot use the query: %q is no field here", name)
		}
		return v, nil
	}
}
