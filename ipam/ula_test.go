package ipam_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/ipam"
)

func TestRandomULAAvoidsExclusions(t *testing.T) {
	t.Parallel()
	p, err := ipam.RandomULA(bytes.NewReader([]byte{
		0x20, 1, 2, 3, 4, // fd20::/20 is Google Cloud's
		0x42, 1, 2, 3, 4,
	}))
	require.NoError(t, err)
	require.Equal(t, "fd42:102:304::/48", p.String())
	_, err = ipam.RandomULA(bytes.NewReader(bytes.Repeat([]byte{0x20, 0, 0, 0, 0}, 256)))
	require.ErrorIs(t, err, ipam.ErrInvalid)
}
