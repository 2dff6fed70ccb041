package apn_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn"
	"github.com/apnkit/apnkit/keys"
)

func TestKeyStatusCustody(t *testing.T) {
	t.Parallel()
	n := network(t)
	shop(t, n)
	priv, err := keys.GeneratePrivateKey()
	require.NoError(t, err)
	_, err = n.AddServer(t.Context(), "shop", "own", &apn.ServerOptions{PublicKey: priv.PublicKey()})
	require.NoError(t, err)
	for _, name := range []string{"phone", "tablet"} {
		_, err = n.AddDevice(t.Context(), "ada", name, &apn.DeviceOptions{Custody: keys.Once})
		require.NoError(t, err)
	}
	_, err = n.DeviceConfig(t.Context(), "ada", "phone")
	require.NoError(t, err)
	status := n.KeyStatus()
	require.Equal(t, map[keys.Custody]int{keys.Managed: 4, keys.Self: 1}, status.Servers)
	require.Equal(t, map[keys.Custody]int{keys.Managed: 1, keys.Once: 2}, status.Devices)
	require.Equal(t, 1, status.Revealed)
	require.Equal(t, 8, status.Records)
}
