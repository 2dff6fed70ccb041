package dnsserver

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/apnkit/apnkit/dnszone"
)

// A TransferPolicy says which secondaries may copy whole zones. The zero value
// means none. There is no TSIG: inside the tunnel the address is the proof.
type TransferPolicy struct {
	// Allow are the prefixes that may ask for AXFR and IXFR. Nil means nobody.
	Allow []netip.Prefix
	// Notify are the secondaries that [Server.Notify] tells of changes. Nil
	// means none.
	Notify []netip.AddrPort
	// Dial opens the UDP sockets for that. Nil means a [net.Dialer].
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// transferZone sends the zone, or what changed in it. It reports false if too
// many transfers run already, or the zone has just gone.
func (s *Server) transferZone(w *stream, query []byte, from netip.AddrPort) bool {
	if !s.transfers.take(from.Addr()) {
		return false
	}
	defer s.transfers.give(from.Addr())
	q, _ := dnszone.ParseQuestion(query)
	set := s.src.Load()
	if set == nil {
		return false
	}
	zone, ok := set.Zone(q.Name)
	if !ok {
		return false
	}
	messages := zone.AXFR(query)
	if have, ok := dnszone.TransferSerial(query); ok && q.Type == dnszone.TypeIXFR {
		if deltas, ok := s.deltas(set, zone, have); ok {
			messages = zone.IXFR(query, deltas...)
		}
	}
	for msg := range messages {
		w.send(msg)
		if !w.flush(true) {
			break
		}
	}
	return true
}

// deltas returns the steps from the serial have to zone. It reports false if the
// Source does not reach back that far.
func (s *Server) deltas(set *dnszone.Set, zone *dnszone.Zone, have uint32) (list []dnszone.Delta, ok bool) {
	if int32(have-set.Serial()) >= 0 { //nolint:gosec // RFC 1982 arithmetic
		return nil, true
	}
	sets := s.src.since(have, set)
	for i := 1; i < len(sets); i++ {
		was, ok := sets[i-1].Zone(zone.Name())
		is, ok2 := sets[i].Zone(zone.Name())
		if !ok || !ok2 {
			return nil, false
		}
		list = append(list, dnszone.Diff(was, is))
	}
	return list, len(list) > 0
}

// Notify tells the secondaries of the [TransferPolicy] about each change
// (RFC 1996) until ctx ends, then returns nil. It begins with telling all of
// them about all zones; later it leaves out zones that stayed as they were.
func (s *Server) Notify(ctx context.Context) error {
	changed, stop := s.src.Subscribe()
	defer stop()
	var was *dnszone.Set
	for {
		if set := s.src.Load(); set != nil && set != was {
			s.notifyAll(ctx, was, set)
			was = set
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

func (s *Server) notifyAll(ctx context.Context, was, set *dnszone.Set) {
	var zones []string
	for z := range set.Zones() {
		same := false
		if was != nil {
			steps, ok := s.deltas(set, z, was.Serial())
			same = ok && !slices.ContainsFunc(steps, func(d dnszone.Delta) bool { return !d.Empty() })
		}
		if !same {
			zones = append(zones, z.Name())
		}
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, to := range s.opts.Transfer.Notify {
		wg.Go(func() {
			for _, zone := range zones {
				if err := s.notify(ctx, to, zone); err != nil && ctx.Err() == nil {
					s.opts.Logger.Warn("secondary does not take NOTIFY", "zone", zone, "secondary", to, "err", err)
					return // nor will it for the other zones
				}
			}
		})
	}
}

const (
	notifyTries = 4
	opNotify    = 4 << 3
)

// notify sends one NOTIFY and waits for its acknowledgement, one second at
// first and twice as long with each further try.
func (s *Server) notify(ctx context.Context, to netip.AddrPort, zone string) error {
	conn, err := s.dial(ctx, "udp", to.String())
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // nothing is left unsent
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()

	msg := make([]byte, 12, 300)
	_, _ = rand.Read(msg[:2])
	msg[2], msg[5] = opNotify|4, 1 // authoritative, one question
	msg = dnszone.AppendQuestion(msg, zone, dnszone.TypeSOA)
	buf := make([]byte, 512)
	for try := range notifyTries {
		if _, err = conn.Write(msg); err != nil {
			continue
		}
		_ = conn.SetReadDeadline(time.Now().Add(time.Second << try))
		for ctx.Err() == nil {
			var n int
			if n, err = conn.Read(buf); err != nil {
				break
			}
			if n >= 12 && binary.BigEndian.Uint16(buf) == binary.BigEndian.Uint16(msg) && buf[2]&0xf8 == 0x80|opNotify {
				return nil
			}
		}
	}
	return errors.Join(err, ctx.Err())
}

func (s *Server) dial(ctx context.Context, network, address string) (net.Conn, error) {
	if d := s.opts.Transfer.Dial; d != nil {
		return d(ctx, network, address)
	}
	var d net.Dialer
	return d.DialContext(ctx, network, address)
}
