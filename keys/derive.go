package keys

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"sync"
)

// macs is a pool of HMAC-SHA256 states under one key: a fresh state costs four
// times the computation itself.
type macs struct{ pool sync.Pool }

type mac struct {
	h   hash.Hash
	msg []byte
	sum [32]byte
}

func newMACs(key []byte) *macs {
	m := &macs{}
	m.pool.New = func() any { return &mac{h: hmac.New(sha256.New, key)} }
	return m
}

// derive makes the states that follow from the root secret.
func (st *ringState) derive() error {
	index, err := expand(&st.root, "apn/keys/v1 index")
	if err != nil {
		return err
	}
	psk, err := expand(&st.root, "apn/keys/v1 psk")
	if err != nil {
		return err
	}
	st.index, st.psk = newMACs(index), newMACs(psk)
	return nil
}

// Index returns the blind index of p in this network: equal keys have equal
// values, and without the KEK a value says nothing about its key. It survives
// every rotation. Take p from this package, so that one peer has one value.
func (r *Ring) Index(p PublicKey) [16]byte {
	st := r.in()
	m := st.index.pool.Get().(*mac)
	defer st.index.pool.Put(m)
	m.msg = append(m.msg[:0], "apn/keys/v1 index"...)
	m.msg = appendString(m.msg, st.network)
	m.msg = append(m.msg, p[:]...)
	m.h.Reset()
	m.h.Write(m.msg)
	return [16]byte(m.h.Sum(m.sum[:0]))
}

// PSK returns the preshared key of the pair a and b, in either order, for one
// epoch. Nothing is stored: a full mesh of 10,000 servers would be 49,995,000
// rows. Raise the epoch to rotate all pairs.
func (r *Ring) PSK(epoch uint32, a, b PublicKey) PresharedKey {
	st := r.in()
	if bytes.Compare(a[:], b[:]) > 0 {
		a, b = b, a
	}
	m := st.psk.pool.Get().(*mac)
	defer st.psk.pool.Put(m)
	m.msg = append(m.msg[:0], "apn/keys/v1 psk"...)
	m.msg = binary.BigEndian.AppendUint32(m.msg, epoch)
	m.msg = append(m.msg, a[:]...)
	m.msg = append(m.msg, b[:]...)
	m.h.Reset()
	m.h.Write(m.msg)
	k := new([32]byte)
	m.h.Sum(k[:0])
	return PresharedKey{newSecret(k)}
}
