// Package wgdev holds one WireGuard interface on Linux: the kernel's where there
// is one, otherwise wireguard-go in this process behind a TUN.
//
// [Open] makes an [Interface], [Interface.Configure] changes its keys and peers,
// [Interface.SetLinks] its addresses and routes, and [Interface.Close] takes all
// of it away again. Nothing that somebody else made is ever changed: an
// interface of the same name is an error, and so is a socket that somebody
// listens on.
//
// With a [Options.Namespace] the interface lives in a network namespace, of an
// application for instance, while its UDP socket stays where this process is:
// what runs there has the private network and nothing else.
//
// An interface of wireguard-go answers on /run/wireguard/NAME.sock, so wg(8)
// shows it. The path knows no network namespaces: names are unique per host.
package wgdev
