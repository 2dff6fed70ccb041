package boltstore

import "errors"

var (
	// ErrLocked says that another process holds the file.
	ErrLocked = errors.New("file is in use by another process")
	// ErrForeign says that a file is not one of this package.
	ErrForeign = errors.New("not a file of this store")
	// ErrNewer says that a file has a format that this version does not know.
	ErrNewer = errors.New("file format is newer than this program")
	// ErrDamaged says that the content of a file contradicts itself. The way
	// out is a backup.
	ErrDamaged = errors.New("file is damaged")
)
