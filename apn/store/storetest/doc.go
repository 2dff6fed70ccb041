// Package storetest proves that an adapter keeps the contract of package
// store. It uses plain testing and adds no dependency.
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, func(t testing.TB, dir string) store.Store {
//			st, err := mystore.Open(filepath.Join(dir, "data"))
//			if err != nil {
//				t.Fatal(err)
//			}
//			return st
//		}, nil)
//	}
//
// [Run] needs no more than an [OpenFunc]. The kit tests itself: each of its
// subtests catches adapters with a planted bug.
//
// [NewChaos] wraps a store for tests of its callers: it fails, delays and lies
// about conflicts, from a seed.
package storetest
