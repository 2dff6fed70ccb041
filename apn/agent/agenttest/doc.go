// Package agenttest has fakes of what an agent acts on: a WireGuard interface, a
// firewall, names and a control plane, all in memory and safe for concurrent
// use. They count what is written, and fail when told to.
package agenttest
