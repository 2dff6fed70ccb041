// Package sqlstore keeps apn's rows in PostgreSQL or in a SQLite file, through
// database/sql.
//
// [OpenPostgres], [NewPostgres] and [OpenSQLite] return a [store.Store] that is
// also a [store.Waiter] and a [store.Compactor]. Any number of processes may
// have the same database open; none of them leads. A commit is durable when it
// is acknowledged, and a database that is set up to forget is refused.
//
// [In] is the same store inside a transaction of the caller, so that a row of
// the caller's own and a change of apn are one commit.
//
// The caller imports the SQLite driver; any one will do. PostgreSQL works
// through pgx.
//
// # The tables
//
//	apn_schema  version: of the tables below
//	apn_space   id; rev: its revision; floor: the one up to which deletions are
//	            forgotten
//	apn_kv      space, key; rev: of the commit that wrote or deleted it; val:
//	            NULL is a deletion; sum: CRC-32C of space, key and val
//
// They lie in the first schema of the search path, which may hold tables of
// other programs. Opening creates them, and brings old ones up to date, under a
// lock. Revisions count per space, so that spaces do not wait for each other.
package sqlstore
