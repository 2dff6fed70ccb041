package netmap

import "errors"

// Causes to branch on.
var (
	// ErrFormat means that bytes are not what they should be: truncated,
	// malformed, too large or of a newer format.
	ErrFormat = errors.New("malformed document")
	// ErrInvalid means that a well-formed document contradicts itself, such as
	// two peers with one address.
	ErrInvalid = errors.New("invalid document")
	// ErrSignature means that a document is not signed by the network's key.
	ErrSignature = errors.New("signature does not verify")
	// ErrForeign means that a document is of another network, app or server.
	ErrForeign = errors.New("document of somebody else")
	// ErrOlder means that a document is older than the one that is there, or
	// another one of the same revision.
	ErrOlder = errors.New("document is not newer")
	// ErrBase means that a delta does not follow the document that is there.
	ErrBase = errors.New("delta does not fit")
	// ErrSealed means that secrets are not sealed to this server, or not for
	// this epoch and key generation.
	ErrSealed = errors.New("secrets do not open")
	// ErrToken means that a text is no join token.
	ErrToken = errors.New("not a join token")
)
