// Package conformance checks what charms and operators may rely on: the order
// of hooks, what they see, when what they ask for takes effect, and that
// nothing is lost or done twice when an agent or a controller dies at any
// moment.
//
// Controllers are real ones; the machines' agents are real processes, each
// with a data directory of its own on the host of the test; charms are scripts
// that record every run. The cloud is a folder (package filecloud): its
// machines are brought to life by the harness. Set SCARAB_LONG=1 for the long
// form.
package conformance
