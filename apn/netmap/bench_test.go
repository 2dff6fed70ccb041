package netmap_test

import (
	"fmt"
	"testing"

	"github.com/apnkit/apnkit/apn/netmap"
)

func BenchmarkSignWhole(b *testing.B) {
	key, _ := signer(1)
	m := mesh(10_000)
	for b.Loop() {
		_, _ = netmap.Sign(key, m, nil)
	}
}

// BenchmarkSignOne signs a map of which one peer changed.
func BenchmarkSignOne(b *testing.B) {
	key, _ := signer(1)
	for _, n := range []int{1000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			m := mesh(n)
			before := sign(b, m, nil)
			m = next(m)
			m.Peers[n/2].Endpoint = "198.51.100.1:51820"
			for b.Loop() {
				_, _ = netmap.Sign(key, m, before)
			}
		})
	}
}

func BenchmarkDiffOne(b *testing.B) {
	m := mesh(10_000)
	before := sign(b, m, nil)
	m = next(m)
	m.Peers[5000].Endpoint = "198.51.100.1:51820"
	after := sign(b, m, before)
	for b.Loop() {
		netmap.Diff(before, after).Append(nil)
	}
}

// BenchmarkReadOne is what an agent does with a delta of one peer.
func BenchmarkReadOne(b *testing.B) {
	_, pub := signer(1)
	m := mesh(10_000)
	before := sign(b, m, nil)
	m = next(m)
	m.Peers[5000].Endpoint = "198.51.100.1:51820"
	data := netmap.Diff(before, sign(b, m, before)).Append(nil)
	for b.Loop() {
		d, _ := netmap.ParseDelta(data)
		s, _ := before.Apply(d)
		if _, err := s.Open(pub); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReadWhole(b *testing.B) {
	_, pub := signer(1)
	data := sign(b, mesh(10_000), nil).Append(nil)
	b.ReportMetric(float64(len(data)), "bytes")
	for b.Loop() {
		s, _ := netmap.Parse(data)
		if _, err := s.Open(pub); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFor(b *testing.B) {
	m := mesh(10_000)
	for b.Loop() {
		_, _ = m.For(m.Peers[77].ID)
	}
}

func BenchmarkCheck(b *testing.B) {
	m := mesh(10_000)
	for b.Loop() {
		_ = m.Check()
	}
}
