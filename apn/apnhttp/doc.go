// Package apnhttp serves a [apn.Control] over HTTP: a JSON API with its OpenAPI
// document, health and metrics for operators, and a dashboard.
//
// [New] returns a [Handler], an http.Handler that a host program mounts at the
// root or below [Config].Prefix. Who may do what follows from the [Principal]
// that the host's [Config].Authenticate returns: an operator may do everything,
// a member what the role on each app allows. [TokenAuth] authenticates by the
// API tokens of the Control.
//
// # Answers
//
// Errors are problems (RFC 9457) with a stable type. Single objects carry an
// ETag; If-Match makes a change conditional on it, If-None-Match saves a
// transfer. An Idempotency-Key makes a POST happen once. Lists come in pages:
// next is the cursor of the following one, and is missing on the last. Every
// change takes ?dry_run=true and then answers the plan.
//
// Durations are texts of hours, minutes and seconds: "24h", "1h30m", "25s".
//
// # Dashboard
//
// The pages at the root need no scripts. Each form is carried out by a route of
// the API, with that route's own checks, and what destroys shows its plan first.
// People sign in with an API token, or as the host program decides
// ([Handler.SignIn]), for a session of 12 hours at most; other sites cannot make
// their browsers change anything, here or at the API.
//
// # Secrets
//
// A private key is in three kinds of answers and no other: the config of a
// device, the config of a server, and a device's QR code. The secret of a token
// is in the answer that made it. None of them may be cached, and nothing secret
// is in a URL or a log line.
package apnhttp
