// Package agent makes a server match its netmap: the WireGuard interface, its
// addresses and routes, who may send to its port, and the names of its peers.
//
// An [Agent] holds the last document of the control plane that was signed by the
// network's key, on disk, too. [Agent.Sync] compares the server with it and
// writes what differs, so that traffic of peers that did not change goes on;
// without a difference nothing is written. [Agent.Run] follows the control
// plane, and keeps the server as it is while the control plane is away: peers
// stay, and leases end by themselves, because the kernel ends them.
//
// What the agent acts on comes through ports: [Interface], [Names], [Source] and
// [github.com/apnkit/apnkit/lease.Firewall]. The packages wgdev and source below
// this one have the usual ones, agenttest has fakes. [Plan] is the core and pure.
package agent
