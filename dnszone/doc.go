// Package dnszone names servers: it turns a set of hosts into the private DNS
// zones of one network and answers queries from them as bytes.
//
// [Build] takes the hosts of the whole network and returns an immutable [Set]:
// a forward zone per suffix and the reverse zones inside the network's own
// prefixes. [Set.Update] derives the next Set at the cost of the names that
// change. A Set is a pure function of its configuration, serial and hosts,
// never of their order, and safe for concurrent use. Nothing here opens a
// socket, reads the clock or starts a goroutine.
//
// # Names
//
// A server web-1 of the application shop is web-1.shop.apn always, and web-1.apn
// as long as no other application has a web-1. Where two hosts want one name,
// nobody gets it: a name that silently moved to another server would move
// traffic and credentials with it. The withheld name holds one TXT record that
// says so, and the [Report] lists it. [Host] and [CollisionPolicy] have the
// details.
//
// # Suffix
//
// The default suffix is "apn.". "apn.internal." is the alternative for those who
// want a name below the domain that ICANN set aside for private use. A
// validating resolver that forwards the suffix needs an exception for it
// (unbound: domain-insecure: "apn").
package dnszone
