package output

import (
	"io"
	"strings"
	"unicode/utf8"
)

// Style is how a cell looks when colours are on.
type Style string

// The styles in use. Their values are the parameters of a terminal's SGR sequence.
const (
	Plain  Style = ""
	Good   Style = "32"
	Bad    Style = "31"
	Warn   Style = "33"
	Info   Style = "34"
	Dim    Style = "90"
	Strong Style = "1"
)

// Cell is one field of a table.
type Cell struct {
	Text  string
	Style Style
	Right bool
}

// Text makes a plain cell, Right one aligned to the right.
func Text(s string) Cell { return Cell{Text: s} }

// Styled makes a coloured cell.
func Styled(s string, st Style) Cell { return Cell{Text: s, Style: st} }

// Right makes a cell aligned to the right.
func Right(s string) Cell { return Cell{Text: s, Right: true} }

// Table collects rows and prints them with aligned columns, two blanks between them and none at the end of a line.
type Table struct {
	rows   [][]Cell
	colour bool
}

// NewTable returns an empty table.
func NewTable(colour bool) *Table { return &Table{colour: colour} }

// Row adds a row of plain cells.
func (t *Table) Row(cells ...string) {
	row := make([]Cell, len(cells))
	for i, c := range cells {
		row[i] = Text(c)
	}
	t.rows = append(t.rows, row)
}

// Cells adds a row of cells.
func (t *Table) Cells(cells ...Cell) { t.rows = append(t.rows, cells) }

// Head adds the heading row.
func (t *Table) Head(cells ...string) {
	row := make([]Cell, len(cells))
	for i, c := range cells {
		row[i] = Cell{Text: c, Style: Strong}
	}
	t.rows = append(t.rows, row)
}

// Len counts the rows.
func (t *Table) Len() int { return len(t.rows) }

// Flush prints the table to raw, the stream below the escaping one: every cell is escaped here, before colour is added.
func (t *Table) Flush(raw io.Writer) error {
	widths, right := t.measure()
	var b strings.Builder
	for _, row := range t.rows {
		last := len(row) - 1
		for last >= 0 && row[last].Text == "" {
			last--
		}
		for i := 0; i <= last; i++ {
			text := Escape(row[i].Text)
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(text))
			if right[i] {
				b.WriteString(pad)
			}
			b.WriteString(paint(text, row[i].Style, t.colour))
			if i < last {
				if !right[i] {
					b.WriteString(pad)
				}
				b.WriteString("  ")
			}
		}
		b.WriteByte('\n')
	}
	t.rows = nil
	_, err := io.WriteString(raw, b.String())
	return err
}

func (t *Table) measure() (widths []int, right []bool) {
	for _, row := range t.rows {
		for i, c := range row {
			if i >= len(widths) {
				widths, right = append(widths, 0), append(right, false)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(Escape(c.Text)))
			right[i] = right[i] || c.Right
		}
	}
	return widths, right
}

func paint(s string, st Style, colour bool) string {
	if !colour || st == Plain || s == "" {
		return s
	}
	return "\x1b[" + string(st) + "m" + s + "\x1b[0m"
}

// Paint escapes text and colours it.
func Paint(s string, st Style, colour bool) string { return paint(Escape(s), st, colour) }

// StatusStyle is the colour of a status word.
func StatusStyle(word string) Style {
	switch word {
	case "active", "started", "running", "idle", "available", "attached", "joined", "applied", "completed", "done", "alive":
		return Good
	case "error", "blocked", "failed", "lost", "down", "provisioning error", "broken", "dead":
		return Bad
	case "waiting", "maintenance", "pending", "allocating", "executing", "stopped", "terminated", "suspended", "dying", "aborted", "cancelled":
		return Warn
	case "unknown", "unset":
		return Dim
	}
	return Plain
}
