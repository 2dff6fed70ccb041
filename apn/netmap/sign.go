package netmap

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// Signed is a signed document at one revision. It is immutable and safe for
// concurrent use; later revisions share what did not change.
type Signed struct {
	head      head
	raw       []byte // head as it was signed
	items     []*item
	signature []byte
}

// head is what a document says besides its items.
type head struct {
	Format     int    `json:"format"`
	Network    string `json:"network"`
	App        string `json:"app"`
	Epoch      string `json:"epoch"`
	Revision   uint64 `json:"revision"`
	ListenPort uint16 `json:"listen_port"`
	Suffix     string `json:"suffix"`
	Preshared  uint64 `json:"preshared,omitempty"`
}

const (
	signContext    = "apn/netmap/v1 map\x00"
	contentContext = "apn/netmap/v1 content\x00"
)

// Network returns the network that the document is of.
func (s *Signed) Network() string { return s.head.Network }

// App returns the app that the document is of.
func (s *Signed) App() string { return s.head.App }

// Epoch returns the document's epoch.
func (s *Signed) Epoch() string { return s.head.Epoch }

// Revision returns the document's revision.
func (s *Signed) Revision() uint64 { return s.head.Revision }

// Sign encodes and signs m. Items that are equal to those of before are taken
// from there; before may be nil. m should have passed [Map.Check]; Sign itself
// refuses only what it cannot encode, with an error that wraps [ErrInvalid].
//
// The result shares memory with m, which must not be changed any more.
func Sign(key ed25519.PrivateKey, m *Map, before *Signed) (*Signed, error) {
	s := &Signed{head: head{
		Format: m.Format, Network: m.Network, App: m.App, Epoch: m.Epoch, Revision: m.Revision,
		ListenPort: m.ListenPort, Suffix: m.Suffix, Preshared: m.Preshared,
	}}
	var err error
	if s.raw, err = json.Marshal(s.head); err != nil {
		return nil, fmt.Errorf("netmap: sign: %w: head", ErrInvalid)
	}
	var old []*item
	if before != nil {
		old = before.items
	}
	if s.items, err = itemsOf(m, old); err != nil {
		return nil, fmt.Errorf("netmap: sign: %w", err)
	}
	s.signature = ed25519.Sign(key, s.statement())
	return s, nil
}

// statement returns what the signature covers.
func (s *Signed) statement() []byte {
	sum := s.digest(s.raw)
	return append([]byte(signContext), sum[:]...)
}

func (s *Signed) digest(head []byte) (sum [sha256.Size]byte) {
	h := sha256.New()
	h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(head)))) //nolint:gosec // a head is a few hundred bytes
	h.Write(head)
	for _, it := range s.items {
		h.Write(it.sum[:])
	}
	h.Sum(sum[:0])
	return sum
}

// Content returns a digest of all that the document says, its revision aside,
// in hexadecimal: equal for revisions between which nothing changed.
func (s *Signed) Content() string {
	h := s.head
	h.Revision = 0
	raw, err := json.Marshal(h)
	if err != nil {
		return "" // strings and numbers only: cannot happen
	}
	sum := s.digest(append([]byte(contentContext), raw...))
	return hex.EncodeToString(sum[:])
}

// Newer reports whether s may take the place of old, which may be nil: it is of
// the same network and app, and of a later revision or another epoch. The same
// document again is no error.
//
// The error wraps [ErrForeign] or [ErrOlder]. Neither signature is verified.
func (s *Signed) Newer(old *Signed) error {
	switch {
	case old == nil:
		return nil
	case s.head.Network != old.head.Network || s.head.App != old.head.App:
		return fmt.Errorf("netmap: replace %s/%s by %s/%s: %w", old.head.Network, old.head.App, s.head.Network, s.head.App, ErrForeign)
	case s.head.Epoch != old.head.Epoch || s.head.Revision > old.head.Revision:
		return nil
	case s.head.Revision == old.head.Revision && s.digest(s.raw) == old.digest(old.raw):
		return nil
	default:
		return fmt.Errorf("netmap: replace revision %d by %d: %w", old.head.Revision, s.head.Revision, ErrOlder)
	}
}

// Open verifies s and returns its Map, which has passed [Map.Check]. If pub did
// not sign it, the error wraps [ErrSignature].
//
// The result shares memory with s and must not be changed.
func (s *Signed) Open(pub ed25519.PublicKey) (*Map, error) {
	if len(pub) != ed25519.PublicKeySize || !ed25519.Verify(pub, s.statement(), s.signature) {
		return nil, fmt.Errorf("netmap: open revision %d: %w", s.head.Revision, ErrSignature)
	}
	m := &Map{
		Format: s.head.Format, Network: s.head.Network, App: s.head.App, Epoch: s.head.Epoch, Revision: s.head.Revision,
		ListenPort: s.head.ListenPort, Suffix: s.head.Suffix, Preshared: s.head.Preshared,
	}
	collect(m, s.items)
	if err := m.Check(); err != nil {
		return nil, err
	}
	return m, nil
}
