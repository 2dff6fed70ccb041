package dnsserver_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/dnszone"
	"github.com/apnkit/apnkit/dnszone/dnsserver"
)

// scripted is a connection to an upstream that answers any query with reply,
// under the query's ID.
type scripted struct {
	net.Conn
	stream bool
	reply  []byte
	out    bytes.Buffer
}

func (c *scripted) Write(p []byte) (int, error) {
	id := p
	if c.stream {
		id = p[2:]
		c.out.Write(binary.BigEndian.AppendUint16(nil, uint16(len(c.reply))))
	}
	at := c.out.Len()
	c.out.Write(c.reply)
	copy(c.out.Bytes()[at:], id[:2])
	return len(p), nil
}

func (c *scripted) Read(p []byte) (int, error) {
	if c.out.Len() == 0 {
		return 0, io.EOF
	}
	if !c.stream {
		n := copy(p, c.out.Bytes())
		c.out.Reset()
		return n, nil
	}
	return c.out.Read(p)
}

func (*scripted) Close() error                { return nil }
func (*scripted) SetDeadline(time.Time) error { return nil }

// FuzzForwardNeverPanics: whatever an upstream sends, the client gets an answer
// to its own question or an error.
func FuzzForwardNeverPanics(f *testing.F) {
	query := ask("www.example.com", dnszone.TypeA)
	f.Add(resource(query, addrs("192.0.2.1", "2001:db8::1")...), false)
	f.Add(resource(query, addrs("10.0.0.1")...), true)
	f.Add(query, false)
	f.Add([]byte{}, true)
	f.Add(resource(query)[:20], false)
	f.Fuzz(func(t *testing.T, reply []byte, tcp bool) {
		u := dnsserver.NewUpstreams([]netip.AddrPort{netip.MustParseAddrPort("192.0.2.53:53")}, &dnsserver.UpstreamsOptions{
			RejectPrivate: true,
			Dial: func(_ context.Context, network, _ string) (net.Conn, error) {
				return &scripted{stream: network == "tcp", reply: reply[:min(len(reply), 65535)]}, nil
			},
		})
		via := dnszone.UDP
		if tcp {
			via = dnszone.TCP
		}
		got, err := u.Forward(t.Context(), query, via)
		if err == nil {
			require.Equal(t, query[:2], got[:2])
			require.Equal(t, query[12:], got[12:len(query)])
		}
	})
}

// FuzzStreamNeverPanics: whatever comes over TCP, the connection ends in an
// orderly way.
func FuzzStreamNeverPanics(f *testing.F) {
	srv := dnsserver.New(source(testSet(f)), &dnsserver.Options{Transfer: dnsserver.TransferPolicy{Allow: loopback}})
	frame := func(msgs ...[]byte) (b []byte) {
		for _, m := range msgs {
			b = append(binary.BigEndian.AppendUint16(b, uint16(len(m))), m...)
		}
		return b
	}
	f.Add(frame(ask("web.apn", 1), ask("nothing.apn", 28)))
	f.Add(frame(ask("apn", dnszone.TypeAXFR), ixfr("apn", 0), ask("web.apn", 1)))
	f.Add(frame(nil, ask("web.apn", 1)))
	f.Add([]byte{0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, sent []byte) {
		l := &oneConn{sent: sent, done: make(chan struct{}), stopped: make(chan struct{})}
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-l.done
			cancel()
			close(l.stopped)
		}()
		require.NoError(t, srv.ServeStream(ctx, l))
		for out := l.out.Bytes(); len(out) > 0; {
			require.GreaterOrEqual(t, len(out), 2)
			n := 2 + int(binary.BigEndian.Uint16(out))
			require.GreaterOrEqual(t, len(out), n)
			require.NotZero(t, out[4]&0x80)
			out = out[n:]
		}
	})
}

// oneConn is a listener with one connection in memory, and that connection.
type oneConn struct {
	net.Conn
	accepted bool
	sent     []byte
	out      bytes.Buffer
	once     sync.Once
	done     chan struct{} // the connection has ended
	stopped  chan struct{} // and the server has been told to
}

func (l *oneConn) Accept() (net.Conn, error) {
	if !l.accepted {
		l.accepted = true
		return l, nil
	}
	<-l.stopped
	return nil, net.ErrClosed
}

func (l *oneConn) Addr() net.Addr { return l.RemoteAddr() }

func (*oneConn) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

func (l *oneConn) Read(p []byte) (int, error) {
	if len(l.sent) == 0 {
		return 0, io.EOF
	}
	n := copy(p, l.sent)
	l.sent = l.sent[n:]
	return n, nil
}

func (l *oneConn) Write(p []byte) (int, error) { return l.out.Write(p) }

func (l *oneConn) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (*oneConn) SetReadDeadline(time.Time) error  { return nil }
func (*oneConn) SetWriteDeadline(time.Time) error { return nil }
