package dnsserver

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/apnkit/apnkit/dnszone"
)

// A Forwarder finds answers to queries that are none of ours. [Upstreams] is
// one. A [Server] never hands it a name inside its zones.
type Forwarder interface {
	// Forward returns the reply to query, with its ID and its question. via is
	// how the query came: a reply over UDP that does not fit is marked as
	// truncated by the server. Forward must be safe for concurrent use.
	Forward(ctx context.Context, query []byte, via dnszone.Transport) ([]byte, error)
}

// forward asks the Forwarder in a goroutine of wg and gives the reply to done.
func (s *Server) forward(ctx context.Context, query []byte, from netip.AddrPort, via dnszone.Transport, wg *sync.WaitGroup, done func(reply []byte)) {
	finish := func(reply []byte) {
		reply[3] |= bitRA
		s.report(query, reply, from, via, true)
		done(reply)
	}
	fail := func() {
		if reply, err := dnszone.AppendError(nil, query, dnszone.ServFail, false); err == nil {
			finish(reply)
		}
	}
	if !s.forwards.take(from.Addr()) {
		fail()
		return
	}
	wg.Go(func() {
		defer s.forwards.give(from.Addr())
		reply, err := s.opts.Forward.Forward(ctx, query, via)
		if err != nil || !answers(reply, query) {
			fail()
			return
		}
		if q, _ := dnszone.ParseQuestion(query); via == dnszone.UDP && len(reply) > q.Size {
			rcode := dnszone.Rcode(reply[3] & 15)
			if reply, err = dnszone.AppendError(nil, query, rcode, true); err != nil {
				return
			}
		}
		finish(reply)
	})
}

// answers reports whether reply belongs to query: the same ID and, but for the
// case of letters, the same question.
func answers(reply, query []byte) bool {
	q, ok := dnszone.ParseQuestion(query)
	if !ok || len(reply) < q.Len || reply[2]&0xf8 != 0x80 || reply[4] != 0 || reply[5] != 1 || reply[0] != query[0] || reply[1] != query[1] {
		return false
	}
	name := q.Len - 4
	for i := 12; i < q.Len; i++ {
		a, b := reply[i], query[i]
		if i < name && 'A' <= a && a <= 'Z' {
			a += 'a' - 'A'
		}
		if i < name && 'A' <= b && b <= 'Z' {
			b += 'a' - 'A'
		}
		if a != b {
			return false
		}
	}
	return true
}

// UpstreamsOptions are the optional settings of [Upstreams].
type UpstreamsOptions struct {
	// Timeout is how long one server has for its answer. Zero means 2 s.
	Timeout time.Duration
	// RejectPrivate refuses answers that lead a name of somebody else to an
	// address of the private kind, which is how web pages reach into networks
	// (DNS rebinding). False lets them through, as split-horizon names need.
	RejectPrivate bool
	// Dial opens the sockets. Nil means a [net.Dialer].
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Upstreams is a [Forwarder] that asks recursive resolvers in turn.
//
// Each query leaves from a socket of its own with a random ID. While a question
// is under way, the same question of another client waits for the same answer;
// so a loop of forwarders ends after one round.
type Upstreams struct {
	servers []netip.AddrPort
	opts    UpstreamsOptions

	mu    sync.Mutex
	calls map[string]*call
}

// call is one question under way. It ends with its answer, or when nobody waits
// for that any more.
type call struct {
	waiting int // guarded by Upstreams.mu
	cancel  context.CancelFunc
	done    chan struct{}
	reply   []byte
	err     error
}

// NewUpstreams returns Upstreams that prefer the first of servers. opts may be
// nil.
func NewUpstreams(servers []netip.AddrPort, opts *UpstreamsOptions) *Upstreams {
	u := &Upstreams{servers: slices.Clone(servers), calls: map[string]*call{}}
	if opts != nil {
		u.opts = *opts
	}
	if u.opts.Timeout == 0 {
		u.opts.Timeout = 2 * time.Second
	}
	if u.opts.Dial == nil {
		u.opts.Dial = (&net.Dialer{}).DialContext
	}
	return u
}

var errNoAnswer = errors.New("no upstream answers")

// Forward implements [Forwarder].
func (u *Upstreams) Forward(ctx context.Context, query []byte, via dnszone.Transport) ([]byte, error) {
	q, ok := dnszone.ParseQuestion(query)
	if !ok {
		return nil, errors.New("dnsserver: forward: not a query")
	}
	out := outgoing(query, q)
	key := fmt.Sprintf("%d %q %x", via, q.Name, out[q.Len-4:])
	c := u.join(ctx, key, out, via)
	select {
	case <-c.done:
	case <-ctx.Done():
	}
	if u.leave(key, c); ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if c.err != nil {
		return nil, fmt.Errorf("dnsserver: forward: %w", c.err)
	}
	reply := slices.Clone(c.reply)
	copy(reply, query[:2])
	copy(reply[12:q.Len], query[12:q.Len]) // in the client's case
	return reply, nil
}

// join returns the call for key, which it begins if there is none.
func (u *Upstreams) join(ctx context.Context, key string, query []byte, via dnszone.Transport) *call {
	u.mu.Lock()
	defer u.mu.Unlock()
	c, ok := u.calls[key]
	if !ok {
		c = &call{done: make(chan struct{})}
		ctx, c.cancel = context.WithCancel(context.WithoutCancel(ctx))
		u.calls[key] = c
		go func() {
			defer close(c.done)
			c.reply, c.err = u.ask(ctx, query, via)
		}()
	}
	c.waiting++
	return c
}

// leave ends the call if nobody waits for it any more.
func (u *Upstreams) leave(key string, c *call) {
	u.mu.Lock()
	c.waiting--
	last := c.waiting == 0
	if last {
		delete(u.calls, key)
	}
	u.mu.Unlock()
	if last {
		c.cancel()
		<-c.done
	}
}

// outgoing is query with nothing of the client but the question, CD and the
// size of EDNS with DO.
func outgoing(query []byte, q dnszone.Question) []byte {
	out := slices.Clone(query[:q.Len])
	out[2], out[3] = 1, query[3]&0x10 // recursion desired, checking disabled
	clear(out[4:12])
	out[5] = 1
	if q.EDNS {
		out[11] = 1
		do := byte(0)
		if q.DO {
			do = 0x80
		}
		out = append(out, 0, 0, 41, dnszone.MaxUDP>>8, dnszone.MaxUDP&0xff, 0, 0, do, 0, 0, 0)
	}
	return out
}

// ask tries the servers until one has an answer. It returns the failure of the
// last one if all of them fail in an orderly way.
func (u *Upstreams) ask(ctx context.Context, query []byte, via dnszone.Transport) (reply []byte, err error) {
	err = errNoAnswer
	for _, server := range u.servers {
		got, e := u.exchange(ctx, server, query, via)
		if e != nil {
			err = errors.Join(err, e)
			continue
		}
		reply = got
		if rcode := dnszone.Rcode(got[3] & 15); rcode == dnszone.NoError || rcode == dnszone.NXDomain {
			break
		}
	}
	if reply == nil {
		return nil, err
	}
	if u.opts.RejectPrivate && hasPrivate(reply) {
		return dnszone.AppendError(nil, query, dnszone.Refused, false)
	}
	return reply, nil
}

// exchange asks one server, over TCP if the client does or the answer over UDP
// is cut short.
func (u *Upstreams) exchange(ctx context.Context, server netip.AddrPort, query []byte, via dnszone.Transport) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, u.opts.Timeout)
	defer cancel()
	query = slices.Clone(query)
	_, _ = rand.Read(query[:2])
	if via == dnszone.UDP {
		reply, err := u.overUDP(ctx, server, query)
		if err != nil || reply[2]&2 == 0 {
			return reply, err
		}
	}
	return u.overTCP(ctx, server, query)
}

func (u *Upstreams) dial(ctx context.Context, network string, server netip.AddrPort) (net.Conn, func() bool, error) {
	conn, err := u.opts.Dial(ctx, network, server.String())
	if err != nil {
		return nil, nil, err
	}
	return conn, context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) }), nil
}

func (u *Upstreams) overUDP(ctx context.Context, server netip.AddrPort, query []byte) ([]byte, error) {
	conn, stop, err := u.dial(ctx, "udp", server)
	if err != nil {
		return nil, err
	}
	defer conn.Close() //nolint:errcheck // nothing is left unsent
	defer stop()
	if _, err := conn.Write(query); err != nil {
		return nil, err
	}
	buf := make([]byte, 4096)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return nil, err
		}
		if answers(buf[:n], query) { // anything else may be forged
			return buf[:n], nil
		}
	}
}

func (u *Upstreams) overTCP(ctx context.Context, server netip.AddrPort, query []byte) ([]byte, error) {
	conn, stop, err := u.dial(ctx, "tcp", server)
	if err != nil {
		return nil, err
	}
	defer conn.Close() //nolint:errcheck // nothing is left unsent
	defer stop()
	msg := binary.BigEndian.AppendUint16(nil, uint16(len(query))) //nolint:gosec // one question
	if _, err := conn.Write(append(msg, query...)); err != nil {
		return nil, err
	}
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil, err
	}
	reply := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(conn, reply); err != nil {
		return nil, err
	}
	if !answers(reply, query) {
		return nil, errNoAnswer
	}
	return reply, nil
}

// hasPrivate reports whether an address record of msg holds an address that
// belongs to no public host. A message that does not parse counts as well.
func hasPrivate(msg []byte) bool {
	i := 12
	skip := func() bool {
		for i < len(msg) {
			switch c := int(msg[i]); {
			case c == 0:
				i++
				return true
			case c >= 0xc0:
				i += 2
				return true
			default:
				i += 1 + c
			}
		}
		return false
	}
	for range binary.BigEndian.Uint16(msg[4:]) {
		if !skip() {
			return true
		}
		i += 4
	}
	for range int(binary.BigEndian.Uint16(msg[6:])) + int(binary.BigEndian.Uint16(msg[8:])) + int(binary.BigEndian.Uint16(msg[10:])) {
		if !skip() || i+10 > len(msg) {
			return true
		}
		typ := dnszone.Type(binary.BigEndian.Uint16(msg[i:]))
		end := i + 10 + int(binary.BigEndian.Uint16(msg[i+8:]))
		if end > len(msg) {
			return true
		}
		if typ == dnszone.TypeA || typ == dnszone.TypeAAAA {
			if a, ok := netip.AddrFromSlice(msg[i+10 : end]); !ok || private(a.Unmap()) {
				return true
			}
		}
		i = end
	}
	return false
}

func private(a netip.Addr) bool {
	return !a.IsGlobalUnicast() || a.IsPrivate() || a.Is4() && netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64}), 10).Contains(a)
}
