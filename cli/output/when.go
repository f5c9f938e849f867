package output

import (
	"fmt"
	"time"
)

// Stamp is the way status documents show a point in time: local time with the zone, or UTC.
func Stamp(t time.Time, utc bool) string {
	if t.IsZero() {
		return ""
	}
	if utc {
		return t.UTC().Format("02 Jan 2006 15:04:05Z07:00")
	}
	return t.Local().Format("02 Jan 2006 15:04:05Z07:00")
}

// Ago is a span of time in words, as lists of models and users show it.
func Ago(now, t time.Time) string {
	if t.IsZero() {
		return "never connected"
	}
	d := now.Sub(t)
	switch {
	case d < time.Minute:
		return "just now"
	case d < time.Hour:
		return plural(int(d/time.Minute), "minute") + " ago"
	case d < 24*time.Hour:
		return plural(int(d/time.Hour), "hour") + " ago"
	case d < 14*24*time.Hour:
		return plural(int(d/(24*time.Hour)), "day") + " ago"
	}
	return t.Format("2006-01-02")
}

// Short is a span as `12s`, `3m05s` or `2h04m`.
func Short(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}
