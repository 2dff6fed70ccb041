package apnhttp

import (
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"github.com/apnkit/apnkit/apn"
	"github.com/apnkit/apnkit/lease"
)

type portLease struct {
	ID        string       `json:"id"`
	App       string       `json:"app"`
	Member    string       `json:"member"`
	Source    netip.Prefix `json:"source"`
	IssuedAt  time.Time    `json:"issued_at"`
	ExpiresAt time.Time    `json:"expires_at"`
}

func leaseOf(l lease.Lease) portLease {
	return portLease{ID: l.ID, App: l.App, Member: l.Member, Source: l.Source, IssuedAt: l.IssuedAt, ExpiresAt: l.ExpiresAt}
}

func leasesOf(all []lease.Lease) list[portLease] {
	out := list[portLease]{Items: make([]portLease, len(all))}
	for i, l := range all {
		out.Items[i] = leaseOf(l)
	}
	return out
}

type leaseIn struct {
	Member   string   `json:"member"`
	Sources  []string `json:"sources"`
	Duration string   `json:"duration"`
}

// addLease is "Lease Now": without sources, for the address that asks.
func (c *call) addLease() error {
	var in leaseIn
	if err := c.decode(&in, true); err != nil {
		return err
	}
	var f fields
	who := in.Member
	switch {
	case !c.who.Operator && in.Member != "" && in.Member != c.who.Member:
		return apn.ErrForbidden // nobody leases in another's name
	case !c.who.Operator:
		who = c.who.Member
	case in.Member == "":
		f.add("member", "is required: whose lease it is")
	}
	var sources []netip.Addr
	for i, s := range in.Sources {
		sources = append(sources, f.source(fmt.Sprintf("sources[%d]", i), s))
	}
	if in.Sources == nil {
		if c.fromErr != nil {
			f.add("sources", "must be given: "+c.fromErr.Error())
		}
		sources = []netip.Addr{c.from}
	}
	opts := &apn.LeaseOptions{CommitOptions: c.opts, Duration: f.duration("duration", in.Duration)}
	if err := f.err(); err != nil {
		return err
	}
	name := c.r.PathValue("app")
	leases, err := c.net.Lease(c.ctx(), name, who, sources, opts)
	if c.repeated(err) {
		leases, err = c.leasesFor(name, who, sources)
	}
	if err != nil {
		return err
	}
	switch {
	case c.planned():
		return nil
	case c.replay:
		return c.json(http.StatusOK, leasesOf(leases))
	default:
		return c.json(http.StatusCreated, leasesOf(leases))
	}
}

// source reads an address that must be there.
func (f *fields) source(field, s string) netip.Addr {
	if s == "" {
		f.add(field, "must be an IP address without a zone")
	}
	return f.addr(field, s)
}

// leasesFor returns the leases that an earlier request for the same granted.
func (c *call) leasesFor(app, member string, sources []netip.Addr) ([]lease.Lease, error) {
	var out []lease.Lease
	for _, addr := range sources {
		source, err := lease.SourcePrefix(addr, &lease.SourceOptions{AllowPrivate: true, AllowLoopback: true})
		if err != nil {
			return nil, apn.ErrNotFound
		}
		id := lease.IDOf(lease.Key{Network: c.net.Name(), App: app, Member: member, Source: source})
		l, err := c.net.LeaseByID(app, id)
		if err != nil {
			return nil, err
		}
		out = append(out, l)
	}
	return out, nil
}

// listLeases answers with all leases of the app, or to a member who does not
// administer it with the member's own.
func (c *call) listLeases() error {
	leases, err := c.net.Leases(c.r.PathValue("app"))
	if err != nil {
		return err
	}
	seen := leases[:0]
	for _, l := range leases {
		if c.sees(l) {
			seen = append(seen, l)
		}
	}
	return answerAll(c, seen, func(l lease.Lease) string { return l.ID }, leaseOf)
}

func (c *call) sees(l lease.Lease) bool { return c.role() >= apn.Admin || l.Member == c.who.Member }

// leaseAt returns the lease that the path names. One that the principal may not
// see is not there: its ID is a hash that could serve to guess its source.
func (c *call) leaseAt() (lease.Lease, error) {
	l, err := c.net.LeaseByID(c.r.PathValue("app"), c.r.PathValue("lease"))
	if err == nil && !c.sees(l) {
		return lease.Lease{}, apn.ErrNotFound
	}
	return l, err
}

func (c *call) lease() error {
	l, err := c.leaseAt()
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, leaseOf(l))
}

func (c *call) revokeLease() error {
	l, err := c.leaseAt()
	if err != nil {
		return err
	}
	return c.removed(c.net.RevokeLease(c.ctx(), l.App, l.ID, &c.opts))
}

type renewIn struct {
	Duration string `json:"duration"`
}

func (c *call) renewLease() error {
	var in renewIn
	if err := c.decode(&in, true); err != nil {
		return err
	}
	var f fields
	d := f.duration("duration", in.Duration)
	if err := f.err(); err != nil {
		return err
	}
	l, err := c.leaseAt()
	if err != nil {
		return err
	}
	renewed, err := c.net.RenewLease(c.ctx(), l.App, l.ID, d, &c.opts)
	if c.repeated(err) {
		renewed, err = l, nil
	}
	if err != nil {
		return err
	}
	if c.planned() {
		return nil
	}
	return c.json(http.StatusOK, leaseOf(renewed))
}
