package agent

import (
	"bytes"
	"context"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/apnkit/apnkit/keys"
)

// Two servers that get to know each other at the same moment begin a handshake
// each. The two cross and neither ends, or one comes before it is welcome.
// WireGuard begins the next one 5 s later (REKEY_TIMEOUT), but at once with a
// peer that is removed and added. The two do that at different times, or the next
// ones cross, too.
const (
	lookSoon  = 500 * time.Millisecond // if our key is the lower one
	lookLater = 2 * time.Second
)

// await notes whose handshake is to come once c is in force: that of new peers,
// and if the server's own key is new, everybody's.
func (a *Agent) await(c wgtypes.Config) {
	now := a.now()
	if c.PrivateKey != nil {
		for i := range a.draft.desired.Peers {
			a.awaited[a.draft.desired.Peers[i].PublicKey] = now
		}
	}
	for i := range c.Peers {
		if p := &c.Peers[i]; !p.Remove && !p.UpdateOnly {
			a.awaited[keys.PublicKey(p.PublicKey)] = now
		}
	}
}

// lookAt returns when to look whether the handshake with a peer, which is awaited
// since then, has come.
func (a *Agent) lookAt(peer keys.PublicKey, since time.Time) time.Time {
	if own := a.draft.want.PublicKey; bytes.Compare(own[:], peer[:]) < 0 {
		return since.Add(lookSoon)
	}
	return since.Add(lookLater)
}

// untilLook returns how long it is until the next look, at most longest.
func (a *Agent) untilLook(longest time.Duration) time.Duration {
	a.syncing.Lock()
	defer a.syncing.Unlock()
	now := a.now()
	for peer, since := range a.awaited {
		longest = min(longest, a.lookAt(peer, since).Sub(now))
	}
	return longest
}

// due returns whom to look at now, and since when their handshake is awaited.
// Nobody is looked at twice.
func (a *Agent) due() map[keys.PublicKey]time.Time {
	now := a.now()
	due := map[keys.PublicKey]time.Time{}
	for peer, since := range a.awaited {
		if !now.Before(a.lookAt(peer, since)) {
			due[peer] = since
			delete(a.awaited, peer)
		}
	}
	return due
}

// again begins anew with peers that have not shaken hands since. As there is no
// session, nothing is lost. Who has no endpoint has to call us.
func (a *Agent) again(ctx context.Context, silent map[keys.PublicKey]time.Time) error {
	if len(silent) == 0 {
		return nil
	}
	dev, err := a.cfg.Interface.Device(ctx)
	if err != nil {
		return err
	}
	for i := range dev.Peers {
		key := keys.PublicKey(dev.Peers[i].PublicKey)
		if since, ok := silent[key]; ok && !dev.Peers[i].LastHandshakeTime.Before(since) {
			delete(silent, key)
		}
	}
	var c wgtypes.Config
	for i := range a.draft.desired.Peers {
		p := &a.draft.desired.Peers[i]
		if _, ok := silent[p.PublicKey]; ok && p.Endpoint.IsValid() && !p.Pending {
			c.Peers = append(c.Peers, wgtypes.PeerConfig{PublicKey: wgtypes.Key(p.PublicKey), Remove: true}, p.add())
		}
	}
	if Empty(c) {
		return nil
	}
	a.log.Debug("handshakes begin anew", "peers", len(c.Peers)/2)
	return a.write(ctx, c)
}
