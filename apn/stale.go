package apn

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/apnkit/apnkit/apn/store"
	"github.com/apnkit/apnkit/keys"
	"github.com/apnkit/apnkit/render"
)

// HandOut is what is remembered of the config that a device was last given.
type HandOut struct {
	At          time.Time
	Fingerprint string // of the file, see render.Fingerprint
	KeyGen      uint64
	Servers     int
	Rev         store.Rev // the state that it showed
}

// ReasonKind says in which way a handed-out config is out of date.
type ReasonKind string

// The kinds of reasons, worst first.
const (
	KeyRotated      ReasonKind = "key_rotated"      // the device's own key: the config works no more
	AccessLost      ReasonKind = "access_lost"      // an app whose servers are in the config and no longer reachable
	ServerKey       ReasonKind = "server_key"       // a server has a new key
	ServerAddress   ReasonKind = "server_address"   // a server has other addresses
	ServerEndpoint  ReasonKind = "server_endpoint"  // a server listens elsewhere
	ServerRemoved   ReasonKind = "server_removed"   // a server is gone
	ServerAdded     ReasonKind = "server_added"     // a server is missing from the config
	AccessGained    ReasonKind = "access_gained"    // an app whose servers are missing from the config
	SettingsChanged ReasonKind = "settings_changed" // addresses of the device, keepalive, preshared keys
)

// severity orders the kinds, worst first.
func (k ReasonKind) severity() int {
	return slices.Index([]ReasonKind{
		KeyRotated, AccessLost, ServerKey, ServerAddress, ServerEndpoint, ServerRemoved, ServerAdded, AccessGained, SettingsChanged,
	}, k)
}

// Reason is why a config is stale.
type Reason struct {
	Kind   ReasonKind
	Object string // "shop/web-1", or "shop" for access; empty for the device itself
}

// shownConfig is a hand-out on its way into rows.
type shownConfig struct {
	row         handRow
	peers       []string // the line of each peer
	fingerprint render.Fingerprint
	claim       func(*tx) error // part of the commit that records it; may be nil
}

// handChunk is how many peers go into one row.
const handChunk = 400

// interfaceLine is what a device's config says besides key and peers.
func (s *state) interfaceLine(dev string) string {
	r, _ := find[*devRow](s, dev)
	net := s.net()
	return fmt.Sprintf("%v %v %v %d", r.Addrs, net.keepalive(), net.PSK, net.PSKEpoch)
}

// recordHandOut puts a hand-out in place of the one before it. The peers are
// written only if they differ: most downloads repeat the last one.
func (t *tx) recordHandOut(member, device string, c shownConfig) {
	key := handKey(member, device)
	same := 0
	for line := range t.handedPeers(member, device) {
		if same == len(c.peers) || c.peers[same] != line {
			same = -1
			break
		}
		same++
	}
	if same != len(c.peers) {
		t.dropHandOut(member, device)
		n := 0
		for part := range slices.Chunk(c.peers, handChunk) {
			t.put(fmt.Sprintf("%s/%04d", key, n), &handPeersRow{Peers: part})
			n++
		}
	}
	t.put(key, &c.row)
}

// handedPeers yields the lines of the peers that a device was last given.
func (s *state) handedPeers(member, device string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, part := range under[*handPeersRow](s, handKey(member, device)+"/") {
			for _, line := range part.Peers {
				if !yield(line) {
					return
				}
			}
		}
	}
}

func (t *tx) dropHandOut(member, device string) {
	key := handKey(member, device)
	if _, ok := find[*handRow](t.state, key); !ok {
		return
	}
	for _, part := range names[*handPeersRow](t.state, key+"/") {
		t.del(key + "/" + part)
	}
	t.del(key)
}

// compare tells how many peers a device's config has now, what it was given, and
// in what the two differ.
func (s *state) compare(member, device string) (servers int, given *HandOut, reasons []Reason) {
	h, ok := find[*handRow](s, handKey(member, device))
	if !ok {
		for range s.reachedBy(member) {
			servers++
		}
		return servers, nil, nil
	}
	given = &HandOut{At: h.At, Fingerprint: h.Fingerprint, KeyGen: h.Gen, Servers: h.Servers, Rev: h.Rev}
	old := make(map[string]string, h.Servers)
	for line := range s.handedPeers(member, device) {
		id, _, _ := strings.Cut(line, " ")
		old[id] = line
	}
	found := map[Reason]bool{}
	key := devKey(member, device)
	if k, ok := find[*keyRow](s, keyKey(key)); ok && k.Gen != h.Gen {
		found[Reason{Kind: KeyRotated}] = true
	}
	if s.interfaceLine(key) != h.Interface {
		found[Reason{Kind: SettingsChanged}] = true
	}
	for p := range s.reachedBy(member) {
		servers++
		line := p.line()
		was, ok := old[p.id]
		delete(old, p.id)
		app := p.app()
		switch {
		case was == line:
		case !ok && !slices.Contains(h.Apps, app):
			found[Reason{AccessGained, app}] = true
		case !ok:
			found[Reason{ServerAdded, p.id}] = true
		default:
			found[Reason{changed(was, line), p.id}] = true
		}
	}
	for id := range old {
		app, _, _ := strings.Cut(id, "/")
		if s.role(member, app) < Developer {
			found[Reason{AccessLost, app}] = true
		} else {
			found[Reason{ServerRemoved, id}] = true
		}
	}
	for r := range found {
		reasons = append(reasons, r)
	}
	slices.SortFunc(reasons, func(a, b Reason) int {
		return cmp.Or(a.Kind.severity()-b.Kind.severity(), strings.Compare(a.Object, b.Object))
	})
	return servers, given, reasons
}

// changed tells the worst difference between two lines of one peer.
func changed(was, is string) ReasonKind {
	a, b := strings.SplitN(was, " ", 4), strings.SplitN(is, " ", 4)
	kinds := []ReasonKind{ServerRemoved, ServerKey, ServerAddress, ServerEndpoint}
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return kinds[i]
		}
	}
	return ServerEndpoint
}

// ConfigState says what a config file in somebody's hands is worth.
type ConfigState string

// The states of a config file, best first.
const (
	ConfigCurrent    ConfigState = "current"    // as it would be handed out now
	ConfigStale      ConfigState = "stale"      // the last one handed out, and out of date
	ConfigSuperseded ConfigState = "superseded" // not the last one handed out, or edited since
	ConfigUnknown    ConfigState = "unknown"    // its key belongs to no device
)

// CheckConfig tells whether a config file is current, by the public key and the
// fingerprint that the file itself gives ([render.ReadFingerprint]), and which
// device it belongs to. In state [ConfigUnknown] there is no device.
func (n *Network) CheckConfig(pub keys.PublicKey, fp render.Fingerprint) (ConfigState, Device) {
	s := n.view()
	owner, _ := s.pubs.Get(string(pub[:]))
	id, ok := strings.CutPrefix(owner, keyKey(preDev))
	if !ok {
		return ConfigUnknown, Device{}
	}
	member, name, _ := strings.Cut(id, "/")
	d, ok := s.device(member, name)
	h, given := find[*handRow](s, handKey(member, name))
	switch {
	case !ok:
		return ConfigUnknown, Device{}
	case !given || fp.String() != h.Fingerprint && !slices.Contains(h.Parts, fp.String()):
		return ConfigSuperseded, d
	case len(d.Stale) > 0:
		return ConfigStale, d
	default:
		return ConfigCurrent, d
	}
}
