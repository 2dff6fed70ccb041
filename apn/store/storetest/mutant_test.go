package storetest_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn/store/storetest"
)

// TestNaive shows that what the mutants are made of is sound, and takes the kit
// through an adapter that shares nothing with Mem.
func TestNaive(t *testing.T) {
	t.Parallel()
	storetest.Run(t, naives(""), nil)
}

// TestMutants plants a bug into a sound adapter and wants it caught by the
// subtest that names it.
func TestMutants(t *testing.T) {
	t.Parallel()
	tests := []struct{ bug, subtest string }{
		{"unknown space is an error", "Basic"},
		{"no writes, no revision", "Basic"},
		{"absent rows listed", "Basic"},
		{"same value skipped", "Basic"},
		{"at ignored", "At"},
		{"checks ignored", "Checks"},
		{"checks of written rows only", "Checks"},
		{"absence not checked", "Checks"},
		{"a deleted row is present", "Checks"},
		{"row not older than its check", "Checks"},
		{"row revision counts the row", "ABA"},
		{"half a batch on conflict", "BigBatch"},
		{"empty is nil", "Values"},
		{"cut at nul", "Values"},
		{"bad utf-8 replaced", "Values"},
		{"keys cut at 255", "Limits"},
		{"keeps the caller's memory", "Aliasing"},
		{"returns its own memory", "Aliasing"},
		{"collation", "KeyOrder"},
		{"LIKE", "Prefix"},
		{"upper bound", "Prefix"},
		{"after inclusive", "Prefix"},
		{"after stands for the prefix", "Prefix"},
		{"no separator", "Spaces"},
		{"spaces ignore case", "Spaces"},
		{"one revision for all spaces", "Spaces"},
		{"more on a full page", "Paging"},
		{"revision split", "Paging"},
		{"stale log", "Since"},
		{"lost deletions", "Since"},
		{"since inclusive", "Since"},
		{"changes by key", "Since"},
		{"no floor", "Compact"},
		{"floor goes back", "Compact"},
		{"forgets newer deletions", "Compact"},
		{"forgets rows", "Compact"},
		{"cancelled is a conflict", "Cancel"},
		{"cancelled half way", "Cancel"},
		{"waits for the next commit", "Wait"},
		{"looks, then waits", "Wait"},
		{"deaf", "Wait"},
		{"check outside the lock", "LostUpdate"},
		{"deferred lock", "LostUpdate"},
		{"check outside the lock", "WriteSkew"},
		{"at ignored", "WriteSkew"},
		{"revision from a second query", "AtomicRead"},
		{"rows read one by one", "AtomicRead"},
		{"sequence as revision", "Tail"},
		{"revision from a second query", "Tail"},
		{"space created twice", "ManySpaces"},
		{"check outside the lock", "History"},
		{"deferred lock", "History"},
		{"at ignored", "History"},
		{"no writes, no revision", "History"},
		{"sequence as revision", "History"},
		{"rows read one by one", "History"},
		{"reads a replica that lags", "History"},
		{"deletions end with the process", "Reopen"},
		{"revision restarts", "Reopen"},
		{"acknowledged before it is written", "Crash"},
		{"a frame per row", "Crash"},
		{"no sync", "Sync"},
	}
	for _, tt := range tests {
		t.Run(tt.bug+" in "+tt.subtest, func(t *testing.T) {
			t.Parallel()
			found := storetest.Failures(t, tt.subtest, naives(tt.bug), storetest.Options{Kills: 3})
			require.NotEmpty(t, found, "the bug went through")
			t.Log(found)
		})
	}
}
