package ipam

import "net/netip"

// DefaultExclusions returns the prefixes inside the private address space that
// widespread software and clouds use on their own, as a start for
// Config.Exclude. Leave out what the pool is meant to lie in.
func DefaultExclusions() []Exclusion {
	list := []Exclusion{
		{netip.MustParsePrefix("10.42.0.0/15"), "k3s pods and services"},
		{netip.MustParsePrefix("10.96.0.0/12"), "Kubernetes services (kubeadm)"},
		{netip.MustParsePrefix("10.244.0.0/16"), "Kubernetes pods (Flannel, kind)"},
		{netip.MustParsePrefix("100.100.0.0/16"), "Alibaba Cloud and Tailscale name servers"},
		{netip.MustParsePrefix("100.115.92.0/23"), "ChromeOS containers"},
		{netip.MustParsePrefix("169.254.0.0/16"), "link-local and cloud metadata"},
		{netip.MustParsePrefix("172.31.0.0/16"), "AWS default VPC"},
		{netip.MustParsePrefix("192.0.0.0/24"), "IETF protocol assignments (RFC 6890)"},
		{netip.MustParsePrefix("192.168.0.0/16"), "home networks and Docker"},
		{netip.MustParsePrefix("198.18.0.0/15"), "benchmark networks (RFC 2544)"},
		{netip.MustParsePrefix("fd00:ec2::/32"), "AWS metadata, time and name servers"},
		{netip.MustParsePrefix("fd20::/20"), "Google Cloud"},
		{netip.MustParsePrefix("fd7a:115c:a1e0::53/128"), "Tailscale name server"},
	}
	for i := byte(17); i <= 30; i++ {
		list = append(list, Exclusion{netip.PrefixFrom(netip.AddrFrom4([4]byte{172, i, 0, 0}), 16), "Docker"})
	}
	return list
}
