// Package userspace takes a Go program into an application's network without
// root, a TUN or a process beside it: WireGuard and TCP/IP run inside the
// program.
//
// [New] takes the config that a device or server would be given; a [Net] then
// dials by name like a [net.Dialer]:
//
//	n, err := userspace.New(cfg, nil)
//	client := &http.Client{Transport: &http.Transport{DialContext: n.DialContext}}
//
// The rest of the host sees one UDP socket. It has no route into the network,
// and no program but this one can reach it.
//
// gVisor's network stack comes along, about 5 MB of program. Nothing else in this
// module links it.
package userspace
