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
	binary.BigEndian.PutUint32(row[sumAt:], sum(k, row))
}

func sum(k, row []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	c := crc32.Update(0, table, k)
	c = crc32.Update(c, table, row[:sumAt])
	return crc32.Update(c, table, row[liveAt:])
}

// decode returns the entry in row, copied. k is the row's key in the bucket.
func decode(k, row []byte) (store.Entry, error) {
	if len(row) < header || binary.BigEndian.Uint32(row[sumAt:]) != sum(k, row) {
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

// newest returns the entry that the log names at k.
func newest(b *bbolt.Bucket, k []byte) (store.Entry, error) {
	key := append([]byte{'k'}, k[9:]...)
	e, err := decode(key, b.Get(key))
	if err == nil && e.Rev != store.Rev(binary.BigEndian.Uint64(k[1:])) {
		err = fmt.Errorf("%w: log of row %q", ErrDamaged, key[1:])
	}
	return e, err
}
