//go:build goexperiment.runtimesecret

package keys

import runtimesecret "runtime/secret"

// erasing calls f, which handles a key. Registers and stack are erased when f
// returns, heap memory when nothing refers to it any more.
func erasing(f func()) { runtimesecret.Do(f) }
