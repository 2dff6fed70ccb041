package keys_test

import (
	"encoding/hex"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/keys"
	"github.com/apnkit/apnkit/keys/keystest"
)

// FuzzOpenNeverPanics opens arbitrary records for arbitrary owners. What opens
// is one of the frozen records, for its own owner.
func FuzzOpenNeverPanics(f *testing.F) {
	v, ring := readVectors(f)
	known := map[string]recordVector{}
	for _, r := range v.Records {
		sealed, err := hex.DecodeString(r.Sealed)
		require.NoError(f, err)
		known[string(sealed)] = r
		f.Add(sealed, r.Network, r.ID, byte(r.Purpose), r.Gen)
		f.Add(sealed[:len(sealed)-1], r.Network, r.ID, byte(r.Purpose), r.Gen)
	}
	f.Add([]byte{}, "", "", byte(0), uint64(0))
	f.Fuzz(func(t *testing.T, sealed []byte, network, id string, purpose byte, gen uint64) {
		o := keys.Owner{Network: network, ID: id, Purpose: keys.Purpose(purpose), Gen: gen}
		plain, err := ring.Open(nil, o, sealed)
		if err != nil {
			requireOpenError(t, err)
			return
		}
		r, ok := known[string(sealed)]
		require.True(t, ok, "a forged record opens")
		require.Equal(t, r.owner(), o)
		require.Equal(t, r.Plain, hex.EncodeToString(plain))
	})
}

// FuzzParseRoundTrip parses arbitrary text as each kind of key. What parses
// prints as it was read.
func FuzzParseRoundTrip(f *testing.F) {
	for _, s := range []string{
		"", "(hidden)", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "AAEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAEA=",
		"B1VKlIC/KoWYbYEJ0KVzymbo5RA5PS7oURi87WiinhU=", "B1VKlIC/KoWYbYEJ0KVzymbo5RA5PS7oURi87WiinhV=",
		"7f///////////////////////////////////////38=", "B1VKlIC/KoWYbYEJ0KVz\nmbo5RA5PS7oURi87WiinhU=",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if p, err := keys.ParsePublicKey(s); err == nil {
			require.Equal(t, s, p.String())
		} else {
			require.True(t, p.IsZero())
		}
		if k, err := keys.ParsePresharedKey(s); err == nil {
			require.Equal(t, s, encode(k.Reveal()[:]))
		} else {
			require.True(t, k.IsZero())
		}
		k, err := keys.ParsePrivateKey(s)
		if err != nil {
			require.True(t, k.IsZero())
			return
		}
		again, err := keys.ParsePrivateKey(encode(k.Reveal()[:]))
		require.NoError(t, err)
		require.True(t, again.Equal(k), "clamping twice changes nothing more")
	})
}

// FuzzOpenRingNeverPanics opens networks from arbitrary rows. What opens, opens
// the frozen records.
func FuzzOpenRingNeverPanics(f *testing.F) {
	v, _ := readVectors(f)
	for _, rec := range v.DEKs {
		js, err := json.Marshal(rec)
		require.NoError(f, err)
		f.Add(js)
	}
	f.Add([]byte(`{}`))
	f.Add([]byte(`{"network":"acme","version":1,"state":"destroyed","kekId":"frozen"}`))
	set := keys.Multi(keystest.NewKEK("frozen"))
	f.Fuzz(func(t *testing.T, js []byte) {
		var rec keys.DEKRecord
		if json.Unmarshal(js, &rec) != nil {
			return
		}
		ring, err := keys.OpenRing(t.Context(), set, now, rec)
		if err != nil {
			return
		}
		require.Equal(t, "acme", ring.Network(), "a forged data key opens")
		_, _, _ = ring.Reserve(rec)
		_, _ = ring.Seal(nil, owner("x"), nil)
	})
}
