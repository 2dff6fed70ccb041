package agent

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/apnkit/apnkit/apn/netmap"
	"github.com/apnkit/apnkit/keys"
	"github.com/apnkit/apnkit/lease"
)

const (
	// lookupTime is how long a sync waits for addresses of host names.
	lookupTime = 10 * time.Second
	// lookupsAtOnce is how many it asks for at the same time.
	lookupsAtOnce = 16
)

// draft is what a document means for this server, so that a sync that changes
// nothing does not work it out again.
type draft struct {
	want    *netmap.Config
	secrets *netmap.Secrets
	desired *Desired
	named   []int // peers whose endpoint is a host name
	pending int   // peers without a preshared key
	// permanent is who may always send to the port: the document's rules, and
	// peers at their endpoints.
	permanent []netip.Prefix
}

// drawUp makes a.draft that of want, with the addresses that are known so far.
func (a *Agent) drawUp(want *netmap.Config) {
	a.mu.Lock()
	secrets := a.secrets
	key, _ := a.privateKey(want)
	a.mu.Unlock()
	if a.draft.want != want || a.draft.secrets != secrets {
		a.draft = draftOf(want, secrets)
		a.place()
	}
	a.draft.desired.PrivateKey = key // zero if it is not here
}

func draftOf(want *netmap.Config, secrets *netmap.Secrets) draft {
	d := draft{want: want, secrets: secrets, desired: &Desired{ListenPort: want.ListenPort, Peers: make([]Peer, len(want.Peers))}}
	for i := range want.Peers {
		p := &want.Peers[i]
		out := &d.desired.Peers[i]
		*out = Peer{ID: p.ID, PublicKey: p.PublicKey, Keepalive: p.Keepalive, AllowedIPs: slices.Clone(p.AllowedIPs)}
		slices.SortFunc(out.AllowedIPs, netip.Prefix.Compare)
		if out.PresharedKey, out.Pending = pskOf(want, secrets, p.PublicKey); out.Pending {
			d.pending++
		}
		if ap, err := netip.ParseAddrPort(p.Endpoint); err == nil {
			out.Endpoint = ap
		} else if p.Endpoint != "" {
			d.named = append(d.named, i)
		}
	}
	return d
}

// pskOf returns the preshared key with a peer, and whether there is one that is
// not here.
func pskOf(want *netmap.Config, secrets *netmap.Secrets, peer keys.PublicKey) (psk keys.PresharedKey, pending bool) {
	if want.Preshared == 0 {
		return psk, false
	}
	ok := false
	if secrets != nil && secrets.Preshared == want.Preshared {
		psk, ok = secrets.PSKs[peer]
	}
	return psk, !ok
}

// place puts the addresses of host names into the draft. Peers may send to the
// port from where they listen; a document that names them is as good as a rule.
func (a *Agent) place() {
	d := &a.draft
	for _, i := range d.named {
		d.desired.Peers[i].Endpoint = a.memory.Hosts[d.want.Peers[i].Endpoint]
	}
	d.permanent = lease.OpeningsOf(nil, d.rules(), time.Time{}).Permanent
}

// rules yields who may always send to the port.
func (d *draft) rules() iter.Seq[lease.Rule] {
	return func(yield func(lease.Rule) bool) {
		for _, p := range d.want.Openings.Permanent {
			if !yield(lease.Rule{Source: p}) {
				return
			}
		}
		for i := range d.desired.Peers {
			if a := d.desired.Peers[i].Endpoint.Addr(); a.IsValid() && !yield(lease.Rule{Source: netip.PrefixFrom(a, a.BitLen())}) {
				return
			}
		}
	}
}

// lookUp looks the host names of endpoints up, and reports whether any address
// changed. Where there is no answer, the last one serves, after a restart, too.
func (a *Agent) lookUp(ctx context.Context) (changed bool, err error) {
	var endpoints []string
	for _, i := range a.draft.named {
		endpoints = append(endpoints, a.draft.want.Peers[i].Endpoint)
	}
	slices.Sort(endpoints)
	endpoints = slices.Compact(endpoints)
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	found, errs := make([]netip.AddrPort, len(endpoints)), make([]error, len(endpoints))
	var wg sync.WaitGroup
	slots := make(chan struct{}, lookupsAtOnce)
	for i, endpoint := range endpoints {
		slots <- struct{}{}
		wg.Go(func() {
			found[i], errs[i] = a.resolve(ctx, endpoint, a.memory.Hosts[endpoint])
			<-slots
		})
	}
	wg.Wait()
	hosts := map[string]netip.AddrPort{}
	for i, endpoint := range endpoints {
		if found[i].IsValid() {
			hosts[endpoint] = found[i]
		}
	}
	if maps.Equal(hosts, a.memory.Hosts) {
		return false, errors.Join(errs...)
	}
	a.mu.Lock()
	a.memory.Hosts = hosts
	a.remember()
	a.mu.Unlock()
	a.place()
	return true, errors.Join(errs...)
}

// resolve looks one endpoint up. As long as the last address is among the
// answers, it stays.
func (a *Agent) resolve(ctx context.Context, endpoint string, last netip.AddrPort) (netip.AddrPort, error) {
	host, port, _ := strings.Cut(endpoint, ":")
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return last, fmt.Errorf("agent: look up %q: not host:port", endpoint) // the document was checked
	}
	addrs, err := a.cfg.Resolve(ctx, host)
	if err != nil {
		return last, fmt.Errorf("agent: look up the endpoint %s: %w", endpoint, err)
	}
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
	}
	slices.SortFunc(addrs, netip.Addr.Compare) // IPv4 first
	if len(addrs) == 0 || slices.Contains(addrs, last.Addr()) {
		return last, nil
	}
	return netip.AddrPortFrom(addrs[0], uint16(n)), nil
}
