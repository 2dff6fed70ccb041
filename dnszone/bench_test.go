package dnszone_test

import (
	"encoding/binary"
	"fmt"
	"io"
	"iter"
	"net/netip"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/apnkit/apnkit/dnszone"
)

// fleet is n hosts in apps of 50, with one IPv4 and one IPv6 address each.
func fleet(n int) []dnszone.Host {
	hosts := make([]dnszone.Host, n)
	for i := range hosts {
		hosts[i] = fleetHost(i)
	}
	return hosts
}

func fleetHost(i int) dnszone.Host {
	four := binary.BigEndian.AppendUint32(nil, 10<<24|uint32(i+1))
	six := append([]byte{0xfd, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0}, four...)
	a, _ := netip.AddrFromSlice(four)
	b, _ := netip.AddrFromSlice(six)
	app, name := fmt.Sprintf("app-%04d", i/50), fmt.Sprintf("srv-%06d", i)
	return dnszone.Host{ID: app + "/" + name, App: app, Name: name, Addrs: []netip.Addr{a, b}}
}

var fleetReverse = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00:1::/32")}

func mustBuild(tb testing.TB, cfg dnszone.Config, hosts ...dnszone.Host) *dnszone.Set {
	tb.Helper()
	set, _, err := dnszone.Build(cfg, 1, slices.Values(hosts))
	require.NoError(tb, err)
	return set
}

// records counts the records of all zones.
func records(set *dnszone.Set) (n int) {
	for z := range set.Zones() {
		for range z.Records() {
			n++
		}
	}
	return n
}

// cpu is the processor time of this process, garbage collection included.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// reportCPU tells what one turn cost since start: wall time means little on a
// machine that is shared.
func reportCPU(b *testing.B, start time.Duration) {
	b.Helper()
	b.ReportMetric(float64(cpu()-start)/float64(b.N), "cpu-ns/op")
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func BenchmarkBuild(b *testing.B) {
	for _, n := range []int{1000, 100_000} {
		for _, reverse := range []bool{false, true} {
			b.Run(fmt.Sprintf("servers=%d/reverse=%t", n, reverse), func(b *testing.B) {
				hosts := fleet(n)
				var cfg dnszone.Config
				if reverse {
					cfg.Reverse = fleetReverse
				}
				before := heap()
				set := mustBuild(b, cfg, hosts...)
				size := heap() - before
				b.ReportAllocs()
				start := cpu()
				for b.Loop() {
					_, _, _ = dnszone.Build(cfg, 1, slices.Values(hosts))
				}
				reportCPU(b, start)
				b.ReportMetric(float64(size)/float64(records(set)), "B/record")
				runtime.KeepAlive(set)
			})
		}
	}
}

func BenchmarkUpdate(b *testing.B) {
	for _, n := range []int{1000, 100_000} {
		set := mustBuild(b, dnszone.Config{Reverse: fleetReverse}, fleet(n)...)
		for _, what := range []string{"add", "rename", "move"} {
			b.Run(fmt.Sprintf("servers=%d/%s", n, what), func(b *testing.B) {
				b.ReportAllocs()
				start := cpu()
				i := 0
				for b.Loop() {
					i++
					h := fleetHost(i % n)
					switch what {
					case "add":
						h = fleetHost(n + i%1000)
					case "rename":
						h.Name = "renamed"
					case "move":
						h.Addrs = fleetHost(n + i%1000).Addrs
					}
					_, _, err := set.Update(2, dnszone.Change{Host: h})
					if err != nil {
						b.Fatal(err)
					}
				}
				reportCPU(b, start)
			})
		}
	}
}

func ask(name string, t dnszone.Type, opt bool) []byte {
	msg := []byte{0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}
	for label := range labelsOf(name) {
		msg = append(append(msg, byte(len(label))), label...)
	}
	msg = append(msg, 0, byte(t>>8), byte(t), 0, 1)
	if opt {
		msg[11] = 1
		msg = append(msg, 0, 0, 41, 0x10, 0, 0, 0, 0, 0, 0, 0)
	}
	return msg
}

func labelsOf(name string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for at := 0; at < len(name); {
			end := at
			for end < len(name) && name[end] != '.' {
				end++
			}
			if !yield(name[at:end]) {
				return
			}
			at = end + 1
		}
	}
}

func BenchmarkAppendReply(b *testing.B) {
	for _, names := range []int{10_000, 200_000} {
		set := mustBuild(b, dnszone.Config{Reverse: fleetReverse}, fleet(names/2)...)
		for _, opt := range []bool{false, true} {
			b.Run(fmt.Sprintf("names=%d/edns=%t", names, opt), func(b *testing.B) {
				// 70 % A, 20 % AAAA, 5 % unknown names, 5 % other types.
				queries := make([][]byte, 1<<16)
				for i := range queries {
					h := fleetHost(i * 7919 % (names / 2))
					name := h.Name + ".apn"
					if i%2 == 0 {
						name = h.Name + "." + h.App + ".apn"
					}
					switch i % 20 {
					case 0:
						queries[i] = ask("x"+name, dnszone.TypeA, opt)
					case 1:
						queries[i] = ask(name, dnszone.TypeMX, opt)
					case 2, 3, 4, 5:
						queries[i] = ask(name, dnszone.TypeAAAA, opt)
					default:
						queries[i] = ask(name, dnszone.TypeA, opt)
					}
				}
				b.ReportAllocs()
				start := cpu()
				buf := make([]byte, 0, 2048)
				i := 0
				for b.Loop() {
					buf, _ = set.AppendReply(buf[:0], queries[i&(1<<16-1)], dnszone.UDP)
					i++
				}
				reportCPU(b, start)
			})
		}
	}
}

func BenchmarkWriteTo(b *testing.B) {
	set := mustBuild(b, dnszone.Config{}, fleet(100_000)...)
	zone, _ := set.Zone("apn")
	b.ReportAllocs()
	start := cpu()
	for b.Loop() {
		n, err := zone.WriteTo(io.Discard)
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(n)
	}
	reportCPU(b, start)
}

// BenchmarkDNSMessage is the yardstick: the same kind of answer, parsed and
// packed by golang.org/x/net/dns/dnsmessage.
func BenchmarkDNSMessage(b *testing.B) {
	zone := map[string][4]byte{}
	queries := make([][]byte, 10_000)
	for i := range queries {
		h := fleetHost(i)
		zone[h.Name+".apn."] = h.Addrs[0].As4()
		queries[i] = ask(h.Name+".apn", dnszone.TypeA, false)
	}
	b.ReportAllocs()
	start := cpu()
	buf := make([]byte, 0, 2048)
	i := 0
	for b.Loop() {
		var p dnsmessage.Parser
		head, err := p.Start(queries[i%len(queries)])
		if err != nil {
			b.Fatal(err)
		}
		q, err := p.Question()
		if err != nil {
			b.Fatal(err)
		}
		addr := zone[q.Name.String()]
		m := dnsmessage.NewBuilder(buf[:0], dnsmessage.Header{ID: head.ID, Response: true, Authoritative: true})
		m.EnableCompression()
		_ = m.StartQuestions()
		_ = m.Question(q)
		_ = m.StartAnswers()
		_ = m.AResource(dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: 30}, dnsmessage.AResource{A: addr})
		buf, _ = m.Finish()
		i++
	}
	reportCPU(b, start)
}
