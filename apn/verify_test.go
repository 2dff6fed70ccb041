package apn_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn"
	"github.com/apnkit/apnkit/apn/store"
)

// TestVerify plants damage that each row survives by itself.
func TestVerify(t *testing.T) {
	t.Parallel()
	remove := func(string) []byte { return nil }
	change := func(from, to string) func(string) []byte {
		return func(value string) []byte {
			if !strings.Contains(value, from) {
				return []byte("nothing to change in " + value)
			}
			return []byte(strings.Replace(value, from, to, 1))
		}
	}
	for name, c := range map[string]struct {
		row    string
		damage func(string) []byte
		at     string // of a problem
	}{
		"app gone":        {"app/blog", remove, "srv/blog/web-1"},
		"server gone":     {"srv/shop/db-1", remove, "key/srv/shop/db-1"},
		"key gone":        {"key/srv/shop/db-1", remove, "srv/shop/db-1"},
		"member gone":     {"mem/ada", remove, "dev/ada/laptop"},
		"device gone":     {"dev/ada/laptop", remove, "hand/ada/laptop"},
		"other address":   {"srv/shop/web-1", change(`"10.66.`, `"10.99.`), "srv/shop/web-1"},
		"other subnet":    {"app/shop", change(`"10.66.`, `"10.99.`), "app/shop"},
		"role on nothing": {"mem/ada", change(`"blog"`, `"glob"`), "mem/ada"},
		"lease of nobody": {"lease/", change(`"ada"`, `"eve"`), "lease/"},
		"link to nothing": {"link/blog/shop", nil, "link/blog/shop"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := store.NewMem()
			n, err := open(t, st).CreateNetwork(t.Context(), "acme", testPool())
			require.NoError(t, err)
			shop(t, n)
			_, err = n.Lease(t.Context(), "shop", "ada", addrs("198.51.100.9"), nil)
			require.NoError(t, err)
			_, err = n.DeviceConfig(t.Context(), "ada", "laptop")
			require.NoError(t, err)
			require.NoError(t, n.SetLink(t.Context(), "shop", "blog", false, nil))
			_, err = n.VerifyAudit(t.Context())
			require.NoError(t, err)
			requireWhole(t, st, 4)

			var w store.Write
			if c.damage != nil {
				page, err := st.List(t.Context(), "net/acme", c.row, "", 1)
				require.NoError(t, err)
				require.Len(t, page.Entries, 1)
				w = store.Write{Key: page.Entries[0].Key, Value: c.damage(string(page.Entries[0].Value))}
				require.True(t, w.Value == nil || json.Valid(w.Value), "%s", w.Value)
			} else {
				w = store.Write{Key: "link/blog/gone", Value: []byte(`{"v":1,"linked":true}`)}
				c.at = w.Key
			}
			_, err = st.Commit(t.Context(), "net/acme", store.Batch{Writes: []store.Write{w}})
			require.NoError(t, err)

			v, err := open(t, st).Verify(t.Context(), "acme")
			require.NoError(t, err)
			var rows []string
			for _, p := range v.Problems {
				require.NotEmpty(t, p.Reason)
				rows = append(rows, p.Row)
			}
			require.Contains(t, strings.Join(rows, "\n"), c.at)
		})
	}
	_, err := open(t, store.NewMem()).Verify(t.Context(), "acme")
	require.ErrorIs(t, err, apn.ErrNotFound)
}
