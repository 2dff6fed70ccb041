// Package leasetest proves that a [lease.Firewall] keeps its contract: [Run]
// sends datagrams through it. [Fake] is a firewall in memory that passes, for
// tests of what stands on one.
//
// The kit uses plain testing, so that who writes a firewall inherits nothing.
package leasetest
