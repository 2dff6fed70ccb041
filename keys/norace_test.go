//go:build !race

package keys_test

const poolSlack = 0
