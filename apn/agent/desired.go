package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/apnkit/apnkit/apn/netmap"
	"github.com/apnkit/apnkit/keys"
)

// draft is a Desired and what it was made of, so that a sync that changes
// nothing does not make it again.
type draft struct {
	want    *netmap.Config
	secrets *netmap.Secrets
	desired *Desired
	named   []int // peers whose endpoint is a host name
	pending int   // peers without a preshared key
}

// wanted returns what the interface should be, nil if the server's own key is
// not here. The error says what is missing.
func (a *Agent) wanted(ctx context.Context, want *netmap.Config) (*Desired, error) {
	a.mu.Lock()
	secrets := a.secrets
	key, ok := a.privateKey(want)
	a.mu.Unlock()
	if !ok {
		return nil, fmt.Errorf("agent: sync: %w", ErrNoKey)
	}
	if a.draft.want != want || a.draft.secrets != secrets || a.draft.desired == nil {
		a.draft = draftOf(want, secrets, key)
	}
	var errs []error
	if n := a.draft.pending; n > 0 {
		errs = append(errs, fmt.Errorf("agent: sync: the preshared keys of %d peers are not here yet", n))
	}
	for _, i := range a.draft.named {
		end, err := a.resolve(ctx, want.Peers[i].Endpoint)
		if err != nil {
			errs = append(errs, fmt.Errorf("agent: sync: endpoint of %s: %w", want.Peers[i].ID, err))
		}
		a.draft.desired.Peers[i].Endpoint = end
	}
	return a.draft.desired, errors.Join(errs...)
}

func draftOf(want *netmap.Config, secrets *netmap.Secrets, key keys.PrivateKey) draft {
	d := draft{want: want, secrets: secrets, desired: &Desired{
		PrivateKey: key, ListenPort: want.ListenPort, Peers: make([]Peer, len(want.Peers)),
	}}
	for i := range want.Peers {
		p := &want.Peers[i]
		out := &d.desired.Peers[i]
		*out = Peer{ID: p.ID, PublicKey: p.PublicKey, Keepalive: p.Keepalive, AllowedIPs: slices.Clone(p.AllowedIPs)}
		slices.SortFunc(out.AllowedIPs, netip.Prefix.Compare)
		if want.Preshared != 0 {
			ok := false
			if secrets != nil && secrets.Preshared == want.Preshared {
				out.PresharedKey, ok = secrets.PSKs[p.PublicKey]
			}
			if !ok {
				out.Pending = true
				d.pending++
			}
		}
		if ap, err := netip.ParseAddrPort(p.Endpoint); err == nil {
			out.Endpoint = ap
		} else if p.Endpoint != "" {
			d.named = append(d.named, i)
		}
	}
	return d
}

// resolve looks up the host name of an endpoint. As long as the address in use
// is among the answers, it stays; if there is no answer, too.
func (a *Agent) resolve(ctx context.Context, endpoint string) (netip.AddrPort, error) {
	last := a.hosts[endpoint]
	host, port, _ := strings.Cut(endpoint, ":")
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return last, errors.New("is not host:port") // the document was checked
	}
	addrs, err := a.cfg.Resolve(ctx, host)
	if err != nil {
		return last, err
	}
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
	}
	slices.SortFunc(addrs, netip.Addr.Compare) // IPv4 first
	if len(addrs) == 0 || slices.Contains(addrs, last.Addr()) {
		return last, nil
	}
	a.hosts[endpoint] = netip.AddrPortFrom(addrs[0], uint16(n))
	return a.hosts[endpoint], nil
}
