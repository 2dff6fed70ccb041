// Package localkek has a [keys.KEK] that lives in a file, in clear or under a
// passphrase.
//
// [CreateFile] makes the file once; [OpenFile] never does. The first line holds
// the current key, further lines hold previous ones, so that a rotation is one
// atomic replacement of the file:
//
//	RotateFile   a new current key; the old one still unwraps
//	keys.Rewrap  every data key, see [keys.KEKSet.Stale]
//	PruneFile    forget the old key, once no backup needs it
//
// Keep the file off the volume and out of the backup that hold the database:
// together they are plaintext. A systemd credential is a good place: with
// LoadCredential=kek:FILE the service opens $CREDENTIALS_DIRECTORY/kek.
//
// A passphrase hides the key from a backup of the file, not from the machine
// that reads the passphrase. It comes from a terminal or from a file of its own
// ([ReadPassphrase]); environment variables show in process listings.
//
// # File format
//
// One text line per key, each ended by a line feed:
//
//	apn-kek-v1:<id>:<key>
//	apn-kek-pass-v1:<id>:<kdf>:<parameters>:<salt>:<wrapped key>
//
// The id follows from the key, so a wrong or damaged file is named as such. The
// wrapped key is a 12-byte nonce, 32 bytes of ciphertext and a 16-byte tag of
// AES-256-GCM; everything before it in the line is authenticated.
//
// Symbolic links, other owners and permissions for others are refused with
// [ErrInsecureFile] on Unix; elsewhere only the kind of file is checked.
package localkek
