package main

import (
	"fmt"
	"slices"
	"time"
)

// A line is one figure and its target. A target of 0 is for information.
type line struct {
	name, what string
	value      float64
	target     float64
	unit       string // "x" for ratios
	detail     string
}

func (l line) ok() bool { return l.value <= l.target }

// String prints the line.
func (l line) String() string {
	mark, limit := "PASS", fmt.Sprintf("at most %g %s", l.target, l.unit)
	if l.unit == "x" {
		limit = fmt.Sprintf("at most %gx", l.target)
	}
	switch {
	case l.target == 0:
		mark, limit = "info", "no target"
	case !l.ok():
		mark = "OVER"
	}
	value := fmt.Sprintf("%.2f %s", l.value, l.unit)
	if l.unit == "x" {
		value = fmt.Sprintf("%.2fx", l.value)
	}
	s := fmt.Sprintf("%s  %-9s %-62s %12s  (%s)", mark, l.name, l.what, value, limit)
	if l.detail != "" {
		s += "  " + l.detail
	}
	return s
}

// A side is one of two things that are compared. It times itself, so that
// preparing is not counted.
type side func() (time.Duration, error)

// pair measures both sides in turn, after warming both up, and compares their
// medians. Every other time the floor goes first.
func (b *bench) pair(what string, target float64, warm, times int, ours, floor side) (line, error) {
	var a, z []time.Duration
	for i := range warm + times {
		order := []struct {
			s  side
			to *[]time.Duration
		}{{ours, &a}, {floor, &z}}
		if i%2 == 1 {
			slices.Reverse(order)
		}
		for _, o := range order {
			if err := b.ctx.Err(); err != nil {
				return line{}, err
			}
			d, err := o.s()
			if err != nil {
				return line{}, fmt.Errorf("%s: %w", what, err)
			}
			if i >= warm {
				*o.to = append(*o.to, d)
			}
		}
	}
	x, y := median(a), median(z)
	return line{
		what: what, target: target, unit: "x", value: float64(x) / float64(y),
		detail: fmt.Sprintf("%s over %s, medians of %d", round(x), round(y), times),
	}, nil
}

func median(ds []time.Duration) time.Duration {
	slices.Sort(ds)
	return ds[len(ds)/2]
}

// round keeps three or four digits.
func round(d time.Duration) time.Duration {
	unit := time.Duration(1)
	for d/unit >= 10_000 {
		unit *= 10
	}
	return d.Round(unit)
}

// timed is a side that does nothing but f.
func timed(f func() error) side {
	return func() (time.Duration, error) {
		t := time.Now()
		err := f()
		return time.Since(t), err
	}
}
