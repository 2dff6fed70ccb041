package render_test

import (
	"bytes"
	"errors"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/keys"
	"github.com/apnkit/apnkit/render"
)

const (
	keyA = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	keyB = "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8="
	keyC = "QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFlaW1xdXl8="
)

func TestParse(t *testing.T) {
	t.Parallel()
	text := strings.Join([]string{
		"# Our office",
		"[interface]",
		"# Name = office",
		"privatekey=" + keyA + " # do not share",
		"\tADDRESS = 10.0.0.2/24 , fd00::2",
		"Address=10.1.0.2\r",
		"ListenPort = 51820",
		"FwMark = 0xCA6C",
		"MTU = 1420",
		"DNS = 10.0.0.1, Corp.Example",
		"Table = off",
		"SaveConfig = true",
		"",
		"[PEER]",
		"PublicKey = " + keyC,
		"AllowedIPs = 10.9.0.0/16",
		"Endpoint = [2001:DB8::1]:51820",
		"[Peer] # second",
		"# Name = web-1",
		"PublicKey = " + keyB,
		"PresharedKey = " + keyA,
		"AllowedIPs = 10.0.3.7/24, 10.0.2.0/24",
		"AllowedIPs = 10.0.2.0/24",
		"Endpoint = Web-1.Example.net:443",
		"PersistentKeepalive = 25",
	}, "\n")
	c, err := render.Parse([]byte(text), nil)
	require.NoError(t, err)
	require.Equal(t, "office", c.Name)
	i := c.Interface
	require.False(t, i.PrivateKey.IsZero())
	require.Equal(t, []netip.Prefix{netip.MustParsePrefix("10.0.0.2/24"), netip.MustParsePrefix("fd00::2/128"), netip.MustParsePrefix("10.1.0.2/32")}, i.Addresses)
	require.Equal(t, uint16(51820), i.ListenPort)
	require.Equal(t, uint32(0xca6c), i.FwMark)
	require.Equal(t, uint16(1420), i.MTU)
	require.Equal(t, []netip.Addr{netip.MustParseAddr("10.0.0.1")}, i.DNS)
	require.Equal(t, []string{"corp.example"}, i.Search)
	require.Equal(t, render.TableOff, i.Table)
	require.Len(t, c.Peers, 2)
	p := c.Peers[0]
	require.Equal(t, "web-1", p.Name)
	require.Equal(t, keyB, p.PublicKey.String())
	require.False(t, p.PresharedKey.IsZero())
	require.Equal(t, []netip.Prefix{netip.MustParsePrefix("10.0.2.0/24"), netip.MustParsePrefix("10.0.3.0/24")}, p.AllowedIPs)
	require.Equal(t, render.Endpoint{Host: "web-1.example.net", Port: 443}, p.Endpoint)
	require.Equal(t, 25*time.Second, p.Keepalive)
	require.Equal(t, "[2001:db8::1]:51820", c.Peers[1].Endpoint.String())
}

// TestParseRefuses has a file per trap; each clients read differently or not at
// all.
func TestParseRefuses(t *testing.T) {
	t.Parallel()
	head := "[Interface]\nPrivateKey = " + keyA + "\n"
	peer := "[Peer]\nPublicKey = " + keyB + "\n"
	tests := []struct {
		name, text string
		line       int
		key        string
	}{
		{"empty", "", 0, ""},
		{"only comments", "# nothing\n", 0, ""},
		{"no interface", peer, 0, ""},
		{"no private key", "[Interface]\n", 0, ""},
		{"second interface", head + head, 3, ""},
		{"unknown section", head + "[Wibble]\n", 3, ""},
		{"broken header", head + "[Peer\n", 3, ""},
		{"key before a section", "PrivateKey = " + keyA, 1, "PrivateKey"},
		{"unknown key", head + "Wibble = 1\n", 3, ""},
		{"key of the other section", head + "Endpoint = 1.2.3.4:5\n", 3, "Endpoint"},
		{"no equals sign", head + "ListenPort 51820\n", 3, ""},
		{"blank inside a key", head + "Listen Port = 51820\n", 3, ""},
		{"empty value", head + "ListenPort =\n", 3, "ListenPort"},
		{"semicolon comment", head + "; comment\n", 3, ""},
		{"byte order mark", "\ufeff" + head, 1, ""},
		{"carriage return alone", "[Interface]\rPrivateKey = " + keyA, 1, ""},
		{"null", head + "MTU = 14\x0020\n", 3, ""},
		{"unicode", head + "DNS = bücher.example\n", 3, ""},
		{"line separator in a comment", head + "# a\u2028[Peer]\n", 3, ""},
		{"next line in a comment", head + "# a\u0085PostUp = x\n", 3, ""},
		{"carriage return in a comment", head + "# a\rPostUp = x\n", 3, ""},
		{"vertical tab in a comment", head + "# a\vPostUp = x\n", 3, ""},
		{"Latin-1 in a comment", head + "# \xfc\n", 3, ""},
		{"short key", "[Interface]\nPrivateKey = AAAA\n", 2, "PrivateKey"},
		{"stray bits in a key", "[Interface]\nPrivateKey = " + strings.Replace(keyA, "h8=", "h9=", 1), 2, "PrivateKey"},
		{"zero key", "[Interface]\nPrivateKey = AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n", 2, "PrivateKey"},
		{"hidden key", "[Interface]\nPrivateKey = (hidden)\n", 2, "PrivateKey"},
		{"weak public key", head + "[Peer]\nPublicKey = AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n", 4, "PublicKey"},
		{"repeated scalar", head + "MTU = 1400\nMTU = 1400\n", 4, "MTU"},
		{"port name", head + "ListenPort = domain\n", 3, "ListenPort"},
		{"port too large", head + "ListenPort = 65536\n", 3, "ListenPort"},
		{"octal", head + "ListenPort = 0777\n", 3, "ListenPort"},
		{"octal octet", head + "Address = 010.0.0.1/24\n", 3, "Address"},
		{"mask too long", head + "Address = 10.0.0.1/33\n", 3, "Address"},
		{"mapped and short", head + "Address = ::ffff:10.0.0.1/64\n", 3, "Address"},
		{"list with a hole", head + "Address = 10.0.0.1,,10.0.0.2\n", 3, "Address"},
		{"list of blanks", head + "Address = 10.0.0.1 10.0.0.2\n", 3, "Address"},
		{"zone", head + "DNS = fe80::1%eth0\n", 3, "DNS"},
		{"resolver is a number", head + "DNS = 1.2.3\n", 3, "DNS"},
		{"search domain with underscore", head + "DNS = 1.1.1.1, a_b\n", 3, "DNS"},
		{"search domain alone", head + "DNS = apn\n", 0, ""},
		{"MTU of Windows", head + "MTU = 575\n", 0, ""},
		{"MTU of IPv6", head + "MTU = 1279\nAddress = fd00::1\n", 0, ""},
		{"table name", head + "Table = wibble\n", 3, "Table"},
		{"hook", head + "PostUp = iptables -A FORWARD\n", 3, "PostUp"},
		{"save", head + "SaveConfig = yes\n", 3, "SaveConfig"},
		{"peer without key", head + "[Peer]\nAllowedIPs = 10.0.0.1\n", 0, ""},
		{"first peer without key", head + "[Peer]\nAllowedIPs = 10.0.0.1\n" + peer, 5, ""},
		{"signed prefix", head + peer + "AllowedIPs = +10.0.0.1/32\n", 5, "AllowedIPs"},
		{"endpoint without port", head + peer + "Endpoint = 1.2.3.4\n", 5, "Endpoint"},
		{"bare IPv6 endpoint", head + peer + "Endpoint = 2001:db8::1:51820\n", 5, "Endpoint"},
		{"endpoint with zone", head + peer + "Endpoint = [fe80::1%eth0]:51820\n", 5, "Endpoint"},
		{"endpoint with underscore", head + peer + "Endpoint = a_b.example:51820\n", 5, "Endpoint"},
		{"keepalive too long", head + peer + "PersistentKeepalive = 65536\n", 5, "PersistentKeepalive"},
		{"duplicate peer", head + peer + peer, 0, ""},
		{"shared prefix", head + peer + "AllowedIPs = 10.0.0.1\n[Peer]\nPublicKey = " + keyC + "\nAllowedIPs = 10.0.0.1/32\n", 0, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := render.Parse([]byte(tt.text), nil)
			var parse *render.ParseError
			require.ErrorAs(t, err, &parse)
			require.Equal(t, tt.line, parse.Line, err)
			require.Equal(t, tt.key, parse.Key, err)
			require.NotContains(t, err.Error(), keyA[:8])
			require.NotContains(t, err.Error(), keyB[:8])
		})
	}
}

func TestParseErrorShowsNoInput(t *testing.T) {
	t.Parallel()
	// The private key stands where a key name belongs.
	_, err := render.Parse([]byte("[Interface]\n"+keyA), nil)
	require.Error(t, err)
	require.NotContains(t, err.Error(), keyA[:8])
}

func TestParseHooks(t *testing.T) {
	t.Parallel()
	text := "[Interface]\nPrivateKey = " + keyA + "\nPostUp = ip rule add table 7\nPostUp = true\nPreDown = a = b\n"
	c, err := render.Parse([]byte(text), &render.ParseOptions{Hooks: true})
	require.NoError(t, err)
	require.Equal(t, render.Hooks{PostUp: []string{"ip rule add table 7", "true"}, PreDown: []string{"a = b"}}, c.Interface.Hooks)

	_, err = render.Quick.Append(nil, c, nil)
	var value *render.ValueError
	require.ErrorAs(t, err, &value)
	require.Equal(t, "Hooks", value.Field)
	out, err := render.Quick.Append(nil, c, &render.Options{Hooks: true})
	require.NoError(t, err)
	require.Contains(t, string(out), "\nPostUp = ip rule add table 7\nPostUp = true\nPreDown = a = b\n")

	_, err = render.Parse([]byte("[Interface]\nPrivateKey = "+keyA+"\nPostUp = echo # x\n"), &render.ParseOptions{Hooks: true})
	require.Error(t, err)
}

func TestParsePlaceholder(t *testing.T) {
	t.Parallel()
	c := device(t, shapes[0], 2)
	full := c.Fingerprint()
	template := c.Clone()
	template.Interface.PrivateKey = keys.PrivateKey{}

	text, err := render.Quick.Append(nil, template, nil)
	require.NoError(t, err)
	require.Contains(t, string(text), "# PublicKey = "+c.Interface.PublicKey.String()+"\nPrivateKey = "+render.Placeholder+"\n")
	back, err := render.Parse(text, nil)
	require.NoError(t, err)
	require.True(t, back.Equal(template))
	require.Equal(t, full, back.Fingerprint())

	// The holder fills in the key: still the config that the fingerprint names.
	private := c.Interface.PrivateKey.Reveal()
	whole := bytes.Replace(text, []byte(render.Placeholder), []byte(base64Of(private[:])), 1)
	back, err = render.Parse(whole, nil)
	require.NoError(t, err)
	require.True(t, back.Equal(c))
	require.Equal(t, full, back.Fingerprint())
}

// FuzzParse never panics, and what it accepts is a fixed point: rendered and
// parsed again it is the same value and the same text.
func FuzzParse(f *testing.F) {
	for _, s := range shapes {
		for _, format := range []render.Format{render.Quick, render.Compact, render.SetConf} {
			text, err := format.Append(nil, device(f, s, 2), nil)
			require.NoError(f, err)
			f.Add(text)
		}
	}
	f.Add([]byte("[Interface]\nPrivateKey=" + keyA + "\nPostUp=a=b\nTable=main\nFwMark=off\nMTU=1280\nDNS=1.1.1.1,A.b\n[Peer]\nPublicKey=" + keyB + "\nPersistentKeepalive=off"))
	f.Add([]byte("[Interface]\r\nPrivateKey = " + render.Placeholder + "\r\n# PublicKey = " + keyC + "\r\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := render.Parse(text, &render.ParseOptions{Hooks: true})
		if err != nil {
			var parse *render.ParseError
			require.ErrorAs(t, err, &parse)
			return
		}
		for _, format := range []render.Format{render.Quick, render.Compact} {
			out, err := format.Append(nil, c, &render.Options{Hooks: true})
			if _, conflict := errors.AsType[*render.ConflictError](err); conflict {
				return // own key as peer: Parse does not compute the own one
			}
			require.NoError(t, err)
			back, err := render.Parse(out, &render.ParseOptions{Hooks: true})
			require.NoError(t, err)
			if format == render.Quick || !c.Interface.PrivateKey.IsZero() {
				require.True(t, back.Equal(c))
				require.Equal(t, c.Fingerprint(), back.Fingerprint())
			}
			again, err := format.Append(nil, back, &render.Options{Hooks: true})
			require.NoError(t, err)
			if format == render.Quick {
				require.Equal(t, string(out), string(again))
			}
		}
	})
}

func TestParseReadsWhatAppendWrites(t *testing.T) {
	t.Parallel()
	for _, s := range shapes {
		for _, peers := range []int{0, 1, 10, 11} {
			c := device(t, s, peers)
			for _, format := range []render.Format{render.Quick, render.Compact, render.SetConf} {
				text, err := format.Append(nil, c, nil)
				require.NoError(t, err)
				back, err := render.Parse(text, nil)
				require.NoError(t, err)
				want := c.Clone()
				if format == render.SetConf {
					want.Interface.Addresses, want.Interface.DNS, want.Interface.Search = nil, nil, nil
				}
				require.True(t, back.Equal(want))
				if format == render.Quick {
					require.Equal(t, c.Name, back.Name)
					for k := range c.Peers {
						require.Equal(t, c.Peers[k].Name, back.Peers[k].Name)
					}
				}
			}
		}
	}
}

// Neither brackets nor commas make Parse reserve more than a few times the size
// of the file.
func TestParseReservesLittle(t *testing.T) {
	for _, text := range []string{strings.Repeat("[", 1<<20), strings.Repeat("[\n", 1<<19), "[Interface]\nAddress=" + strings.Repeat(",", 1<<20)} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := render.Parse([]byte(text), nil)
		runtime.ReadMemStats(&after)
		require.Error(t, err)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(8<<20))
	}
}
