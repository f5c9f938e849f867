// Package audit owns the record of who did what: the rows that are written in
// the same transaction as a change, the append-only segment files they move to,
// the hash chain over them and its signed checkpoints.
//
// It refuses to lose a record silently: rows leave the store only after they
// are durable in a segment, and a chain that does not verify names its first
// bad record. It never sees arguments that a method declared secret.
//
// Tables: audit (records not yet moved), audit-head (how far the chain goes).
package audit
