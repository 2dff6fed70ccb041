// Package dnsserver puts a [dnszone.Set] on the wire: UDP in batches, TCP with
// pipelining, transfers to secondaries, and optional forwarding of other names.
//
// A [Server] answers from whatever its [Source] holds; a new Set takes effect
// with the next packet, without a lock on the way. Sockets come from the caller,
// bound, so that the server also runs inside a userspace network stack and
// needs no privilege of its own:
//
//	src := &dnsserver.Source{}
//	src.Store(set)
//	srv := dnsserver.New(src, nil)
//	go srv.ServePacket(ctx, conn)
//	go srv.ServeStream(ctx, listener)
//
// Bind the private addresses only: answers tell the names of all servers. On a
// socket that is bound to the unspecified address, replies leave from the address
// that was asked.
//
// # Pointing clients here
//
// The server answers for its own zones and refuses all other names, unless it
// forwards. So a client has to split its queries:
//
//   - Linux with systemd-resolved: resolvectl dns wg0 10.0.0.53;
//     resolvectl domain wg0 '~apn' apn; resolvectl default-route wg0 false.
//     Single labels are never sent to a DNS server, so people write web-1.apn or
//     rely on the search domain. DNSSEC validation needs resolvectl dnssec wg0 no.
//   - Linux without it: a local dnsmasq (server=/apn/10.0.0.53) or unbound
//     (stub-zone with domain-insecure: "apn").
//   - macOS: a file /etc/resolver/apn with "nameserver 10.0.0.53".
//   - Windows: Add-DnsClientNrptRule -Namespace ".apn" -NameServers 10.0.0.53.
//   - iOS, Android and wg-quick with "DNS = 10.0.0.53" send every query here.
//     That needs [Options.Forward]: glibc turns a refusal into "temporary
//     failure in name resolution" for every other name.
package dnsserver
