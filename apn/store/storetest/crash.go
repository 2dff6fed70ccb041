package storetest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/apnkit/apnkit/apn/store"
)

// reopen: closing and opening again changes nothing.
func (k *kit) reopen() {
	if k.Volatile {
		k.Skip("the data end with the process")
	}
	st := k.open(k.TB, k.dir)
	m, revs := k.grow(st, "s", 40)
	k.put(st, "t", "other", "space")
	for range 3 {
		closeStore(k.TB, st)
		st = k.open(k.TB, k.dir)
		p := k.list(st, "s", "", "", 0)
		if p.Rev != m.rev || !slices.EqualFunc(p.Entries, m.live(), equalEntries) {
			k.Errorf("opened again: got %s, want %s", show(p), show(store.Page{Entries: m.live(), Rev: m.rev}))
		}
		k.follow(st, "s", m, revs[k.rng.IntN(len(revs))], 3)
		k.conflict(st, store.Batch{At: new(store.Rev(0))})
		w := writes("k/00", "again", "k/01", "-")
		m.apply(k.commit(st, "s", store.Batch{At: &m.rev, Writes: w}), w)
		k.follow(st, "s", m, 0, 0)
	}
	k.want(k.list(st, "t", "", "", 0), "other", "space")
	closeStore(k.TB, st)
}

const (
	childEnv = "STORETEST_CHILD" // name of the test and folder, in a child process
	writers  = 8
)

// inChild reports whether this process is the one that a crash test kills.
func inChild(test string) bool {
	name, _, ok := strings.Cut(os.Getenv(childEnv), "\n")
	return ok && name == test
}

// crashChild writes until it is killed: each writer commits pairs of rows in
// one batch, and says so once they are acknowledged.
func crashChild(t *testing.T, open OpenFunc) {
	t.Helper()
	_, dir, _ := strings.Cut(os.Getenv(childEnv), "\n")
	dir, limit, _ := strings.Cut(dir, "\n")
	commits, err := strconv.Atoi(limit)
	if err != nil {
		t.Fatal(err)
	}
	st := open(t, dir)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			n := 0
			p, err := st.Get(t.Context(), "s", left(w))
			if err == nil && len(p.Entries) > 0 {
				n, err = strconv.Atoi(string(p.Entries[0].Value))
			}
			for i := 0; err == nil && i < commits; i++ {
				n++
				var rev store.Rev
				rev, err = st.Commit(t.Context(), "s", store.Batch{Writes: writes(left(w), strconv.Itoa(n), right(w), strconv.Itoa(n))})
				if err == nil {
					_, err = fmt.Fprintf(os.Stdout, "\nack %d %d %d\n", w, n, rev)
				}
			}
			if err != nil {
				t.Errorf("writer %d: %v", w, err)
			}
		})
	}
	wg.Wait()
	closeStore(t, st)
}

func left(w int) string  { return fmt.Sprintf("left/%d", w) }
func right(w int) string { return fmt.Sprintf("right/%d", w) }

// child runs the test again in a process of its own, in which crashChild makes
// commits per writer. before stands ahead of its command line.
func (k *kit) child(commits int, before ...string) (*exec.Cmd, io.Reader) {
	k.Helper()
	self, err := os.Executable()
	if err != nil {
		k.Fatal(err)
	}
	var pattern []string
	for part := range strings.SplitSeq(k.name, "/") {
		pattern = append(pattern, "^"+regexp.QuoteMeta(part)+"$")
	}
	args := append(before, self, "-test.run="+strings.Join(pattern, "/"), "-test.v", "-test.count=1")
	cmd := exec.CommandContext(k.Context(), args[0], args[1:]...) //nolint:gosec // this very program
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s\n%s\n%d", childEnv, k.name, k.dir, commits))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		k.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		k.Fatalf("start %s: %v", args[0], err)
	}
	return cmd, out
}

// crash: a process that is killed loses nothing that it acknowledged, and
// leaves no half of a batch.
func (k *kit) crash() {
	if k.Volatile {
		k.Skip("the data end with the process")
	}
	var acked [writers]int
	var head store.Rev
	total := 0
	for range k.Kills {
		cmd, out := k.child(1_000_000)
		left, output := 50+k.rng.IntN(400), ""
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var w, n int
			var rev store.Rev
			if _, err := fmt.Sscanf(lines.Text(), "ack %d %d %d", &w, &n, &rev); err != nil || w >= writers {
				output += lines.Text() + "\n"
				continue
			}
			acked[w], head = max(acked[w], n), max(head, rev)
			total++
			if left--; left == 0 {
				if err := cmd.Process.Kill(); err != nil {
					k.Fatal(err)
				}
			}
		}
		if err := cmd.Wait(); left > 0 {
			k.Fatalf("the process ended before it was killed: %v\n%s", err, output)
		}
		k.survived(&acked, head)
	}
	k.Logf("%d kills, %d acknowledged commits", k.Kills, total)
}

// survived looks at what a killed process left behind.
func (k *kit) survived(acked *[writers]int, head store.Rev) {
	k.Helper()
	st := k.open(k.TB, k.dir)
	defer closeStore(k.TB, st)
	p := k.list(st, "s", "", "", 0)
	if p.Rev < head {
		k.Errorf("revision %d was acknowledged, the store is at %d", head, p.Rev)
	}
	rows := map[string]store.Entry{}
	for _, e := range p.Entries {
		rows[e.Key] = e
	}
	for w := range writers {
		l, r := rows[left(w)], rows[right(w)]
		if string(l.Value) != string(r.Value) || l.Rev != r.Rev {
			k.Errorf("writer %d: half a batch: %q at %d and %q at %d", w, l.Value, l.Rev, r.Value, r.Rev)
		}
		n, _ := strconv.Atoi(string(l.Value))
		if n < acked[w] || n > acked[w]+1 {
			k.Errorf("writer %d: %d was acknowledged, %d is stored", w, acked[w], n)
		}
		acked[w] = n
	}
	if q := k.changes(st, "s", 0, 0); len(q.Entries) != len(p.Entries) || q.Rev != p.Rev {
		k.Errorf("List shows %s, Since %s", show(p), show(q))
	}
}

// sync: what is acknowledged has been synced to the disk. A kill cannot tell,
// because the page cache survives it; so the system calls are counted, by
// strace.
func (k *kit) sync() {
	if k.Volatile || k.Remote {
		k.Skip("the data are not on a disk of this process")
	}
	strace, err := exec.LookPath("strace")
	if err == nil { // it may be there and not be allowed to look
		err = exec.CommandContext(k.Context(), strace, "-o", os.DevNull, strace, "-V").Run() //nolint:gosec // found in the path
	}
	if err != nil {
		if os.Getenv("APN_REQUIRE") == "all" {
			k.Fatalf("strace: %v", err)
		}
		k.Skipf("strace: %v", err)
	}
	// Writers that all wait share at most one sync, so there is one per round
	// of them; an adapter that joins nothing has one per commit.
	const rounds = 20
	trace := filepath.Join(k.TempDir(), "trace")
	cmd, out := k.child(rounds, strace, "-f", "-qq", "-e", "trace=fsync,fdatasync,sync_file_range,msync,syncfs", "-e", "signal=none", "-o", trace)
	output, err := io.ReadAll(out)
	if err = errors.Join(err, cmd.Wait()); err != nil {
		k.Fatalf("count the syncs: %v\n%s", err, output)
	}
	calls, err := os.ReadFile(trace) //nolint:gosec // written above
	if err != nil {
		k.Fatal(err)
	}
	acks, syncs := strings.Count(string(output), "\nack "), strings.Count(string(calls), "sync")
	k.Logf("%d acknowledged commits of %d writers, %d syncs", acks, writers, syncs)
	if acks != rounds*writers || syncs < rounds {
		k.Errorf("%d acknowledged commits of %d writers with %d syncs, want at least %d", acks, writers, syncs, rounds)
	}
}
