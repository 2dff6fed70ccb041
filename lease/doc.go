// Package lease decides who may knock at a WireGuard port, from where, until
// when.
//
// A [Lease] opens the port of an application's servers for one source address
// for a while, 24 hours by default; a [Rule] does so for good. [Policy] makes
// the decisions: pure functions for a caller that keeps leases as rows of its
// own. [Book] keeps them in memory and knows which one ends next.
//
// [ClientAddr] finds the address of an HTTP client behind trusted proxies,
// [SourcePrefix] turns it into the source of a lease, [RulePrefix] checks the
// source of a rule. [OpeningsOf] sums up what a [Firewall] must let in.
//
// An open port is not access: everybody behind the same NAT may knock, and the
// WireGuard keys still decide. The truth about a lease is [Lease.Active]; it
// ends at its time even if nobody expires it.
//
// Nothing here does I/O, reads the clock or starts a goroutine. Times come in
// as parameters and go out in UTC.
package lease
