package render_test

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/render"
)

func TestParseEndpoint(t *testing.T) {
	t.Parallel()
	label := strings.Repeat("a", 63)
	tests := []struct{ in, want string }{
		{"203.0.113.7:51820", "203.0.113.7:51820"},
		{"[2001:DB8:0::1]:1", "[2001:db8::1]:1"},
		{"[::ffff:203.0.113.7]:443", "203.0.113.7:443"},
		{"Web-1.Example.NET:65535", "web-1.example.net:65535"},
		{"localhost:1", "localhost:1"},
		{"1a.b2:1", "1a.b2:1"},
		{label + "." + label + ":1", label + "." + label + ":1"},
		{"", ""},
		{"203.0.113.7", ""},
		{"203.0.113.7:", ""},
		{"203.0.113.7:0", ""},
		{"203.0.113.7:01", ""},
		{"203.0.113.7:65536", ""},
		{"203.0.113.7:+1", ""},
		{"203.0.113.7:http", ""},
		{"203.0.113.07:1", ""},
		{"203.0.113.256:1", ""},
		{"203.0.113:1", ""},
		{"203.0.113.7.:1", ""},
		{"3232235777:1", ""},
		{"0x7f000001:1", ""},
		{"2001:db8::1:51820", ""},
		{"[2001:db8::1]", ""},
		{"[2001:db8::1]51820", ""},
		{"[fe80::1%eth0]:1", ""},
		{"[203.0.113.7]:1", ""},
		{"[example.net]:1", ""},
		{":1", ""},
		{"a..b:1", ""},
		{".a:1", ""},
		{"a.:1", ""},
		{"-a:1", ""},
		{"a-:1", ""},
		{"a_b:1", ""},
		{"a b:1", ""},
		{"a\n:1", ""},
		{"bücher.example:1", ""},
		{"a.1b:1", ""},
		{label + "a:1", ""},
		{strings.Repeat("a.", 127) + "a:1", ""},
	}
	for _, tt := range tests {
		got, err := render.ParseEndpoint(tt.in)
		require.Equalf(t, tt.want, got.String(), "%q: %v", tt.in, err)
		require.Equal(t, tt.want == "", err != nil, tt.in)
		if err == nil {
			again, err := render.ParseEndpoint(got.String())
			require.NoError(t, err)
			require.Equal(t, got, again)
		}
	}
}

func TestEndpointAddr(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"203.0.113.7:51820", "[2001:db8::1]:51820"} {
		want := netip.MustParseAddrPort(s)
		e := render.EndpointFrom(want)
		require.Equal(t, s, e.String())
		got, ok := e.Addr()
		require.True(t, ok)
		require.Equal(t, want, got)
	}
	require.Equal(t, "203.0.113.7:1", render.EndpointFrom(netip.MustParseAddrPort("[::ffff:203.0.113.7]:1")).String())
	require.Equal(t, "[fe80::1]:1", render.EndpointFrom(netip.MustParseAddrPort("[fe80::1%eth0]:1")).String())
	require.True(t, render.EndpointFrom(netip.AddrPort{}).IsZero())
	for _, e := range []render.Endpoint{{}, {Host: "example.net", Port: 1}, {Host: "1.2.3", Port: 1}} {
		_, ok := e.Addr()
		require.False(t, ok)
	}
}

func TestEndpointText(t *testing.T) {
	t.Parallel()
	for _, e := range []render.Endpoint{{}, {Host: "2001:db8::1", Port: 51820}, {Host: "example.net", Port: 1}} {
		text, err := json.Marshal(e)
		require.NoError(t, err)
		back := render.Endpoint{Host: "old", Port: 1}
		require.NoError(t, json.Unmarshal(text, &back))
		require.Equal(t, e, back)
	}
	var e render.Endpoint
	require.Error(t, e.UnmarshalText([]byte("x")))
	require.True(t, e.IsZero())
}

func FuzzParseEndpoint(f *testing.F) {
	for _, s := range []string{"203.0.113.7:51820", "[2001:db8::1]:1", "example.net:1", "[::ffff:1.2.3.4]:5", "a_b:1", "1.2.3:4"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e, err := render.ParseEndpoint(s)
		if err != nil {
			return
		}
		back, err := render.ParseEndpoint(e.String())
		require.NoError(t, err)
		require.Equal(t, e, back)
		if a, ok := e.Addr(); ok {
			require.Equal(t, e, render.EndpointFrom(a))
		}
		for _, g := range grammars {
			require.NoError(t, g.value("endpoint", e.String()), g.name)
		}
	})
}
