//go:build race

package unit

// raceDetector makes each of the hundreds of processes that a test starts ten
// times as slow.
const raceDetector = true
