package render_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/keys"
	"github.com/apnkit/apnkit/render"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func base64Of(b []byte) string { return base64.StdEncoding.EncodeToString(b) }

// golden compares got with a file in testdata, or writes it.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, got, 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err, "run go test -update to make the file")
	require.Equal(t, string(want), string(got))
}

var allFormats = []render.Format{
	render.Quick, render.Compact, render.SetConf, render.UAPI,
	render.NetworkdNetdev, render.NetworkdNetwork, render.NMKeyfile, render.JSON,
}

// server is a config with everything that the portable one lacks.
func server(tb testing.TB) *render.Config {
	tb.Helper()
	c := device(tb, shapes[7], 2)
	c.Name = "apn0"
	c.Interface.ListenPort, c.Interface.FwMark, c.Interface.MTU, c.Interface.Table = 51820, 0xca6c, 1420, 4242
	return c
}

// TestGolden has the file of each format and shape with one peer, and the hashes
// of those with 0, 10 and 11.
func TestGolden(t *testing.T) {
	t.Parallel()
	var sums []byte
	for _, f := range allFormats {
		for _, s := range shapes {
			for _, peers := range []int{0, 1, 10, 11} {
				text, err := f.Append(nil, device(t, s, peers), &render.Options{Secrets: true})
				if s.hostName && f == render.UAPI && peers > 0 {
					var value *render.ValueError
					require.ErrorAs(t, err, &value)
					require.Equal(t, "Endpoint", value.Field)
					continue
				}
				require.NoError(t, err)
				if peers == 1 {
					golden(t, filepath.Join(f.String(), s.name+".txt"), text)
				} else {
					sums = fmt.Appendf(sums, "%x %v %s %d\n", sha256.Sum256(text), f, s.name, peers)
				}
			}
		}
		text, err := f.Append(nil, server(t), nil)
		require.NoError(t, err)
		golden(t, filepath.Join(f.String(), "server.txt"), text)
	}
	golden(t, "sums.txt", sums)
}

func TestEqualConfigsGiveEqualBytes(t *testing.T) {
	t.Parallel()
	a := device(t, shapes[2], 5)
	b := a.Clone()
	slices.Reverse(b.Peers)
	b.Peers[0].AllowedIPs = []netip.Prefix{ // other order, mapped, host bits, twice
		b.Peers[0].AllowedIPs[1],
		netip.PrefixFrom(netip.AddrFrom16(b.Peers[0].AllowedIPs[0].Addr().As16()), 128),
		b.Peers[0].AllowedIPs[1],
	}
	b.Peers[1].Endpoint.Host = "::ffff:" + b.Peers[1].Endpoint.Host
	b.Interface.Addresses[0] = netip.PrefixFrom(netip.AddrFrom16(b.Interface.Addresses[0].Addr().As16()), 128)
	b.Interface.Search[0] = "APN"
	require.True(t, a.Equal(b))
	require.Equal(t, a.Fingerprint(), b.Fingerprint())
	before := b.Clone()
	for _, f := range allFormats {
		x, err := f.Append(nil, a, nil)
		require.NoError(t, err)
		y, err := f.Append(nil, b, nil)
		require.NoError(t, err)
		require.Equal(t, string(x), string(y))
	}
	require.Equal(t, before.Peers[0].AllowedIPs, b.Peers[0].AllowedIPs, "the caller's config is not changed")
	b.Normalize()
	require.Equal(t, a.Peers[0].AllowedIPs, b.Peers[0].AllowedIPs)
	require.Equal(t, a.Peers[3].Endpoint, b.Peers[3].Endpoint)
	require.Equal(t, a.Interface.Addresses, b.Interface.Addresses)
}

func TestEqual(t *testing.T) {
	t.Parallel()
	changes := map[string]func(c *render.Config){
		"private key":   func(c *render.Config) { c.Interface.PrivateKey = privateKey(t, "other") },
		"public key":    func(c *render.Config) { c.Interface.PublicKey = publicKey("other") },
		"address":       func(c *render.Config) { c.Interface.Addresses[0] = netip.MustParsePrefix("10.66.0.2/24") },
		"address order": func(c *render.Config) { slices.Reverse(c.Interface.Addresses) },
		"port":          func(c *render.Config) { c.Interface.ListenPort++ },
		"mark":          func(c *render.Config) { c.Interface.FwMark++ },
		"MTU":           func(c *render.Config) { c.Interface.MTU = 1400 },
		"resolver":      func(c *render.Config) { c.Interface.DNS = c.Interface.DNS[:1] },
		"search":        func(c *render.Config) { c.Interface.Search[0] = "other" },
		"table":         func(c *render.Config) { c.Interface.Table = render.TableOff },
		"hook":          func(c *render.Config) { c.Interface.Hooks.PostDown = []string{"true"} },
		"hook kind":     func(c *render.Config) { c.Interface.Hooks.PreDown = []string{"true"} },
		"peer":          func(c *render.Config) { c.Peers = c.Peers[1:] },
		"peer key":      func(c *render.Config) { c.Peers[0].PublicKey = publicKey("other") },
		"preshared":     func(c *render.Config) { c.Peers[0].PresharedKey = presharedKey(t, "other") },
		"no preshared":  func(c *render.Config) { c.Peers[0].PresharedKey = keys.PresharedKey{} },
		"allowed IPs":   func(c *render.Config) { c.Peers[0].AllowedIPs = c.Peers[0].AllowedIPs[:1] },
		"endpoint":      func(c *render.Config) { c.Peers[0].Endpoint.Port++ },
		"host":          func(c *render.Config) { c.Peers[0].Endpoint.Host = "example.net" },
		"keepalive":     func(c *render.Config) { c.Peers[0].Keepalive = 0 },
	}
	a := device(t, shapes[7], 3)
	seen := map[render.Fingerprint]string{a.Fingerprint(): "none"}
	for name, change := range changes {
		b := a.Clone()
		change(b)
		require.Falsef(t, a.Equal(b), name)
		require.Falsef(t, b.Equal(a), name)
		if name == "private key" {
			require.Equal(t, a.Fingerprint(), b.Fingerprint(), "the public key stands for it")
			continue
		}
		require.NotContains(t, seen, b.Fingerprint(), name)
		seen[b.Fingerprint()] = name
	}
	b := a.Clone()
	b.Name, b.Peers[0].Name = "other", "other"
	require.True(t, a.Equal(b), "names are comments")
	require.Equal(t, a.Fingerprint(), b.Fingerprint())
}

// invalid configs, and the field that each error names.
func TestAppendRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, field, peer string
		change            func(c *render.Config)
	}{
		{"address", "Address", "", func(c *render.Config) { c.Interface.Addresses[0] = netip.Prefix{} }},
		{"mapped address", "Address", "", func(c *render.Config) { c.Interface.Addresses[0] = netip.MustParsePrefix("::ffff:10.0.0.1/90") }},
		{"resolver", "DNS", "", func(c *render.Config) { c.Interface.DNS[0] = netip.Addr{} }},
		{"resolver zone", "DNS", "", func(c *render.Config) { c.Interface.DNS[0] = netip.MustParseAddr("fe80::1%eth0") }},
		{"search", "DNS", "", func(c *render.Config) { c.Interface.Search[0] = "apn\nPostUp = x" }},
		{"search number", "DNS", "", func(c *render.Config) { c.Interface.Search[0] = "1.2" }},
		{"search alone", "DNS", "", func(c *render.Config) { c.Interface.DNS = nil }},
		{"MTU", "MTU", "", func(c *render.Config) { c.Interface.MTU = 575 }},
		{"MTU 6", "MTU", "", func(c *render.Config) { c.Interface.MTU = 1279 }},
		{"table", "Table", "", func(c *render.Config) { c.Interface.Table = -2 }},
		{"large table", "Table", "", func(c *render.Config) { c.Interface.Table = 1 << 32 }},
		{"hook", "Hooks", "", func(c *render.Config) { c.Interface.Hooks.PreUp = []string{"true"} }},
		{"hook text", "PreUp", "", func(c *render.Config) { c.Interface.Hooks.PreUp = []string{"a\nb"} }},
		{"no key", "PublicKey", "web-0", func(c *render.Config) { c.Peers[0].PublicKey = keys.PublicKey{} }},
		{"no prefix", "AllowedIPs", "web-0", func(c *render.Config) { c.Peers[0].AllowedIPs[0] = netip.Prefix{} }},
		{"bad prefix", "AllowedIPs", "web-0", func(c *render.Config) {
			c.Peers[0].AllowedIPs[0] = netip.PrefixFrom(netip.MustParseAddr("10.0.0.1"), 33)
		}},
		{"mapped prefix", "AllowedIPs", "web-0", func(c *render.Config) { c.Peers[0].AllowedIPs[0] = netip.MustParsePrefix("::ffff:0:0/95") }},
		{"no host", "Endpoint", "web-0", func(c *render.Config) { c.Peers[0].Endpoint.Host = "" }},
		{"no port", "Endpoint", "web-0", func(c *render.Config) { c.Peers[0].Endpoint.Port = 0 }},
		{"brackets", "Endpoint", "web-0", func(c *render.Config) { c.Peers[0].Endpoint.Host = "[::1]" }},
		{"zone", "Endpoint", "web-0", func(c *render.Config) { c.Peers[0].Endpoint.Host = "fe80::1%lo" }},
		{"host", "Endpoint", "web-0", func(c *render.Config) { c.Peers[0].Endpoint.Host = "a b" }},
		{"host line", "Endpoint", "web-0", func(c *render.Config) { c.Peers[0].Endpoint.Host = "a\nPostUp=b" }},
		{"negative keepalive", "PersistentKeepalive", "web-0", func(c *render.Config) { c.Peers[0].Keepalive = -time.Second }},
		{"keepalive", "PersistentKeepalive", "web-0", func(c *render.Config) { c.Peers[0].Keepalive = 65536 * time.Second }},
		{"half a second", "PersistentKeepalive", "web-0", func(c *render.Config) { c.Peers[0].Keepalive = time.Second / 2 }},
		{"huge keepalive", "PersistentKeepalive", "web-0", func(c *render.Config) { c.Peers[0].Keepalive = 1<<63 - 1 }},
		{"sealed preshared key", "PresharedKey", "web-0", func(c *render.Config) {
			c.Peers[0].PresharedDigest = render.DigestPreshared(c.Peers[0].PresharedKey)
			c.Peers[0].PresharedKey = keys.PresharedKey{}
		}},
		{"unnamed", "Endpoint", publicKey("0").Fingerprint(), func(c *render.Config) { c.Peers[0].Name, c.Peers[0].Endpoint.Port = "", 0 }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := device(t, shapes[7], 3)
			tt.change(c)
			for _, f := range []render.Format{render.Quick, render.Compact, render.SetConf, render.UAPI, render.JSON, render.NMKeyfile, render.NetworkdNetdev} {
				dst, err := f.Append([]byte("before"), c, &render.Options{Secrets: true})
				require.Equal(t, "before", string(dst))
				var value *render.ValueError
				require.ErrorAs(t, err, &value)
				require.Equal(t, render.ValueError{Field: tt.field, Peer: tt.peer, Reason: value.Reason}, *value)
				require.NotEmpty(t, value.Reason)
				require.True(t, strings.HasPrefix(err.Error(), "render: "), err)
				require.NotContains(t, err.Error(), "\nPostUp")
			}
		})
	}
}

func TestErrorsAreJoined(t *testing.T) {
	t.Parallel()
	c := device(t, shapes[0], 2)
	c.Interface.MTU, c.Peers[1].Endpoint.Port = 1, 0
	_, err := render.Quick.Append(nil, c, nil)
	joined, ok := err.(interface{ Unwrap() []error })
	require.True(t, ok)
	require.Len(t, joined.Unwrap(), 2)
}

func TestConflicts(t *testing.T) {
	t.Parallel()
	shared := netip.MustParsePrefix("10.66.1.1/32")
	tests := []struct {
		name   string
		want   render.ConflictError
		change func(c *render.Config)
	}{
		{"shared prefix", render.ConflictError{Prefix: shared, A: "web-1", B: "web-3"}, func(c *render.Config) {
			c.Peers[3].AllowedIPs = append(c.Peers[3].AllowedIPs, shared)
		}},
		{"shared by host bits", render.ConflictError{Prefix: netip.MustParsePrefix("10.9.0.0/16"), A: "web-0", B: "web-3"}, func(c *render.Config) {
			c.Peers[0].AllowedIPs = append(c.Peers[0].AllowedIPs, netip.MustParsePrefix("10.9.1.1/16"))
			c.Peers[3].AllowedIPs = append(c.Peers[3].AllowedIPs, netip.MustParsePrefix("10.9.2.2/16"))
		}},
		{"shared as mapped", render.ConflictError{Prefix: shared, A: "web-1", B: "web-3"}, func(c *render.Config) {
			c.Peers[3].AllowedIPs = append(c.Peers[3].AllowedIPs, netip.MustParsePrefix("::ffff:10.66.1.1/128"))
		}},
		{"same key", render.ConflictError{A: "web-1", B: "web-3"}, func(c *render.Config) { c.Peers[3].PublicKey = c.Peers[1].PublicKey }},
		{"own key", render.ConflictError{A: "interface", B: "web-2"}, func(c *render.Config) { c.Peers[2].PublicKey = c.Interface.PublicKey }},
		{"own key, computed", render.ConflictError{A: "interface", B: "web-2"}, func(c *render.Config) {
			c.Peers[2].PublicKey, c.Interface.PublicKey = c.Interface.PublicKey, keys.PublicKey{}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := device(t, shapes[0], 5)
			tt.change(c)
			for _, check := range []func() error{
				func() error { return c.Validate(render.All) },
				func() error { _, err := render.Quick.Append(nil, c, nil); return err },
				func() error { _, err := render.QR(c, nil); return err },
			} {
				var conflict *render.ConflictError
				require.ErrorAs(t, check(), &conflict)
				require.Equal(t, tt.want, *conflict)
			}
		})
	}
}

func TestNestedPrefixesAreNoConflict(t *testing.T) {
	t.Parallel()
	c := device(t, shapes[0], 3)
	c.Peers[1].AllowedIPs = append(c.Peers[1].AllowedIPs, netip.MustParsePrefix("10.66.0.0/16"), netip.MustParsePrefix("0.0.0.0/0"))
	require.NoError(t, c.Validate(render.All))
	text, err := render.Quick.Append(nil, c, nil)
	require.NoError(t, err)
	require.Contains(t, string(text), "AllowedIPs = 0.0.0.0/0, 10.66.0.0/16, 10.66.1.1/32\n")
}

func TestManyPeersWithOneKey(t *testing.T) {
	t.Parallel()
	c := device(t, shapes[0], 1000)
	for k := range c.Peers {
		c.Peers[k].PublicKey = c.Peers[0].PublicKey
	}
	err := c.Validate(render.Linux)
	joined, ok := err.(interface{ Unwrap() []error })
	require.True(t, ok)
	require.Len(t, joined.Unwrap(), 999)
}

func TestValidateKeys(t *testing.T) {
	t.Parallel()
	c := device(t, shapes[0], 2)
	c.Interface.PublicKey = publicKey("other")
	c.Peers[1].PublicKey = keys.PublicKey{1}
	err := c.Validate(render.Linux)
	require.ErrorContains(t, err, "render: interface: PublicKey: does not belong to the private key")
	require.ErrorContains(t, err, `render: peer "web-1": PublicKey: `)
}

func TestNoPrivateKey(t *testing.T) {
	t.Parallel()
	c := device(t, shapes[0], 2)
	c.Interface.PrivateKey = keys.PrivateKey{}
	require.NoError(t, c.Validate(render.All))
	for _, f := range allFormats {
		text, err := f.Append(nil, c, &render.Options{Secrets: true})
		switch f {
		case render.SetConf, render.UAPI:
			require.ErrorIs(t, err, render.ErrNoPrivateKey)
		case render.NetworkdNetwork, render.JSON:
			require.NoError(t, err)
			require.NotContains(t, string(text), render.Placeholder)
		default:
			require.NoError(t, err)
			require.Equal(t, 1, bytes.Count(text, []byte(render.Placeholder)))
		}
	}
	_, err := render.QR(c, nil)
	require.ErrorIs(t, err, render.ErrNoPrivateKey)
	require.NotErrorIs(t, err, render.ErrNoQR)
}

func TestSealedPresharedKey(t *testing.T) {
	t.Parallel()
	c := device(t, shapes[7], 2)
	c.Peers[1].PresharedDigest = render.DigestPreshared(c.Peers[1].PresharedKey)
	c.Peers[1].PresharedKey = keys.PresharedKey{}
	require.NoError(t, c.Validate(render.All))
	text, err := render.JSON.Append(nil, c, nil) // has no secrets in it
	require.NoError(t, err)
	require.Contains(t, string(text), c.Fingerprint().String())
	for _, f := range allFormats {
		_, err = f.Append(nil, c, &render.Options{Secrets: true})
		if f == render.NetworkdNetwork {
			require.NoError(t, err)
		} else {
			require.ErrorContains(t, err, "PresharedKey: not at hand")
		}
	}
}

func TestNetworkdDefaultRoute(t *testing.T) {
	t.Parallel()
	c := device(t, shapes[0], 2)
	c.Peers[0].AllowedIPs = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}
	_, err := render.NetworkdNetdev.Append(nil, c, nil)
	require.ErrorContains(t, err, "default route")
	c.Interface.Table = 4242
	_, err = render.NetworkdNetdev.Append(nil, c, nil)
	require.NoError(t, err)
}

// TestDigits: all numbers that the fast writers know.
func TestDigits(t *testing.T) {
	t.Parallel()
	c := device(t, shapes[4], 1)
	p := &c.Peers[0]
	var dst []byte
	for port := range 65536 {
		p.Endpoint.Port, p.Keepalive = uint16(max(port, 1)), time.Duration(port)*time.Second
		p.AllowedIPs[0] = netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(port), byte(port >> 4), byte(port >> 8), byte(port * 7)}), port%33).Masked()
		var err error
		dst, err = render.Compact.Append(dst[:0], c, nil)
		require.NoError(t, err)
		_, got, _ := strings.Cut(string(dst), "\nAllowedIPs=")
		want := strings.TrimSuffix(p.AllowedIPs[0].String(), "/32") + "\nEndpoint=" + p.Endpoint.String()
		if port > 0 {
			want += "\nPersistentKeepalive=" + strconv.Itoa(port)
		}
		require.Equal(t, want, got)
	}
}

func TestUnknownFormat(t *testing.T) {
	t.Parallel()
	_, err := render.Format(99).Append(nil, device(t, shapes[0], 1), nil)
	require.ErrorContains(t, err, "unknown format")
	_, err = render.Format(99).Filename(&render.Config{Name: "x"})
	require.ErrorContains(t, err, "unknown format")
	_, err = render.ParseFormat("wibble")
	require.Error(t, err)
	_, err = render.ParseTarget("wibble")
	require.Error(t, err)
}

func TestFormatProperties(t *testing.T) {
	t.Parallel()
	c := device(t, shapes[0], 1)
	want := map[render.Format][3]string{
		render.Quick:           {"wg-quick", "laptop.conf", "-rw-------"},
		render.Compact:         {"compact", "laptop.conf", "-rw-------"},
		render.SetConf:         {"setconf", "laptop.conf", "-rw-------"},
		render.UAPI:            {"uapi", "laptop.uapi", "-rw-------"},
		render.NetworkdNetdev:  {"networkd-netdev", "laptop.netdev", "-rw-r-----"},
		render.NetworkdNetwork: {"networkd-network", "laptop.network", "-rw-r--r--"},
		render.NMKeyfile:       {"networkmanager", "laptop.nmconnection", "-rw-------"},
		render.JSON:            {"json", "laptop.json", "-rw-------"},
	}
	for _, f := range allFormats {
		name, err := f.Filename(c)
		require.NoError(t, err)
		got := [3]string{f.String(), name, f.FileMode().String()}
		require.Equal(t, want[f], got)
		back, err := render.ParseFormat(f.String())
		require.NoError(t, err)
		require.Equal(t, f, back)
		require.NotEmpty(t, f.MIME())
		_, err = f.Filename(&render.Config{})
		require.Error(t, err)
	}
	require.Equal(t, fs.FileMode(0o600), render.Quick.FileMode())
	for target := render.All; target <= render.Windows; target++ {
		back, err := render.ParseTarget(target.String())
		require.NoError(t, err)
		require.Equal(t, target, back)
	}
}

func TestJSON(t *testing.T) {
	t.Parallel()
	c := server(t)
	c.Peers[0].Name = "a \"quoted\" <name>\u2028"
	for _, secrets := range []bool{false, true} {
		text, err := render.JSON.Append(nil, c, &render.Options{Secrets: secrets})
		require.NoError(t, err)
		var got struct {
			Name        string
			Fingerprint render.Fingerprint
			Interface   struct {
				PublicKey  keys.PublicKey
				PrivateKey string
				Addresses  []netip.Prefix
				ListenPort uint16
				FwMark     uint32
				MTU        uint16
				DNS        []netip.Addr
				Search     []string
				Table      int64
			}
			Peers []struct {
				Name                string
				PublicKey           keys.PublicKey
				PresharedKey        string
				AllowedIPs          []netip.Prefix
				Endpoint            render.Endpoint
				PersistentKeepalive int
			}
		}
		d := json.NewDecoder(bytes.NewReader(text))
		d.DisallowUnknownFields()
		require.NoError(t, d.Decode(&got))
		require.Equal(t, c.Fingerprint(), got.Fingerprint)
		require.Equal(t, c.Interface.PublicKey, got.Interface.PublicKey)
		require.Equal(t, c.Interface.Addresses, got.Interface.Addresses)
		require.Equal(t, int64(c.Interface.Table), got.Interface.Table)
		require.Equal(t, c.Peers[0].Name, got.Peers[0].Name)
		require.Equal(t, c.Peers[0].Endpoint, got.Peers[0].Endpoint)
		require.Equal(t, 25, got.Peers[0].PersistentKeepalive)
		require.Equal(t, secrets, got.Interface.PrivateKey != "")
		require.Equal(t, secrets, got.Peers[0].PresharedKey != "")
	}
	text, err := render.JSON.Append(nil, &render.Config{}, &render.Options{NoFingerprint: true})
	require.NoError(t, err)
	require.JSONEq(t, `{"interface":{},"peers":[]}`, string(text))
}

func TestWriteTo(t *testing.T) {
	t.Parallel()
	c := device(t, shapes[0], 3)
	want, err := render.Quick.Append(nil, c, nil)
	require.NoError(t, err)
	var got bytes.Buffer
	n, err := render.Quick.WriteTo(&got, c, nil)
	require.NoError(t, err)
	require.Equal(t, int64(len(want)), n)
	require.Equal(t, string(want), got.String())

	var kept []byte
	_, err = render.Quick.WriteTo(writer(func(p []byte) (int, error) { kept = p; return len(p), nil }), c, nil)
	require.NoError(t, err)
	require.Equal(t, make([]byte, len(want)), kept, "the buffer is cleared")

	full := errors.New("disk full")
	_, err = render.Quick.WriteTo(writer(func([]byte) (int, error) { return 3, full }), c, nil)
	require.ErrorIs(t, err, full)
}

func skipIfNotCounting(t *testing.T) {
	t.Helper()
	if !countsAllocations {
		t.Skip("allocations are not counted under the race detector")
	}
}

type writer func(p []byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

func TestAppendAllocatesNothing(t *testing.T) {
	skipIfNotCounting(t)
	for _, s := range shapes {
		for _, f := range []render.Format{render.Quick, render.Compact, render.SetConf, render.UAPI} {
			if s.hostName && f == render.UAPI {
				continue
			}
			c := device(t, s, 100)
			dst, err := f.Append(nil, c, nil)
			require.NoError(t, err)
			dst = slices.Grow(dst[:0], 1<<17)
			require.Zerof(t, testing.AllocsPerRun(20, func() { _, _ = f.Append(dst, c, nil) }), "%v %s", f, s.name)
		}
	}
}

// TestAppendGrowsOnce: a buffer that is outgrown would stay behind with a key in
// it.
func TestAppendGrowsOnce(t *testing.T) {
	skipIfNotCounting(t)
	for _, s := range shapes {
		for _, f := range allFormats {
			if s.hostName && f == render.UAPI {
				continue
			}
			c := device(t, s, 50)
			for k := range c.Peers {
				c.Peers[k].Name = strings.Repeat("x", 64)
			}
			p := &c.Peers[49]
			for i := range 200 { // a peer that is mostly prefixes
				a := netip.AddrFrom4([4]byte{250, 250, 250, byte(i)})
				if s.v6 {
					a = netip.AddrFrom16([16]byte{0xfd, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, byte(i)})
				}
				p.AllowedIPs = append(p.AllowedIPs, netip.PrefixFrom(a, a.BitLen()))
			}
			text, err := f.Append(nil, c, &render.Options{Secrets: true})
			require.NoError(t, err)
			require.Equal(t, f != render.NetworkdNetwork, strings.Contains(string(text), p.AllowedIPs[150].Addr().String()))
			allocs := testing.AllocsPerRun(5, func() { _, _ = f.Append(nil, c, &render.Options{Secrets: true}) })
			if f != render.JSON { // its names are quoted by the standard library
				require.LessOrEqualf(t, allocs, 1.0, "%v %s", f, s.name)
			}
		}
	}
}
