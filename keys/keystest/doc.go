// Package keystest proves that a [keys.KEK] or a [keys.Store] keeps its
// contract.
//
// An adapter's test is a function that opens the adapter, and the suite:
//
//	func TestKEK(t *testing.T) {
//		keystest.RunKEK(t, func(t testing.TB) keys.KEK { return openMine(t) }, nil)
//	}
//
// Each check is a subtest that names the sentence of the contract it defends.
// Run them with -race. [FakeKEK] counts its calls and fails on demand, for tests
// of programs that use a KEK. The package needs nothing but testing.
package keystest
