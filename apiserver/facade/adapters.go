package facade

import (
	"encoding/json"

	"github.com/scarab-ops/scarab/authz"
	"github.com/scarab-ops/scarab/wire"
)

// one runs h on the item that c is for and holds it to the rule.
func one[S, I, O any](s S, c Call, i I, h func(S, Call, I) (O, error)) (O, error) {
	o, err := h(s, c, i)
	if err == nil && c.op.endpoint.Rule.On == authz.OnItem && len(c.item.checks) == 0 {
		var zero O
		return zero, errUnchecked
	}
	return o, err
}

// One declares a method that takes one argument and gives one result.
func One[S, A, R any](name string, rule authz.Rule, h func(S, Call, A) (R, error)) Method[S] {
	return Method[S]{name, rule, func(s S, c Call, raw json.RawMessage) (any, error) {
		a, err := decode[A](raw)
		if err != nil {
			return nil, err
		}
		return one(s, c, a, h)
	}}
}

// None declares a method that takes no argument.
func None[S, R any](name string, rule authz.Rule, h func(S, Call) (R, error)) Method[S] {
	return One(name, rule, func(s S, c Call, _ struct{}) (R, error) { return h(s, c) })
}

// Act declares a method that takes one argument and gives nothing but success.
func Act[S, A any](name string, rule authz.Rule, h func(S, Call, A) error) Method[S] {
	return One(name, rule, func(s S, c Call, a A) (struct{}, error) { return struct{}{}, h(s, c, a) })
}

// Each declares a bulk method: h sees one item at a time, and an item's error
// travels in that item's result.
func Each[S, A, I, R, O any](name string, rule authz.Rule, sh wire.Shape[A, I, R, O], h func(S, Call, I) (O, error)) Method[S] {
	return Method[S]{name, rule, func(s S, c Call, raw json.RawMessage) (any, error) {
		a, err := decode[A](raw)
		if err != nil {
			return nil, err
		}
		items := sh.Items(a)
		if len(items) > MaxItems {
			return nil, errTooMany(len(items))
		}
		out := make([]O, len(items))
		for i, it := range items {
			c.item = &item{}
			o, err := one(s, c, it, h)
			if err != nil {
				c.failed(err)
				o = sh.Fail(ToWire(err))
			}
			out[i] = o
		}
		return sh.Wrap(out), nil
	}}
}

// EachOn is Each for methods whose items name their own target. Access is
// checked before h is called, so h cannot forget it.
func EachOn[S, A, I, R, O any](name string, rule authz.Rule, target func(I) (authz.Target, error), sh wire.Shape[A, I, R, O], h func(S, Call, I) (O, error)) Method[S] {
	rule.On = authz.OnItem
	return Each(name, rule, sh, func(s S, c Call, i I) (O, error) {
		var zero O
		t, err := target(i)
		if err != nil {
			return zero, err
		}
		if err := c.Check(rule.Need, t); err != nil {
			return zero, err
		}
		return h(s, c, i)
	})
}

func errorResults[A, I any](items func(A) []I) wire.Shape[A, I, wire.ErrorResults, wire.ErrorResult] {
	return wire.Shape[A, I, wire.ErrorResults, wire.ErrorResult]{
		Items: items,
		Wrap:  func(rs []wire.ErrorResult) wire.ErrorResults { return wire.ErrorResults{Results: rs} },
		Fail:  func(e *wire.Error) wire.ErrorResult { return wire.ErrorResult{Error: e} },
	}
}

// Do is Each for methods whose items give nothing but success.
func Do[S, A, I any](name string, rule authz.Rule, items func(A) []I, h func(S, Call, I) error) Method[S] {
	return Each(name, rule, errorResults(items), func(s S, c Call, i I) (wire.ErrorResult, error) {
		return wire.ErrorResult{}, h(s, c, i)
	})
}

// DoOn is EachOn for methods whose items give nothing but success.
func DoOn[S, A, I any](name string, rule authz.Rule, target func(I) (authz.Target, error), items func(A) []I, h func(S, Call, I) error) Method[S] {
	return EachOn(name, rule, target, errorResults(items), func(s S, c Call, i I) (wire.ErrorResult, error) {
		return wire.ErrorResult{}, h(s, c, i)
	})
}

// Watch declares a method that makes one watcher and answers with its id. wrap
// gets the id and the first event, which is nil for kinds that imply it.
func Watch[S, A, R any](name string, rule authz.Rule, kind WatcherKind, h func(S, Call, A) (Watcher, error), wrap func(id string, first any) R) Method[S] {
	return One(name, rule.Reads(), func(s S, c Call, a A) (R, error) {
		var zero R
		w, err := h(s, c, a)
		if err != nil {
			return zero, err
		}
		id, first, err := c.Watch(kind, w)
		if err != nil {
			return zero, err
		}
		return wrap(id, first), nil
	})
}

// Raw declares a method that reads its own arguments. raw is bounded but not
// decoded.
func Raw[S any](name string, rule authz.Rule, h func(S, Call, json.RawMessage) (any, error)) Method[S] {
	return Method[S]{name, rule, func(s S, c Call, raw json.RawMessage) (any, error) {
		if err := bounded(raw); err != nil {
			return nil, err
		}
		return one(s, c, raw, h)
	}}
}
