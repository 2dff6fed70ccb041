// Package boltstore keeps apn's rows in one bbolt file: the embedded default.
//
// [Open] returns a [store.Store] that is also a [store.Waiter] and a
// [store.Compactor]. One process at a time holds the file. A commit is on the
// disk when it is acknowledged; commits that wait at the same time, of
// whichever spaces, share one transaction and its syncs.
//
// # The file
//
// The bucket "apnkit" holds the format version. Each space has a bucket of its
// own, named "=" and the space, with these keys:
//
//	"k" key           revision (8 bytes), CRC-32C (4), 1 or 0 for deleted (1), value
//	"l" revision key  nothing; one per row, for its newest revision
//	"r"               revision of the space (8), the one up to which deletions
//	                  are forgotten (8), CRC-32C (4)
//
// Numbers are big endian. The checksum of a row covers its key too, that of a
// space its name. Files of this format stay readable.
package boltstore
