package boltstore

import (
	"fmt"
	"os"
	"runtime/debug"

	"go.etcd.io/bbolt"
)

// check returns a function that looks whether the content is sound.
func check(o Options) func(*bbolt.Tx) error {
	return func(tx *bbolt.Tx) error {
		info, err := os.Stat(tx.DB().Path())
		if err != nil {
			return err
		}
		if info.Size() < tx.Size() {
			return fmt.Errorf("%w: %d bytes of %d", ErrDamaged, info.Size(), tx.Size())
		}
		if first, _ := tx.Cursor().First(); first == nil {
			return nil // created, and interrupted before initialize
		}
		b := tx.Bucket([]byte("apnkit"))
		if b == nil {
			return ErrForeign
		}
		if have := b.Get([]byte("format")); string(have) != format {
			return fmt.Errorf("%w: format %q, know %q", ErrNewer, have, format)
		}
		if o.NoCheck {
			return nil
		}
		if err := tx.ForEach(checkSpace); err != nil {
			return err
		}
		for err := range tx.Check() {
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		return nil
	}
}

// checkSpace reads every row of a space.
func checkSpace(name []byte, b *bbolt.Bucket) error {
	if name[0] != '=' {
		return nil
	}
	rows, logged := 0, 0
	err := b.ForEach(func(k, v []byte) error {
		switch k[0] {
		case 'k':
			rows++
			_, err := decode(k, v)
			return err
		case 'l':
			logged++
			_, err := newest(b, k)
			return err
		}
		return nil
	})
	if err == nil && rows != logged {
		err = fmt.Errorf("%w: %d rows, %d in the log", ErrDamaged, rows, logged)
	}
	return err
}

// guard turns a panic over a broken file into ErrDamaged, also the fault of
// reading outside the mapped file.
func guard(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", ErrDamaged, r)
		}
	}()
	return fn()
}
