// Package charms holds the sample charms and their tests: they are charms as
// any author could write them, and use hook tools only. It exports nothing.
package charms
