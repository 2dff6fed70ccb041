//go:build linux

package nft

import (
	"encoding/binary"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// The chains of the table. knock and answer hold the openings.
const (
	chainInput  = "input"
	chainKnock  = "knock"
	chainOutput = "output"
	chainAnswer = "answer"
	chainSpoof  = "antispoof"
	chainStray  = "forward"
)

// Offsets in the IP headers (RFC 791, RFC 8200) and in that of UDP.
const (
	source4, destination4       = 12, 16
	source6, destination6       = 8, 24
	sourcePort, destinationPort = 0, 2
	protocol4                   = 9
)

type match []expr.Any

func (b *batch) rules() {
	b.gate(chainInput, nftables.ChainHookInput, destinationPort, chainKnock, source4, source6)
	b.gate(chainOutput, nftables.ChainHookOutput, sourcePort, chainAnswer, destination4, destination6)
	if b.opts.guards() {
		b.antispoof()
	}
	if b.opts.Interface != "" && b.opts.Forward {
		b.confine()
	}
}

// gate sends packets of our port from the chain of a hook to a chain that
// accepts those of the openings and drops the others.
func (b *batch) gate(hooked string, hook *nftables.ChainHook, port uint32, chain string, at4, at6 uint32) {
	c := b.chain(chain)
	b.rule(c, address4(at4, lease4), accept())
	b.rule(c, address4(at4, rule4), accept())
	b.rule(c, address6(at6, lease6), accept())
	b.rule(c, address6(at6, rule6), accept())
	b.rule(c, drop())

	b.rule(b.hooked(hooked, hook, priority), match{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_UDP}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: port, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.BigEndian.AppendUint16(nil, b.opts.Port)},
	}, match{&expr.Verdict{Kind: expr.VerdictGoto, Chain: chain}})
}

// antispoof keeps addresses of the private network out, unless they come
// through WireGuard or from this host.
func (b *batch) antispoof() {
	c := b.hooked(chainSpoof, nftables.ChainHookPrerouting, int32(*nftables.ChainPriorityRaw))
	b.rule(c, from(b.opts.Interface), accept())
	b.rule(c, from("lo"), accept())
	b.rule(c, address4(source4, net4), drop())
	b.rule(c, address6(source6, net6), drop())
	for _, name := range b.opts.Inside {
		b.rule(c, from(name), accept())
	}
	b.rule(c, address4(destination4, net4), drop())
	b.rule(c, address6(destination6, net6), drop())
}

// confine keeps what comes out of the tunnel away from the host's other
// networks.
func (b *batch) confine() {
	c := b.hooked(chainStray, nftables.ChainHookForward, priority)
	tunnel := from(b.opts.Interface)
	b.rule(c, tunnel, named(expr.MetaKeyOIFNAME, b.opts.Interface), accept())
	for _, name := range b.opts.Inside {
		b.rule(c, tunnel, named(expr.MetaKeyOIFNAME, name), accept())
	}
	b.rule(c, tunnel, tracked(expr.CtKeySTATE, expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED), accept())
	b.rule(c, tunnel, tracked(expr.CtKeySTATUS, destinationNAT), accept())
	b.rule(c, tunnel, drop())
}

func (b *batch) chain(name string) *nftables.Chain {
	return b.AddChain(&nftables.Chain{Table: b.opts.table(), Name: name})
}

func (b *batch) hooked(name string, hook *nftables.ChainHook, priority int32) *nftables.Chain {
	policy := nftables.ChainPolicyAccept
	return b.AddChain(&nftables.Chain{
		Table: b.opts.table(), Name: name, Type: nftables.ChainTypeFilter, Policy: &policy,
		Hooknum: hook, Priority: new(nftables.ChainPriority(priority)),
	})
}

func (b *batch) rule(c *nftables.Chain, parts ...match) {
	r := &nftables.Rule{Table: c.Table, Chain: c}
	for _, p := range parts {
		r.Exprs = append(r.Exprs, p...)
	}
	b.AddRule(r)
}

func accept() match { return match{&expr.Verdict{Kind: expr.VerdictAccept}} }

func drop() match { return match{&expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop}} }

// address4 matches IPv4 packets that have an address of set at offset.
func address4(offset, set uint32) match {
	return append(family(unix.NFPROTO_IPV4),
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4},
		lookup(set))
}

// address6 is address4 for IPv6. Leases hold /64s: the rest of the address is
// masked.
func address6(offset, set uint32) match {
	m := append(family(unix.NFPROTO_IPV6),
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 16})
	if set == lease6 {
		mask := make([]byte, 16)
		copy(mask, "\xff\xff\xff\xff\xff\xff\xff\xff")
		m = append(m, &expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 16, Mask: mask, Xor: make([]byte, 16)})
	}
	return append(m, lookup(set))
}

// family comes first: in a chain for both, the address of the other is garbage.
func family(proto byte) match {
	return match{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{proto}},
	}
}

func lookup(set uint32) expr.Any {
	return &expr.Lookup{SourceRegister: 1, SetID: set, SetName: setName(set)}
}

func from(name string) match { return named(expr.MetaKeyIIFNAME, name) }

// named matches packets by the name of an interface. A final "*" matches any
// rest.
func named(key expr.MetaKey, name string) match {
	data := []byte(strings.TrimSuffix(name, "*"))
	if !strings.HasSuffix(name, "*") {
		data = append(data, make([]byte, unix.IFNAMSIZ-len(data))...)
	}
	return match{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: data}}
}

const destinationNAT = 1 << 5 // IPS_DST_NAT of linux/netfilter/nf_conntrack_common.h

// tracked matches packets whose flow has one of the bits.
func tracked(key expr.CtKey, bits uint32) match {
	return match{
		&expr.Ct{Key: key, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binary.NativeEndian.AppendUint32(nil, bits), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}
}
