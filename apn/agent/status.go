package agent

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/apnkit/apnkit/apn/netmap"
	"github.com/apnkit/apnkit/keys"
)

// aliveFor is how long after a handshake a peer counts as up: sessions are given
// up 180 s after it (WireGuard, REJECT_AFTER_TIME).
const aliveFor = 180 * time.Second

// Status returns how the server is, with all peers that ever shook hands, latest
// first.
func (a *Agent) Status(ctx context.Context) (netmap.Status, error) {
	s := netmap.Status{Version: a.cfg.Version, ClockOffset: a.clockOffset()}
	a.mu.Lock()
	want := a.want
	s.Epoch, s.Revision = a.applied.Epoch, a.applied.Revision
	s.Errors = slices.Clone(a.problems)
	for _, text := range []string{a.trouble, a.lacking} {
		if text != "" {
			s.Errors = append(s.Errors, text)
		}
	}
	a.mu.Unlock()
	if want == nil {
		return s, nil
	}
	dev, err := a.cfg.Interface.Device(ctx)
	if err != nil {
		return s, err
	}
	ids := make(map[keys.PublicKey]string, len(want.Peers))
	for _, p := range want.Peers {
		ids[p.PublicKey] = p.ID
	}
	now := a.now()
	for i := range dev.Peers {
		p := &dev.Peers[i]
		id, ok := ids[keys.PublicKey(p.PublicKey)]
		if !ok || p.LastHandshakeTime.IsZero() || p.LastHandshakeTime.Unix() == 0 { // zero is never
			continue
		}
		age := max(now.Sub(p.LastHandshakeTime), 0)
		if age < aliveFor {
			s.PeersUp++
		}
		s.Peers = append(s.Peers, netmap.PeerStatus{
			ID: id, HandshakeAge: age, Received: uint64(max(p.ReceiveBytes, 0)), Sent: uint64(max(p.TransmitBytes, 0)),
		})
	}
	slices.SortFunc(s.Peers, func(a, b netmap.PeerStatus) int {
		return cmp.Or(cmp.Compare(a.HandshakeAge, b.HandshakeAge), strings.Compare(a.ID, b.ID))
	})
	return s, nil
}

// tell reports to the control plane: of the peers those that shook hands since
// the last report.
func (a *Agent) tell(ctx context.Context, since time.Duration) error {
	s, err := a.Status(ctx)
	if err != nil {
		s.Errors = append(s.Errors, err.Error())
	}
	i := slices.IndexFunc(s.Peers, func(p netmap.PeerStatus) bool { return p.HandshakeAge > since })
	if i >= 0 {
		s.Peers = s.Peers[:i]
	}
	s.Peers = s.Peers[:min(len(s.Peers), netmap.MaxStatusPeers)]
	return a.cfg.Source.Report(ctx, s)
}

// lines returns an error as one line per cause.
func lines(err error) []string {
	if err == nil {
		return nil
	}
	return strings.Split(err.Error(), "\n")
}
