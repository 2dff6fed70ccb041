package keys

import "fmt"

// SealPrivate seals k for o. o.Purpose is set by the method, here and in its
// kin.
func (r *Ring) SealPrivate(o Owner, k PrivateKey) ([]byte, error) {
	return r.sealSecret(o, PurposePrivateKey, k.secret)
}

// OpenPrivate opens what [Ring.SealPrivate] sealed.
func (r *Ring) OpenPrivate(o Owner, sealed []byte) (PrivateKey, error) {
	s, err := r.openSecret(o, PurposePrivateKey, sealed)
	return PrivateKey{s}, err
}

// SealPreshared seals k for o.
func (r *Ring) SealPreshared(o Owner, k PresharedKey) ([]byte, error) {
	return r.sealSecret(o, PurposePresharedKey, k.secret)
}

// OpenPreshared opens what [Ring.SealPreshared] sealed.
func (r *Ring) OpenPreshared(o Owner, sealed []byte) (PresharedKey, error) {
	s, err := r.openSecret(o, PurposePresharedKey, sealed)
	return PresharedKey{s}, err
}

// SealPublic seals p for o. Public keys are sealed too: a leaked one lets
// strangers trouble its owner with handshakes, and tells who is a member.
func (r *Ring) SealPublic(o Owner, p PublicKey) ([]byte, error) {
	o.Purpose = PurposePublicKey
	if p.IsZero() {
		return nil, ownerError("seal", o, 0, fmt.Errorf("%w: no key", ErrFormat))
	}
	return r.Seal(nil, o, p[:])
}

// OpenPublic opens what [Ring.SealPublic] sealed.
func (r *Ring) OpenPublic(o Owner, sealed []byte) (PublicKey, error) {
	o.Purpose = PurposePublicKey
	var p PublicKey
	plain, err := r.Open(nil, o, sealed)
	if err == nil && len(plain) != len(p) {
		err = ownerError("open", o, 0, fmt.Errorf("%w: %d bytes, want 32", ErrFormat, len(plain)))
	}
	if err == nil {
		p = PublicKey(plain)
	}
	return p, err
}

func (r *Ring) sealSecret(o Owner, p Purpose, s secret) ([]byte, error) {
	o.Purpose = p
	if s.f == nil {
		return nil, ownerError("seal", o, 0, fmt.Errorf("%w: no key", ErrFormat))
	}
	return r.Seal(nil, o, s.f()[:])
}

func (r *Ring) openSecret(o Owner, p Purpose, sealed []byte) (secret, error) {
	o.Purpose = p
	var b *[32]byte
	var plain []byte
	var err error
	erasing(func() {
		b = new([32]byte)
		plain, err = r.Open(b[:0], o, sealed)
	})
	if err == nil && len(plain) != len(b) {
		err = ownerError("open", o, 0, fmt.Errorf("%w: %d bytes, want 32", ErrFormat, len(plain)))
	}
	if err != nil {
		return secret{}, err
	}
	return newSecret(b), nil
}
