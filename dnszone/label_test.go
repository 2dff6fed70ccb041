package dnszone_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/dnszone"
)

func TestNormalizeLabel(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 63)
	tests := []struct {
		in, want string
		err      error
	}{
		{in: "web-1", want: "web-1"},
		{in: "Web_1", want: "web-1"},
		{in: "  web 1  ", want: "web-1"},
		{in: "web.example.com", want: "web-example-com"},
		{in: "ada@host:/srv", want: "ada-host-srv"},
		{in: "a--b", want: "a-b"},
		{in: "ab--cd", want: "ab-cd"},
		{in: "-a-", want: "a"},
		{in: "Ada's", want: "adas"},
		{in: "Ada’s", want: "adas"},
		{in: "007", want: "007"},
		{in: long, want: long},
		{in: "MÜNCHEN", want: "xn--mnchen-3ya"},
		{in: "Mu\u0308nchen", want: "xn--mnchen-3ya"}, // decomposed
		{in: "xn--mnchen-3ya", want: "xn--mnchen-3ya"},
		{in: "XN--MNCHEN-3YA", want: "xn--mnchen-3ya"},
		{in: "Straße", want: "xn--strae-oqa"},
		{in: "日本。東京", want: "xn----ux6az65enfb5j"},
		{in: "ｗｅｂ１", want: "web1"}, // full width
		{in: "हिन्दी", want: "xn--j2bd4cyah0f"},
		{in: "", err: dnszone.ErrLabelEmpty},
		{in: "-_-", err: dnszone.ErrLabelEmpty},
		{in: "'", err: dnszone.ErrLabelEmpty},
		{in: long + "a", err: dnszone.ErrLabelTooLong},
		{in: strings.Repeat("ü", 60), err: dnszone.ErrLabelTooLong},
		{in: "web\n", err: dnszone.ErrLabelBadRune},
		{in: "web;", err: dnszone.ErrLabelBadRune},
		{in: `we"b`, err: dnszone.ErrLabelBadRune},
		{in: `web\`, err: dnszone.ErrLabelBadRune},
		{in: "web$", err: dnszone.ErrLabelBadRune},
		{in: "web*", err: dnszone.ErrLabelBadRune},
		{in: "\x00", err: dnszone.ErrLabelBadRune},
		{in: "\xff", err: dnszone.ErrLabelBadRune},
		{in: "web🚀", err: dnszone.ErrLabelBadRune},
		{in: "web\u200b", err: dnszone.ErrLabelBadRune},  // zero width
		{in: "\u202eweb", err: dnszone.ErrLabelBadRune},  // right to left override
		{in: "אa", err: dnszone.ErrLabelBadRune},         // the BiDi rule
		{in: "\u0301a", err: dnszone.ErrLabelBadRune},    // begins with a mark
		{in: "xn--a", err: dnszone.ErrLabelBadRune},      // no A-label
		{in: "xn--webapp", err: dnszone.ErrLabelBadRune}, // no A-label
		{in: "xn--", err: dnszone.ErrLabelEmpty},
		{in: "xn--\u00fc", want: "xn--xn--joa"},
		{in: "localhost", err: dnszone.ErrLabelReserved},
		{in: "WPAD", err: dnszone.ErrLabelReserved},
		{in: "_isatap", err: dnszone.ErrLabelReserved},
		{in: "router", err: dnszone.ErrLabelReserved},
	}
	policy := dnszone.LabelPolicy{Reserved: []string{"router"}}
	for _, tt := range tests {
		got, err := dnszone.NormalizeLabel(tt.in, policy)
		if tt.err != nil {
			require.ErrorIs(t, err, tt.err, "%q gives %q", tt.in, got)
			var l *dnszone.LabelError
			require.ErrorAs(t, err, &l)
			require.Equal(t, tt.in, l.Input)
			require.Less(t, l.Pos, max(1, len(tt.in)))
			continue
		}
		require.NoError(t, err, tt.in)
		require.Equal(t, tt.want, got, "%q", tt.in)
		again, err := dnszone.NormalizeLabel(got, policy)
		require.NoError(t, err)
		require.Equal(t, got, again)
	}
}

func TestNormalizeLabelCut(t *testing.T) {
	t.Parallel()
	policy := dnszone.LabelPolicy{Cut: true}
	seen := map[string]bool{}
	for _, in := range []string{
		strings.Repeat("a", 64), strings.Repeat("a", 65), strings.Repeat("a-", 60), strings.Repeat("ü", 64), strings.Repeat("日", 300),
	} {
		got, err := dnszone.NormalizeLabel(in, policy)
		require.NoError(t, err)
		require.LessOrEqual(t, len(got), 63)
		require.False(t, seen[got], "texts that differ behind the cut stay apart")
		seen[got] = true
		again, err := dnszone.NormalizeLabel(got, policy)
		require.NoError(t, err)
		require.Equal(t, got, again)
	}
}

func TestLabelErrorText(t *testing.T) {
	t.Parallel()
	_, err := dnszone.NormalizeLabel("we\nb", dnszone.LabelPolicy{})
	require.EqualError(t, err, `dnszone: label "we\nb": label holds a character that names cannot have: '\n' at 2`)
	_, err = dnszone.NormalizeLabel(strings.Repeat("a", 10_000), dnszone.LabelPolicy{})
	require.Less(t, len(err.Error()), 200)
}

func TestCheckLabel(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"a", "1", "web-1", "a-b-c", strings.Repeat("a", 63)} {
		require.NoError(t, dnszone.CheckLabel(good), good)
		got, err := dnszone.NormalizeLabel(good, dnszone.LabelPolicy{})
		require.NoError(t, err)
		require.Equal(t, good, got)
	}
	for bad, want := range map[string]error{
		"":                      dnszone.ErrLabelEmpty,
		"Web":                   dnszone.ErrLabelBadRune,
		"we b":                  dnszone.ErrLabelBadRune,
		"web_1":                 dnszone.ErrLabelBadRune,
		"-web":                  dnszone.ErrLabelBadRune,
		"web-":                  dnszone.ErrLabelBadRune,
		"-":                     dnszone.ErrLabelBadRune,
		"xn--mnchen-3ya":        dnszone.ErrLabelBadRune,
		"a--b":                  dnszone.ErrLabelBadRune,
		"münchen":               dnszone.ErrLabelBadRune,
		"we\xffb":               dnszone.ErrLabelBadRune,
		"../x":                  dnszone.ErrLabelBadRune,
		strings.Repeat("a", 64): dnszone.ErrLabelTooLong,
		"wpad":                  dnszone.ErrLabelReserved,
	} {
		require.ErrorIs(t, dnszone.CheckLabel(bad), want, bad)
	}
}

// FuzzNormalizeLabel: the result is a label, its own result, and never what
// CheckLabel would refuse but for A-labels.
func FuzzNormalizeLabel(f *testing.F) {
	for _, s := range []string{"web-1", "Web_1", "MÜNCHEN", "xn--mnchen-3ya", "日本。東京", "a--b", "\u202e", "xn--a", "ﷺ", "⒈", "ß", "'", "ab--", strings.Repeat("ü", 64), "א1", "a\u0301-", "K"} {
		f.Add(s, false)
		f.Add(s, true)
	}
	f.Fuzz(func(t *testing.T, s string, cut bool) {
		policy := dnszone.LabelPolicy{Cut: cut}
		got, err := dnszone.NormalizeLabel(s, policy)
		if err != nil {
			var l *dnszone.LabelError
			require.ErrorAs(t, err, &l)
			require.True(t, l.Pos >= 0 && l.Pos <= len(s))
			require.Error(t, dnszone.CheckLabel(s))
			return
		}
		again, err := dnszone.NormalizeLabel(got, policy)
		require.NoError(t, err, "%q gives %q", s, got)
		require.Equal(t, got, again, "%q", s)
		if !strings.HasPrefix(got, "xn--") {
			require.NoError(t, dnszone.CheckLabel(got))
		}
		if dnszone.CheckLabel(s) == nil {
			require.Equal(t, s, got)
		}
	})
}
