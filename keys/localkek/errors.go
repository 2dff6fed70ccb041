package localkek

import "errors"

// Causes to branch on with errors.Is. Malformed files wrap keys.ErrFormat,
// missing ones fs.ErrNotExist, existing ones fs.ErrExist.
var (
	// ErrInsecureFile means that others could read or replace the file.
	ErrInsecureFile = errors.New("insecure file")
	// ErrPassphrase means that the passphrase is wrong, or the line was changed.
	ErrPassphrase = errors.New("wrong passphrase")
	// ErrInUse means that data keys exist that a new file could not unwrap.
	ErrInUse = errors.New("a KEK is in use already")
)
