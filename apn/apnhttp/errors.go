package apnhttp

import (
	"errors"
	"fmt"

	"github.com/apnkit/apnkit/apn"
)

// ErrUnauthenticated says that a request carries no valid credentials. An
// Authenticate function returns it, or an error that wraps it, to be answered
// with 401.
var ErrUnauthenticated = errors.New("not signed in")

// errCredential says that an agent's credential opens nothing, perhaps not any
// more.
var errCredential = fmt.Errorf("%w: the credential is unknown: the server was removed, or joined anew", ErrUnauthenticated)

// errNotRepeatable refuses an Idempotency-Key.
var errNotRepeatable = malformed("Idempotency-Key", "is not supported here: the secret is stored nowhere, so it cannot be repeated")

// What can be wrong with a request before any command sees it.
var (
	errRoute     = errors.New("no such resource")
	errMethod    = errors.New("method not allowed")
	errMalformed = errors.New("malformed request")
	errTooLarge  = errors.New("body too large")
	errMediaType = errors.New("unsupported media type")
)

// errForeign hides a network from whoever is not in it.
var errForeign = &refusal{kind: apn.ErrNotFound, detail: "not found"}

// refusal is an error that says more than its kind.
type refusal struct {
	kind   error
	field  string // of the body, or a query parameter or header; may be empty
	detail string // for people; never repeats a value of the request
}

func (r *refusal) Error() string { return r.kind.Error() + ": " + r.detail }

func (r *refusal) Unwrap() error { return r.kind }

func malformed(field, detail string) error {
	return &refusal{kind: errMalformed, field: field, detail: detail}
}
