package netmap_test

import (
	"crypto/ecdh"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn/netmap"
	"github.com/apnkit/apnkit/keys"
)

func TestSecrets(t *testing.T) {
	t.Parallel()
	agent, err := ecdh.X25519().GenerateKey(rand.Reader)
	require.NoError(t, err)
	priv, err := keys.GeneratePrivateKey()
	require.NoError(t, err)
	psk, err := keys.GeneratePresharedKey()
	require.NoError(t, err)
	secrets := &netmap.Secrets{PrivateKey: priv, Preshared: 3, PSKs: map[keys.PublicKey]keys.PresharedKey{pubOf(1): psk}}
	binding := netmap.Sealing{Network: "acme", Server: "srv/shop/web-1", Epoch: "e1", KeyGen: 4}

	sealed, err := secrets.Seal(agent.PublicKey().Bytes(), binding)
	require.NoError(t, err)
	wire, err := json.Marshal(sealed)
	require.NoError(t, err)
	for _, secret := range [][]byte{priv.Reveal()[:], psk.Reveal()[:]} {
		require.NotContains(t, string(wire), string(secret))
	}
	var got netmap.Sealed
	require.NoError(t, json.Unmarshal(wire, &got))
	opened, err := got.Open(agent, binding)
	require.NoError(t, err)
	require.True(t, opened.PrivateKey.Equal(priv))
	require.True(t, opened.PSKs[pubOf(1)].Equal(psk))
	require.Equal(t, uint64(3), opened.Preshared)

	other, err := ecdh.X25519().GenerateKey(rand.Reader)
	require.NoError(t, err)
	_, err = got.Open(other, binding)
	require.ErrorIs(t, err, netmap.ErrSealed)
	p256, err := ecdh.P256().GenerateKey(rand.Reader)
	require.NoError(t, err)
	_, err = got.Open(p256, binding)
	require.ErrorIs(t, err, netmap.ErrSealed)
	for i, spoil := range []func(*netmap.Sealing){
		func(b *netmap.Sealing) { b.Network = "evil" },
		func(b *netmap.Sealing) { b.Server = "srv/shop/web-2" },
		func(b *netmap.Sealing) { b.Epoch = "e2" },
		func(b *netmap.Sealing) { b.KeyGen++ },
		func(b *netmap.Sealing) { b.Network, b.Server = "acmes", "rv/shop/web-1" },
	} {
		b := binding
		spoil(&b)
		_, err = got.Open(agent, b)
		require.ErrorIs(t, err, netmap.ErrSealed, i)
	}
	for _, damaged := range []netmap.Sealed{{}, {Enc: got.Enc}, {Enc: got.Enc, Ciphertext: got.Ciphertext[1:]}, {Enc: got.Enc[1:], Ciphertext: got.Ciphertext}} {
		_, err = damaged.Open(agent, binding)
		require.ErrorIs(t, err, netmap.ErrSealed)
	}
	_, err = secrets.Seal([]byte("short"), binding)
	require.Error(t, err)

	// Nothing to tell is told as well: the key is the server's own.
	sealed, err = new(netmap.Secrets).Seal(agent.PublicKey().Bytes(), binding)
	require.NoError(t, err)
	opened, err = sealed.Open(agent, binding)
	require.NoError(t, err)
	require.True(t, opened.PrivateKey.IsZero())
}

func TestJoinToken(t *testing.T) {
	t.Parallel()
	_, pub := signer(1)
	want := netmap.JoinToken{URL: "https://apn.example.org:8443", Pin: make([]byte, 32), Key: pub, Secret: "once"}
	text, err := want.Encode()
	require.NoError(t, err)
	got, err := netmap.ParseJoinToken(" " + text + "\n")
	require.NoError(t, err)
	require.Equal(t, want, got)

	raw, err := json.Marshal(want)
	require.NoError(t, err)
	for _, printed := range []string{fmt.Sprint(want), fmt.Sprintf("%v %+v %#v %s %d", want, want, &want, want, want), want.LogValue().String(), string(raw)} {
		require.NotContains(t, printed, "once")
		require.NotContains(t, printed, "example")
	}
	require.Equal(t, slog.KindString, want.LogValue().Kind())

	bad := []string{"", "hello", "apnjoin_", "apnjoin_!!!", text[:len(text)-8], strings.ToUpper(text), text + text}
	for _, spoil := range []func(*netmap.JoinToken){
		func(t *netmap.JoinToken) { t.URL = "" },
		func(t *netmap.JoinToken) { t.URL = "ftp://example.org" },
		func(t *netmap.JoinToken) { t.URL = "https://user:word@example.org" },
		func(t *netmap.JoinToken) { t.Pin = t.Pin[1:] },
		func(t *netmap.JoinToken) { t.Key = nil },
		func(t *netmap.JoinToken) { t.Secret = "" },
	} {
		token := want
		spoil(&token)
		text, err := token.Encode()
		require.NoError(t, err)
		bad = append(bad, text)
	}
	for i, s := range bad {
		_, err := netmap.ParseJoinToken(s)
		require.ErrorIs(t, err, netmap.ErrToken, i)
		if len(s) > 10 {
			require.NotContains(t, err.Error(), s[8:])
		}
	}
}

func FuzzParseJoinToken(f *testing.F) {
	_, pub := signer(1)
	text, err := netmap.JoinToken{URL: "https://a", Key: pub, Secret: "s"}.Encode()
	require.NoError(f, err)
	f.Add(text)
	f.Add("apnjoin_e30")
	f.Fuzz(func(t *testing.T, s string) {
		token, err := netmap.ParseJoinToken(s)
		if err != nil {
			require.ErrorIs(t, err, netmap.ErrToken)
			return
		}
		text, err := token.Encode()
		require.NoError(t, err)
		again, err := netmap.ParseJoinToken(text)
		require.NoError(t, err)
		require.Equal(t, token, again)
	})
}
