package localkek

import (
	"bytes"
	"crypto/fips140"
	"crypto/pbkdf2"
	"crypto/sha256"
	"fmt"

	"golang.org/x/crypto/argon2"

	"github.com/apnkit/apnkit/keys"
)

// The key derivation functions of a passphrase.
const (
	Argon2id = "argon2id"      // RFC 9106
	PBKDF2   = "pbkdf2-sha256" // RFC 8018, for FIPS 140-3
)

// KDF says how a key is made of a passphrase. Opening a file takes what its
// line says, within limits, so that a planted line costs no more than a second
// or two and a gibibyte.
type KDF struct {
	// Name is Argon2id or PBKDF2. Empty means Argon2id, or PBKDF2 where FIPS
	// 140-3 is enforced.
	Name string
	// Time is the number of passes, 1 to 16, or the iterations of PBKDF2,
	// 100,000 to 10,000,000. Zero means 3, or 600,000.
	Time uint32
	// Memory in KiB, 8,192 to 1,048,576, for Argon2id. Zero means 65,536.
	Memory uint32
	// Threads is 1 to 16, for Argon2id. Zero means 4.
	Threads uint8
}

const (
	saltLen = 16

	// A short passphrase is guessed, whatever the KDF costs.
	minPassphrase = 8
	maxPassphrase = 1024
)

func (k KDF) withDefaults() KDF {
	if k.Name == "" {
		k.Name = Argon2id
		if fips140.Enforced() {
			k.Name = PBKDF2
		}
	}
	if k.Name == PBKDF2 {
		if k.Time == 0 {
			k.Time = 600_000
		}
		return k
	}
	if k.Time == 0 {
		k.Time = 3
	}
	if k.Memory == 0 {
		k.Memory = 64 << 10
	}
	if k.Threads == 0 {
		k.Threads = 4
	}
	return k
}

func (k KDF) check() error {
	ok := false
	switch k.Name {
	case Argon2id:
		ok = k.Time >= 1 && k.Time <= 16 && k.Memory >= 8<<10 && k.Memory <= 1<<20 && k.Threads >= 1 && k.Threads <= 16
	case PBKDF2:
		ok = k.Time >= 100_000 && k.Time <= 10_000_000
	}
	if !ok {
		return fmt.Errorf("%w: KDF %q with %s is unknown or out of bounds", keys.ErrFormat, k.Name, k.params())
	}
	return nil
}

func (k KDF) params() string {
	if k.Name == PBKDF2 {
		return fmt.Sprintf("i=%d", k.Time)
	}
	return fmt.Sprintf("t=%d,m=%d,p=%d", k.Time, k.Memory, k.Threads)
}

// parseKDF is strict: one way to write each value.
func parseKDF(name, params string) (KDF, error) {
	k := KDF{Name: name}
	if name == PBKDF2 {
		_, _ = fmt.Sscanf(params, "i=%d", &k.Time)
	} else {
		_, _ = fmt.Sscanf(params, "t=%d,m=%d,p=%d", &k.Time, &k.Memory, &k.Threads)
	}
	if k.params() != params {
		return KDF{}, fmt.Errorf("%w: KDF parameters", keys.ErrFormat)
	}
	return k, k.check()
}

func (k KDF) derive(passphrase, salt []byte) ([]byte, error) {
	if k.Name == PBKDF2 {
		return pbkdf2.Key(sha256.New, string(passphrase), salt, int(k.Time), 32)
	}
	return argon2.IDKey(passphrase, salt, k.Time, k.Memory, k.Threads, 32), nil
}

func checkPassphrase(p []byte) error {
	if len(p) < minPassphrase || len(p) > maxPassphrase {
		return fmt.Errorf("%w: a passphrase takes %d to %d bytes", keys.ErrFormat, minPassphrase, maxPassphrase)
	}
	return nil
}

// ReadPassphrase reads a passphrase from a file that passes the checks of
// [OpenFile]. One line end at the end is not part of it. Of opts only GroupRead
// counts; it may be nil.
func ReadPassphrase(path string, opts *FileOptions) ([]byte, error) {
	fail := func(err error) ([]byte, error) {
		return nil, fmt.Errorf("localkek: read passphrase from %q: %w", path, err)
	}
	p, err := readSecure(path, opts != nil && opts.GroupRead)
	if err != nil {
		return fail(err)
	}
	p = bytes.TrimSuffix(bytes.TrimSuffix(p, []byte("\n")), []byte("\r"))
	if err := checkPassphrase(p); err != nil {
		return fail(err)
	}
	return p, nil
}
