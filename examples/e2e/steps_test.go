//go:build linux

package e2e_test

import (
	"testing"
	"time"
)

// TestNetwork is one story: each step finds the network as the step before left
// it.
func TestNetwork(t *testing.T) {
	need(t)
	began := time.Now()
	b := newBed(t)
	t.Logf("the network is up after %v", time.Since(began).Round(time.Millisecond))
	for _, s := range []struct {
		name string
		run  func(*bed, *testing.T)
	}{
		{"closed before the lease", (*bed).closed},
		{"servers reach each other", (*bed).mesh},
		{"links between apps", (*bed).links},
		{"lease", (*bed).lease},
		{"stranger and neighbour stay outside", (*bed).others},
		{"revoked", (*bed).revoked},
		{"lease ends, with the agent killed too", (*bed).ends},
		{"renewed", (*bed).renewed},
		{"server added", (*bed).added},
		{"key rotated", (*bed).rotated},
		{"role lost", (*bed).lostRole},
		{"control plane stopped", (*bed).stopped},
		{"nothing to do", (*bed).idle},
		{"ruleset flushed", (*bed).flushed},
		{"namespace", (*bed).namespaced},
		{"agent leaves", (*bed).left},
		{"program dials in", (*bed).dialer},
		{"throughput", (*bed).speed},
	} {
		t.Run(s.name, func(t *testing.T) {
			began := time.Now()
			s.run(b, t)
			t.Logf("took %v", time.Since(began).Round(time.Millisecond))
		})
	}
}
