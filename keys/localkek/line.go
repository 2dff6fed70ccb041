package localkek

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/apnkit/apnkit/keys"
)

const (
	clearTag  = "apn-kek-v1"
	lockedTag = "apn-kek-pass-v1"
	maxLines  = 16
)

// entry is one line of the file and the key in it.
type entry struct {
	id   string
	line string        // without the line feed
	key  func() []byte // a closure, as in package keys
}

// newEntry makes the line of a key: in clear without a passphrase.
func newEntry(key, passphrase []byte, kdf KDF) (entry, error) {
	id, err := keyID(key)
	if err != nil {
		return entry{}, err
	}
	e := entry{id: id, key: func() []byte { return key }}
	if passphrase == nil {
		e.line = clearTag + ":" + id + ":" + encode(key)
		return e, nil
	}
	if err := checkPassphrase(passphrase); err != nil {
		return entry{}, err
	}
	kdf = kdf.withDefaults()
	if err := kdf.check(); err != nil {
		return entry{}, err
	}
	salt := make([]byte, saltLen)
	if _, err := rand.Read(salt); err != nil {
		return entry{}, err
	}
	sub, err := kdf.derive(passphrase, salt)
	if err != nil {
		return entry{}, err
	}
	defer clear(sub)
	a, err := newAEAD(sub)
	if err != nil {
		return entry{}, err
	}
	header := strings.Join([]string{lockedTag, id, kdf.Name, kdf.params(), encode(salt), ""}, ":")
	e.line = header + encode(a.Seal(nil, nil, key, []byte(header))) //nolint:gosec // G407: this AEAD draws the nonce itself
	return e, nil
}

// parseEntry reads one line. A passphrase must be given exactly if the line
// asks for one.
func parseEntry(line string, passphrase []byte) (entry, error) {
	f := strings.Split(line, ":")
	var key []byte
	var err error
	switch {
	case f[0] == clearTag && len(f) == 3:
		if passphrase != nil {
			return entry{}, fmt.Errorf("%w: the file has no passphrase, one was given", ErrPassphrase)
		}
		key, err = decode(f[2], 32)
	case f[0] == lockedTag && len(f) == 6:
		if passphrase == nil {
			return entry{}, fmt.Errorf("%w: the file asks for one", ErrPassphrase)
		}
		key, err = unlock(line, f, passphrase)
	default:
		err = fmt.Errorf("%w: not a line of a KEK file", keys.ErrFormat)
	}
	if err != nil {
		return entry{}, err
	}
	id, err := keyID(key)
	if err != nil {
		return entry{}, err
	}
	if id != f[1] {
		return entry{}, fmt.Errorf("%w: the line says key %q but holds %q", keys.ErrFormat, f[1], id)
	}
	return entry{id: id, line: line, key: func() []byte { return key }}, nil
}

func unlock(line string, f []string, passphrase []byte) ([]byte, error) {
	kdf, err := parseKDF(f[2], f[3])
	if err != nil {
		return nil, err
	}
	salt, err := decode(f[4], saltLen)
	if err != nil {
		return nil, err
	}
	wrapped, err := decode(f[5], 12+32+16)
	if err != nil {
		return nil, err
	}
	sub, err := kdf.derive(passphrase, salt)
	if err != nil {
		return nil, err
	}
	defer clear(sub)
	a, err := newAEAD(sub)
	if err != nil {
		return nil, err
	}
	key, err := a.Open(nil, nil, wrapped, []byte(strings.TrimSuffix(line, f[5])))
	if err != nil {
		return nil, fmt.Errorf("%w, or the line was changed", ErrPassphrase)
	}
	return key, nil
}

// parseLines reads a whole file, current key first.
func parseLines(data, passphrase []byte) ([]entry, error) {
	text, ok := strings.CutSuffix(string(data), "\n")
	lines := strings.Split(text, "\n")
	if !ok || len(lines) > maxLines {
		return nil, fmt.Errorf("%w: want 1 to %d lines, each with its line feed", keys.ErrFormat, maxLines)
	}
	entries := make([]entry, len(lines))
	for i, line := range lines {
		var err error
		if entries[i], err = parseEntry(line, passphrase); err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
	}
	return entries, nil
}

func formatLines(entries []entry) []byte {
	var b []byte
	for _, e := range entries {
		b = append(append(b, e.line...), '\n')
	}
	return b
}

func encode(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

func decode(s string, n int) ([]byte, error) {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || len(b) != n || strings.ContainsRune(s, '\r') {
		return nil, fmt.Errorf("%w: want base64 of %d bytes", keys.ErrFormat, n)
	}
	return b, nil
}
