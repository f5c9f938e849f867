//go:build !race

package unit

const raceDetector = false
