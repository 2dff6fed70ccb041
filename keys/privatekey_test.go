package keys_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/keys"
)

func TestParsePrivateKey(t *testing.T) {
	t.Parallel()
	const good = "AAEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAEA="
	tests := []struct {
		name, in string
		want     string // empty means ErrFormat
	}{
		{name: "clamped", in: good, want: good},
		{name: "unclamped is clamped", in: "BwEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAIA=", want: good},
		{name: "empty"},
		{name: "placeholder", in: "(hidden)"},
		{name: "none", in: "(none)"},
		{name: "all zero", in: "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="},
		{name: "zero once clamped", in: "BwAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAMA="},
		{name: "stray bits in the last character", in: good[:42] + "B="},
		{name: "no padding", in: good[:43]},
		{name: "line feed after", in: good + "\n"},
		{name: "line feed inside", in: good[:20] + "\n" + good[21:]},
		{name: "carriage return inside", in: good[:20] + "\r" + good[21:]},
		{name: "space before", in: " " + good[:43]},
		{name: "URL alphabet", in: "-_" + good[2:]},
		{name: "31 bytes", in: "AAEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=="},
		{name: "33 bytes", in: "AAEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAEAA"},
		{name: "hexadecimal", in: strings.Repeat("01", 32)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			k, err := keys.ParsePrivateKey(tt.in)
			if tt.want == "" {
				require.ErrorIs(t, err, keys.ErrFormat)
				require.True(t, k.IsZero())
				if len(tt.in) > 20 {
					require.NotContains(t, err.Error(), tt.in[:20], "the error repeats the input")
				}
				return
			}
			require.NoError(t, err)
			require.Equal(t, tt.want, encode(k.Reveal()[:]))
		})
	}
}

func TestPrivateKey(t *testing.T) {
	t.Parallel()
	k, err := keys.GeneratePrivateKey()
	require.NoError(t, err)
	other, err := keys.GeneratePrivateKey()
	require.NoError(t, err)
	require.False(t, k.IsZero())
	require.False(t, k.Equal(other))

	b := k.Reveal()
	require.Equal(t, byte(0), b[0]&7, "clamped")
	require.Equal(t, byte(64), b[31]&192, "clamped")
	same, err := keys.NewPrivateKey(b[:])
	require.NoError(t, err)
	require.True(t, same.Equal(k))
	clear(b[:])
	require.NotEqual(t, b, k.Reveal(), "Reveal returns a copy")
	require.True(t, same.Equal(k), "NewPrivateKey copies")

	var none keys.PrivateKey
	require.True(t, none.IsZero())
	require.Nil(t, none.Reveal())
	require.True(t, none.PublicKey().IsZero())
	require.True(t, none.Equal(keys.PrivateKey{}))
	require.False(t, none.Equal(k))
	require.False(t, k.Equal(none))
	require.Equal(t, "(none)", none.String())

	_, err = keys.NewPrivateKey(make([]byte, 31))
	require.ErrorIs(t, err, keys.ErrFormat)
}

func TestPresharedKey(t *testing.T) {
	t.Parallel()
	k, err := keys.GeneratePresharedKey()
	require.NoError(t, err)
	text := encode(k.Reveal()[:])
	same, err := keys.ParsePresharedKey(text)
	require.NoError(t, err)
	require.True(t, same.Equal(k))
	other, err := keys.NewPresharedKey([]byte(strings.Repeat("x", 32)))
	require.NoError(t, err)
	require.False(t, other.Equal(k))
	require.False(t, keys.PresharedKey{}.Equal(k))

	for _, bad := range []string{"", "(hidden)", text + "\n", text[:43], encode(make([]byte, 32))} {
		_, err := keys.ParsePresharedKey(bad)
		require.ErrorIs(t, err, keys.ErrFormat)
	}
	_, err = keys.NewPresharedKey(make([]byte, 32))
	require.ErrorIs(t, err, keys.ErrFormat, "zeros mean no key")
}

// TestText wants a key in JSON to come in and never to go out.
func TestText(t *testing.T) {
	t.Parallel()
	type doc struct {
		Private   keys.PrivateKey
		Preshared keys.PresharedKey
		Public    keys.PublicKey
	}
	in := `{"Private":"AAEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAEA=",` +
		`"Preshared":"AAEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAEA=",` +
		`"Public":"B1VKlIC/KoWYbYEJ0KVzymbo5RA5PS7oURi87WiinhU="}`
	var d doc
	require.NoError(t, json.Unmarshal([]byte(in), &d))
	require.Equal(t, d.Public, d.Private.PublicKey())
	require.Equal(t, d.Private.Reveal(), d.Preshared.Reveal())

	out, err := json.Marshal(d)
	require.NoError(t, err)
	require.JSONEq(t, `{"Private":"(hidden)","Preshared":"(hidden)","Public":"B1VKlIC/KoWYbYEJ0KVzymbo5RA5PS7oURi87WiinhU="}`, string(out))
	require.ErrorIs(t, json.Unmarshal(out, &d), keys.ErrFormat, "the placeholder is no key")
	require.True(t, d.Private.IsZero(), "what was there does not stay in place of what was refused")

	out, err = json.Marshal(doc{})
	require.NoError(t, err)
	require.JSONEq(t, `{"Private":"","Preshared":"","Public":""}`, string(out))
	d.Public = publicKey(t, 1)
	require.NoError(t, json.Unmarshal(out, &d))
	require.True(t, d.Private.IsZero() && d.Preshared.IsZero() && d.Public.IsZero())
}

func TestDatabaseRefusesKeys(t *testing.T) {
	t.Parallel()
	_, err := privateKey(t, 1).Value()
	require.ErrorIs(t, err, keys.ErrFormat)
	_, err = keys.PresharedKey{}.Value()
	require.ErrorIs(t, err, keys.ErrFormat)
}

func TestOpenErrorText(t *testing.T) {
	t.Parallel()
	err := &keys.OpenError{Op: "open", Network: "acme", ID: "shop/web-1", Purpose: keys.PurposePrivateKey, Gen: 3, DEKVersion: 2, Err: keys.ErrTampered}
	require.EqualError(t, err, `keys: open wg.private of "shop/web-1" in "acme", generation 3, DEK 2: tampered`)
	err = &keys.OpenError{Op: "unwrap", Network: "acme", DEKVersion: 2, KEKID: "kms/1", Err: errors.New("cause")}
	require.EqualError(t, err, `keys: unwrap DEK 2 of "acme", KEK "kms/1": cause`)
	require.Equal(t, "purpose(9)", keys.Purpose(9).String())
}
