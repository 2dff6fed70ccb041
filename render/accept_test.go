package render_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/render"
)

// Programs that nobody here wrote read what was rendered. Where one is missing
// its test is skipped, unless APN_REQUIRE=all.

// tool returns the path of a program.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		lacking(t, name+" is not installed")
	}
	return path
}

func lacking(t *testing.T, reason string) {
	t.Helper()
	if os.Getenv("APN_REQUIRE") == "all" {
		t.Fatal(reason)
	}
	t.Skip(reason)
}

// save writes a text where a program can read it.
func save(t *testing.T, name string, text []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, text, 0o600))
	return path
}

// accepted are configs whose endpoints are addresses: wg resolves names while it
// reads.
func accepted(t *testing.T) map[string]*render.Config {
	t.Helper()
	list := map[string]*render.Config{"server": server(t)}
	for _, s := range shapes {
		for _, peers := range []int{0, 1, 10, 11} {
			if !s.hostName {
				list[fmt.Sprintf("%s-%d", s.name, peers)] = device(t, s, peers)
			}
		}
	}
	return list
}

// setconf lets wg read a file for an interface that does not exist.
func setconf(t *testing.T, text []byte) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), tool(t, "wg"), "setconf", "apn-absent", save(t, "wg.conf", text)).CombinedOutput()
	require.Error(t, err, "the interface exists")
	return string(out)
}

func TestAcceptWG(t *testing.T) {
	t.Parallel()
	const refused = "Configuration parsing error"
	require.Contains(t, setconf(t, []byte("[Interface]\nPrivateKey = x\n")), refused)
	for name, c := range accepted(t) {
		text, err := render.SetConf.Append(nil, c, nil)
		require.NoError(t, err)
		require.NotContains(t, setconf(t, text), refused, name)
	}
}

func TestAcceptWGQuick(t *testing.T) {
	t.Parallel()
	args := []string{tool(t, "wg-quick"), "strip"}
	if os.Geteuid() != 0 { // wg-quick insists on being root, even to read
		args = append([]string{tool(t, "unshare"), "-r"}, args...)
	}
	tool(t, "wg")
	for name, c := range accepted(t) {
		c.Name = strings.Repeat("x", 20)
		text, err := render.Quick.Append(nil, c, nil)
		require.NoError(t, err)
		file, err := render.Quick.Filename(c)
		require.NoError(t, err)
		stripped, err := exec.CommandContext(t.Context(), args[0], append(args[1:], save(t, file, text))...).Output()
		require.NoError(t, err, name)
		require.NotContains(t, setconf(t, stripped), "Configuration parsing error", name)
		for _, key := range []string{"Address", "DNS", "MTU", "Table"} {
			require.NotContains(t, string(stripped), "\n"+key)
		}
	}
}

func TestAcceptNetworkManager(t *testing.T) {
	t.Parallel()
	nmcli := tool(t, "nmcli")
	// NetworkManager drops what it cannot read without a word, so all that went in
	// must come out.
	important := regexp.MustCompile(`(?m)^(\[wireguard-peer\..*|(private-key|listen-port|fwmark|mtu|endpoint|preshared-key|persistent-keepalive|allowed-ips|address\d+|dns|dns-search|route-table|peer-routes|method|interface-name)=.*)$`)
	list := accepted(t)
	list["hostname"] = device(t, shapes[5], 3)
	list["off"] = device(t, shapes[2], 3)
	list["off"].Interface.Table = render.TableOff
	for name, c := range list {
		text, err := render.NMKeyfile.Append(nil, c, nil)
		require.NoError(t, err)
		cmd := exec.CommandContext(t.Context(), nmcli, "--offline", "connection", "modify", "connection.autoconnect", "no")
		cmd.Stdin = bytes.NewReader(text)
		out, err := cmd.Output()
		require.NoError(t, err, name)
		require.ElementsMatch(t, important.FindAllString(string(text), -1), important.FindAllString(string(out), -1), name)
	}
}

func TestAcceptNetworkd(t *testing.T) {
	t.Parallel()
	const networkd = "/lib/systemd/systemd-networkd"
	if _, err := os.Stat(networkd); err != nil {
		lacking(t, "systemd-networkd is not installed")
	}
	good := runNetworkd(t, networkd, server(t), func(s string) string { return s })
	require.Contains(t, good, `apn0: loaded "wireguard"`)
	require.NotRegexp(t, `apn0\.net(dev|work):\d+:`, good)

	bad := runNetworkd(t, networkd, server(t), func(s string) string { return strings.ReplaceAll(s, "10.66.1.0/32", "10.66.1.0/99") })
	require.Regexp(t, `apn0\.netdev:\d+:`, bad, "networkd tells where it cannot read a file")
}

// runNetworkd starts networkd in namespaces of its own until it has read its
// files, and returns its log.
func runNetworkd(t *testing.T, networkd string, c *render.Config, change func(string) string) string {
	t.Helper()
	dir := t.TempDir()
	for _, f := range []render.Format{render.NetworkdNetdev, render.NetworkdNetwork} {
		text, err := f.Append(nil, c, nil)
		require.NoError(t, err)
		name, err := f.Filename(c)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(change(string(text))), 0o644)) // networkd reads as a user of its own
	}
	args := []string{"-n", "-m", "sh", "-c", `
		mkdir -p /etc/systemd/network && mount --bind "$1" /etc/systemd/network && mount -t tmpfs tmpfs /run &&
		mkdir -p /run/systemd/netif/links /run/systemd/netif/leases && exec "$2"`, "sh", dir, networkd}
	if os.Geteuid() != 0 {
		args = append([]string{"-r"}, args...)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	cmd := exec.CommandContext(ctx, tool(t, "unshare"), args...)
	cmd.Env = append(os.Environ(), "SYSTEMD_LOG_LEVEL=debug", "SYSTEMD_LOG_TARGET=console")
	out, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	var log strings.Builder
	started := false
	for lines := bufio.NewScanner(out); lines.Scan(); {
		log.WriteString(lines.Text() + "\n")
		if strings.Contains(lines.Text(), "Enumeration completed") {
			started = true
			break
		}
	}
	stop()
	_ = cmd.Wait() // it was stopped
	if !started {
		lacking(t, "networkd does not run here: "+log.String())
	}
	return log.String()
}

func TestAcceptZbar(t *testing.T) {
	t.Parallel()
	zbarimg := tool(t, "zbarimg")
	scan := func(image []byte) string {
		out, err := exec.CommandContext(t.Context(), zbarimg, "--quiet", "--raw", "--oneshot", "-Sbinary", save(t, "qr.png", image)).Output()
		require.NoError(t, err)
		return string(out)
	}
	for _, s := range shapes {
		c := device(t, s, 10)
		want, err := render.Compact.Append(nil, c, nil)
		require.NoError(t, err)
		symbol, err := render.QR(c, nil)
		require.NoError(t, err)
		require.Equal(t, string(want), scan(symbol.AppendPNG(nil, 2)), s.name) // the smallest that zbar reads
	}
	c := device(t, shapes[0], 5)
	want, err := render.Compact.Append(nil, c, nil)
	require.NoError(t, err)
	for l := render.LevelL; l <= render.LevelH; l++ {
		for _, encoder := range []render.QREncoder{nil, render.Skip2{}} {
			symbol, err := render.QR(c, &render.QROptions{Level: l, Encoder: encoder})
			require.NoError(t, err)
			require.Equal(t, string(want), scan(symbol.AppendPNG(nil, 0)))
		}
	}
}
