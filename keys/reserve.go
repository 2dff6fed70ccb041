package keys

import "fmt"

const (
	// SealLimit is how many records one data key seals. With random 96-bit
	// nonces NIST SP 800-38D allows 2^32; half of it leaves room for seals that
	// were made but never stored.
	SealLimit = 1 << 31

	// SealBlock is how many seals one reservation covers.
	SealBlock = 1 << 12
)

// count takes one seal from the reservation.
func (st *ringState) count() error {
	if n := st.owed.Add(1); n > st.left() {
		st.owed.Add(-1)
		return ErrSealLimit
	}
	return nil
}

// left returns how many seals the data key has left, as far as this ring knows.
func (st *ringState) left() int64 {
	return SealLimit - max(0, min(st.known.Load(), SealLimit))
}

// Reserve accounts for the records that this ring sealed, a block at a time, so
// that the count costs no row per record. Call it with the stored record of the
// active data key before each commit of sealed records:
//
//	next, n, err := ring.Reserve(stored)
//	… // commit the sealed records, and next too if n > 0
//	ring.Reserved(n) // after the commit
//
// n is 0 most of the time: the block at hand covers the records. A process that
// stops forgets the rest of its block.
//
// If stored is not the key that this ring seals with, the error wraps
// [ErrUnknownDEK]: open a new ring and seal again. If the key is used up, it
// wraps [ErrSealLimit].
func (r *Ring) Reserve(stored DEKRecord) (next DEKRecord, n int64, err error) {
	st := r.in()
	if !r.seals(stored) {
		return DEKRecord{}, 0, dekError("seal", stored.Network, stored.Version, "",
			fmt.Errorf("%w: the ring seals with DEK %d", ErrUnknownDEK, r.Version()))
	}
	st.known.Store(stored.Seals)
	owed := st.owed.Load()
	if owed <= 0 {
		return stored, 0, nil
	}
	left := st.left()
	if owed > left {
		return DEKRecord{}, 0, dekError("seal", stored.Network, stored.Version, "", ErrSealLimit)
	}
	n = min((owed/SealBlock+1)*SealBlock, left)
	stored.Seals += n
	return stored, n, nil
}

// seals reports whether rec is the data key that this ring seals with.
func (r *Ring) seals(rec DEKRecord) bool {
	return rec.Network == r.Network() && rec.State == DEKActive && rec.Version == r.Version()
}

// Reserved tells the ring that a record with n more seals was stored.
func (r *Ring) Reserved(n int64) {
	st := r.in()
	st.known.Add(n)
	st.owed.Add(-n)
}
