package dnszone_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/dnszone"
)

var update = flag.Bool("update", false, "rewrite the files in testdata")

func addrs(list ...string) []netip.Addr {
	out := make([]netip.Addr, len(list))
	for i, s := range list {
		out[i] = netip.MustParseAddr(s)
	}
	return out
}

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

// golden compares got with a file in testdata.
func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", file)
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(path, got, 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), string(got))
}

func masterFile(t *testing.T, z *dnszone.Zone) []byte {
	t.Helper()
	var b bytes.Buffer
	n, err := z.WriteTo(&b)
	require.NoError(t, err)
	require.EqualValues(t, b.Len(), n)
	return b.Bytes()
}

// parseMaster reads what WriteTo writes.
func parseMaster(t *testing.T, file []byte) (list []dnszone.Record) {
	t.Helper()
	for line := range strings.Lines(string(file)) {
		line, ok := strings.CutSuffix(line, "\n")
		require.True(t, ok)
		f := strings.SplitN(line, " ", 5)
		require.Len(t, f, 5, line)
		require.Equal(t, "IN", f[2])
		ttl, err := strconv.ParseUint(f[1], 10, 32)
		require.NoError(t, err)
		r := parseData(t, f[3], f[4])
		r.Name, r.TTL = f[0], uint32(ttl)
		list = append(list, r)
	}
	return list
}

func parseData(t *testing.T, typ, data string) dnszone.Record {
	t.Helper()
	num := func(s string) uint32 {
		n, err := strconv.ParseUint(s, 10, 32)
		require.NoError(t, err)
		return uint32(n)
	}
	f := strings.Fields(data)
	name := func(s string) string { return dnszone.CNAMERecord("x", s).Data }
	switch typ {
	case "A", "AAAA":
		return dnszone.AddrRecord("", netip.MustParseAddr(data))
	case "NS":
		return dnszone.Record{Type: dnszone.TypeNS, Data: name(data)}
	case "CNAME":
		return dnszone.Record{Type: dnszone.TypeCNAME, Data: name(data)}
	case "PTR":
		return dnszone.Record{Type: dnszone.TypePTR, Data: name(data)}
	case "SRV":
		return dnszone.SRVRecord("", uint16(num(f[0])), uint16(num(f[1])), uint16(num(f[2])), f[3])
	case "MX":
		return dnszone.Record{Type: dnszone.TypeMX, Data: string([]byte{byte(num(f[0]) >> 8), byte(num(f[0]))}) + name(f[1])}
	case "SOA":
		b := []byte(name(f[0]) + name(f[1]))
		for _, s := range f[2:] {
			n := num(s)
			b = append(b, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
		}
		return dnszone.Record{Type: dnszone.TypeSOA, Data: string(b)}
	case "TXT":
		return dnszone.TXTRecord("", parseStrings(t, data)...)
	}
	n, ok := strings.CutPrefix(typ, "TYPE")
	require.True(t, ok, typ)
	require.Equal(t, `\#`, f[0])
	raw, err := hex.DecodeString(strings.Join(f[2:], ""))
	require.NoError(t, err)
	require.Len(t, raw, int(num(f[1])))
	return dnszone.Record{Type: dnszone.Type(num(n)), Data: string(raw)}
}

func parseStrings(t *testing.T, s string) (list []string) {
	t.Helper()
	for s != "" {
		require.Equal(t, byte('"'), s[0])
		var b []byte
		i := 1
		for ; s[i] != '"'; i++ {
			c := s[i]
			if c == '\\' {
				i++
				c = s[i]
				if '0' <= c && c <= '9' {
					n, err := strconv.Atoi(s[i : i+3])
					require.NoError(t, err)
					c = byte(n)
					i += 2
				}
			}
			b = append(b, c)
		}
		list = append(list, string(b))
		s = strings.TrimPrefix(s[i+1:], " ")
	}
	return list
}

func TestMasterFile(t *testing.T) {
	t.Parallel()
	var all bytes.Buffer
	for z := range richSet(t).Zones() {
		file := masterFile(t, z)
		all.Write(file)
		require.Equal(t, slices.Collect(z.Records()), parseMaster(t, file))
	}
	golden(t, "rich.zone", all.Bytes())
}

// TestMasterFileDefaults pins the zone that has neither name servers nor hosts.
func TestMasterFileDefaults(t *testing.T) {
	t.Parallel()
	z, ok := mustBuild(t, dnszone.Config{}).Zone("apn")
	require.True(t, ok)
	require.Equal(t, "apn. 10 IN SOA ns.invalid. hostmaster.apn. 1 300 60 604800 10\napn. 30 IN NS ns.invalid.\n", string(masterFile(t, z)))
}

type failingWriter struct{ left int }

var errFull = errors.New("disk full")

func (w *failingWriter) Write(p []byte) (int, error) {
	if len(p) > w.left {
		return w.left, errFull
	}
	w.left -= len(p)
	return len(p), nil
}

func TestWriteErrors(t *testing.T) {
	t.Parallel()
	set := mustBuild(t, dnszone.Config{}, fleet(5000)...)
	z, _ := set.Zone("srv-000001.apn")
	n, err := z.WriteTo(&failingWriter{left: 100_000})
	require.ErrorIs(t, err, errFull)
	require.EqualValues(t, 100_000, n)
	n, err = set.WriteHosts(&failingWriter{left: 7}, nil)
	require.ErrorIs(t, err, errFull)
	require.EqualValues(t, 7, n)
}

// tool finds a program of the machine or skips the test.
func tool(t *testing.T, name string) string {
	t.Helper()
	for _, dir := range []string{"", "/usr/sbin/", "/sbin/"} {
		if path, err := exec.LookPath(dir + name); err == nil {
			return path
		}
	}
	if os.Getenv("APN_REQUIRE") == "all" {
		t.Fatalf("%s is not installed", name)
	}
	t.Skipf("%s is not installed", name)
	return ""
}

// TestCheckers shows the files to the zone checkers of three other servers.
func TestCheckers(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(7, 7))
	var hosts []dnszone.Host
	for i := range 100 {
		hosts = append(hosts, randomHost(rng, strconv.Itoa(i), 20))
	}
	sets := map[string]*dnszone.Set{
		"rich":   richSet(t),
		"plain":  mustBuild(t, dnszone.Config{Suffixes: []string{"apn.internal"}, Reverse: prefixes("10.1.16.0/22", "fd00::/64")}, hosts...),
		"single": mustBuild(t, dnszone.Config{Reverse: prefixes("192.0.2.5/32")}, dnszone.Host{ID: "a", App: "b", Name: "c", Addrs: addrs("192.0.2.5")}),
	}
	for _, checker := range []string{"named-checkzone", "nsd-checkzone", "ldns-read-zone"} {
		t.Run(checker, func(t *testing.T) {
			t.Parallel()
			path := tool(t, checker)
			for name, set := range sets {
				for z := range set.Zones() {
					file := filepath.Join(t.TempDir(), "zone")
					require.NoError(t, os.WriteFile(file, masterFile(t, z), 0o600))
					args := []string{z.Name(), file}
					if checker == "ldns-read-zone" {
						args = []string{file}
					}
					out, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput()
					require.NoErrorf(t, err, "%s %s: %s", name, z.Name(), out)
				}
			}
		})
	}
}
