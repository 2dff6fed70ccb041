package dnsserver

import (
	"bufio"
	"context"
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

const (
	// messageTimeout is how long one message may take at most to arrive or to
	// leave once it has begun, so that nobody holds a connection octet by octet.
	messageTimeout = 5 * time.Second
	// flushSize is how many octets of replies to pipelined queries wait for each
	// other.
	flushSize = 16 << 10
)

// ServeStream answers queries on the connections that l accepts until ctx ends,
// then closes l and all connections and returns nil. Any other end is an error.
// Queries may be pipelined (RFC 7766); forwarded ones are answered out of order.
func (s *Server) ServeStream(ctx context.Context, l net.Listener) error {
	var conns sync.WaitGroup
	defer conns.Wait()
	all, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(all, func() { _ = l.Close() })()
	defer l.Close() //nolint:errcheck // the error that counts is that of Accept
	for pause := time.Duration(0); ; {
		conn, err := l.Accept()
		if err != nil {
			switch {
			case ctx.Err() != nil:
				return nil
			case errors.Is(err, net.ErrClosed) || pause > time.Second:
				return fmt.Errorf("dnsserver: serve %v: %w", l.Addr(), err)
			}
			// Out of descriptors, for one: connections that end free some.
			pause = max(5*time.Millisecond, 2*pause)
			wait(ctx, pause)
			continue
		}
		pause = 0
		from := addrPort(conn.RemoteAddr())
		if s.opts.Allow != nil && !contains(s.opts.Allow, from.Addr()) || !s.conns.take(from.Addr()) {
			_ = conn.Close()
			continue
		}
		conns.Go(func() {
			defer s.conns.give(from.Addr())
			s.serveConn(all, conn, from)
		})
	}
}

// wait waits for d or the end of ctx.
func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// stream is one connection. Replies to forwarded queries come from other
// goroutines.
type stream struct {
	mu   sync.Mutex
	conn net.Conn
	out  []byte // messages with their lengths
	err  error  // the first of writing
}

func (s *Server) serveConn(ctx context.Context, conn net.Conn, from netip.AddrPort) {
	defer conn.Close() //nolint:errcheck // nothing is left unsent
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	w := &stream{conn: conn}
	var forwards sync.WaitGroup
	defer forwards.Wait() // a client that half-closes still gets its answers

	r := bufio.NewReaderSize(conn, 8<<10)
	var query []byte
	for more := true; more; {
		var err error
		if query, err = s.readQuery(conn, r, query[:0]); err != nil {
			return // all replies are out: reading blocks only after a flush
		}
		more = s.serveQuery(ctx, w, query, from, &forwards)
		more = w.flush(!more || !pipelined(r)) && more
	}
}

// readQuery appends the next message to dst.
func (s *Server) readQuery(conn net.Conn, r *bufio.Reader, dst []byte) ([]byte, error) {
	if r.Buffered() == 0 {
		_ = conn.SetReadDeadline(time.Now().Add(s.opts.IdleTimeout))
		if _, err := r.Peek(1); err != nil {
			return dst, err
		}
	}
	if !pipelined(r) {
		_ = conn.SetReadDeadline(time.Now().Add(min(messageTimeout, s.opts.IdleTimeout)))
	}
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return dst, err
	}
	n := int(binary.BigEndian.Uint16(size[:]))
	dst = slices.Grow(dst, n)[:n]
	_, err := io.ReadFull(r, dst)
	return dst, err
}

// pipelined reports whether a whole message already waits in r.
func pipelined(r *bufio.Reader) bool {
	if r.Buffered() < 2 {
		return false
	}
	size, _ := r.Peek(2)
	return r.Buffered() >= 2+int(binary.BigEndian.Uint16(size))
}

// serveQuery reports false if the connection should end.
func (s *Server) serveQuery(ctx context.Context, w *stream, query []byte, from netip.AddrPort, forwards *sync.WaitGroup) bool {
	w.mu.Lock()
	start := len(w.out)
	out, v := s.answer(append(w.out, 0, 0), query, from, dnszone.TCP)
	reply := out[start+2:]
	if v == send {
		binary.BigEndian.PutUint16(out[start:], uint16(len(reply))) //nolint:gosec // a reply fits into a message
		w.out = out
	}
	w.mu.Unlock()
	switch v {
	case send:
		s.report(query, reply, from, dnszone.TCP, false)
	case forward:
		s.forward(ctx, slices.Clone(query), from, dnszone.TCP, forwards, func(reply []byte) {
			w.send(reply)
			w.flush(true)
		})
	case transfer:
		if refusal := slices.Clone(reply); !s.transferZone(w, query, from) {
			w.send(refusal)
		}
		s.report(query, nil, from, dnszone.TCP, false)
	case drop, serial:
		s.report(query, nil, from, dnszone.TCP, false)
		return false // whatever that was, it was no DNS
	}
	return true
}

// send queues msg.
func (w *stream) send(msg []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.out = binary.BigEndian.AppendUint16(w.out, uint16(len(msg))) //nolint:gosec // a message has at most 64 KiB
	w.out = append(w.out, msg...)
}

// flush writes what is queued if it must or if that is much, and reports whether
// the connection still works.
func (w *stream) flush(must bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !must && len(w.out) < flushSize {
		return w.err == nil
	}
	if len(w.out) > 0 && w.err == nil {
		_ = w.conn.SetWriteDeadline(time.Now().Add(messageTimeout))
		_, w.err = w.conn.Write(w.out)
	}
	w.out = w.out[:0]
	return w.err == nil
}
