// Package store is the storage contract of apn, and its in-memory reference.
//
// An adapter implements the four methods of [Store] over a database; the doc
// comments of the interface are the whole contract, and package storetest
// checks each of their sentences. [Waiter] and [Compactor] are optional.
// [NewMem] is the reference: it keeps everything in memory.
//
// # The model
//
// A store holds spaces, a space holds rows, a row is a key and a value. Each
// space has a revision that every commit raises. A space appears with its
// first commit; before it, the space reads as an empty page at revision 0.
//
// Keys and values are opaque to an adapter. Callers keep to these limits:
// space names and keys are 1 to [MaxKey] bytes of printable ASCII (0x20 to
// 0x7E), values at most [MaxValue] bytes of anything, and a key stands at most
// once in the writes of a batch.
package store
