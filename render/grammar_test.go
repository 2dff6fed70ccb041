package render_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/keys"
	"github.com/apnkit/apnkit/render"
)

// The grammars of the four official clients, as far as they differ: what ends a
// line, what is trimmed, which keys a section may have and how a value must
// look. Each reads a file as a list of statements, sections in brackets, keys in
// lower case, values without blanks.

type grammar struct {
	name    string
	ends    func(r rune) bool // is the end of a line
	inner   []string          // keys of [Interface]
	outer   []string          // keys of [Peer]
	repeats bool              // scalar keys may come again
	value   func(key, value string) error
}

var grammars = []grammar{
	{ // wg-quick takes its own keys and hands the other lines to wg
		name:    "linux",
		ends:    func(r rune) bool { return r == '\n' },
		inner:   []string{"privatekey", "listenport", "fwmark", "address", "dns", "mtu", "table", "preup", "postup", "predown", "postdown", "saveconfig"},
		outer:   []string{"publickey", "presharedkey", "allowedips", "endpoint", "persistentkeepalive"},
		repeats: true,
		value:   linuxValue,
	},
	{ // Java's BufferedReader.readLine
		name:    "android",
		ends:    func(r rune) bool { return r == '\n' || r == '\r' },
		inner:   []string{"privatekey", "listenport", "address", "dns", "mtu", "includedapplications", "excludedapplications"},
		outer:   []string{"publickey", "presharedkey", "allowedips", "endpoint", "persistentkeepalive"},
		repeats: true,
		value:   androidValue,
	},
	{ // Swift's Character.isNewline
		name:  "apple",
		ends:  func(r rune) bool { return r >= '\n' && r <= '\r' || r == 0x85 || r == 0x2028 || r == 0x2029 },
		inner: []string{"privatekey", "listenport", "address", "dns", "mtu"},
		outer: []string{"publickey", "presharedkey", "allowedips", "endpoint", "persistentkeepalive"},
		value: appleValue,
	},
	{
		name:    "windows",
		ends:    func(r rune) bool { return r == '\n' },
		inner:   []string{"privatekey", "listenport", "address", "dns", "mtu", "table", "preup", "postup", "predown", "postdown"},
		outer:   []string{"publickey", "presharedkey", "allowedips", "endpoint", "persistentkeepalive"},
		repeats: true,
		value:   windowsValue,
	},
}

func (g *grammar) read(text string) ([]string, error) {
	var out, seen []string
	section := ""
	interfaces := 0
	for _, line := range strings.FieldsFunc(text, g.ends) {
		line, _, _ = strings.Cut(line, "#")
		line = strings.TrimSpace(line)
		lower := strings.ToLower(line)
		switch {
		case line == "":
			continue
		case lower == "[interface]" || lower == "[peer]":
			if lower == "[interface]" {
				interfaces++
			}
			section, seen = lower, nil
			out = append(out, lower)
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		key, value = strings.ToLower(strings.TrimSpace(key)), strings.TrimSpace(value)
		known := g.inner
		if section == "[peer]" {
			known = g.outer
		}
		list := key == "address" || key == "allowedips" || key == "dns"
		switch {
		case !ok || section == "":
			return nil, fmt.Errorf("line %q", line)
		case !slices.Contains(known, key):
			return nil, fmt.Errorf("key %q", key)
		case value == "":
			return nil, fmt.Errorf("key %q is empty", key)
		case !g.repeats && !list && slices.Contains(seen, key):
			return nil, fmt.Errorf("key %q comes again", key)
		}
		seen = append(seen, key)
		items := []string{value}
		if list {
			items = strings.Split(value, ",")
		}
		for _, item := range items {
			if err := g.value(key, strings.TrimSpace(item)); err != nil {
				return nil, fmt.Errorf("%s: %w", key, err)
			}
		}
		out = append(out, key+"="+strings.Join(strings.Fields(value), ""))
	}
	if interfaces != 1 {
		return nil, fmt.Errorf("%d interfaces", interfaces)
	}
	return out, nil
}

var errValue = errors.New("refused")

func checked(ok bool) error {
	if !ok {
		return errValue
	}
	return nil
}

func isKey(s string) bool {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	return err == nil && len(b) == 32 && len(s) == 44
}

func isNumber(s string, least, most uint64) bool {
	n, err := strconv.ParseUint(s, 10, 64)
	return err == nil && n >= least && n <= most
}

// isPrefix takes an address with or without mask.
func isPrefix(s string) bool {
	_, err := netip.ParsePrefix(s)
	return err == nil || isAddr(s)
}

func isAddr(s string) bool {
	a, err := netip.ParseAddr(s)
	return err == nil && a.Zone() == ""
}

func linuxValue(key, value string) error {
	switch key {
	case "privatekey", "publickey", "presharedkey":
		return checked(isKey(value))
	case "allowedips", "address":
		return checked(isPrefix(value))
	case "listenport":
		return checked(isNumber(value, 0, 65535))
	case "persistentkeepalive":
		return checked(value == "off" || isNumber(value, 0, 65535))
	case "fwmark":
		_, err := strconv.ParseUint(value, 0, 32)
		return checked(value == "off" || err == nil)
	case "dns": // wg-quick: digits and dots, or a colon, make an address
		if regexp.MustCompile(`(^[0-9.]+$)|(^.*:.*$)`).MatchString(value) {
			return checked(isAddr(value))
		}
		return checked(isHostname(value))
	case "endpoint": // the port is behind the bracket or the last colon; getaddrinfo does the rest
		host, port := value, ""
		if strings.HasPrefix(value, "[") {
			end := strings.IndexByte(value, ']')
			if end < 0 || !strings.HasPrefix(value[end+1:], ":") {
				return errValue
			}
			host, port = value[1:end], value[end+2:]
		} else if i := strings.LastIndexByte(value, ':'); i >= 0 {
			host, port = value[:i], value[i+1:]
		}
		return checked((isAddr(host) || isHostname(host)) && isNumber(port, 1, 65535))
	}
	return nil
}

// isHostname is what a resolver takes: getaddrinfo reads 1.2.3 and 0x7f000001
// as addresses, so a name must not look like one.
func isHostname(s string) bool {
	if len(s) > 253 || !regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`).MatchString(s) {
		return false
	}
	return true
}

func androidValue(key, value string) error {
	if !regexp.MustCompile(`^[^\s#][^#]*$`).MatchString(value) {
		return errValue
	}
	switch key {
	case "endpoint": // java.net.URI, server-based authority
		m := regexp.MustCompile(`^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):([0-9]+)$`).FindStringSubmatch(value)
		if m == nil || !isNumber(m[2], 0, 65535) {
			return errValue
		}
		host := m[1]
		if in, ok := strings.CutPrefix(host, "["); ok {
			return checked(isAddr(strings.TrimSuffix(in, "]")))
		}
		return checked(isAddr(host) || isHostname(host))
	case "mtu":
		return checked(isNumber(value, 0, 1<<31-1))
	case "persistentkeepalive", "listenport":
		return checked(isNumber(value, 0, 65535))
	case "dns":
		return checked(isAddr(value) || isHostname(value))
	}
	return linuxValue(key, value)
}

func appleValue(key, value string) error {
	switch key {
	case "endpoint": // brackets, else the first colon
		host, port, ok := strings.Cut(value, ":")
		if strings.HasPrefix(value, "[") {
			host, port, ok = strings.Cut(value[1:], "]:")
		}
		return checked(ok && (isAddr(host) || isHostname(host)) && isNumber(port, 1, 65535))
	case "mtu", "persistentkeepalive", "listenport":
		return checked(isNumber(value, 0, 65535))
	case "dns": // anything that is no address is a search domain
		return checked(value != "")
	}
	return linuxValue(key, value)
}

func windowsValue(key, value string) error {
	switch key {
	case "endpoint":
		i := strings.LastIndexByte(value, ':')
		if i < 1 {
			return errValue
		}
		host, port := value[:i], value[i+1:]
		if strings.ContainsAny(host, "[]:") {
			in, ok := strings.CutPrefix(host, "[")
			in, ok2 := strings.CutSuffix(in, "]")
			if !ok || !ok2 || !strings.Contains(in, ":") || !isAddr(in) {
				return errValue
			}
		}
		return checked(isNumber(port, 0, 65535))
	case "mtu":
		return checked(isNumber(value, 576, 65535))
	case "table":
		return checked(value == "off" || value == "auto" || value == "main" || isNumber(value, 0, 1<<32-1))
	}
	return linuxValue(key, value)
}

// statements is what every grammar must see of c, and nothing else.
func statements(c *render.Config) []string {
	c = c.Clone()
	c.Normalize()
	i := &c.Interface
	private := i.PrivateKey.Reveal()
	out := []string{"[interface]", "privatekey=" + keys.PublicKey(*private).String()}
	add := func(key string, value any) {
		if s := fmt.Sprint(value); s != "" && s != "0" && s != "0x0" && s != "[]" {
			out = append(out, key+"="+strings.ReplaceAll(strings.Trim(s, "[]"), " ", ","))
		}
	}
	add("listenport", i.ListenPort)
	add("fwmark", fmt.Sprintf("%#x", i.FwMark))
	add("address", i.Addresses)
	add("mtu", i.MTU)
	dns := []any{}
	for _, a := range i.DNS {
		dns = append(dns, a)
	}
	for _, s := range i.Search {
		dns = append(dns, s)
	}
	add("dns", dns)
	if i.Table == render.TableOff {
		add("table", "off")
	} else {
		add("table", int64(i.Table))
	}
	for _, p := range c.Peers {
		out = append(out, "[peer]", "publickey="+p.PublicKey.String())
		if psk := p.PresharedKey.Reveal(); psk != nil {
			out = append(out, "presharedkey="+keys.PublicKey(*psk).String())
		}
		add("allowedips", p.AllowedIPs)
		if s := p.Endpoint.String(); s != "" {
			out = append(out, "endpoint="+s)
		}
		add("persistentkeepalive", int(p.Keepalive/time.Second))
	}
	return out
}

func TestEveryGrammarReadsTheSame(t *testing.T) {
	t.Parallel()
	for _, s := range shapes {
		for _, peers := range []int{0, 1, 10, 11} {
			c := device(t, s, peers)
			c.Interface.MTU = 1280
			c.Interface.ListenPort = 51820
			require.NoError(t, c.Validate(render.All))
			for _, f := range []render.Format{render.Quick, render.Compact} {
				text, err := f.Append(nil, c, nil)
				require.NoError(t, err)
				want := statements(c)
				if f == render.Compact {
					for i := range want {
						if strings.HasPrefix(want[i], "address=") || strings.HasPrefix(want[i], "allowedips=") {
							want[i] = strings.NewReplacer("/32", "", "/128", "").Replace(want[i])
						}
					}
				}
				for _, g := range grammars {
					got, err := g.read(string(text))
					require.NoErrorf(t, err, "%s reads %v of %s with %d peers", g.name, f, s.name, peers)
					require.Equalf(t, want, got, "%s reads %v of %s with %d peers", g.name, f, s.name, peers)
				}
			}
		}
	}
}

func TestTargetsFollowTheGrammars(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		change  func(c *render.Config)
		accepts []string // of linux, android, apple, windows
	}{
		{"plain", func(*render.Config) {}, []string{"linux", "android", "apple", "windows"}},
		{"mark", func(c *render.Config) { c.Interface.FwMark = 51820 }, []string{"linux"}},
		{"table off", func(c *render.Config) { c.Interface.Table = render.TableOff }, []string{"linux", "windows"}},
		{"table 200", func(c *render.Config) { c.Interface.Table = 200 }, []string{"linux", "windows"}},
		{"hook", func(c *render.Config) { c.Interface.Hooks.PostUp = []string{"true"} }, []string{"linux", "windows"}},
	}
	targets := map[string]render.Target{"linux": render.Linux, "android": render.Android, "apple": render.Apple, "windows": render.Windows}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := device(t, shapes[0], 2)
			tt.change(c)
			text, err := render.Quick.Append(nil, c, &render.Options{Hooks: true})
			require.NoError(t, err)
			for _, g := range grammars {
				_, err := g.read(string(text))
				accepts := slices.Contains(tt.accepts, g.name)
				require.Equalf(t, accepts, err == nil, "grammar of %s: %v", g.name, err)
				err = c.Validate(targets[g.name])
				require.Equalf(t, accepts, err == nil, "target %s: %v", g.name, err)
			}
			require.Equal(t, len(tt.accepts) == 4, c.Validate(render.All) == nil)
		})
	}
}

// hostile are names that have broken other programs' files.
var hostile = []string{
	"web\nPostUp = touch /tmp/x", "web\r\n[Peer]", "web\rPublicKey=x", "a\vb", "a\fb", "a\u0085b", "a\u2028[Interface]", "a\u2029b",
	"#", "]", "[Peer]", "\x00", "\x1b[2J", "\xff\xfe", "\ufeff", "apn-config: v1.AAAA", "'; rm -rf /", "$(reboot)", "`reboot`", "%00", "../../etc",
	strings.Repeat("a", 300), strings.Repeat("ü", 300), "Jürgen", "サーバー", "🦊", "a\tb", "\u202egnp.exe", "Name = x",
}

func TestHostileNames(t *testing.T) {
	t.Parallel()
	for _, name := range hostile {
		c := device(t, shapes[0], 2)
		c.Name, c.Peers[0].Name, c.Peers[1].Name = name, name, name
		for f := render.Quick; f <= render.JSON; f++ {
			text, err := f.Append(nil, c, &render.Options{Secrets: true})
			require.NoErrorf(t, err, "%v with %q", f, name)
			if f != render.JSON {
				requirePlain(t, text)
			}
			if got, ok := render.ReadFingerprint(text); ok {
				require.Equal(t, c.Fingerprint(), got)
			}
		}
		text, err := render.Quick.Append(nil, c, nil)
		require.NoError(t, err)
		for _, g := range grammars {
			got, err := g.read(string(text))
			require.NoErrorf(t, err, "%s with %q", g.name, name)
			require.Equalf(t, statements(c), got, "%s with %q", g.name, name)
		}
	}
}

// requirePlain wants printable ASCII and line feeds, and no comment longer than
// a name allows.
func requirePlain(t *testing.T, text []byte) {
	t.Helper()
	for _, r := range string(text) {
		require.Truef(t, r == '\n' || r < unicode.MaxASCII && r >= ' ', "character %q", r)
	}
	for line := range strings.Lines(string(text)) {
		require.Less(t, len(line), 80+64)
	}
}

func FuzzHostileStrings(f *testing.F) {
	for i, s := range hostile {
		f.Add(s, hostile[len(hostile)-1-i], "server.example.net", "apn")
		f.Add("web", "web", s, "apn")
		f.Add("web", "web", "203.0.113.7", s)
	}
	f.Add("", "", "2001:db8::1", "a.b")
	f.Add("", "", "::ffff:1.2.3.4", "A.B")
	f.Add("", "", "1.2.3", "1.2")
	f.Fuzz(func(t *testing.T, name, peerName, host, search string) {
		c := device(t, shapes[0], 2)
		c.Name, c.Peers[0].Name = name, peerName
		c.Peers[0].Endpoint.Host = host
		c.Interface.Search = []string{search}
		for f := render.Quick; f <= render.NMKeyfile; f++ {
			text, err := f.Append([]byte("before"), c, nil)
			if err != nil {
				require.Equal(t, "before", string(text))
				continue
			}
			requirePlain(t, text[len("before"):])
		}
		text, err := render.Quick.Append(nil, c, nil)
		if err != nil {
			return
		}
		for _, g := range grammars {
			got, err := g.read(string(text))
			require.NoError(t, err, g.name)
			require.Equal(t, statements(c), got, g.name)
		}
		back, err := render.Parse(text, nil)
		require.NoError(t, err)
		require.True(t, back.Equal(c))
	})
}
