// Package nft enforces openings in the Linux kernel: an nftables table that
// lets the sources of leases and rules reach one UDP port, and nobody else.
//
// [Open] closes the port, [Table.Apply] opens it. Each lease is a set element
// with a timeout, so the kernel closes it on time even if this process is dead.
// Packets that the port sends are checked like those that it receives:
// otherwise WireGuard would go on sending to a device whose lease has ended.
//
// # Other firewalls
//
// The table has a name of its own and no other table is ever changed. It can
// close the port against the will of the host's firewall, but not open it: in
// nftables a drop is final, an accept is not. [Table.Warnings] says where the
// host's firewall will drop what we let in.
//
// Somebody else can delete the table ("nft flush ruleset"). [Table.Changes]
// tells of it, and the next [Table.Apply] puts the table back. [BootFile] keeps
// the port closed between the start of the kernel and that of the agent.
//
// # Spoofing
//
// Linux takes packets for any of its addresses on any interface, so without a
// rule a neighbour on the same wire reaches services on the private address
// with a plain route, past WireGuard. The table drops packets that carry
// addresses of the private network and come from anywhere else.
//
// The other way round, a host that forwards takes its peers wherever it has a
// route to. [Table.Forward] keeps them in the private network.
package nft
