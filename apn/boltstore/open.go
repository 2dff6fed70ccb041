package boltstore

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/apnkit/apnkit/apn/store"
)

const format = "1"

// Options are the optional settings of [Open].
type Options struct {
	// Timeout is how long Open waits for another process to let go of the
	// file. Zero means 1 second.
	Timeout time.Duration
	// NoCheck opens an existing file without reading it from end to end first,
	// which takes one to two seconds per gigabyte. False means that it is checked.
	NoCheck bool
}

// Store is a [store.Store] in one file. Its methods are safe for concurrent
// use.
type Store struct {
	db *bbolt.DB

	writer chan struct{} // holds a token while somebody writes
	mu     sync.Mutex
	queue  []*request               // commits that wait for the writer
	wakers map[string]chan struct{} // closed by the next commit to the space
	closed chan struct{}
	close  func() error

	failed    atomic.Pointer[error] // set once the disk cannot be trusted
	commits   atomic.Uint64
	conflicts atomic.Uint64
	groups    atomic.Uint64
}

var (
	_ store.Store     = (*Store)(nil)
	_ store.Waiter    = (*Store)(nil)
	_ store.Compactor = (*Store)(nil)
)

// Open opens the file at path, and creates it with mode 0600 if it is missing
// or empty. The folder must exist. opts may be nil.
//
// If another process holds the file, the error wraps [ErrLocked]; if it is no
// file of this package, [ErrForeign]; if its format is newer, [ErrNewer]; if it
// is broken, [ErrDamaged]. In all these cases the file is as it was. Open finds
// what it reads, and with NoCheck that is little.
func Open(path string, opts *Options) (*Store, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	o.Timeout = cmp.Or(o.Timeout, time.Second)
	db, err := open(path, o)
	if err != nil {
		return nil, fmt.Errorf("boltstore: open %s: %w", path, err)
	}
	s := &Store{
		db:     db,
		writer: make(chan struct{}, 1),
		wakers: map[string]chan struct{}{},
		closed: make(chan struct{}),
	}
	s.close = sync.OnceValue(func() error {
		close(s.closed)
		return db.Close()
	})
	return s, nil
}

// Close ends waiting calls and lets go of the file. Repeating it does nothing.
func (s *Store) Close() error {
	if err := s.close(); err != nil {
		return fmt.Errorf("boltstore: close: %w", err)
	}
	return nil
}

func open(path string, o Options) (*bbolt.DB, error) {
	info, err := os.Stat(path)
	created := errors.Is(err, fs.ErrNotExist)
	if !created && err != nil {
		return nil, err
	}
	if !created && info.Size() > 0 {
		// Opening for writing may write, so look first.
		db, err := openFile(path, o, true)
		if err == nil {
			err = errors.Join(check(db, o), db.Close())
		}
		if err != nil {
			return nil, err
		}
	}
	db, err := openFile(path, o, false)
	if err != nil {
		return nil, err
	}
	err = db.Update(initialize)
	if err == nil && created {
		err = syncFolder(path)
	}
	if err != nil && !errors.Is(err, errIdle) {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// openFile is bbolt.Open with errors of this package.
func openFile(path string, o Options, readOnly bool) (*bbolt.DB, error) {
	var db *bbolt.DB
	err := guard(func() (err error) {
		db, err = bbolt.Open(path, 0o600, &bbolt.Options{
			Timeout:      o.Timeout,
			FreelistType: bbolt.FreelistMapType,
			ReadOnly:     readOnly,
		})
		return err
	})
	switch {
	case err == nil:
		return db, nil
	case errors.Is(err, berrors.ErrTimeout):
		err = ErrLocked
	case errors.Is(err, berrors.ErrInvalid):
		err = ErrForeign
	case !errors.As(err, new(*fs.PathError)) && !errors.As(err, new(syscall.Errno)):
		err = fmt.Errorf("%w: %w", ErrDamaged, err) // bbolt's own complaint
	}
	return nil, err
}

// initialize marks a new file as one of this package.
func initialize(tx *bbolt.Tx) error {
	b, err := tx.CreateBucket([]byte("apnkit"))
	if errors.Is(err, berrors.ErrBucketExists) {
		return errIdle
	}
	if err != nil {
		return err
	}
	return b.Put([]byte("format"), []byte(format))
}

func syncFolder(path string) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
