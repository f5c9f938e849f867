// Package life names the three states of anything that can be removed. It owns
// no rows.
package life

// A Life is alive, dying or dead. The zero Life is not valid in a row.
type Life string

// Alive things work; dying things are winding down in an orderly way; dead
// things only wait to be forgotten.
const (
	Alive Life = "alive"
	Dying Life = "dying"
	Dead  Life = "dead"
)

// Wire returns the form used in full status, where alive is empty.
func (l Life) Wire() string {
	if l == Alive {
		return ""
	}
	return string(l)
}
