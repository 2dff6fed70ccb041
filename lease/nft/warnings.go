//go:build linux

package nft

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"
)

// Warning names a chain of somebody else that drops what the table lets in.
type Warning struct {
	Family string // as nft(8) writes it: "inet", "ip" or "ip6"
	Table  string
	Chain  string
	Port   uint16
}

// String says it to a person.
func (w Warning) String() string {
	return fmt.Sprintf("the firewall of this host drops udp port %d in chain %s of table %s %s: it must accept the port, our table still guards it",
		w.Port, w.Chain, w.Family, w.Table)
}

// Warnings returns the input chains of other tables that will drop packets to
// our port. It reads the rules that people write: those that match the protocol,
// the port and interfaces, and jumps between chains. A condition that it cannot
// judge counts as one that does not hold, so it rather warns once too often.
//
// Rules of the old iptables are in no table of nftables and are not seen.
func (t *Table) Warnings(ctx context.Context) ([]Warning, error) {
	c, opts, err := t.reader(ctx)
	if err != nil {
		return nil, failed("warnings", err)
	}
	defer func() { _ = c.CloseLasting() }()
	chains, err := c.ListChains()
	if err != nil {
		return nil, failed("warnings", err)
	}
	f := follower{Conn: c.Conn, port: binary.BigEndian.AppendUint16(nil, opts.Port)}
	var list []Warning
	for _, chain := range chains {
		family, known := map[nftables.TableFamily]string{
			nftables.TableFamilyINet: "inet", nftables.TableFamilyIPv4: "ip", nftables.TableFamilyIPv6: "ip6",
		}[chain.Table.Family]
		if !known || family == "inet" && chain.Table.Name == opts.Name ||
			chain.Hooknum == nil || *chain.Hooknum != *nftables.ChainHookInput || chain.Type != nftables.ChainTypeFilter {
			continue
		}
		fate := f.walk(chain, certainty{sure: true}, 0)
		if fate == undecided && chain.Policy != nil && *chain.Policy == nftables.ChainPolicyDrop {
			fate = dropped
		}
		if fate == dropped {
			list = append(list, Warning{Family: family, Table: chain.Table.Name, Chain: chain.Name, Port: opts.Port})
		}
	}
	return list, nil
}

type fate int

const (
	undecided fate = iota
	accepted
	dropped
)

// follower follows a packet to our port through the chains of others.
type follower struct {
	*nftables.Conn
	port []byte
}

// certainty is what is known of a packet that has come to some rule.
type certainty struct {
	sure  bool // every packet to our port comes here
	named bool // the rules on the way speak of our port
}

const maxJumps = 16 // the kernel's own limit

func (f *follower) walk(chain *nftables.Chain, way certainty, depth int) fate {
	rules, err := f.GetRules(chain.Table, chain)
	if err != nil || depth > maxJumps {
		return undecided
	}
	for _, rule := range rules {
		applies, here := f.matches(chain.Table, rule, way)
		if !applies {
			continue
		}
		for _, e := range rule.Exprs {
			end := undecided
			switch e := e.(type) {
			case *expr.Reject:
				end = dropped
			case *expr.Verdict:
				switch e.Kind {
				case expr.VerdictAccept:
					end = accepted
				case expr.VerdictDrop:
					end = dropped
				case expr.VerdictJump, expr.VerdictGoto:
					if end := f.walk(&nftables.Chain{Table: chain.Table, Name: e.Chain}, here, depth+1); end != undecided {
						return end
					}
				default: // goes on, or leaves the chain: see below
				}
				if here.sure && (e.Kind == expr.VerdictReturn || e.Kind == expr.VerdictGoto) {
					return undecided
				}
			}
			// Behind a condition that we cannot judge, only what speaks of our
			// port counts, and a drop does not: it is meant for some.
			if end == accepted && (here.sure || here.named) || end == dropped && here.sure {
				return end
			}
		}
	}
	return undecided
}

// matches reports whether rule can apply to a packet to our port that came way,
// and what is certain then.
func (f *follower) matches(table *nftables.Table, rule *nftables.Rule, way certainty) (bool, certainty) {
	held := map[uint32][]byte{} // what the packet has, by register; nil: not known
	judge := func(register uint32, holds func(value []byte) bool) bool {
		value := held[register]
		if value == nil {
			way.sure = false
			return true
		}
		way.named = way.named || len(value) == len(f.port)
		return holds(value)
	}
	for _, e := range rule.Exprs {
		ok := true
		switch e := e.(type) {
		case *expr.Counter, *expr.Log, *expr.Verdict, *expr.Reject:
		case *expr.Meta:
			held[e.Register] = nil
			if e.Key == expr.MetaKeyL4PROTO {
				held[e.Register] = []byte{unix.IPPROTO_UDP}
			}
		case *expr.Payload:
			held[e.DestRegister] = nil
			if e.Base == expr.PayloadBaseTransportHeader && e.Offset == destinationPort && e.Len == 2 {
				held[e.DestRegister] = f.port
			}
			if e.Base == expr.PayloadBaseNetworkHeader && e.Offset == protocol4 && e.Len == 1 {
				held[e.DestRegister] = []byte{unix.IPPROTO_UDP}
			}
		case *expr.Cmp:
			ok = judge(e.Register, func(value []byte) bool { return bytes.Equal(value, e.Data) == (e.Op == expr.CmpOpEq) })
		case *expr.Range:
			ok = judge(e.Register, func(value []byte) bool {
				within := bytes.Compare(e.FromData, value) <= 0 && bytes.Compare(value, e.ToData) <= 0
				return within == (e.Op == expr.CmpOpEq)
			})
		case *expr.Lookup:
			if e.IsDestRegSet { // a map: its verdict is not known
				held, way.sure = map[uint32][]byte{}, false
				continue
			}
			ok = judge(e.SourceRegister, func(value []byte) bool { return f.contains(table, e.SetName, value) != e.Invert })
		case *expr.Match:
			if udp, is := e.Info.(*xt.Udp); is {
				port := binary.BigEndian.Uint16(f.port)
				ok = (udp.DstPorts[0] <= port && port <= udp.DstPorts[1]) == (udp.InvFlags&xt.UdpInvDestPorts == 0)
				way.named = way.named || udp.DstPorts != [2]uint16{0, math.MaxUint16}
				way.sure = way.sure && udp.SrcPorts == [2]uint16{0, math.MaxUint16}
				break
			}
			way.sure = way.sure && e.Name == "comment"
		default:
			held, way.sure = map[uint32][]byte{}, false
		}
		if !ok {
			return false, way
		}
	}
	return true, way
}

// contains reports whether a set has value, as an element or in an interval.
func (f *follower) contains(table *nftables.Table, name string, value []byte) bool {
	elements, err := f.GetSetElements(&nftables.Set{Table: table, Name: name})
	if err != nil {
		return false
	}
	intervals := slices.ContainsFunc(elements, func(e nftables.SetElement) bool { return e.IntervalEnd })
	slices.SortFunc(elements, byKey)
	in := false
	for _, e := range elements {
		order := bytes.Compare(e.Key, value)
		if order > 0 {
			break
		}
		in = !e.IntervalEnd && (order == 0 || intervals)
	}
	return in
}
