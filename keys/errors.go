package keys

import (
	"errors"
	"fmt"
	"strings"
)

// Causes to branch on with [errors.Is].
var (
	// ErrFormat means that a key, record or argument is malformed.
	ErrFormat = errors.New("malformed")
	// ErrUnknownVersion means that a record has a format or suite that this
	// version does not know.
	ErrUnknownVersion = errors.New("unknown format version")
	// ErrUnknownDEK means that the ring lacks the DEK version of a record, or
	// has none to seal with.
	ErrUnknownDEK = errors.New("unknown DEK version")
	// ErrShredded means that every DEK of the network is destroyed.
	ErrShredded = errors.New("shredded")
	// ErrWrongKEK means that the KEK at hand did not wrap this DEK.
	ErrWrongKEK = errors.New("wrong KEK")
	// ErrWrongOwner means that a record was sealed for another owner, purpose,
	// generation or network. It is a diagnosis, not proof: a changed record may
	// look the same.
	ErrWrongOwner = errors.New("sealed for another owner")
	// ErrTampered means that authentication failed.
	ErrTampered = errors.New("tampered")
	// ErrKEKUnavailable means that the KEK did not answer; a retry may help.
	ErrKEKUnavailable = errors.New("KEK unavailable")
	// ErrSealLimit means that a DEK has sealed 2^31 records: rotate it.
	ErrSealLimit = errors.New("seal limit reached")
	// ErrWeakPublicKey means that a public key is not canonical or has a low
	// order.
	ErrWeakPublicKey = errors.New("weak public key")
	// ErrDuplicateKey means that a public key is or was in use already.
	ErrDuplicateKey = errors.New("duplicate key")
	// ErrSelfCustody means that the private key is not stored here.
	ErrSelfCustody = errors.New("private key is not stored")
	// ErrNotFound means that the vault has no such network or key.
	ErrNotFound = errors.New("not found")
	// ErrAudit means that the audit hook failed. What the operation stored stays
	// stored; what it would have handed out is withheld.
	ErrAudit = errors.New("audit failed")
	// ErrConflict means that a row changed since it was read, or that a key is
	// in another state than the call needs.
	ErrConflict = errors.New("conflict")
)

// OpenError says which record or DEK an operation failed on. It holds no key
// material. Fields that do not apply are zero.
type OpenError struct {
	Op         string // open, seal, wrap, unwrap
	Network    string
	ID         string // owner; empty when a DEK is meant
	Purpose    Purpose
	Gen        uint64
	DEKVersion uint32
	KEKID      string
	Err        error
}

// Error names the operation, the record and the cause.
func (e *OpenError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "keys: %s ", e.Op)
	if e.ID == "" {
		fmt.Fprintf(&b, "DEK %d of %q", e.DEKVersion, e.Network)
	} else {
		fmt.Fprintf(&b, "%v of %q in %q, generation %d", e.Purpose, e.ID, e.Network, e.Gen)
		if e.DEKVersion != 0 {
			fmt.Fprintf(&b, ", DEK %d", e.DEKVersion)
		}
	}
	if e.KEKID != "" {
		fmt.Fprintf(&b, ", KEK %q", e.KEKID)
	}
	fmt.Fprintf(&b, ": %v", e.Err)
	return b.String()
}

// Unwrap returns the cause.
func (e *OpenError) Unwrap() error { return e.Err }

// WrongKEKError says which KEK a DEK needs and which ones are at hand. It
// matches [ErrWrongKEK].
type WrongKEKError struct {
	Wrapped string   // key id that wrapped the DEK
	Given   []string // key ids at hand, primary first
}

// Error names both sides.
func (e *WrongKEKError) Error() string {
	return fmt.Sprintf("wrong KEK: wrapped by %q, you gave %q", e.Wrapped, e.Given)
}

// Is reports whether target is [ErrWrongKEK].
func (e *WrongKEKError) Is(target error) bool { return target == ErrWrongKEK }
