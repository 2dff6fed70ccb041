// Package etcdstore keeps apn's rows in an etcd cluster.
//
// [Open] connects by a URL, [New] works over a client that the caller has. The
// [Store] is also a [store.Waiter] and a [store.Compactor]. Any number of
// processes share one prefix. A commit is one etcd transaction, on the disks of
// a majority of the members when it is acknowledged; reads are linearizable.
//
// etcd takes a limited number of writes and bytes in one transaction:
// [Store.MaxWrites], [ErrTooLarge].
//
// # Keys
//
// NUL, which no name contains, ends the prefix and the name of a space.
//
//	prefix NUL "format"                  version of this layout
//	prefix NUL "/" space NUL "r"         head: its ModRevision is the revision of the space
//	prefix NUL "/" space NUL "k" key     value of a row
//	prefix NUL "/" space NUL "l" before  of a commit, a random mark and its keys, with NUL between
//	prefix NUL "/" space NUL "f"         revision up to which deletions are forgotten, decimal
//
// A commit does not know its own revision beforehand, so its log key is named
// by the one before it, in 16 hexadecimal digits. The log grows by a key with
// each commit, until [Store.Compact] cuts it. If an answer of etcd is lost, the
// mark tells whether the commit happened.
//
// Revisions are those of the cluster. A snapshot that etcdctl restores keeps
// them. Keys that were copied one by one have others, which Since takes for
// damage: copy rows from store to store instead.
package etcdstore
