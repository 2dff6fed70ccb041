//go:build race

package keys_test

// poolSlack is for the race detector, under which sync.Pool drops at random
// what it holds.
const poolSlack = 8
