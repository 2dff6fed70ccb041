package localkek_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/apnkit/apnkit/keys"
	"github.com/apnkit/apnkit/keys/localkek"
)

// A rotation of the KEK: at every step the file holds all keys that any data
// key needs.
func Example() {
	dir, err := os.MkdirTemp("", "kek")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	ctx, path := context.Background(), filepath.Join(dir, "kek")

	set, err := localkek.CreateFile(path, nil)
	if err != nil {
		log.Fatal(err)
	}
	dek, err := keys.NewDEK(ctx, set, "acme", 1, time.Unix(1767323045, 0))
	if err != nil {
		log.Fatal(err)
	}

	if set, err = localkek.RotateFile(path, nil); err != nil {
		log.Fatal(err)
	}
	fmt.Println("keys in the file:", len(set.KeyIDs()), "stale:", set.Stale(dek))
	if dek, err = keys.Rewrap(ctx, set, dek); err != nil {
		log.Fatal(err)
	}
	if set, err = localkek.PruneFile(path, nil); err != nil {
		log.Fatal(err)
	}
	fmt.Println("keys in the file:", len(set.KeyIDs()), "stale:", set.Stale(dek))
	// Output:
	// keys in the file: 2 stale: true
	// keys in the file: 1 stale: false
}

// A file under a passphrase. Changing the passphrase leaves the KEK as it is.
func ExampleChangePassphrase() {
	dir, err := os.MkdirTemp("", "kek")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	path := filepath.Join(dir, "kek")

	opts := &localkek.FileOptions{
		Passphrase: []byte("correct horse battery staple"),
		KDF:        localkek.KDF{Time: 1, Memory: 8 << 10}, // cheap, for the example
	}
	before, err := localkek.CreateFile(path, opts)
	if err != nil {
		log.Fatal(err)
	}
	if err := localkek.ChangePassphrase(path, []byte("a new passphrase"), opts); err != nil {
		log.Fatal(err)
	}
	_, err = localkek.OpenFile(path, opts)
	fmt.Println("old passphrase opens:", err == nil)
	opts.Passphrase = []byte("a new passphrase")
	after, err := localkek.OpenFile(path, opts)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("same KEK:", before.KeyID() == after.KeyID())
	// Output:
	// old passphrase opens: false
	// same KEK: true
}
