package render_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/render"
)

func TestInterfaceName(t *testing.T) {
	t.Parallel()
	tests := []struct{ in, want string }{
		{"", ""},
		{"apn0", "apn0"},
		{"a=b+c_d.e-f", "a=b+c_d.e-f"},
		{"fifteen-letters", "fifteen-letters"},
		{"sixteen--letters", "sixteen--l-tdtd"},
		{"my laptop", "my-laptop-ncdj"},
		{"Jürgen", "J-rgen-ywh3"},
		{"../../etc", "etc-otgp"},
		{"-dash", "dash-w2j7"},
		{".hidden", "hidden-c2je"},
		{"dot.", "dot.-2znr"},
		{"CON", "CON-upn4"},
		{"con.fig", "con.fig-snvq"},
		{"Lpt9", "Lpt9-nbhb"},
		{"all", "all-l326"},
		{"日本", "wg-z4vl"},
		{"\n", "wg-ag5e"},
	}
	for _, tt := range tests {
		require.Equalf(t, tt.want, render.InterfaceName(tt.in), "%q", tt.in)
	}
}

func FuzzInterfaceName(f *testing.F) {
	for _, s := range hostile {
		f.Add(s)
	}
	valid := regexp.MustCompile(`^[A-Za-z0-9_=+.-]{1,15}$`)
	f.Fuzz(func(t *testing.T, s string) {
		name := render.InterfaceName(s)
		if s == "" {
			require.Empty(t, name)
			return
		}
		require.Regexp(t, valid, name)
		require.Equal(t, name, render.InterfaceName(name), "it stays as it is")
		require.Empty(t, strings.Trim(name[:1]+name[len(name)-1:], "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_=+-"))
		file, err := render.Quick.Filename(&render.Config{Name: s})
		require.NoError(t, err)
		require.Equal(t, name+".conf", file)
	})
}
