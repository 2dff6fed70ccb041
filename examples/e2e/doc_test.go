// Package e2e_test is the proof that the network works: the real programs of
// examples/server and examples/agent on hosts that are network namespaces, and
// real packets between them.
//
//	go test ./examples/e2e
//
// A bridge is the Internet, 203.0.113.0/24. On it are the control plane, servers
// of two apps, a home router that translates addresses with ada's laptop behind
// it, a stranger whose key the servers know and who has no lease, and a neighbour
// without a key. Each host has a network, a mount table, and an /etc, a /run and
// a /var/lib of its own, so all programs run with their usual settings.
//
// bed_test.go builds that, steps_test.go and those after it say what must hold.
package e2e_test
