package netmap

import (
	"crypto/ecdh"
	"crypto/hpke"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"

	"github.com/apnkit/apnkit/keys"
)

// Secrets are what only one server may know.
type Secrets struct {
	// PrivateKey is the server's own, in custody Managed. Zero in custody Self.
	PrivateKey keys.PrivateKey
	// Preshared is [Map.Preshared] as it was when the keys below were made.
	Preshared uint64
	// PSKs leads from a peer's public key to the preshared key with it. A peer
	// that changes its key changes the preshared key, too.
	PSKs map[keys.PublicKey]keys.PresharedKey
}

// Sealing says for whom and for when secrets are sealed. It is bound to them.
type Sealing struct {
	Network string
	Server  string // peer ID
	Epoch   string
	KeyGen  uint64 // of the server's key
}

// Sealed is the answer to GET /v1/agent/secrets: HPKE (RFC 9180) in base mode
// with DHKEM(X25519, HKDF-SHA256), HKDF-SHA256 and AES-256-GCM.
type Sealed struct {
	Epoch      string `json:"epoch"`
	KeyGen     uint64 `json:"key_gen"`
	Enc        []byte `json:"enc"` // encapsulated key
	Ciphertext []byte `json:"ciphertext"`
}

const sealInfo = "apn/netmap/v1 secrets"

// aad returns the additional data of the ciphertext: every field with its
// length before it.
func (b Sealing) aad() []byte {
	var out []byte
	for _, s := range []string{b.Network, b.Server, b.Epoch} {
		out = binary.BigEndian.AppendUint32(out, uint32(len(s))) //nolint:gosec // names are short
		out = append(out, s...)
	}
	return binary.BigEndian.AppendUint64(out, b.KeyGen)
}

// sealedForm is the plaintext. Keys stand as base64, as WireGuard writes them.
type sealedForm struct {
	PrivateKey string                    `json:"private_key,omitempty"`
	Preshared  uint64                    `json:"preshared,omitempty"`
	PSKs       map[keys.PublicKey]string `json:"psks,omitempty"`
}

// Seal seals s to the holder of an X25519 key, the [Join.SealKey] of an agent.
func (s *Secrets) Seal(to []byte, b Sealing) (*Sealed, error) {
	pub, err := hpke.DHKEM(ecdh.X25519()).NewPublicKey(to)
	if err != nil {
		return nil, fmt.Errorf("netmap: seal secrets for %s: %w", b.Server, err)
	}
	enc, sender, err := hpke.NewSender(pub, hpke.HKDFSHA256(), hpke.AES256GCM(), []byte(sealInfo))
	if err != nil {
		return nil, fmt.Errorf("netmap: seal secrets for %s: %w", b.Server, err)
	}
	plain, err := json.Marshal(s.form()) //nolint:gosec // sealed below
	if err != nil {
		return nil, fmt.Errorf("netmap: seal secrets for %s: %w", b.Server, err)
	}
	defer clear(plain)
	sealed, err := sender.Seal(b.aad(), plain)
	if err != nil {
		return nil, fmt.Errorf("netmap: seal secrets for %s: %w", b.Server, err)
	}
	return &Sealed{Epoch: b.Epoch, KeyGen: b.KeyGen, Enc: enc, Ciphertext: sealed}, nil
}

func (s *Secrets) form() sealedForm {
	f := sealedForm{Preshared: s.Preshared}
	if !s.PrivateKey.IsZero() {
		f.PrivateKey = base64.StdEncoding.EncodeToString(s.PrivateKey.Reveal()[:])
	}
	if len(s.PSKs) > 0 {
		f.PSKs = make(map[keys.PublicKey]string, len(s.PSKs))
	}
	for pub, psk := range s.PSKs {
		f.PSKs[pub] = base64.StdEncoding.EncodeToString(psk.Reveal()[:])
	}
	return f
}

// Open opens secrets that were sealed for b. The error wraps [ErrSealed].
func (s *Sealed) Open(key *ecdh.PrivateKey, b Sealing) (*Secrets, error) {
	refuse := func(why string) (*Secrets, error) {
		return nil, fmt.Errorf("netmap: open secrets: %w: %s", ErrSealed, why)
	}
	priv, err := hpke.NewDHKEMPrivateKey(key)
	if err != nil {
		return refuse("not an X25519 key")
	}
	recipient, err := hpke.NewRecipient(s.Enc, priv, hpke.HKDFSHA256(), hpke.AES256GCM(), []byte(sealInfo))
	if err != nil {
		return refuse("encapsulated key")
	}
	plain, err := recipient.Open(b.aad(), s.Ciphertext)
	if err != nil {
		return refuse("sealed for another server, epoch or key generation, or damaged")
	}
	defer clear(plain)
	var f sealedForm
	if json.Unmarshal(plain, &f) != nil {
		return refuse("malformed")
	}
	out := &Secrets{Preshared: f.Preshared, PSKs: make(map[keys.PublicKey]keys.PresharedKey, len(f.PSKs))}
	if f.PrivateKey != "" {
		if out.PrivateKey, err = keys.ParsePrivateKey(f.PrivateKey); err != nil {
			return refuse("private key")
		}
	}
	for pub, text := range f.PSKs {
		if out.PSKs[pub], err = keys.ParsePresharedKey(text); err != nil {
			return refuse("preshared key")
		}
	}
	return out, nil
}
