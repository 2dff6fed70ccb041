//go:build race

package render_test

// The race detector makes pools forget at random.
const countsAllocations = false
