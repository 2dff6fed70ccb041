package boltstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"runtime/debug"

	"go.etcd.io/bbolt"

	"github.com/apnkit/apnkit/apn/store"
)

// checker reads a bbolt file (format 2) without trusting it. bbolt itself
// follows whatever a page says, round in circles or out of the mapped file,
// where the process ends.
type checker struct {
	file io.ReaderAt
	size uint64 // of a page
	used []bool
}

// check looks whether the file of db is one of this package and, unless
// opts.NoCheck, whether all of it is sound. db holds the lock.
func check(db *bbolt.DB, opts Options) (err error) {
	f, err := os.Open(db.Path())
	if err != nil {
		return err
	}
	defer func() {
		if r := recover(); r != nil { // an offset that leads out of its page
			err = fmt.Errorf("%w: %v", ErrDamaged, r)
		}
		err = errors.Join(err, f.Close())
	}()
	c := &checker{file: f, size: uint64(db.Info().PageSize)} //nolint:gosec // a few KiB
	root, freelist, err := c.meta()
	if err != nil {
		return err
	}
	page, err := c.take(root)
	if err != nil {
		return err
	}
	buckets := map[string][]byte{}
	err = c.tree(1, page, nil, nil, func(name, value []byte) error {
		buckets[string(name)] = value
		return nil
	})
	if err != nil {
		return err
	}
	if err := c.format(buckets); err != nil || opts.NoCheck {
		return err
	}
	for name, value := range buckets {
		if name[0] != '=' {
			return fmt.Errorf("%w: bucket %q", ErrDamaged, name)
		}
		if err := c.space(name[1:], value); err != nil {
			return err
		}
	}
	return c.free(freelist)
}

// meta finds the newest root, and makes room for the pages that it counts.
func (c *checker) meta() (root, freelist uint64, err error) {
	var newest, pages uint64
	for i := range uint64(2) {
		page, err := c.read(i, 1)
		if err != nil {
			return 0, 0, err
		}
		m := page[16:80]
		h := fnv.New64a()
		_, _ = h.Write(m[:56])
		if id := u64(m[48:]); u64(m[56:]) == h.Sum64() && id >= newest {
			root, freelist, pages, newest = u64(m[16:]), u64(m[32:]), u64(m[40:]), id
		}
	}
	if _, err := c.read(pages-1, 1); err != nil {
		return 0, 0, fmt.Errorf("%w, of %d", err, pages)
	}
	c.used = make([]bool, pages)
	c.used[0], c.used[1] = true, true
	return root, freelist, nil
}

// take reads the page id, which nothing else may use.
func (c *checker) take(id uint64) ([]byte, error) {
	page, err := c.read(id, 1)
	if err != nil {
		return nil, err
	}
	pages := uint64(u32(page[12:])) + 1
	if u64(page) != id || id+pages > uint64(len(c.used)) {
		return nil, fmt.Errorf("%w: page %d", ErrDamaged, id)
	}
	for i := id; i < id+pages; i++ {
		if c.used[i] {
			return nil, fmt.Errorf("%w: page %d is used twice", ErrDamaged, i)
		}
		c.used[i] = true
	}
	if pages == 1 {
		return page, nil
	}
	return c.read(id, pages)
}

// read reads so many pages.
func (c *checker) read(id, pages uint64) ([]byte, error) {
	data := make([]byte, pages*c.size)
	if _, err := c.file.ReadAt(data, int64(id*c.size)); err != nil { //nolint:gosec // a wild offset fails, or finds another page
		return nil, fmt.Errorf("%w: page %d: %w", ErrDamaged, id, err)
	}
	return data, nil
}

// tree calls leaf with every element of page and of the pages below, which are
// all of a kind: 1 for buckets, 0 for rows. Their keys rise from low on, and
// stay below high; nil is no bound.
func (c *checker) tree(kind uint32, page, low, high []byte, leaf func(k, v []byte) error) error {
	flags, count := u16(page[8:]), int(u16(page[10:]))
	if flags != 1 && flags != 2 {
		return fmt.Errorf("%w: page %d has type %d", ErrDamaged, u64(page), flags)
	}
	var below []byte // the key of a child, which the one after bounds
	var child uint64
	descend := func(high []byte) error {
		p, err := c.take(child)
		if err == nil {
			err = c.tree(kind, p, below, high, leaf)
		}
		return err
	}
	for i := range count {
		e := page[16+16*i:]
		var k, v []byte
		if flags == 1 {
			k = e[u32(e):][:u32(e[4:])]
		} else {
			k = e[u32(e[4:]):][:u32(e[8:])]
			v = e[u32(e[4:]):][len(k):][:u32(e[12:])]
		}
		if len(k) == 0 || bytes.Compare(k, low) < 0 || i > 0 && bytes.Equal(k, low) || high != nil && bytes.Compare(k, high) >= 0 ||
			flags == 2 && u32(e) != kind {
			return fmt.Errorf("%w: key %d of page %d", ErrDamaged, i, u64(page))
		}
		low = k
		var err error
		switch {
		case flags == 2:
			err = leaf(k, v)
		case i > 0:
			err = descend(k)
		}
		if err != nil {
			return err
		}
		if flags == 1 {
			below, child = k, u64(e[8:])
		}
	}
	if flags == 1 && count > 0 {
		return descend(high)
	}
	return nil
}

// bucket calls leaf with every element of the bucket that value describes. A
// small one stands in the value itself.
func (c *checker) bucket(value []byte, leaf func(k, v []byte) error) error {
	page := value[16:]
	if root := u64(value); root != 0 {
		var err error
		if page, err = c.take(root); err != nil {
			return err
		}
	}
	return c.tree(0, page, nil, nil, leaf)
}

// format takes the bucket of the format version out of buckets.
func (c *checker) format(buckets map[string][]byte) error {
	own, ok := buckets["apnkit"]
	delete(buckets, "apnkit")
	if !ok {
		if len(buckets) > 0 {
			return ErrForeign
		}
		return nil // created, and interrupted before initialize
	}
	var have string
	err := c.bucket(own, func(k, v []byte) error {
		if string(k) == "format" {
			have = string(v)
		}
		return nil
	})
	if err == nil && have != format {
		err = fmt.Errorf("%w: format %q, know %q", ErrNewer, have, format)
	}
	return err
}

// space checks the rows of a space against their checksums and the log.
func (c *checker) space(name string, value []byte) error {
	var top, rev store.Rev
	var rows, log uint64
	err := c.bucket(value, func(k, v []byte) (err error) {
		switch k[0] {
		case 'k':
			var e store.Entry
			if e, err = decode(k, v); err == nil {
				rows += fingerprint(logKey(e.Rev, e.Key))
				top = max(top, e.Rev)
			}
		case 'l':
			log += fingerprint(k)
		case 'r':
			rev, _, err = decodeHead(name, v)
		}
		return err
	})
	if err == nil && (rows != log || top > rev) {
		err = fmt.Errorf("%w: log of space %q", ErrDamaged, name)
	}
	return err
}

// free checks that each page that is not used is free. Writing to a file in
// which one is both would destroy it.
func (c *checker) free(freelist uint64) error {
	page, err := c.take(freelist)
	if err != nil {
		return err
	}
	count, ids := uint64(u16(page[10:])), page[16:]
	if count == 0xffff {
		count, ids = u64(ids), ids[8:]
	}
	for i := range count {
		id := u64(ids[8*i:])
		if c.used[id] {
			return fmt.Errorf("%w: page %d is used and free", ErrDamaged, id)
		}
		c.used[id] = true
	}
	for id, used := range c.used {
		if !used {
			return fmt.Errorf("%w: page %d is lost", ErrDamaged, id)
		}
	}
	return nil
}

// fingerprint adds up over a set, whatever its order.
func fingerprint(b []byte) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(b)
	return h.Sum64()
}

// bbolt writes numbers as they stand in memory.
func u16(b []byte) uint16 { return binary.NativeEndian.Uint16(b) }
func u32(b []byte) uint32 { return binary.NativeEndian.Uint32(b) }
func u64(b []byte) uint64 { return binary.NativeEndian.Uint64(b) }

// guard turns a panic over a file that broke while it was open into ErrDamaged,
// also the fault of reading outside of it.
func guard(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", ErrDamaged, r)
		}
	}()
	return fn()
}
