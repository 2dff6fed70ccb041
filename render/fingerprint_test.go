package render_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/keys"
	"github.com/apnkit/apnkit/render"
)

// TestFingerprintIsFrozen: fingerprints are stored, and files with them are out
// there. These values never change.
func TestFingerprintIsFrozen(t *testing.T) {
	t.Parallel()
	want := map[string]string{
		"v4":        "v1.IX-i6Spstl31i3wiYMZSN7PCnerf0wi79eGkIiNmnN4",
		"v6":        "v1.fTxRji2a1US_xTNFDma-BC6a9HG1ucv29B9-lc77zk4",
		"dual":      "v1.gVCZBb-qsI-uBumHkzKkGglfp-l90An2lr9uirX1NhU",
		"preshared": "v1.Q3aCrZ94ieVHXSCG51JCr3u5AL_NNu_FiCmFfxz-0qE",
		"keepalive": "v1.4_7FXfRUJphkFFqQVoW8BvTuntL2-MwyPwf10prd7wo",
		"hostname":  "v1.get9GLDdRsq7JSytkNannu6WC3fEtnoZvXo5eyZU-HY",
		"roaming":   "v1.x2-KOeE4zjG1xAVW5RbluPrz6rbo5vyL6CyJm8ao8eI",
		"full":      "v1.G5reo3hQORGHS5WYx6HQMQ0M_lK1xdliP_Mq-N3RD-A",
	}
	for _, s := range shapes {
		require.Equal(t, want[s.name], device(t, s, 3).Fingerprint().String(), s.name)
	}
}

func TestFingerprintNeedsNoSecret(t *testing.T) {
	t.Parallel()
	c := device(t, shapes[7], 5)
	sealed := c.Clone()
	sealed.Interface.PrivateKey = keys.PrivateKey{}
	for k := range sealed.Peers {
		p := &sealed.Peers[k]
		p.PresharedDigest = render.DigestPreshared(p.PresharedKey)
		p.PresharedKey = keys.PresharedKey{}
	}
	require.Equal(t, c.Fingerprint(), sealed.Fingerprint())
	c.Interface.PublicKey = keys.PublicKey{}
	require.Equal(t, c.Fingerprint(), sealed.Fingerprint())
	require.Equal(t, render.PresharedDigest{}, render.DigestPreshared(keys.PresharedKey{}))
}

func TestFingerprintText(t *testing.T) {
	t.Parallel()
	f := device(t, shapes[0], 1).Fingerprint()
	s := f.String()
	require.Len(t, s, 46)
	back, err := render.ParseFingerprint(s)
	require.NoError(t, err)
	require.Equal(t, f, back)
	require.Empty(t, render.Fingerprint{}.String())
	for _, bad := range []string{"", "v1.", "v2" + s[2:], s[:45], s + "A", " " + s, s[:45] + "=", s[:45] + "B", "v1." + strings.Repeat("A", 43), s[:10] + "\n" + s[11:]} {
		_, err := render.ParseFingerprint(bad)
		require.Errorf(t, err, "%q", bad)
	}
	text, err := f.MarshalText()
	require.NoError(t, err)
	require.NoError(t, back.UnmarshalText(text))
	require.Equal(t, f, back)
	require.NoError(t, back.UnmarshalText(nil))
	require.Equal(t, render.Fingerprint{}, back)
}

func TestReadFingerprint(t *testing.T) {
	t.Parallel()
	c := device(t, shapes[0], 2)
	c.Name = "x\n# apn-config: v1." + strings.Repeat("B", 43)
	want := c.Fingerprint()
	for _, f := range allFormats {
		text, err := f.Append(nil, c, nil)
		require.NoError(t, err)
		got, ok := render.ReadFingerprint(text)
		switch f {
		case render.Compact, render.UAPI, render.JSON:
			require.False(t, ok)
		default:
			require.True(t, ok)
			require.Equal(t, want, got)
		}
		text, err = f.Append(nil, c, &render.Options{NoFingerprint: true})
		require.NoError(t, err)
		_, ok = render.ReadFingerprint(text)
		require.False(t, ok)
	}
	given, err := render.Quick.Append(nil, c, &render.Options{Fingerprint: want})
	require.NoError(t, err)
	computed, err := render.Quick.Append(nil, c, nil)
	require.NoError(t, err)
	require.Equal(t, string(computed), string(given))

	// Windows editors change line ends; a comment further down is not the first.
	_, ok := render.ReadFingerprint([]byte("# apn-config: " + want.String() + "\r\n[Interface]\r\n"))
	require.True(t, ok)
	_, ok = render.ReadFingerprint([]byte("[Interface]\n# apn-config: " + want.String() + "\n"))
	require.False(t, ok)
}
