package keys_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"
	"testing/cryptotest"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/keys"
	"github.com/apnkit/apnkit/keys/keystest"
)

// vectors is testdata/v1.json: what an earlier version stored. It never
// changes; a later format gets a file of its own.
type vectors struct {
	DEKs    []keys.DEKRecord `json:"deks"` // wrapped by the keystest KEK "frozen"
	Records []recordVector   `json:"records"`
	Keys    []keyVector      `json:"keys"`
	PSKs    []pskVector      `json:"psks"`
}

type recordVector struct {
	DEK     uint32       `json:"dek"`
	Network string       `json:"network"`
	ID      string       `json:"id"`
	Purpose keys.Purpose `json:"purpose"`
	Gen     uint64       `json:"gen"`
	Plain   string       `json:"plain"`  // hexadecimal
	Sealed  string       `json:"sealed"` // hexadecimal
}

func (r recordVector) owner() keys.Owner {
	return keys.Owner{Network: r.Network, ID: r.ID, Purpose: r.Purpose, Gen: r.Gen}
}

type keyVector struct {
	Private     string `json:"private"`
	Public      string `json:"public"`
	Fingerprint string `json:"fingerprint"`
	Index       string `json:"index"` // hexadecimal
}

type pskVector struct {
	Epoch uint32 `json:"epoch"`
	A     string `json:"a"`
	B     string `json:"b"`
	PSK   string `json:"psk"`
}

const vectorFile = "testdata/v1.json"

func readVectors(tb testing.TB) (vectors, *keys.Ring) {
	tb.Helper()
	data, err := os.ReadFile(vectorFile)
	require.NoError(tb, err)
	var v vectors
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	require.NoError(tb, dec.Decode(&v))
	require.NotEmpty(tb, v.DEKs)
	require.NotEmpty(tb, v.Records)
	require.NotEmpty(tb, v.Keys)
	require.NotEmpty(tb, v.PSKs)
	ring, err := keys.OpenRing(tb.Context(), keys.Multi(keystest.NewKEK("frozen")), now, v.DEKs...)
	require.NoError(tb, err)
	return v, ring
}

func TestVectors(t *testing.T) {
	if *update {
		writeVectors(t)
	}
	v, ring := readVectors(t)
	specs := map[uint32]spec{}
	for _, rec := range v.DEKs {
		specs[rec.Version] = openSpec(t, rec)
		require.Equal(t, specs[1].root, specs[rec.Version].root, "the root outlives a rotation")
	}
	for _, r := range v.Records {
		o := r.owner()
		sealed, err := hex.DecodeString(r.Sealed)
		require.NoError(t, err)
		require.Len(t, sealed, len(r.Plain)/2+keys.Overhead)
		plain, err := ring.Open(nil, o, sealed)
		require.NoError(t, err)
		require.Equal(t, r.Plain, hex.EncodeToString(plain))
		require.Equal(t, plain, specs[r.DEK].open(t, o, sealed), "the description opens it")
		require.Equal(t, sealed, specs[r.DEK].seal(t, r.DEK, o, sealed[10:22], plain), "the description seals it")
	}
	for _, k := range v.Keys {
		priv, err := keys.ParsePrivateKey(k.Private)
		require.NoError(t, err)
		require.Equal(t, k.Public, priv.PublicKey().String())
		require.Equal(t, k.Fingerprint, priv.PublicKey().Fingerprint())
		index := ring.Index(priv.PublicKey())
		require.Equal(t, k.Index, hex.EncodeToString(index[:]))
		require.Equal(t, index[:], specs[1].index("acme", priv.PublicKey()))
	}
	for _, p := range v.PSKs {
		a, err := keys.ParsePublicKey(p.A)
		require.NoError(t, err)
		b, err := keys.ParsePublicKey(p.B)
		require.NoError(t, err)
		want, err := keys.ParsePresharedKey(p.PSK)
		require.NoError(t, err)
		require.True(t, want.Equal(ring.PSK(p.Epoch, a, b)))
		require.True(t, want.Equal(ring.PSK(p.Epoch, b, a)))
		require.Equal(t, want.Reveal()[:], specs[1].psk(p.Epoch, a, b))
	}
}

// TestNewRecordsFollowTheDescription seals afresh, so that reading old records
// is not all that is compatible.
func TestNewRecordsFollowTheDescription(t *testing.T) {
	t.Parallel()
	set := keys.Multi(keystest.NewKEK("a"))
	rec, err := keys.NewDEK(t.Context(), set, "acme", 7, now)
	require.NoError(t, err)
	ring, err := keys.OpenRing(t.Context(), set, now, rec)
	require.NoError(t, err)
	s := openSpec(t, rec)
	for p := keys.PurposePrivateKey; p <= keys.PurposeSecret; p++ {
		if p == keys.PurposeRoot {
			continue
		}
		o := keys.Owner{Network: "acme", ID: "shop/web-1", Purpose: p, Gen: 1 << 40}
		sealed, err := ring.Seal(nil, o, []byte("plain"))
		require.NoError(t, err)
		require.Equal(t, "plain", string(s.open(t, o, sealed)))
		plain, err := ring.Open(nil, o, s.seal(t, 7, o, make([]byte, 12), []byte("plain")))
		require.NoError(t, err)
		require.Equal(t, "plain", string(plain))
	}
}

// writeVectors makes a new file. Do it only for a new format.
func writeVectors(t *testing.T) {
	t.Helper()
	cryptotest.SetGlobalRandom(t, 20260102)
	set := keys.Multi(keystest.NewKEK("frozen"))
	var v vectors
	first, err := keys.NewDEK(t.Context(), set, "acme", 1, now)
	require.NoError(t, err)
	ring, err := keys.OpenRing(t.Context(), set, now, first)
	require.NoError(t, err)
	seal := func(id string, p keys.Purpose, gen uint64, plain []byte) {
		o := keys.Owner{Network: "acme", ID: id, Purpose: p, Gen: gen}
		sealed, err := ring.Seal(nil, o, plain)
		require.NoError(t, err)
		v.Records = append(v.Records, recordVector{ring.Version(), o.Network, o.ID, o.Purpose, o.Gen, hex.EncodeToString(plain), hex.EncodeToString(sealed)})
	}
	seal("shop/web-1", keys.PurposePrivateKey, 1, privateKey(t, 1).Reveal()[:])
	pub := publicKey(t, 1)
	seal("shop/web-1", keys.PurposePublicKey, 1, pub[:])
	seal("ada/laptop", keys.PurposePresharedKey, 1<<63, bytes.Repeat([]byte{0xa7}, 32))
	next, err := ring.NextDEK(t.Context(), set, now)
	require.NoError(t, err)
	v.DEKs = []keys.DEKRecord{first.Demote(), next}
	ring, err = keys.OpenRing(t.Context(), set, now, v.DEKs...)
	require.NoError(t, err)
	seal("net", keys.PurposeSigningKey, 0, bytes.Repeat([]byte{0x5e}, 32))
	seal("größe", keys.PurposeSecret, 2, []byte("any length"))
	seal("empty", keys.PurposeSecret, 3, nil)
	for fill := range byte(3) {
		priv := privateKey(t, fill+1)
		text := encode(priv.Reveal()[:])
		index := ring.Index(priv.PublicKey())
		v.Keys = append(v.Keys, keyVector{text, priv.PublicKey().String(), priv.PublicKey().Fingerprint(), hex.EncodeToString(index[:])})
	}
	for epoch := range uint32(2) {
		a, b := publicKey(t, 1), publicKey(t, 2)
		v.PSKs = append(v.PSKs, pskVector{epoch, a.String(), b.String(), encode(ring.PSK(epoch, a, b).Reveal()[:])})
	}
	data, err := json.MarshalIndent(v, "", "\t")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(vectorFile, append(data, '\n'), 0o600))
}
