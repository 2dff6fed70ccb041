//go:build !goexperiment.runtimesecret

package keys

// erasing calls f, which handles a key. A build with
// GOEXPERIMENT=runtimesecret erases what f leaves behind, see erase_secret.go.
func erasing(f func()) { f() }
