package render_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"text/template"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/keys"
	"github.com/apnkit/apnkit/render"
)

// The figures of these benchmarks are ratios of neighbours in one run.

func BenchmarkAppend(b *testing.B) {
	for _, peers := range []int{10, 100, 1000, 10000} {
		c := device(b, shapes[0], peers)
		// Both sides of the comparison with a template have the fingerprint at hand.
		for name, opts := range map[string]*render.Options{"": {Fingerprint: c.Fingerprint()}, "/fingerprint": nil} {
			b.Run(fmt.Sprintf("peers=%d%s", peers, name), func(b *testing.B) {
				dst, err := render.Quick.Append(nil, c, opts)
				require.NoError(b, err)
				b.SetBytes(int64(len(dst)))
				b.ReportAllocs()
				defer cpu(b)()
				for b.Loop() {
					dst, _ = render.Quick.Append(dst[:0], c, opts)
				}
			})
		}
	}
}

// quickTemplate writes what Quick writes, in the way of most programs.
var quickTemplate = template.Must(template.New("").Funcs(template.FuncMap{
	"prefixes": join[netip.Prefix],
	"addrs":    join[netip.Addr],
	"key":      func(k interface{ Reveal() *[32]byte }) string { return keys.PublicKey(*k.Reveal()).String() },
}).Parse(`{{with .Config}}# apn-config: {{$.Fingerprint}}
[Interface]
{{- if .Name}}
# Name = {{.Name}}{{end}}
PrivateKey = {{key .Interface.PrivateKey}}
{{- if .Interface.ListenPort}}
ListenPort = {{.Interface.ListenPort}}{{end}}
{{- if .Interface.FwMark}}
FwMark = {{printf "%#x" .Interface.FwMark}}{{end}}
{{- if .Interface.Addresses}}
Address = {{prefixes .Interface.Addresses}}{{end}}
{{- if .Interface.MTU}}
MTU = {{.Interface.MTU}}{{end}}
{{- if .Interface.DNS}}
DNS = {{addrs .Interface.DNS}}{{range .Interface.Search}}, {{.}}{{end}}{{end}}
{{- if .Interface.Table}}
Table = {{printf "%d" .Interface.Table}}{{end}}
{{range .Peers}}
[Peer]
{{- if .Name}}
# Name = {{.Name}}{{end}}
PublicKey = {{.PublicKey}}
{{- if not .PresharedKey.IsZero}}
PresharedKey = {{key .PresharedKey}}{{end}}
{{- if .AllowedIPs}}
AllowedIPs = {{prefixes .AllowedIPs}}{{end}}
{{- if not .Endpoint.IsZero}}
Endpoint = {{.Endpoint}}{{end}}
{{- if .Keepalive}}
PersistentKeepalive = {{printf "%.0f" .Keepalive.Seconds}}{{end}}
{{end}}{{end}}`))

func join[T fmt.Stringer](items []T) string {
	var b strings.Builder
	for i, item := range items {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(item.String())
	}
	return b.String()
}

type templateData struct {
	Config      *render.Config
	Fingerprint string
}

func TestTemplateWritesTheSame(t *testing.T) {
	t.Parallel()
	list := []*render.Config{server(t)}
	for _, s := range shapes {
		list = append(list, device(t, s, 0), device(t, s, 3))
	}
	for _, c := range list {
		var got bytes.Buffer
		require.NoError(t, quickTemplate.Execute(&got, templateData{c, c.Fingerprint().String()}))
		want, err := render.Quick.Append(nil, c, nil)
		require.NoError(t, err)
		require.Equal(t, string(want), got.String())
	}
}

func BenchmarkTemplate(b *testing.B) {
	for _, peers := range []int{10, 100, 1000, 10000} {
		b.Run(fmt.Sprintf("peers=%d", peers), func(b *testing.B) {
			c := device(b, shapes[0], peers)
			data := templateData{c, c.Fingerprint().String()}
			var buf bytes.Buffer
			require.NoError(b, quickTemplate.Execute(&buf, data))
			b.SetBytes(int64(buf.Len()))
			b.ReportAllocs()
			defer cpu(b)()
			for b.Loop() {
				buf.Reset()
				_ = quickTemplate.Execute(&buf, data)
			}
		})
	}
}

func BenchmarkParse(b *testing.B) {
	for _, peers := range []int{10, 1000} {
		b.Run(fmt.Sprintf("peers=%d", peers), func(b *testing.B) {
			text, err := render.Quick.Append(nil, device(b, shapes[0], peers), nil)
			require.NoError(b, err)
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			defer cpu(b)()
			for b.Loop() {
				_, _ = render.Parse(text, nil)
			}
		})
	}
}

func BenchmarkFingerprint(b *testing.B) {
	for _, peers := range []int{10, 1000} {
		b.Run(fmt.Sprintf("peers=%d", peers), func(b *testing.B) {
			c := device(b, shapes[0], peers)
			b.ReportAllocs()
			defer cpu(b)()
			for b.Loop() {
				c.Fingerprint()
			}
		})
	}
}

// BenchmarkQRPNG goes from a config of ten servers to the bytes of an image of
// 4 pixels per module.
func BenchmarkQRPNG(b *testing.B) {
	c := device(b, shapes[4], 10)
	b.Run("encoder=own", func(b *testing.B) {
		b.ReportAllocs()
		defer cpu(b)()
		var dst []byte
		for b.Loop() {
			s, err := render.QR(c, nil)
			require.NoError(b, err)
			dst = s.AppendPNG(dst[:0], 4)
		}
	})
	b.Run("encoder=go-qrcode", func(b *testing.B) {
		text, err := render.Compact.Append(nil, c, nil)
		require.NoError(b, err)
		b.ReportAllocs()
		defer cpu(b)()
		for b.Loop() {
			skip2PNG(b, text, 4)
		}
	})
}

func BenchmarkSymbol(b *testing.B) {
	s, err := render.QR(device(b, shapes[4], 10), nil)
	require.NoError(b, err)
	var dst []byte
	for _, scale := range []int{4, 8} {
		b.Run(fmt.Sprintf("as=png/scale=%d", scale), func(b *testing.B) {
			defer cpu(b)()
			for b.Loop() {
				dst = s.AppendPNG(dst[:0], scale)
			}
		})
	}
	b.Run("as=svg", func(b *testing.B) {
		defer cpu(b)()
		for b.Loop() {
			dst = s.AppendSVG(dst[:0], 0)
		}
	})
	b.Run("as=text", func(b *testing.B) {
		defer cpu(b)()
		for b.Loop() {
			dst = s.AppendText(dst[:0], nil)
		}
	})
}

func mesh(tb testing.TB, n int) []render.MeshServer {
	tb.Helper()
	servers := make([]render.MeshServer, n)
	for i := range servers {
		private := privateKey(tb, fmt.Sprint(i))
		servers[i] = render.MeshServer{
			Name: "apn0",
			Interface: render.Interface{
				PrivateKey: private, PublicKey: private.PublicKey(), ListenPort: 51820,
				Addresses: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 66, byte(1 + i>>8), byte(i)}), 16)},
			},
			Peer: peer(tb, shapes[0], i),
		}
	}
	return servers
}

// alone is the config that server i of a mesh has.
func alone(servers []render.MeshServer, i int) *render.Config {
	c := &render.Config{Name: servers[i].Name, Interface: servers[i].Interface}
	for k := range servers {
		if k != i {
			p := servers[k].Peer
			p.PublicKey = servers[k].Interface.PublicKey
			c.Peers = append(c.Peers, p)
		}
	}
	return c
}

// BenchmarkMesh writes the files of all servers: from a mesh, built anew each
// time, and one by one.
func BenchmarkMesh(b *testing.B) {
	const n = 1000
	servers := mesh(b, n)
	b.Run(fmt.Sprintf("servers=%d", n), func(b *testing.B) {
		b.ReportAllocs()
		defer cpu(b)()
		for b.Loop() {
			m, err := render.NewMesh(render.Quick, servers, nil)
			require.NoError(b, err)
			for i := range n {
				_, _ = m.WriteTo(&count{}, i)
			}
		}
	})
	b.Run(fmt.Sprintf("servers=%d/copy", n), func(b *testing.B) {
		b.ReportAllocs()
		defer cpu(b)()
		var dst []byte
		for b.Loop() {
			m, err := render.NewMesh(render.Quick, servers, nil)
			require.NoError(b, err)
			for i := range n {
				dst, _ = m.Append(dst[:0], i)
			}
		}
	})
	b.Run(fmt.Sprintf("servers=%d/each", n), func(b *testing.B) {
		b.ReportAllocs()
		defer cpu(b)()
		var dst []byte
		c := alone(servers, 0)
		peers := append([]render.Peer{alone(servers, 1).Peers[0]}, c.Peers...)
		for b.Loop() {
			for i := range n {
				// The same list of peers without peer i, without building it.
				c.Interface = servers[i].Interface
				copy(c.Peers, peers[:i])
				copy(c.Peers[i:], peers[i+1:])
				dst, _ = render.Quick.Append(dst[:0], c, &render.Options{NoFingerprint: true})
			}
		}
	})
}

type count struct{ n int }

func (c *count) Write(p []byte) (int, error) {
	c.n += len(p)
	return len(p), nil
}
