package schema

import (
	"errors"
	"fmt"
	"math"
	"regexp"
)

// validator checks one value against a schema. Every visit costs a step, so
// that nested alternatives cannot run away.
type validator struct{ steps int }

const maxValidateSteps = 200_000

// Validate checks a value against a checked schema; errors name the
// place in the value as "(root).a.b".
func Validate(schema map[string]any, v any) error {
	c := &validator{}
	return c.check(schema, v, "(root)", 0)
}

func (c *validator) check(s map[string]any, v any, at string, depth int) error {
	if c.steps++; c.steps > maxValidateSteps || depth > maxSchemaDepth {
		return errors.New("the schema or the value is too complex to check")
	}
	if err := checkType(s["type"], v, at); err != nil {
		return err
	}
	if list, ok := s["enum"].([]any); ok && !contains(list, v) {
		return fmt.Errorf("%s : must match one of the enum values %s, given %s", at, clip(fmt.Sprint(list...)), show(v))
	}
	if err := c.combine(s, v, at, depth); err != nil {
		return err
	}
	switch t := v.(type) {
	case string:
		return checkText(s, t, at)
	case []any:
		return c.array(s, t, at, depth)
	case map[string]any:
		return c.object(s, t, at, depth)
	}
	if n, ok := number(v); ok {
		return checkNumber(s, n, at)
	}
	return nil
}

func contains(list []any, v any) bool {
	for _, e := range list {
		if equalJSON(e, v) {
			return true
		}
	}
	return false
}

func checkType(want, v any, at string) error {
	names, ok := textList(want)
	if s, is := want.(string); is {
		names, ok = []string{s}, true
	}
	if !ok {
		return nil
	}
	got := jsonType(v)
	for _, n := range names {
		if n == got || n == "number" && got == "integer" {
			return nil
		}
	}
	return fmt.Errorf("%s : must be of type %v, given %s", at, want, show(v))
}

func (c *validator) combine(s map[string]any, v any, at string, depth int) error {
	count := func(key string) (total, good int, first error) {
		list, _ := s[key].([]any)
		for _, e := range list {
			if sub, ok := e.(map[string]any); ok {
				if err := c.check(sub, v, at, depth+1); err == nil {
					good++
				} else if first == nil {
					first = err
				}
			}
		}
		return len(list), good, first
	}
	if n, good, err := count("allOf"); good < n {
		return err
	}
	if n, good, err := count("anyOf"); n > 0 && good == 0 {
		return fmt.Errorf("%s : must match at least one schema (anyOf): %w", at, err)
	}
	if n, good, _ := count("oneOf"); n > 0 && good != 1 {
		return fmt.Errorf("%s : must match one and only one schema (oneOf), matches %d", at, good)
	}
	if sub, ok := s["not"].(map[string]any); ok && c.check(sub, v, at, depth+1) == nil {
		return fmt.Errorf("%s : must not match the schema (not)", at)
	}
	return nil
}

func checkText(s map[string]any, t, at string) error {
	if err := checkRange(s, "minLength", "maxLength", textLength(t), at, "length"); err != nil {
		return err
	}
	if p, ok := s["pattern"].(string); ok {
		re, err := regexp.Compile(p)
		if err != nil || !re.MatchString(t) {
			return fmt.Errorf("%s : does not match pattern %q", at, p)
		}
	}
	return nil
}

func checkRange(s map[string]any, low, high string, n float64, at, what string) error {
	if l, ok := number(s[low]); ok && n < l {
		return fmt.Errorf("%s : %s must be %v or more, given %v", at, what, l, n)
	}
	if h, ok := number(s[high]); ok && n > h {
		return fmt.Errorf("%s : %s must be %v or less, given %v", at, what, h, n)
	}
	return nil
}

func checkNumber(s map[string]any, n float64, at string) error {
	if err := checkRange(s, "minimum", "maximum", n, at, "number"); err != nil {
		return err
	}
	if l, ok := number(s["minimum"]); ok && n == l && s["exclusiveMinimum"] == true {
		return fmt.Errorf("%s : number must be more than %v", at, l)
	}
	if h, ok := number(s["maximum"]); ok && n == h && s["exclusiveMaximum"] == true {
		return fmt.Errorf("%s : number must be less than %v", at, h)
	}
	if m, ok := number(s["multipleOf"]); ok && m > 0 {
		if q := n / m; math.Abs(q-math.Round(q)) > 1e-9 {
			return fmt.Errorf("%s : must be a multiple of %v, given %v", at, m, n)
		}
	}
	return nil
}

func (c *validator) array(s map[string]any, list []any, at string, depth int) error {
	if err := checkRange(s, "minItems", "maxItems", float64(len(list)), at, "number of items"); err != nil {
		return err
	}
	fixed, isList := s["items"].([]any)
	each, _ := s["items"].(map[string]any)
	for i, e := range list {
		sub := each
		if isList && i < len(fixed) {
			sub, _ = fixed[i].(map[string]any)
		} else if isList {
			if s["additionalItems"] == false {
				return fmt.Errorf("%s : at most %d items allowed", at, len(fixed))
			}
			sub, _ = s["additionalItems"].(map[string]any)
		}
		if sub == nil {
			continue
		}
		if err := c.check(sub, e, fmt.Sprintf("%s.%d", at, i), depth+1); err != nil {
			return err
		}
	}
	if s["uniqueItems"] == true {
		for i := range list {
			if c.steps += i; c.steps > maxValidateSteps {
				return errors.New("the schema or the value is too complex to check")
			}
			if contains(list[:i], list[i]) {
				return fmt.Errorf("%s : items must be unique", at)
			}
		}
	}
	return nil
}

func (c *validator) object(s map[string]any, obj map[string]any, at string, depth int) error {
	if err := checkRange(s, "minProperties", "maxProperties", float64(len(obj)), at, "number of properties"); err != nil {
		return err
	}
	names, _ := textList(s["required"])
	for _, n := range names {
		if _, ok := obj[n]; !ok {
			return fmt.Errorf("%s : %q property is missing and required", at, n)
		}
	}
	props, _ := s["properties"].(map[string]any)
	for _, key := range sortedKeys(obj) {
		sub, known := props[key].(map[string]any)
		if known {
			if err := c.check(sub, obj[key], at+"."+key, depth+1); err != nil {
				return err
			}
		}
		matched, err := c.patternProperties(s, key, obj[key], at, depth)
		if err != nil {
			return err
		}
		if known || matched {
			continue
		}
		if s["additionalProperties"] == false {
			return fmt.Errorf("%s : additional property %q is not allowed", at, clip(key))
		}
		if extra, ok := s["additionalProperties"].(map[string]any); ok {
			if err := c.check(extra, obj[key], at+"."+key, depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *validator) patternProperties(s map[string]any, key string, v any, at string, depth int) (bool, error) {
	patterns, _ := s["patternProperties"].(map[string]any)
	matched := false
	for _, p := range sortedKeys(patterns) {
		re, err := regexp.Compile(p)
		if err != nil || !re.MatchString(key) {
			continue
		}
		matched = true
		if sub, ok := patterns[p].(map[string]any); ok {
			if err := c.check(sub, v, at+"."+key, depth+1); err != nil {
				return true, err
			}
		}
	}
	return matched, nil
}
