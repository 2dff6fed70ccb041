package apn_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn"
	"github.com/apnkit/apnkit/keys"
)

// slowRadar asks each device.
func slowRadar(t *testing.T, n *apn.Network) []string {
	t.Helper()
	ids := []string{}
	members, _ := n.Members(nil)
	for _, m := range members {
		devices, err := n.Devices(m.Name)
		require.NoError(t, err)
		for _, d := range devices {
			if len(d.Stale) > 0 {
				ids = append(ids, m.Name+"/"+d.Name)
			}
		}
	}
	return ids
}

// TestRadar changes a network at random: the radar and the devices agree.
func TestRadar(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	rnd := rand.New(rand.NewPCG(seed, 1))
	n := network(t)
	ctx := t.Context()
	shop(t, n)
	var steps []string
	seen := 0
	for i := range 400 {
		member, device := fmt.Sprintf("m%d", rnd.IntN(4)), fmt.Sprintf("d%d", rnd.IntN(3))
		app, server := []string{"shop", "blog"}[rnd.IntN(2)], fmt.Sprintf("s%d", rnd.IntN(5))
		var err error
		switch op := rnd.IntN(12); op {
		case 0:
			_, err = n.AddMember(ctx, member, nil)
		case 1, 2:
			err = n.SetRole(ctx, member, app, apn.Role(rnd.IntN(4)), nil)
		case 3, 4:
			_, err = n.AddDevice(ctx, member, device, nil)
		case 5:
			_, err = n.AddServer(ctx, app, server, nil)
		case 6:
			err = n.RemoveServer(ctx, app, server, nil)
		case 7:
			_, err = n.RotateDevice(ctx, member, device, keys.PublicKey{}, nil)
		case 8:
			err = n.RemoveDevice(ctx, member, device, nil)
		case 9:
			keepalive := time.Duration(rnd.IntN(3)) * time.Second
			_, err = n.Update(ctx, apn.NetworkUpdate{Keepalive: &keepalive})
		default:
			_, err = n.DeviceConfig(ctx, member, device)
		}
		steps = append(steps, fmt.Sprint(i, member, device, app, server, err))
		want := slowRadar(t, n)
		seen += len(want)
		require.Equal(t, want, n.StaleIDs(), "seed %d, steps %q", seed, steps[max(0, len(steps)-20):])
		require.Equal(t, len(want), n.StaleCount())
	}
	require.NotZero(t, seen)

	var got []string
	after := ""
	for more := true; more; {
		var page []apn.Device
		page, more = n.StaleDevices(&apn.ListOptions{After: after, Limit: 2})
		for _, d := range page {
			require.NotEmpty(t, d.Stale)
			after = d.Member + "/" + d.Name
			got = append(got, after)
		}
	}
	require.Equal(t, n.StaleIDs(), append([]string{}, got...))
}

func BenchmarkRadar(b *testing.B) {
	for _, size := range []int{10, 1000} {
		b.Run(fmt.Sprintf("servers=%d", size), func(b *testing.B) {
			n := network(b)
			ctx := b.Context()
			inv := apn.Inventory{Apps: []apn.InventoryApp{{Name: "shop"}}}
			for i := range size {
				inv.Apps[0].Servers = append(inv.Apps[0].Servers, apn.InventoryServer{Name: fmt.Sprintf("s%d", i)})
			}
			_, err := n.Import(ctx, inv, nil)
			require.NoError(b, err)
			for i := range 100 {
				name := fmt.Sprintf("m%d", i)
				_, err = n.AddMember(ctx, name, nil)
				require.NoError(b, err)
				require.NoError(b, n.SetRole(ctx, name, "shop", apn.Developer, nil))
				_, err = n.AddDevice(ctx, name, "laptop", nil)
				require.NoError(b, err)
				_, err = n.DeviceConfig(ctx, name, "laptop")
				require.NoError(b, err)
			}
			require.Zero(b, n.StaleCount())
			i := 0
			for b.Loop() {
				b.StopTimer()
				i++
				require.NoError(b, n.SetRole(ctx, "m0", "shop", apn.Role(2+i%2), nil)) // a revision that changes no config
				b.StartTimer()
				require.Zero(b, n.StaleCount())
			}
		})
	}
}
