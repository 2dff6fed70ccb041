package dnsserver

import (
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/apnkit/apnkit/dnszone"
)

// Options are the optional settings of a [Server].
type Options struct {
	// Allow are the prefixes whose queries are answered; others get nothing. Nil
	// means everybody who reaches the socket, as fits one that only peers with
	// AllowedIPs reach.
	Allow []netip.Prefix
	// Limits bound what one source and all of them may use. Zero fields mean the
	// defaults that they name.
	Limits Limits
	// Forward answers queries for names outside of the zones. Nil means that
	// they are refused. Names inside the zones never go there.
	Forward Forwarder
	// Transfer is who gets whole zones. The zero value means nobody.
	Transfer TransferPolicy
	// IdleTimeout is how long a TCP connection may rest between queries; a
	// message that has begun has as long, or 5 s if that is less. Zero means
	// 10 s.
	IdleTimeout time.Duration
	// OnQuery is called once per query, from several goroutines. Nil means no
	// calls; the call costs the path to an answer its freedom from allocations.
	OnQuery func(Event)
	// Logger gets what goes wrong outside of a query. Nil discards.
	Logger *slog.Logger
}

// Limits bound the use of a [Server].
type Limits struct {
	// Rate is how many queries per second one source may send in the long run,
	// Burst how many at once. A source is one address, for WireGuard vouches for
	// each. Excess queries get no reply. Zero means no limit; a zero Burst means
	// Rate.
	Rate, Burst int
	// TCP is how many connections may be open, TCPPerSource how many of one
	// source. Zero means 512 and 32. Excess connections are closed.
	TCP, TCPPerSource int
	// Forwards is how many forwarded queries may wait for their answer,
	// ForwardsPerSource how many of one source. Zero means 256 and 32. Excess
	// queries fail at once.
	Forwards, ForwardsPerSource int
	// Transfers is how many zone transfers may run at a time. Zero means 4.
	// Excess ones are refused.
	Transfers int
}

// An Event is one query and what became of it.
type Event struct {
	Client    netip.AddrPort
	Via       dnszone.Transport
	Question  dnszone.Question // zero if the query has none that makes sense
	Rcode     dnszone.Rcode    // as in the header, without the extension of EDNS
	Size      int              // octets of the reply; 0 for none, and for transfers
	Forwarded bool
}

// A Server answers queries from a [Source]. It is safe for concurrent use.
type Server struct {
	src  *Source
	opts Options

	rate      *buckets
	conns     *slots
	forwards  *slots
	transfers *slots
}

// New returns a Server for src. opts may be nil.
func New(src *Source, opts *Options) *Server {
	s := &Server{src: src}
	if opts != nil {
		s.opts = *opts
	}
	o := &s.opts
	o.Allow = slices.Clone(o.Allow)
	o.Transfer.Allow = slices.Clone(o.Transfer.Allow)
	o.Transfer.Notify = slices.Clone(o.Transfer.Notify)
	if o.IdleTimeout == 0 {
		o.IdleTimeout = 10 * time.Second
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	l := o.Limits
	if l.Rate > 0 {
		s.rate = newBuckets(l.Rate, l.Burst)
	}
	s.conns = newSlots(l.TCP, 512, l.TCPPerSource, 32)
	s.forwards = newSlots(l.Forwards, 256, l.ForwardsPerSource, 32)
	s.transfers = newSlots(l.Transfers, 4, l.Transfers, 4)
	if len(o.Transfer.Allow)+len(o.Transfer.Notify) > 0 {
		src.remember()
	}
	return s
}

// verdict is what is left to do with a query.
type verdict uint8

const (
	drop     verdict = iota
	send             // the reply is complete
	forward          // ask the Forwarder; the reply refuses
	transfer         // send a zone; the reply refuses
	serial           // tell the serial; the reply refuses
)

// answer appends the reply to query to dst.
func (s *Server) answer(dst, query []byte, from netip.AddrPort, via dnszone.Transport) ([]byte, verdict) {
	if !s.welcome(from.Addr()) {
		return dst, drop
	}
	base := len(dst)
	set := s.src.Load()
	var err error
	if set == nil {
		dst, err = dnszone.AppendError(dst, query, dnszone.ServFail, false)
	} else {
		dst, err = set.AppendReply(dst, query, via)
	}
	if err != nil {
		return dst, drop
	}
	reply := dst[base:]
	v := send
	if set != nil && dnszone.Rcode(reply[3]&15) == dnszone.Refused {
		if v = s.refused(set, query, from, via); v == serial {
			dst = append(dst[:base], soaReply(set, query)...)
			v = send
		}
	}
	if s.opts.Forward != nil {
		dst[base+3] |= bitRA
	}
	return dst, v
}

const bitRA = 1 << 7 // octet 3 of a header

func (s *Server) welcome(from netip.Addr) bool {
	return (s.opts.Allow == nil || contains(s.opts.Allow, from)) && (s.rate == nil || s.rate.take(from, time.Now()))
}

func contains(list []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
}

// refused finds out whether a query that the Set refuses is one for others.
func (s *Server) refused(set *dnszone.Set, query []byte, from netip.AddrPort, via dnszone.Transport) verdict {
	q, ok := dnszone.ParseQuestion(query)
	if !ok || q.Class != classIN {
		return send
	}
	zone, ours := set.Zone(q.Name)
	if q.Type != dnszone.TypeAXFR && q.Type != dnszone.TypeIXFR {
		// A label with a dot in it may read like a name of ours elsewhere.
		if !ours && q.RD && s.opts.Forward != nil && !strings.Contains(q.Name, `\.`) {
			return forward
		}
		return send
	}
	switch {
	case !ours || zone.Name() != q.Name || !contains(s.opts.Transfer.Allow, from.Addr()):
		return send
	case via == dnszone.TCP:
		return transfer
	case q.Type == dnszone.TypeIXFR:
		return serial
	}
	return send
}

// soaReply answers an IXFR query over UDP with the current SOA, which sends a
// client that is behind to TCP (RFC 1995 section 2).
func soaReply(set *dnszone.Set, query []byte) []byte {
	q, _ := dnszone.ParseQuestion(query)
	query = slices.Clone(query)
	query[q.Len-3] = byte(dnszone.TypeSOA)
	reply, _ := set.AppendReply(nil, query, dnszone.UDP) // it was answered before
	reply[q.Len-3] = byte(dnszone.TypeIXFR)
	return reply
}

const classIN = 1

// report tells OnQuery.
func (s *Server) report(query, reply []byte, from netip.AddrPort, via dnszone.Transport, forwarded bool) {
	if s.opts.OnQuery == nil {
		return
	}
	q, _ := dnszone.ParseQuestion(query)
	e := Event{Client: from, Via: via, Question: q, Size: len(reply), Forwarded: forwarded}
	if len(reply) > 3 {
		e.Rcode = dnszone.Rcode(reply[3] & 15)
	}
	s.opts.OnQuery(e)
}

// slots count what runs, in all and per source.
type slots struct {
	total, each int
	mu          sync.Mutex
	used        int
	by          map[netip.Addr]int
}

func newSlots(total, totalZero, each, eachZero int) *slots {
	if total == 0 {
		total = totalZero
	}
	if each == 0 {
		each = eachZero
	}
	return &slots{total: total, each: each, by: map[netip.Addr]int{}}
}

// take reports whether one more of the source may run; if so, give must follow.
func (s *slots) take(src netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.used >= s.total || s.by[src] >= s.each {
		return false
	}
	s.used++
	s.by[src]++
	return true
}

func (s *slots) give(src netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used--
	if s.by[src]--; s.by[src] == 0 {
		delete(s.by, src)
	}
}

// buckets are a token bucket per source.
type buckets struct {
	rate, burst float64
	mu          sync.Mutex
	by          map[netip.Addr]bucket
	swept       time.Time
}

type bucket struct {
	tokens float64
	at     time.Time
}

// maxBuckets bounds the memory that forged sources can take. Sources beyond it
// share one bucket.
const maxBuckets = 1 << 14

func newBuckets(rate, burst int) *buckets {
	if burst == 0 {
		burst = rate
	}
	return &buckets{rate: float64(rate), burst: float64(burst), by: map[netip.Addr]bucket{}}
}

func (b *buckets) take(src netip.Addr, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	k, ok := b.by[src]
	if !ok && len(b.by) >= maxBuckets {
		if b.sweep(now); len(b.by) >= maxBuckets {
			src = netip.Addr{}
			k, ok = b.by[src]
		}
	}
	if !ok {
		k = bucket{b.burst, now}
	}
	k.tokens = min(b.burst, k.tokens+now.Sub(k.at).Seconds()*b.rate)
	k.at = now
	allowed := k.tokens >= 1
	if allowed {
		k.tokens--
	}
	b.by[src] = k
	return allowed
}

// sweep forgets sources whose bucket is full again, at most once a second.
func (b *buckets) sweep(now time.Time) {
	if now.Sub(b.swept) < time.Second {
		return
	}
	b.swept = now
	for src, k := range b.by {
		if k.tokens+now.Sub(k.at).Seconds()*b.rate >= b.burst {
			delete(b.by, src)
		}
	}
}
