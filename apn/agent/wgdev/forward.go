//go:build linux

package wgdev

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// setForwarding lets the interface pass packets on, or ends that where it was
// our doing. The caller is in the namespace of the interface.
func (i *Interface) setForwarding(l Links) error {
	if !l.Forward {
		var err error
		for _, name := range i.forwards {
			_, failed := sysctl(name, "0")
			err = errors.Join(err, failed)
		}
		i.forwards = nil
		return err
	}
	err := i.forward("ipv4/conf/" + i.opts.Name + "/forwarding")
	if slices.ContainsFunc(l.Addresses, func(p netip.Prefix) bool { return p.Addr().Is6() }) {
		err = errors.Join(err, i.forward6())
	}
	return err
}

// forward6 needs Linux 6.17. Before, there is one switch for all interfaces, and
// a host on which it is set ignores router advertisements: that one is the
// administrator's.
func (i *Interface) forward6() error {
	err := i.forward("ipv6/conf/" + i.opts.Name + "/force_forwarding")
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	all, err := os.ReadFile("/proc/sys/net/ipv6/conf/all/forwarding")
	if err == nil && strings.TrimSpace(string(all)) != "1" {
		err = fmt.Errorf("%w IPv6: set net.ipv6.conf.all.forwarding=1", ErrForwarding)
	}
	return err
}

func (i *Interface) forward(name string) error {
	wrote, err := sysctl(name, "1")
	if wrote {
		i.forwards = append(i.forwards, name)
	}
	return err
}

// sysctl writes a setting of the network unless it is so already.
func sysctl(name, value string) (wrote bool, err error) {
	path := "/proc/sys/net/" + name
	got, err := os.ReadFile(path) //nolint:gosec // the name of the interface is checked
	if err != nil || strings.TrimSpace(string(got)) == value {
		return false, err
	}
	return true, os.WriteFile(path, []byte(value), 0o600)
}
