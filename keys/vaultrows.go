package keys

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

// The rows of a vault.
const (
	dekPrefix   = "dek/" // version: DEKRecord
	ownerPrefix = "key/" // owner: ownerRow
	indexPrefix = "idx/" // blind index in hex: indexRow
)

type ownerRow struct {
	Keys KeyHistory `json:"keys"`
}

type indexRow struct {
	Owner string `json:"owner"`
	Gen   uint64 `json:"gen"`
}

const (
	// page is how many rows are listed at once.
	page = 256

	// tries bounds how often an operation starts again because another one was
	// faster. Each time, somebody else's change was stored.
	tries = 100
)

func dekKey(version uint32) string { return dekPrefix + strconv.FormatUint(uint64(version), 10) }

func indexKey(ring *Ring, p PublicKey) string {
	i := ring.Index(p)
	return indexPrefix + hex.EncodeToString(i[:])
}

func checkName(kind, s string) error {
	ok := len(s) >= 1 && len(s) <= 200
	for i := range len(s) {
		ok = ok && s[i] > ' ' && s[i] < 0x7f
	}
	if !ok {
		return fmt.Errorf("keys: name of %s: %w: want 1 to 200 bytes of printable ASCII without spaces", kind, ErrFormat)
	}
	return nil
}

// batch collects what one swap checks and writes.
type batch struct {
	checks, writes []Row
	err            error
}

func (b *batch) put(key string, rev uint64, v any) {
	value, err := json.Marshal(v)
	b.err = errors.Join(b.err, err)
	b.writes = append(b.writes, Row{Key: key, Value: value, Rev: rev})
}

func (b *batch) commit(ctx context.Context, s Store, network string) error {
	if b.err != nil {
		return fmt.Errorf("keys: encode rows of %q: %w", network, b.err)
	}
	if err := s.Swap(ctx, network, b.checks, b.writes); err != nil {
		return fmt.Errorf("keys: write %q: %w", network, err)
	}
	return nil
}

// row reads one row into v. rev is 0, and v untouched, if there is none.
func (v *Vault) row(ctx context.Context, network, key string, to any) (rev uint64, err error) {
	rows, err := v.store.Get(ctx, network, key)
	if err == nil && len(rows) > 0 {
		rev = rows[0].Rev
		if err = json.Unmarshal(rows[0].Value, to); err != nil {
			err = fmt.Errorf("%w: %w", ErrFormat, err)
		}
	}
	if err != nil {
		return 0, fmt.Errorf("keys: read %q of %q: %w", key, network, err)
	}
	return rev, nil
}

// storedDEK is a data key and the revision of its row.
type storedDEK struct {
	DEKRecord
	rev uint64
}

func records(stored []storedDEK) []DEKRecord {
	recs := make([]DEKRecord, len(stored))
	for i, s := range stored {
		recs[i] = s.DEKRecord
	}
	return recs
}

func (v *Vault) deks(ctx context.Context, network string) ([]storedDEK, error) {
	var stored []storedDEK
	err := v.list(ctx, network, dekPrefix, func(r Row) error {
		s := storedDEK{rev: r.Rev}
		err := json.Unmarshal(r.Value, &s.DEKRecord)
		stored = append(stored, s)
		return err
	}, nil)
	return stored, err
}

// list calls each for every row under prefix, and after, if not nil, at the end
// of each page.
func (v *Vault) list(ctx context.Context, network, prefix string, each func(Row) error, after func()) error {
	for last := ""; ; {
		rows, err := v.store.List(ctx, network, prefix, last, page)
		if err != nil {
			return fmt.Errorf("keys: list %q of %q: %w", prefix, network, err)
		}
		for _, r := range rows {
			last = r.Key
			if err := each(r); err != nil {
				return fmt.Errorf("keys: read %q of %q: %w", r.Key, network, err)
			}
		}
		if after != nil {
			after()
		}
		if len(rows) < page {
			return nil
		}
	}
}

// read opens an owner's history. A ring that misses a newer data key is opened
// again, as long as that brings newer ones.
func (v *Vault) read(ctx context.Context, c Call, network, owner string, do func(*Ring, KeyHistory) error) error {
	if err := checkName("owner", owner); err != nil {
		return err
	}
	for newest := uint32(0); ; {
		ring, err := v.Ring(ctx, network, c.Now)
		if err != nil {
			return err
		}
		var row ownerRow
		rev, err := v.row(ctx, network, ownerPrefix+owner, &row)
		if err != nil {
			return err
		}
		if rev == 0 {
			return fmt.Errorf("keys: read %q of %q: %w", owner, network, ErrNotFound)
		}
		err = do(ring, row.Keys)
		if !errors.Is(err, ErrUnknownDEK) || ring.Version() == newest {
			return err
		}
		newest = ring.Version()
		v.rings.Flush(network)
	}
}

// edit returns the history to store, and may add rows to the batch.
type edit func(ring *Ring, h KeyHistory, b *batch) (KeyHistory, error)

// update changes an owner's history with compare-and-swap. The active data key
// is checked in the same swap: a record sealed under one that was replaced
// meanwhile would be lost with it.
func (v *Vault) update(ctx context.Context, c Call, network, owner string, do edit) error {
	if err := checkName("owner", owner); err != nil {
		return err
	}
	newest := uint32(0)
	for range tries {
		ring, err := v.Ring(ctx, network, c.Now)
		if err != nil {
			return err
		}
		if ring.Version() == 0 {
			return dekError("seal", network, 0, "", fmt.Errorf("%w: none is active", ErrUnknownDEK))
		}
		var dek DEKRecord
		dekRev, err := v.row(ctx, network, dekKey(ring.Version()), &dek)
		if err != nil {
			return err
		}
		if !ring.seals(dek) {
			v.rings.Flush(network)
			continue
		}
		var row ownerRow
		rev, err := v.row(ctx, network, ownerPrefix+owner, &row)
		if err != nil {
			return err
		}
		var b batch
		row.Keys, err = do(ring, row.Keys, &b)
		if errors.Is(err, ErrUnknownDEK) && ring.Version() != newest {
			newest = ring.Version() // as in read: the row is newer than the ring
			v.rings.Flush(network)
			continue
		}
		if err != nil {
			return fmt.Errorf("keys: update %q of %q: %w", owner, network, err)
		}
		b.put(ownerPrefix+owner, rev, row)
		next, n, err := ring.Reserve(dek)
		if err != nil {
			return err
		}
		if n > 0 {
			b.put(dekKey(dek.Version), dekRev, next)
		} else {
			b.checks = []Row{{Key: dekKey(dek.Version), Rev: dekRev}}
		}
		if err = b.commit(ctx, v.store, network); err == nil {
			ring.Reserved(n)
		}
		if !errors.Is(err, ErrConflict) {
			return err
		}
	}
	return fmt.Errorf("keys: update %q of %q: %w: too many attempts", owner, network, ErrConflict)
}

// open returns what is known of rec. Revoked keys hold nothing to open.
func open(ring *Ring, owner string, rec KeyRecord) (Key, error) {
	key := Key{
		Network: ring.Network(), Owner: owner, Gen: rec.Gen, State: rec.State,
		Custody: rec.Custody, Created: rec.Created, Changed: rec.Changed,
	}
	var err error
	if rec.State != KeyRevoked {
		key.Public, err = ring.OpenPublic(Owner{Network: ring.Network(), ID: owner, Gen: rec.Gen}, rec.Public)
	}
	return key, err
}
