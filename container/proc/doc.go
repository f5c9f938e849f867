// Package proc owns what package container needs of processes and files and knows
// no machines: telling a process from a later one with the same number,
// watching for ends, ending families of processes, descriptors that cross a
// socket, and records that survive a power cut.
package proc

// ReadyWord is what a first process says when all is well.
const ReadyWord = "ready"
