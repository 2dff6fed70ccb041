package apn_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn"
	"github.com/apnkit/apnkit/keys"
	"github.com/apnkit/apnkit/render"
)

func TestStale(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(*testing.T, *apn.Network) error
		want   []apn.Reason
	}{
		{name: "nothing", change: func(*testing.T, *apn.Network) error { return nil }},
		{
			name: "server added",
			change: func(t *testing.T, n *apn.Network) error {
				t.Helper()
				_, err := n.AddServer(t.Context(), "shop", "web-9", nil)
				return err
			},
			want: []apn.Reason{{Kind: apn.ServerAdded, Object: "shop/web-9"}},
		},
		{
			name: "server added out of reach",
			change: func(t *testing.T, n *apn.Network) error {
				t.Helper()
				_, err := n.AddServer(t.Context(), "lab", "web-9", nil)
				return err
			},
		},
		{
			name: "server removed",
			change: func(t *testing.T, n *apn.Network) error {
				t.Helper()
				return n.RemoveServer(t.Context(), "shop", "web-2", nil)
			},
			want: []apn.Reason{{Kind: apn.ServerRemoved, Object: "shop/web-2"}},
		},
		{
			name: "endpoint changed",
			change: func(t *testing.T, n *apn.Network) error {
				t.Helper()
				to := "203.0.113.77:51820"
				_, err := n.UpdateServer(t.Context(), "shop", "web-2", apn.ServerUpdate{Endpoint: &to})
				return err
			},
			want: []apn.Reason{{Kind: apn.ServerEndpoint, Object: "shop/web-2"}},
		},
		{
			name: "server key rotated",
			change: func(t *testing.T, n *apn.Network) error {
				t.Helper()
				_, err := n.RotateServer(t.Context(), "shop", "web-2", keys.PublicKey{}, nil)
				return err
			},
			want: []apn.Reason{{Kind: apn.ServerKey, Object: "shop/web-2"}},
		},
		{
			name: "server replaced under its name",
			change: func(t *testing.T, n *apn.Network) error {
				t.Helper()
				if err := n.RemoveServer(t.Context(), "shop", "web-2", nil); err != nil {
					return err
				}
				_, err := n.AddServer(t.Context(), "shop", "web-2", nil)
				return err
			},
			want: []apn.Reason{{Kind: apn.ServerKey, Object: "shop/web-2"}},
		},
		{
			name: "access lost",
			change: func(t *testing.T, n *apn.Network) error {
				t.Helper()
				return n.SetRole(t.Context(), "ada", "shop", apn.Viewer, nil)
			},
			want: []apn.Reason{{Kind: apn.AccessLost, Object: "shop"}},
		},
		{
			name: "access gained",
			change: func(t *testing.T, n *apn.Network) error {
				t.Helper()
				return n.SetRole(t.Context(), "ada", "lab", apn.Admin, nil)
			},
			want: []apn.Reason{{Kind: apn.AccessGained, Object: "lab"}},
		},
		{
			name: "own key rotated",
			change: func(t *testing.T, n *apn.Network) error {
				t.Helper()
				_, err := n.RotateDevice(t.Context(), "ada", "laptop", keys.PublicKey{}, nil)
				return err
			},
			want: []apn.Reason{{Kind: apn.KeyRotated}},
		},
		{
			name: "settings",
			change: func(t *testing.T, n *apn.Network) error {
				t.Helper()
				on := true
				_, err := n.Update(t.Context(), apn.NetworkUpdate{PresharedKeys: &on})
				return err
			},
			want: []apn.Reason{{Kind: apn.SettingsChanged}},
		},
		{
			name: "worst first",
			change: func(t *testing.T, n *apn.Network) error {
				t.Helper()
				if _, err := n.AddServer(t.Context(), "blog", "web-9", nil); err != nil {
					return err
				}
				return n.SetRole(t.Context(), "ada", "shop", apn.NoRole, nil)
			},
			want: []apn.Reason{{Kind: apn.AccessLost, Object: "shop"}, {Kind: apn.ServerAdded, Object: "blog/web-9"}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			n := network(t)
			shop(t, n)
			_, err := n.AddApp(t.Context(), "lab", nil)
			require.NoError(t, err)
			_, err = n.AddServer(t.Context(), "lab", "bench", nil)
			require.NoError(t, err)
			d, err := n.Device("ada", "laptop")
			require.NoError(t, err)
			require.Nil(t, d.HandedOut)
			require.Empty(t, d.Stale, "nothing was handed out, so nothing is stale")

			cfg, err := n.DeviceConfig(t.Context(), "ada", "laptop")
			require.NoError(t, err)
			require.NoError(t, tt.change(t, n))

			d, err = n.Device("ada", "laptop")
			require.NoError(t, err)
			require.Equal(t, tt.want, d.Stale)
			require.Equal(t, cfg.Fingerprint().String(), d.HandedOut.Fingerprint)

			_, err = n.DeviceConfig(t.Context(), "ada", "laptop")
			require.NoError(t, err)
			d, err = n.Device("ada", "laptop")
			require.NoError(t, err)
			require.Empty(t, d.Stale, "a new file clears it")
		})
	}
}

func TestHandOutRecordsOnlySuccess(t *testing.T) {
	t.Parallel()
	n := network(t)
	shop(t, n)
	d, err := n.Device("ada", "laptop")
	require.NoError(t, err)
	before := n.Rev()
	err = n.HandOut(t.Context(), "ada", "laptop", func(*renderConfig, render.Fingerprint) error { return errTest })
	require.ErrorIs(t, err, errTest)
	require.Equal(t, before, n.Rev())
	after, err := n.Device("ada", "laptop")
	require.NoError(t, err)
	require.Equal(t, d, after)
}

func TestLargeHandOut(t *testing.T) {
	t.Parallel()
	n := network(t)
	addServers(t, n, "shop", 0, 1000)
	_, err := n.AddMember(t.Context(), "ada", nil)
	require.NoError(t, err)
	require.NoError(t, n.SetRole(t.Context(), "ada", "shop", apn.Developer, nil))
	_, err = n.AddDevice(t.Context(), "ada", "laptop", nil)
	require.NoError(t, err)
	_, err = n.DeviceConfig(t.Context(), "ada", "laptop")
	require.NoError(t, err)
	require.NoError(t, n.RemoveServer(t.Context(), "shop", "s0999", nil))
	addServers(t, n, "shop", 1000, 1001)
	d, err := n.Device("ada", "laptop")
	require.NoError(t, err)
	require.Equal(t, 1000, d.Servers)
	require.Equal(t, []apn.Reason{
		{Kind: apn.ServerRemoved, Object: "shop/s0999"}, {Kind: apn.ServerAdded, Object: "shop/s1000"},
	}, d.Stale)
}

func TestPlan(t *testing.T) {
	t.Parallel()
	n := network(t)
	shop(t, n)
	_, err := n.AddApp(t.Context(), "lab", nil)
	require.NoError(t, err)
	require.NoError(t, n.SetLink(t.Context(), "lab", "shop", false, nil))
	require.NoError(t, n.SetLink(t.Context(), "lab", "blog", false, nil))
	_, err = n.AddServer(t.Context(), "lab", "bench", nil)
	require.NoError(t, err)
	before := n.Rev()

	var plan apn.Plan
	s, err := n.AddServer(t.Context(), "shop", "web-9", &apn.ServerOptions{CommitOptions: apn.CommitOptions{DryRun: &plan}})
	require.NoError(t, err)
	require.Equal(t, []string{"blog/web-1", "shop/db-1", "shop/web-1", "shop/web-2", "shop/web-9"}, plan.Servers)
	require.Equal(t, []string{"ada/laptop"}, plan.Devices)
	require.Equal(t, []string{"web-9.apn", "web-9.shop.apn"}, objects(plan.Names))
	require.NotEmpty(t, s.Addresses)

	_, err = n.AddServer(t.Context(), "lab", "web-2", &apn.ServerOptions{CommitOptions: apn.CommitOptions{DryRun: &plan}})
	require.NoError(t, err)
	require.Equal(t, []string{"lab/bench", "lab/web-2"}, plan.Servers)
	require.Empty(t, plan.Devices)
	require.Equal(t, []string{"web-2.apn", "web-2.lab.apn"}, objects(plan.Names), "the short name would be lost")
	require.Empty(t, plan.Names[0].After)

	require.NoError(t, n.SetRole(t.Context(), "ada", "shop", apn.NoRole, &apn.CommitOptions{DryRun: &plan}))
	require.Equal(t, []string{"shop/db-1", "shop/web-1", "shop/web-2"}, plan.Servers)
	require.Equal(t, []string{"ada/laptop"}, plan.Devices)
	require.Empty(t, plan.Names)

	require.Equal(t, before, n.Rev(), "nothing was committed")
	added, err := n.AddServer(t.Context(), "shop", "web-9", nil)
	require.NoError(t, err)
	require.Equal(t, s.Addresses, added.Addresses, "what is planned is what happens")
}

func objects(list []apn.PlanChange) []string {
	var names []string
	for _, c := range list {
		names = append(names, c.Object)
	}
	return names
}

func TestCheckConfig(t *testing.T) {
	t.Parallel()
	n := network(t)
	shop(t, n)
	ctx := t.Context()
	check := func(cfg *renderConfig) apn.ConfigState {
		state, d := n.CheckConfig(cfg.Interface.PublicKey, cfg.Fingerprint())
		if state != apn.ConfigUnknown {
			require.Equal(t, "laptop", d.Name)
		}
		return state
	}
	cfg, err := n.DeviceConfig(ctx, "ada", "laptop")
	require.NoError(t, err)
	require.Equal(t, apn.ConfigCurrent, check(cfg))
	_, err = n.AddServer(ctx, "shop", "web-9", nil)
	require.NoError(t, err)
	require.Equal(t, apn.ConfigStale, check(cfg))

	var parts []*renderConfig
	require.NoError(t, n.HandOutApps(ctx, "ada", "laptop", func(list []*renderConfig) error {
		parts = list
		return nil
	}))
	require.Equal(t, apn.ConfigSuperseded, check(cfg))
	require.Len(t, parts, 2)
	require.Equal(t, "acme-blog", parts[0].Name)
	require.Len(t, parts[0].Peers, 1)
	require.Len(t, parts[1].Peers, 4)
	for _, part := range parts {
		require.Equal(t, apn.ConfigCurrent, check(part))
	}
	edited := parts[0].Clone()
	edited.Interface.MTU = 1280
	require.Equal(t, apn.ConfigSuperseded, check(edited))
	require.NoError(t, n.RemoveDevice(ctx, "ada", "laptop", nil))
	require.Equal(t, apn.ConfigUnknown, check(cfg))
	server, err := n.Server("shop", "web-1")
	require.NoError(t, err)
	state, _ := n.CheckConfig(server.PublicKey, cfg.Fingerprint())
	require.Equal(t, apn.ConfigUnknown, state, "a server's key is no device's")
}
