package render_test

import (
	"archive/zip"
	"bytes"
	"io"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/render"
)

// apps is one config per app of a device.
func apps(tb testing.TB, names ...string) []*render.Config {
	tb.Helper()
	var list []*render.Config
	for i, name := range names {
		c := device(tb, shapes[0], 3)
		c.Name = name
		for k := range c.Peers {
			c.Peers[k].AllowedIPs[0] = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 67, byte(i), byte(k)}), 32)
		}
		list = append(list, c)
	}
	return list
}

func TestZip(t *testing.T) {
	t.Parallel()
	list := apps(t, "shop", "Blog", "a name with blanks")
	got, err := render.AppendZip([]byte("before"), list, nil)
	require.NoError(t, err)
	got = got[len("before"):]
	golden(t, "apps.zip.txt", got)

	r, err := zip.NewReader(bytes.NewReader(got), int64(len(got)))
	require.NoError(t, err)
	want := []struct {
		name   string
		config *render.Config
	}{{"a-name-wit-la3s.conf", list[2]}, {"Blog.conf", list[1]}, {"shop.conf", list[0]}}
	require.Len(t, r.File, len(want))
	for i, f := range r.File {
		require.Equal(t, want[i].name, f.Name)
		require.Equal(t, zip.Store, f.Method)
		require.Equal(t, "-rw-------", f.Mode().String())
		in, err := f.Open()
		require.NoError(t, err)
		text, err := io.ReadAll(in) // checks the sum
		require.NoError(t, err)
		file, err := render.Quick.Append(nil, want[i].config, nil)
		require.NoError(t, err)
		require.Equal(t, string(file), string(text))
	}

	slices.Reverse(list)
	slices.Reverse(list[0].Peers)
	again, err := render.AppendZip(nil, list, nil)
	require.NoError(t, err)
	require.Equal(t, got, again, "equal configs give equal bytes")

	empty, err := render.AppendZip(nil, nil, nil)
	require.NoError(t, err)
	r, err = zip.NewReader(bytes.NewReader(empty), int64(len(empty)))
	require.NoError(t, err)
	require.Empty(t, r.File)
}

func TestZipRefuses(t *testing.T) {
	t.Parallel()
	prefix := netip.MustParsePrefix
	tests := []struct {
		name   string
		change func(list []*render.Config)
		want   error
	}{
		{"no name", func(list []*render.Config) { list[1].Name = "" }, &render.ValueError{Field: "Name", Reason: "missing"}},
		{"names that differ in case", func(list []*render.Config) { list[1].Name = "SHOP" }, &render.ValueError{Field: "Name", Reason: "two files of one name in a zip"}},
		{"one address in two apps", func(list []*render.Config) { list[1].Peers[2].AllowedIPs[0] = prefix("10.67.0.1/32") }, &render.ConflictError{Prefix: prefix("10.67.0.1/32"), A: "blog", B: "shop"}},
		{"an app inside another", func(list []*render.Config) { list[0].Peers[0].AllowedIPs[0] = prefix("10.67.0.0/16") }, &render.ConflictError{Prefix: prefix("10.67.1.0/32"), A: "shop", B: "blog"}},
		{"nested under nested", func(list []*render.Config) {
			list[0].Peers[0].AllowedIPs[0] = prefix("10.0.0.0/8")
			list[0].Peers[1].AllowedIPs[0] = prefix("10.67.1.0/24")
			list[1].Peers[0].AllowedIPs[0] = prefix("10.68.0.0/24")
			list[1].Peers[1].AllowedIPs[0] = prefix("192.0.2.0/24")
			list[1].Peers[2].AllowedIPs[0] = prefix("192.0.2.1/32")
		}, &render.ConflictError{Prefix: prefix("10.68.0.0/24"), A: "shop", B: "blog"}},
		{"invalid", func(list []*render.Config) { list[1].Peers[0].Endpoint.Port = 0 }, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			list := apps(t, "shop", "blog")
			tt.change(list)
			dst := append(make([]byte, 0, 1<<14), "before"...)
			got, err := render.AppendZip(dst, list, nil)
			require.Error(t, err)
			require.Equal(t, "before", string(got))
			require.Equal(t, make([]byte, 1<<14-6), dst[6:cap(dst)], "no key stays behind")
			if tt.want != nil {
				require.Equal(t, tt.want, err)
			}
		})
	}
	_, err := render.AppendZip(nil, apps(t, "a"), &render.Options{Fingerprint: render.Fingerprint{1}})
	require.Error(t, err)
}
