// Package render turns one typed WireGuard configuration into the files and QR
// codes that clients read, and reads such files back.
//
// A [Config] is a plain value. [Format.Append] writes it as a wg-quick file or
// in one of the other formats, [QR] as a code that a phone scans, [Parse] reads
// it back strictly. [Mesh] writes the files of many servers that are all each
// other's peers, [Diff] says what changes between two configs.
//
// Nothing here does I/O, reads the clock or starts a goroutine. All functions
// are safe for concurrent use on values that nobody changes meanwhile.
//
// # Normal form
//
// The order of peers and of their allowed IPs means nothing to WireGuard, and
// neither do host bits. Every function works on the normal form that
// [Config.Normalize] describes, whatever order the caller's values are in, so
// equal configs give equal bytes. A config that is in normal form already is
// not copied, and the formats of wg render it without allocation.
//
// # Text from outside
//
// Names become comments of printable ASCII, at most 64 characters behind a
// fixed text. Every other value has a type or a strict grammar, and a value
// outside it is an error, never a line in a file: a line break smuggled into
// such a file could run commands as root.
//
// # Secrets
//
// A private key goes straight into the caller's buffer. No error and no
// [Fingerprint] holds it. A config without its private key renders [Placeholder]
// where a file is meant to be completed by the key's holder, and is refused
// with [ErrNoPrivateKey] for setconf, UAPI and QR. A fingerprint needs neither
// private nor preshared keys; see [Interface] and [Peer].
package render
