// Package source is the control plane as an agent sees it: an HTTP client of the
// agent channel, whose protocol [github.com/apnkit/apnkit/apn/netmap] describes.
//
// [Join] makes a server a member of its network, once. A [Client] then is the
// agent's [agent.Source]. It trusts the certificate whose key the join token
// pinned, and nobody else; documents are signed besides.
package source
