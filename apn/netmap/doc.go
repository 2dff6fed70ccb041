// Package netmap is the document between control plane and agent: all that the
// servers of one app may know of their network, and nothing more.
//
// A [Map] is the same for every server of an app; each finds itself among the
// peers, and [Map.For] derives what that one server's interface, peers and
// openings are. A Map holds no private and no preshared key: those travel sealed
// to one server, as [Secrets].
//
// # Signed documents and deltas
//
// [Sign] encodes a Map as a head and a set of items, one per peer, opening and
// route, and signs a digest over the digests of the items. So a change costs
// what changed: [Sign] reuses the items of the document before, a [Delta]
// carries only items that differ, and a reader that applies it checks the
// signature over the whole result. Nothing in a document depends on the time at
// which it is encoded: the same epoch and revision give the same bytes.
//
//	Delta     = {"from": n, "head": Head, "set": {key: item, ...}, "del": [key, ...], "signature": base64}
//	Head      = {"format": 1, "network", "app", "epoch", "revision", "listen_port", "suffix", "preshared"}
//	key       = "peer/<peer ID>"          item: Peer without its ID
//	          | "lease/<source prefix>"   item: {"issued_at", "expires_at"}
//	          | "rule/<source prefix>"    item: {}
//	          | "route/<prefix>"          item: {}
//
// A whole document is a Delta from revision 0. The signature is Ed25519 over
//
//	"apn/netmap/v1 map" 0x00 SHA-256(len(head) head sum...)
//
// with a sum for each item in byte order of the keys,
//
//	sum = SHA-256(len(key) key item)
//
// where head and item stand exactly as in the Delta, and lengths are 4 bytes,
// most significant first. Items of an unknown kind and unknown fields are signed
// and otherwise ignored: what an older reader must not ignore raises [Format].
//
// # The agent channel
//
// All bodies are JSON. Errors are problem documents of RFC 9457; an agent goes
// by the status. Every answer carries the control plane's clock in the header
// APN-Time (RFC 3339 with nanoseconds). All requests but the first carry
//
//	Authorization: Bearer <credential>
//
// Joining. The operator hands the server a [JoinToken]: where the control plane
// is, the pin of its certificate, the key that signs the network's documents,
// and a secret that works once. The agent makes its keys and its credential
// itself, so that a lost answer costs nothing: the same token with the same
// credential gives the same answer again.
//
//	POST /v1/agent/join    Join -> 200 Joined
//	                       400 the body is malformed
//	                       403 token unknown, ended, or used by another agent
//
// Documents. The agent names the revision that it has and how long it waits
// (RFC 7240). APN-Content is optional: the [Signed.Content] of the document that
// it has, in hexadecimal. It lets a control plane that no longer knows that
// revision, say after a restart, recognise the content.
//
//	GET /v1/agent/netmap   If-None-Match: "<epoch>-<revision>"
//	                       Prefer: wait=55
//	                       APN-Content: <64 hexadecimal digits>
//	                    -> 200 Delta from that revision, or from 0: the whole;
//	                           ETag: "<epoch>-<revision>" of the result
//	                       304 nothing changed while the agent waited
//	                       410 that revision is of another epoch or too old: ask
//	                           again without If-None-Match for the whole
//	                       401 the credential is unknown: the server was removed,
//	                           or joined anew
//
// An agent without a document sends neither If-None-Match nor APN-Content and
// gets the whole at once. A Delta that does not fit or whose result does not
// verify makes the agent ask for the whole.
//
// Secrets. What only this server may know: its private key in custody Managed,
// and preshared keys if the network has them. An agent asks when a document
// shows a key generation or a peer's key that it has no secret for.
//
//	GET /v1/agent/secrets -> 200 Sealed, 204 there are none
//
// Keys. An agent that keeps its own key (custody Self) announces a new one, and
// goes over to it once a document shows it. The same key again is no change.
//
//	POST /v1/agent/key     NewKey -> 204
//	                       409 the key pair is kept by the control plane
//
// Status and leaving.
//
//	POST /v1/agent/status  Status -> 204
//	POST /v1/agent/leave   -> 204; the credential is void from then on
//
// 429 and 503 may carry Retry-After in seconds; an agent waits at least that
// long, and otherwise backs off with jitter.
package netmap
