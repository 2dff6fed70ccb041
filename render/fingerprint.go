package render

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"net/netip"

	"github.com/apnkit/apnkit/keys"
)

// Fingerprint identifies what a config means, without a secret in it: two
// configs with the same fingerprint are [Config.Equal], save for keys that one of
// them has by its digest or public key only. It may be logged. The zero value is
// none.
type Fingerprint [32]byte

// PresharedDigest stands for a preshared key in fingerprints. The zero value is
// none. Preshared keys are random, so it gives nothing away about them.
type PresharedDigest [32]byte

const (
	fingerprintPrefix  = "v1."
	fingerprintLen     = len(fingerprintPrefix) + 43
	fingerprintComment = "# apn-config: "
	fingerprintDomain  = "apn/render/v1 config\x00"
	presharedDomain    = "apn/render/v1 preshared key\x00"
)

// Fingerprint returns the SHA-256 of the normal form of c. Names are not part of
// it: they are comments. The interface's public key stands for its private key,
// and a digest for each preshared key.
func (c *Config) Fingerprint() Fingerprint {
	c = c.normalized()
	b := make([]byte, 0, 256+72*len(c.Peers))
	return sha256.Sum256(c.appendCanonical(b, c.Interface.public()))
}

// DigestPreshared returns the digest of a key, or zero for no key.
func DigestPreshared(k keys.PresharedKey) PresharedDigest {
	if k.IsZero() {
		return PresharedDigest{}
	}
	var buf [len(presharedDomain) + 32]byte
	copy(buf[:], presharedDomain)
	b := k.Reveal()
	copy(buf[len(presharedDomain):], b[:])
	clear(b[:])
	d := sha256.Sum256(buf[:])
	clear(buf[:])
	return d
}

func (p *Peer) digest() PresharedDigest {
	if p.PresharedKey.IsZero() {
		return p.PresharedDigest
	}
	return DigestPreshared(p.PresharedKey)
}

// String returns 46 characters: "v1." and unpadded base64url, or nothing for the
// zero Fingerprint.
func (f Fingerprint) String() string {
	if f == (Fingerprint{}) {
		return ""
	}
	return string(f.append(nil))
}

func (f Fingerprint) append(dst []byte) []byte {
	dst = append(dst, fingerprintPrefix...)
	return base64.RawURLEncoding.AppendEncode(dst, f[:])
}

// MarshalText returns the same as String.
func (f Fingerprint) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// ParseFingerprint reads what String writes.
func ParseFingerprint(s string) (Fingerprint, error) {
	var f Fingerprint
	if len(s) == fingerprintLen && s[:len(fingerprintPrefix)] == fingerprintPrefix {
		var buf [33]byte
		n, err := base64.RawURLEncoding.Strict().Decode(buf[:], []byte(s[len(fingerprintPrefix):]))
		if copy(f[:], buf[:]); err == nil && n == len(f) && f != (Fingerprint{}) {
			return f, nil
		}
	}
	return Fingerprint{}, errors.New("render: parse fingerprint: malformed")
}

// UnmarshalText is [ParseFingerprint]; empty text is none.
func (f *Fingerprint) UnmarshalText(text []byte) (err error) {
	*f = Fingerprint{}
	if len(text) > 0 {
		*f, err = ParseFingerprint(string(text))
	}
	return err
}

// ReadFingerprint returns the fingerprint that [Format.Append] wrote into the
// first line of a file, and whether there is one. It tells which config the file
// was made from; that nobody changed it since is told by parsing the file and
// comparing the fingerprints.
func ReadFingerprint(data []byte) (Fingerprint, bool) {
	line, _, _ := bytes.Cut(data, []byte("\n"))
	text, ok := bytes.CutPrefix(bytes.TrimRight(line, "\r"), []byte(fingerprintComment))
	if !ok {
		return Fingerprint{}, false
	}
	f, err := ParseFingerprint(string(text))
	return f, err == nil
}

// appendCanonical writes all that a fingerprint covers. Each list is preceded by
// its length and each text by its own, so that no two configs share a form. c is
// in normal form, own its interface's public key.
func (c *Config) appendCanonical(b []byte, own keys.PublicKey) []byte {
	i := &c.Interface
	b = append(b, fingerprintDomain...)
	b = append(b, own[:]...)
	b = appendPrefixes(b, i.Addresses)
	b = binary.BigEndian.AppendUint16(b, i.ListenPort)
	b = binary.BigEndian.AppendUint32(b, i.FwMark)
	b = binary.BigEndian.AppendUint16(b, i.MTU)
	b = binary.AppendUvarint(b, uint64(len(i.DNS)))
	for _, a := range i.DNS {
		b = appendAddr(b, a)
	}
	b = appendTexts(b, i.Search)
	b = binary.BigEndian.AppendUint64(b, uint64(i.Table)) //nolint:gosec // two's complement is meant
	b = appendTexts(b, i.Hooks.PreUp)
	b = appendTexts(b, i.Hooks.PostUp)
	b = appendTexts(b, i.Hooks.PreDown)
	b = appendTexts(b, i.Hooks.PostDown)
	b = binary.AppendUvarint(b, uint64(len(c.Peers)))
	for k := range c.Peers {
		p := &c.Peers[k]
		b = append(b, p.PublicKey[:]...)
		if d := p.digest(); d == (PresharedDigest{}) {
			b = append(b, 0)
		} else {
			b = append(append(b, 1), d[:]...)
		}
		b = appendPrefixes(b, p.AllowedIPs)
		b = append(binary.AppendUvarint(b, uint64(len(p.Endpoint.Host))), p.Endpoint.Host...)
		b = binary.BigEndian.AppendUint16(b, p.Endpoint.Port)
		b = binary.AppendUvarint(b, uint64(p.Keepalive)) //nolint:gosec // two's complement is meant
	}
	return b
}

func appendPrefixes(b []byte, list []netip.Prefix) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, p := range list {
		b = append(appendAddr(b, p.Addr()), byte(p.Bits())) //nolint:gosec // at most 128
	}
	return b
}

func appendAddr(b []byte, a netip.Addr) []byte {
	if a.Is4() {
		v4 := a.As4()
		return append(append(b, 4), v4[:]...)
	}
	v6 := a.As16()
	return append(append(b, 16), v6[:]...)
}

func appendTexts(b []byte, list []string) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, s := range list {
		b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
	}
	return b
}
