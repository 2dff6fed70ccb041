package apn

import (
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"time"

	"github.com/apnkit/apnkit/apn/store"
	"github.com/apnkit/apnkit/ipam"
	"github.com/apnkit/apnkit/keys"
	"github.com/apnkit/apnkit/lease"
	"github.com/apnkit/apnkit/render"
)

// A network's state is a pure function of its rows. A row is a JSON document
// whose "v" is its format; readers refuse a newer one. Row values in memory are
// never changed: a command puts a new one.
//
//	net                       settings
//	app/<app>                 subnets
//	srv/<app>/<server>        endpoint, addresses
//	mem/<member>              roles
//	dev/<member>/<device>     addresses
//	key/srv/… key/dev/…       sealed key pair, one row for both halves
//	hand/<member>/<device>    last handed-out config; hand/…/<n>: its peers
//	dek/<version>             wrapped data key
//	lease/<app>/<id>          port opening with an end
//	rule/<app>/<id>           port opening without
//	link/<app>/<app>          exception to the links policy, apps sorted
//	addr/<key>                ipam record: subnet or address
//	ctr                       counters: DNS serial, events
//	out/<number>              audit event on its way to the audit space
//	op/<replica>              last batch of a replica, to resolve unknown outcomes
//	req/<id>                  request that is answered once
//	sign                      sealed key that signs documents
//	join/<hash>               single-use token by which an agent joins
//	agent/<app>/<server>      agent that has joined
//	once/<hash>               one-time link to a device's config
//	hook/<id>                 webhook
//	alarm/<member>/<device>   last alarm about a device's links
const rowFormat = 1

const (
	rowNet   = "net"
	rowCtr   = "ctr"
	rowSign  = "sign"
	preApp   = "app/"
	preSrv   = "srv/"
	preMem   = "mem/"
	preDev   = "dev/"
	preKey   = "key/"
	preHand  = "hand/"
	preDEK   = "dek/"
	preLse   = "lease/"
	preRule  = "rule/"
	preLink  = "link/"
	preAddr  = "addr/"
	preOut   = "out/"
	preOp    = "op/"
	preReq   = "req/"
	preJoin  = "join/"
	preAgt   = "agent/"
	preOnce  = "once/"
	preAlarm = "alarm/"
)

type netRow struct {
	head
	Created   time.Time     `json:"created"`
	Epoch     string        `json:"epoch"`
	Pool      ipam.Config   `json:"pool"`
	Suffix    string        `json:"suffix"`
	Links     LinkPolicy    `json:"links"`
	Port      uint16        `json:"port"`
	Keepalive time.Duration `json:"keepalive"` // negative: none
	PSK       bool          `json:"psk,omitempty"`
	PSKEpoch  uint32        `json:"psk_epoch,omitempty"`
}

type appRow struct {
	head
	Created time.Time      `json:"created"`
	Subnets []netip.Prefix `json:"subnets"` // equal to the ipam records
}

type srvRow struct {
	head
	UID      string          `json:"uid"` // tells it from an earlier server of the same name
	Created  time.Time       `json:"created"`
	Addrs    []netip.Addr    `json:"addrs"` // equal to the ipam record
	Endpoint render.Endpoint `json:"endpoint,omitzero"`

	place string // addresses and endpoint as text, see peer.line
}

type memRow struct {
	head
	UID     string          `json:"uid"`
	Created time.Time       `json:"created"`
	Roles   map[string]Role `json:"roles,omitempty"` // by app; no entry is NoRole
}

type devRow struct {
	head
	UID     string       `json:"uid"`
	Created time.Time    `json:"created"`
	Addrs   []netip.Addr `json:"addrs"`

	place string
}

// keyRow is a WireGuard key pair at rest. Both halves are sealed: a public key
// in clear would tell who belongs to a network, and let strangers cause
// handshake work.
type keyRow struct {
	head
	UID      string       `json:"uid"` // of the owner's row; part of the sealed owner
	Gen      uint64       `json:"gen"`
	Custody  keys.Custody `json:"custody"`
	Created  time.Time    `json:"created"`
	Pub      []byte       `json:"pub"`
	Priv     []byte       `json:"priv,omitempty"`
	Revealed bool         `json:"revealed,omitempty"` // custody Once, handed out

	pub keys.PublicKey // opened from Pub
}

// handRow remembers the config that a device was last given.
type handRow struct {
	head
	At          time.Time `json:"at"`
	Fingerprint string    `json:"fp"`
	Parts       []string  `json:"parts,omitempty"` // fingerprints, if it was handed out in parts
	Gen         uint64    `json:"gen"`
	Rev         store.Rev `json:"rev"` // of the state that it shows
	Interface   string    `json:"if"`
	Apps        []string  `json:"apps"` // that the member reached
	Servers     int       `json:"servers"`
}

// handPeersRow is a part of the peers of a handed-out config.
type handPeersRow struct {
	head
	Peers []string `json:"peers"`
}

type dekRow struct {
	head
	keys.DEKRecord
}

type leaseRow struct {
	head
	lease.Lease
}

type ruleRow struct {
	head
	lease.Rule
}

type linkRow struct {
	head
	Created time.Time `json:"created"`
	Linked  bool      `json:"linked"`
}

type addrRow struct {
	head
	ipam.Record
}

type ctrRow struct {
	head
	Serial uint32 `json:"serial"` // of the DNS zone, RFC 1982
	Events uint64 `json:"events"` // numbers given to audit events
}

type outRow struct {
	head
	Event
}

type opRow struct {
	head
	Batch uint64    `json:"batch"`
	At    time.Time `json:"at"`
}

type reqRow struct {
	head
	Digest string    `json:"digest"`
	At     time.Time `json:"at"`
}

// head starts every row.
type head struct {
	V int `json:"v"`
}

func (h *head) format() int { return h.V }

// stamp sets the format once: rows that readers hold are never written again.
func (h *head) stamp() {
	if h.V == 0 {
		h.V = rowFormat
	}
}

// row is a pointer to one of the row types above.
type row interface {
	format() int
	stamp()
}

var errNewer = errors.New("written by a newer version of this program")

// decodeRow reads a row. Key rows come back with the public key still sealed.
func decodeRow(key string, value []byte) (row, error) {
	r := newRow(key)
	if r == nil {
		return nil, damaged(key, errors.New("unknown kind"))
	}
	if err := json.Unmarshal(value, r); err != nil {
		// The decoder's own text may quote the value.
		return nil, damaged(key, errors.New("malformed JSON document"))
	}
	switch v := r.format(); {
	case v > rowFormat:
		return nil, damaged(key, errNewer)
	case v < 1:
		return nil, damaged(key, errors.New("no format version"))
	}
	return r, nil
}

// newRow returns an empty row of the kind that the key names, nil if there is
// no such kind.
func newRow(key string) row {
	kind, rest, _ := strings.Cut(key, "/")
	switch kind {
	case "net":
		return new(netRow)
	case "ctr":
		return new(ctrRow)
	case "app":
		return new(appRow)
	case "srv":
		return new(srvRow)
	case "mem":
		return new(memRow)
	case "dev":
		return new(devRow)
	case "key":
		return new(keyRow)
	case "hand":
		if strings.Count(rest, "/") > 1 {
			return new(handPeersRow)
		}
		return new(handRow)
	case "dek":
		return new(dekRow)
	case "lease":
		return new(leaseRow)
	case "rule":
		return new(ruleRow)
	case "link":
		return new(linkRow)
	case "addr":
		return new(addrRow)
	case "out":
		return new(outRow)
	case "op":
		return new(opRow)
	case "req":
		return new(reqRow)
	case "sign":
		return new(signRow)
	case "join":
		return new(joinRow)
	case "agent":
		return new(agentRow)
	case "once":
		return new(onceRow)
	case "hook":
		return new(hookRow)
	case "alarm":
		return new(alarmRow)
	default:
		return nil
	}
}
