//go:build !race

package render_test

const countsAllocations = true
