package boltstore

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"go.etcd.io/bbolt"

	"github.com/apnkit/apnkit/apn/store"
)

// A stored row is revision (8 bytes), checksum (4), live (1), value.
const (
	sumAt  = 8
	liveAt = 12
	header = 13
)

// encode returns the row of value, copied; stamp completes it.
func encode(value []byte) []byte {
	row := make([]byte, header+len(value))
	if value != nil {
		row[liveAt] = 1
	}
	copy(row[header:], value)
	return row
}

// stamp puts revision and checksum into row, which will stand under k.
func stamp(k, row []byte, rev store.Rev) {
	binary.BigEndian.PutUint64(row, uint64(rev))
	binary.BigEndian.PutUint32(row[sumAt:], sum(k, row[:sumAt], row[liveAt:]))
}

func sum(parts ...[]byte) (crc uint32) {
	for _, part := range parts {
		crc = crc32.Update(crc, crc32.MakeTable(crc32.Castagnoli), part)
	}
	return crc
}

// decode returns the entry in row, copied. k is the row's key in the bucket.
func decode(k, row []byte) (store.Entry, error) {
	if len(row) < header || binary.BigEndian.Uint32(row[sumAt:]) != sum(k, row[:sumAt], row[liveAt:]) {
		return store.Entry{}, fmt.Errorf("%w: row %q", ErrDamaged, k[1:])
	}
	e := store.Entry{Key: string(k[1:]), Rev: store.Rev(binary.BigEndian.Uint64(row))}
	if row[liveAt] == 1 {
		e.Value = append([]byte{}, row[header:]...)
	}
	return e, nil
}

// rowKey is where the row of key stands.
func rowKey(key string) []byte { return append([]byte{'k'}, key...) }

// logKey is where the log says that rev wrote key.
func logKey(rev store.Rev, key string) []byte {
	return append(binary.BigEndian.AppendUint64([]byte{'l'}, uint64(rev)), key...)
}

// row returns the row of key, the zero Entry if there is none.
func row(b *bbolt.Bucket, key string) (store.Entry, error) {
	if b == nil {
		return store.Entry{}, nil
	}
	k := rowKey(key)
	v := b.Get(k)
	if v == nil {
		return store.Entry{}, nil
	}
	return decode(k, v)
}

// logged returns the row that the log names at k.
func logged(b *bbolt.Bucket, k []byte) (store.Entry, error) {
	if len(k) < len("l")+8 {
		return store.Entry{}, fmt.Errorf("%w: log", ErrDamaged)
	}
	e, err := row(b, string(k[9:]))
	if err == nil && (e.Key == "" || e.Rev != store.Rev(binary.BigEndian.Uint64(k[1:]))) {
		err = fmt.Errorf("%w: log of row %q", ErrDamaged, k[9:])
	}
	return e, err
}

// bucket is the name of the bucket of a space.
func bucket(space string) []byte { return append([]byte{'='}, space...) }

// head returns the revision of a space, and the one up to which its deletions
// are forgotten. b is its bucket, nil if there is none.
//
// It stands behind the log, in a page that every commit writes anyway.
func head(b *bbolt.Bucket, space string) (rev, floor store.Rev, err error) {
	if b == nil {
		return 0, 0, nil
	}
	return decodeHead(space, b.Get([]byte{'r'}))
}

func decodeHead(space string, v []byte) (rev, floor store.Rev, err error) {
	if len(v) != 20 || binary.BigEndian.Uint32(v[16:]) != sum([]byte(space), v[:16]) {
		return 0, 0, fmt.Errorf("%w: head of space %q", ErrDamaged, space)
	}
	return store.Rev(binary.BigEndian.Uint64(v)), store.Rev(binary.BigEndian.Uint64(v[8:])), nil
}

func setHead(b *bbolt.Bucket, space string, rev, floor store.Rev) error {
	v := binary.BigEndian.AppendUint64(nil, uint64(rev))
	v = binary.BigEndian.AppendUint64(v, uint64(floor))
	v = binary.BigEndian.AppendUint32(v, sum([]byte(space), v))
	return b.Put([]byte{'r'}, v)
}
