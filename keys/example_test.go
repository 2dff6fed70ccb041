package keys_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/apnkit/apnkit/keys"
	"github.com/apnkit/apnkit/keys/keystest"
)

// The examples use a KEK of the test kit. Real ones come from keys/localkek, or
// from a KMS behind the three methods of keys.KEK.
var (
	ctx   = context.Background()
	today = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
)

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}

// A private key stays hidden wherever it turns up.
func ExamplePrivateKey() {
	k := must(keys.ParsePrivateKey("AAEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAEA="))
	fmt.Println(k)
	fmt.Printf("%+v\n", struct{ Key keys.PrivateKey }{k})
	fmt.Println(string(must(json.Marshal(k))))
	fmt.Println(k.PublicKey())

	b := k.Reveal() // the only way out
	fmt.Println(len(b), "bytes")
	clear(b[:])
	// Output:
	// (hidden)
	// {Key:(hidden)}
	// "(hidden)"
	// B1VKlIC/KoWYbYEJ0KVzymbo5RA5PS7oURi87WiinhU=
	// 32 bytes
}

func ExampleParsePublicKey() {
	for _, s := range []string{
		"B1VKlIC/KoWYbYEJ0KVzymbo5RA5PS7oURi87WiinhU=",
		"B1VKlIC/KoWYbYEJ0KVzymbo5RA5PS7oURi87WiinpU=", // the same peer under a second name
		"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
		"too short",
	} {
		p, err := keys.ParsePublicKey(s)
		fmt.Println(p.Fingerprint(), err)
	}
	// Output:
	// 464decca7e7d0bdc <nil>
	// (none) keys: new public key: weak public key: not canonical
	// (none) keys: new public key: weak public key: low order
	// (none) keys: parse public key: malformed: 9 characters, want 44
}

// A program that keeps its own rows: one data key per network, sealed records
// beside everything else.
func ExampleRing() {
	kek := keys.Multi(keystest.NewKEK("kms/1"))
	dek := must(keys.NewDEK(ctx, kek, "acme", 1, today)) // store it
	ring := must(keys.OpenRing(ctx, kek, today, dek))    // one KEK call

	owner := keys.Owner{Network: "acme", ID: "shop/web-1", Gen: 1}
	key := must(keys.GeneratePrivateKey())
	sealed := must(ring.SealPrivate(owner, key)) // store it too
	fmt.Println(len(sealed), "bytes")

	opened := must(ring.OpenPrivate(owner, sealed))
	fmt.Println(opened.Equal(key))

	owner.ID = "shop/web-2"
	_, err := ring.OpenPrivate(owner, sealed)
	fmt.Println(err)
	// Output:
	// 70 bytes
	// true
	// keys: open wg.private of "shop/web-2" in "acme", generation 1, DEK 1: sealed for another owner
}

// Records other than keys take a purpose of their own.
func ExampleRing_Seal() {
	kek := keys.Multi(keystest.NewKEK("kms/1"))
	ring := must(keys.OpenRing(ctx, kek, today, must(keys.NewDEK(ctx, kek, "acme", 1, today))))
	owner := keys.Owner{Network: "acme", ID: "webhook", Purpose: keys.PurposeSecret}
	sealed := must(ring.Seal(nil, owner, []byte("s3cret")))
	fmt.Println(len(sealed)-len("s3cret") == keys.Overhead)
	fmt.Println(string(must(ring.Open(nil, owner, sealed))))
	// Output:
	// true
	// s3cret
}

// Derived preshared keys need no row: both ends of a pair get the same one.
func ExampleRing_PSK() {
	kek := keys.Multi(keystest.NewKEK("kms/1"))
	ring := must(keys.OpenRing(ctx, kek, today, must(keys.NewDEK(ctx, kek, "acme", 1, today))))
	a, b := must(keys.GeneratePrivateKey()).PublicKey(), must(keys.GeneratePrivateKey()).PublicKey()
	fmt.Println(ring.PSK(1, a, b).Equal(ring.PSK(1, b, a)))
	fmt.Println(ring.PSK(1, a, b).Equal(ring.PSK(2, a, b)))
	// Output:
	// true
	// false
}

// The blind index finds a sealed public key, and keeps it unique.
func ExampleRing_Index() {
	kek := keys.Multi(keystest.NewKEK("kms/1"))
	ring := must(keys.OpenRing(ctx, kek, today, must(keys.NewDEK(ctx, kek, "acme", 1, today))))
	p := must(keys.GeneratePrivateKey()).PublicKey()
	owners := map[[16]byte]string{ring.Index(p): "shop/web-1"}
	fmt.Println(owners[ring.Index(p)])
	// Output: shop/web-1
}

// The count of seals is stored once per block of them.
func ExampleRing_Reserve() {
	kek := keys.Multi(keystest.NewKEK("kms/1"))
	stored := must(keys.NewDEK(ctx, kek, "acme", 1, today))
	ring := must(keys.OpenRing(ctx, kek, today, stored))
	owner := keys.Owner{Network: "acme", ID: "x", Purpose: keys.PurposeSecret}
	for i := range 3 {
		must(ring.Seal(nil, owner, nil))
		next, n, err := ring.Reserve(stored)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("commit %d: sealed record, DEK row too: %v\n", i, n > 0)
		stored = next // committed
		ring.Reserved(n)
	}
	// Output:
	// commit 0: sealed record, DEK row too: true
	// commit 1: sealed record, DEK row too: false
	// commit 2: sealed record, DEK row too: false
}

// A new data key: old records are read as before and moved one by one.
func ExampleRing_NextDEK() {
	kek := keys.Multi(keystest.NewKEK("kms/1"))
	first := must(keys.NewDEK(ctx, kek, "acme", 1, today))
	ring := must(keys.OpenRing(ctx, kek, today, first))
	owner := keys.Owner{Network: "acme", ID: "x", Purpose: keys.PurposeSecret}
	sealed := must(ring.Seal(nil, owner, []byte("s3cret")))

	next := must(ring.NextDEK(ctx, kek, today))
	ring = must(keys.OpenRing(ctx, kek, today, first.Demote(), next)) // store both
	moved, changed, err := ring.Reseal(owner, sealed)
	fmt.Println(changed, err)
	_, changed, err = ring.Reseal(owner, moved)
	fmt.Println(changed, err)

	ring = must(keys.OpenRing(ctx, kek, today, first.Destroy(), next)) // nothing needs it any more
	fmt.Println(string(must(ring.Open(nil, owner, moved))))
	// Output:
	// true <nil>
	// false <nil>
	// s3cret
}

// A new KEK: data keys are wrapped again, records are not touched.
func ExampleRewrap() {
	old, primary := keystest.NewKEK("kms/1"), keystest.NewKEK("kms/2")
	dek := must(keys.NewDEK(ctx, keys.Multi(old), "acme", 1, today))

	both := keys.Multi(primary, old)
	fmt.Println(dek.KEKID, both.Stale(dek))
	dek = must(keys.Rewrap(ctx, both, dek))
	fmt.Println(dek.KEKID, both.Stale(dek))

	_, err := keys.OpenRing(ctx, keys.Multi(old), today, dek)
	fmt.Println(err)
	// Output:
	// kms/1 true
	// kms/2 false
	// keys: unwrap DEK 1 of "acme", KEK "kms/2": wrong KEK: wrapped by "kms/2", you gave ["kms/1"]
}

// Opened networks are kept for an hour: one KEK call, however many readers.
func ExampleRings() {
	kms := keystest.NewKEK("kms/1")
	kek := keys.Multi(kms)
	dek := must(keys.NewDEK(ctx, kek, "acme", 1, today))
	rings := keys.NewRings(kek, nil)
	load := func(context.Context) ([]keys.DEKRecord, error) { return []keys.DEKRecord{dek}, nil }
	for minute := range 59 {
		must(rings.Ring(ctx, "acme", today.Add(time.Duration(minute)*time.Minute), load))
	}
	fmt.Println("calls:", kms.Unwraps())

	kms.Fail(errors.New("access denied"))
	_, err := rings.Ring(ctx, "acme", today.Add(time.Hour), load)
	fmt.Println(err)
	// Output:
	// calls: 1
	// keys: unwrap DEK 1 of "acme", KEK "kms/1": KEK unavailable: access denied
}

// Key storage for a program that has none: custody, rotation, audit.
func ExampleVault() {
	vault := keys.NewVault(keys.Multi(keystest.NewKEK("kms/1")), &keys.MemStore{}, &keys.VaultOptions{
		Audit: func(_ context.Context, e keys.Event) error {
			fmt.Println("audit:", e.Actor, e.Op, e.Owner, e.Gen)
			return nil
		},
	})
	ada := keys.Call{Actor: "ada", Now: today}
	if err := vault.Create(ctx, ada, "acme"); err != nil {
		log.Fatal(err)
	}
	first, _, err := vault.Generate(ctx, ada, "acme", "web-1", keys.Managed)
	if err != nil {
		log.Fatal(err)
	}
	second, _, err := vault.Generate(ctx, ada, "acme", "web-1", keys.Managed)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(first.State, second.State)
	if err := vault.Activate(ctx, ada, "acme", "web-1", second.Gen); err != nil {
		log.Fatal(err)
	}
	key := must(vault.Reveal(ctx, ada, "acme", "web-1", 0))
	fmt.Println(key, key.PublicKey() == second.Public)
	// Output:
	// audit: ada Create  0
	// audit: ada Generate web-1 1
	// audit: ada Generate web-1 2
	// active pending
	// audit: ada Activate web-1 2
	// audit: ada Reveal web-1 2
	// (hidden) true
}

// An agent keeps its private key to itself.
func ExampleVault_Enrol() {
	vault := keys.NewVault(keys.Multi(keystest.NewKEK("kms/1")), &keys.MemStore{}, nil)
	agent := keys.Call{Actor: "web-1", Now: today}
	if err := vault.Create(ctx, agent, "acme"); err != nil {
		log.Fatal(err)
	}
	own := must(keys.GeneratePrivateKey())
	must(vault.Enrol(ctx, agent, "acme", "web-1", own.PublicKey()))

	_, err := vault.Enrol(ctx, agent, "acme", "web-2", own.PublicKey())
	fmt.Println(errors.Is(err, keys.ErrDuplicateKey))
	_, err = vault.Reveal(ctx, agent, "acme", "web-1", 0)
	fmt.Println(errors.Is(err, keys.ErrSelfCustody))
	fmt.Println(must(vault.Find(ctx, agent, "acme", own.PublicKey())).Owner)
	// Output:
	// true
	// true
	// web-1
}

// Both rotations, online, each ended by a verification.
func ExampleManager() {
	store, call := &keys.MemStore{}, keys.Call{Actor: "cron", Now: today}
	old, primary := keystest.NewKEK("kms/1"), keystest.NewKEK("kms/2")
	vault := keys.NewVault(keys.Multi(old), store, nil)
	if err := vault.Create(ctx, call, "acme"); err != nil {
		log.Fatal(err)
	}
	for i := range 3 {
		if _, _, err := vault.Generate(ctx, call, "acme", fmt.Sprint("web-", i), keys.Managed); err != nil {
			log.Fatal(err)
		}
	}

	manager := keys.NewManager(keys.NewVault(keys.Multi(primary, old), store, nil), nil)
	p := must(manager.RewrapKEK(ctx, call))
	fmt.Println("data keys wrapped again:", p.Changed)
	fmt.Println("data key version:", must(manager.RotateDEK(ctx, call, "acme")))
	p = must(manager.Reseal(ctx, call, "acme"))
	fmt.Println("owners resealed:", p.Changed)
	fmt.Println("clean:", must(manager.Verify(ctx, call, "acme")).Clean())
	// Output:
	// data keys wrapped again: 1
	// data key version: 2
	// owners resealed: 3
	// clean: true
}

// Shredding destroys a network's data keys: its records, and every copy of
// them, can never be read again.
func ExampleManager_Shred() {
	call := keys.Call{Actor: "ada", Now: today}
	vault := keys.NewVault(keys.Multi(keystest.NewKEK("kms/1")), &keys.MemStore{}, nil)
	if err := vault.Create(ctx, call, "acme"); err != nil {
		log.Fatal(err)
	}
	if _, _, err := vault.Generate(ctx, call, "acme", "web-1", keys.Managed); err != nil {
		log.Fatal(err)
	}
	if err := keys.NewManager(vault, nil).Shred(ctx, call, "acme"); err != nil {
		log.Fatal(err)
	}
	_, err := vault.Reveal(ctx, call, "acme", "web-1", 0)
	fmt.Println(errors.Is(err, keys.ErrShredded))
	// Output: true
}

func ExampleKeyHistory() {
	var h keys.KeyHistory
	h = must(h.Add(keys.KeyRecord{Custody: keys.Self}, today))
	h = must(h.Add(keys.KeyRecord{Custody: keys.Self}, today))
	h = must(h.Activate(2, today)) // its owner has applied it
	h = must(h.Revoke(1, today))   // all peers have the new one
	for _, r := range h {
		fmt.Println(r.Gen, r.State)
	}
	// Output:
	// 1 revoked
	// 2 active
}

// Any *secrets.Keeper of gocloud.dev is a KEK; its module stays with the caller.
func ExampleFromKeeper() {
	kek := keys.Multi(keys.FromKeeper("awskms/alias-1", keeper{keystest.NewKEK("kms")}))
	dek := must(keys.NewDEK(ctx, kek, "acme", 1, today))
	fmt.Println(dek.KEKID)
	// Output: awskms/alias-1
}

// Any Tink AEADWithContext is a KEK.
func ExampleFromAEAD() {
	kek := keys.Multi(keys.FromAEAD("gcp-kms/1", tink{keystest.NewKEK("kms")}))
	dek := must(keys.NewDEK(ctx, kek, "acme", 1, today))
	fmt.Println(dek.KEKID)
	// Output: gcp-kms/1
}
