package browser_test

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestStart(t *testing.T) {
	t.Parallel()
	for _, l := range []look{
		{name: "desktop"},
		{name: "phone", phone: true, dark: true},
		{name: "without script", noScript: true},
	} {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t)
			b := openTab(t, l, s.url)
			b.signIn(s)
			b.fill("add-network", "name", "acme")
			require.Equal(t, 200, b.submit("add-network"))
			b.sees("h1", "acme")
			b.sees("[data-test=said]", "Network acme was created.")
			b.shot("network-empty")
		})
	}
}

func (b *tab) signIn(s *server) {
	b.t.Helper()
	require.Equal(b.t, 200, b.open("/"))
	b.sees("h1", "Sign in")
	b.shot("sign-in")
	b.fill("sign-in", "token", "apn_wrong")
	require.Equal(b.t, 401, b.submit("sign-in"))
	b.sees("[role=alert]", "This token is unknown or has ended.")
	b.shot("sign-in-refused")
	b.fill("sign-in", "token", s.token)
	require.Equal(b.t, 200, b.submit("sign-in"))
	b.sees("h1", "Networks")
	b.sees("[data-test=who]", "admin")
	b.shot("networks-empty")
}
