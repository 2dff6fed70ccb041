// Package keys holds WireGuard keys and keeps them sealed.
//
// [PrivateKey] and [PresharedKey] never print, log or encode their bytes;
// Reveal is the only way out. [PublicKey] is canonical and comparable.
//
// # The envelope
//
// A [KEK] lives outside the database: in a file, a KMS, an HSM. It wraps one
// data key per network, kept as a [DEKRecord]. A [Ring] is an opened network:
// it seals and opens records with AES-256-GCM, bound to the network, the owner,
// the [Purpose] and the generation, and costs no KEK call. [Rings] keeps opened
// rings for at most an hour, so that a revoked KEK bites.
//
// A network has one root secret beside its data key. The blind index
// ([Ring.Index]) and derived preshared keys ([Ring.PSK]) come from it, so they
// outlive every rotation of the data key.
//
// A program that keeps its own rows uses Ring. One that wants key storage uses
// [Vault] and [Manager] over a [Store].
//
// # What stays compatible
//
// Sealed records, wrapped DEKs, index values and derived preshared keys are
// frozen as format v1; testdata holds vectors. A later format gets a new number
// and old records stay readable.
//
// # What it does not cover
//
// Swapped rows fail to open and an old row fails by its generation. A whole
// database rolled back, deleted rows, live memory and a control plane that adds
// peers are out of reach of any envelope. The KEK's own key id is a hint: many
// KMSs do not authenticate it, so [DEKRecord.Check] catches another key.
//
// # FIPS 140-3
//
// The envelope runs under GODEBUG=fips140=only. X25519 does not: WireGuard
// itself is not an approved algorithm, so [PrivateKey.PublicKey] steps out of
// enforcement for that one computation.
//
// Nothing here does I/O, reads the clock or logs: callers pass the time in.
package keys
