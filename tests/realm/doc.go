// Package realm proves the whole on one real host: the four programs as they
// are built, at their ordinary paths, with real machines. It owns what can only
// be seen there: that the quickstart works and can be taken back without a
// trace, what can be reached from outside and from machine to machine, that
// killed processes come back, and what a person reads after a mistake; and those
// attacks of the threat matrix that need real machines, which
// tests/threats/machineparts lists.
//
// A host has one local cloud, so it is two tests with parts in order. It refuses
// to begin on a host that runs a controller already.
package realm
