package wgdev_test

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/apnkit/apnkit/apn/agent/wgdev"
)

func TestAppendConfig(t *testing.T) {
	t.Parallel()
	k, zero := wgtypes.Key{1, 2, 255}, wgtypes.Key{}
	hex := "0102ff" + strings.Repeat("00", 29)
	port, mark, keepalive, off := 51820, 7, 25*time.Second, time.Duration(0)
	_, v4, err := net.ParseCIDR("10.66.0.0/24")
	require.NoError(t, err)
	tests := []struct {
		name   string
		config wgtypes.Config
		want   string
	}{
		{"nothing", wgtypes.Config{}, ""},
		{
			"interface",
			wgtypes.Config{PrivateKey: &k, ListenPort: &port, FirewallMark: &mark, ReplacePeers: true},
			"private_key=" + hex + "\nlisten_port=51820\nfwmark=7\nreplace_peers=true\n",
		},
		{"no key", wgtypes.Config{PrivateKey: &zero}, "private_key=" + strings.Repeat("00", 32) + "\n"},
		{"peer", wgtypes.Config{Peers: []wgtypes.PeerConfig{{
			PublicKey: k, UpdateOnly: true, PresharedKey: &k, Endpoint: &net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1},
			PersistentKeepaliveInterval: &keepalive, ReplaceAllowedIPs: true, AllowedIPs: []net.IPNet{*v4},
		}}}, "public_key=" + hex + "\nupdate_only=true\npreshared_key=" + hex + "\nendpoint=192.0.2.1:1\npersistent_keepalive_interval=25\nreplace_allowed_ips=true\nallowed_ip=10.66.0.0/24\n"},
		{
			"IPv6 endpoint",
			wgtypes.Config{Peers: []wgtypes.PeerConfig{{PublicKey: k, Endpoint: &net.UDPAddr{IP: net.ParseIP("fe80::1"), Port: 1, Zone: "eth0"}, PersistentKeepaliveInterval: &off}}},
			"public_key=" + hex + "\nendpoint=[fe80::1%eth0]:1\npersistent_keepalive_interval=0\n",
		},
		{"removed", wgtypes.Config{Peers: []wgtypes.PeerConfig{{PublicKey: k, Remove: true, PresharedKey: &k}}}, "public_key=" + hex + "\nremove=true\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, tt.want, string(wgdev.AppendConfig(nil, tt.config)))
		})
	}
}

// FuzzParseDevice wants no answer to crash the reader, and no error to repeat
// what may be a key.
func FuzzParseDevice(f *testing.F) {
	hex := strings.Repeat("07", 32)
	f.Add("")
	f.Add("private_key=" + hex + "\nlisten_port=51820\nfwmark=1\n")
	f.Add("private_key=" + hex + "zz\n")
	f.Add("listen_port=x\n")
	f.Add("public_key=" + hex + "\npreshared_key=" + hex + "\nprotocol_version=1\nendpoint=[2001:db8::1]:1\nlast_handshake_time_sec=1700000000\n" +
		"last_handshake_time_nsec=5\ntx_bytes=1\nrx_bytes=2\npersistent_keepalive_interval=25\nallowed_ip=10.0.0.0/8\nallowed_ip=::/0\nerrno=0\n\n")
	f.Add("public_key=" + hex + "00\n")
	f.Add("public_key=" + hex[2:] + "\nendpoint=nowhere\n")
	f.Fuzz(func(t *testing.T, text string) {
		d, err := wgdev.ParseDevice(text)
		if err != nil {
			require.Nil(t, d)
			require.NotContains(t, err.Error(), hex)
			return
		}
		require.LessOrEqual(t, len(d.Peers), strings.Count(text, "public_key="))
	})
}
