// Package container owns the machines of the local cloud: it makes, finds,
// enters and removes them, with namespaces, an overlay over a shared read-only
// image, control groups, a bridge and packet filters, and no daemon and no cgo.
//
// Root inside a machine is an unprivileged range of 65,536 ids outside. All
// mounts of a machine live in its own mount namespace only, so nothing of a
// machine that died stays mounted on the host. What a machine needs to be found
// again is one record on disk, written before anything is made; a Runtime that
// starts after a crash adopts the running, restarts the stopped and removes the
// half-made.
//
// Without the rights for that it stands one rung lower, if its Config says so:
// rootless machines are made inside a user namespace (package space), without
// control groups and systemd; process machines are folders and confined
// processes on the host's own programs and network (package confine). Each
// machine's record tells its isolation; limits that nothing holds are dropped.
//
// It refuses to touch what is not its own: a bridge without our mark, a
// control group outside of our folder, a process whose start time is not the
// recorded one. It does not know controllers, models or charms.
package container
