package keys_test

import (
	"bytes"
	"encoding/base64"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/keys"
	"github.com/apnkit/apnkit/keys/keystest"
)

// probes are the fifteen ways in which keys get out of programs by accident.
// Each returns what it printed of v.
var probes = []struct {
	name string
	of   func(v any) string
}{
	{"%v", func(v any) string { return fmt.Sprintf("%v", v) }},
	{"%+v", func(v any) string { return fmt.Sprintf("%+v", v) }},
	{"%#v", func(v any) string { return fmt.Sprintf("%#v", v) }},
	{"%s", func(v any) string { return fmt.Sprintf("%s", v) }},
	{"%q", func(v any) string { return fmt.Sprintf("%q", v) }},
	{"%x", func(v any) string { return fmt.Sprintf("%x", v) }},
	{"%d", func(v any) string { return fmt.Sprintf("%d", v) }},
	{"slog text", func(v any) string {
		var b bytes.Buffer
		slog.New(slog.NewTextHandler(&b, nil)).Info("m", "v", v)
		return b.String()
	}},
	{"slog json", func(v any) string {
		var b bytes.Buffer
		slog.New(slog.NewJSONHandler(&b, nil)).Info("m", "v", v)
		return b.String()
	}},
	{"json", func(v any) string {
		b, err := json.Marshal(v)
		return string(b) + fmt.Sprint(err)
	}},
	{"xml", func(v any) string {
		b, err := xml.Marshal(v)
		return string(b) + fmt.Sprint(err)
	}},
	{"gob", func(v any) string {
		var b bytes.Buffer
		err := gob.NewEncoder(&b).Encode(v)
		return b.String() + fmt.Sprint(err)
	}},
	{"testify", func(v any) string {
		var t recorder
		require.Equal(&t, "another value", v)
		return t.text
	}},
	// What spew does: follow everything, call nothing.
	{"deep dump", func(v any) string {
		var b strings.Builder
		dump(&b, reflect.ValueOf(v), 0)
		return b.String()
	}},
	// What go-cmp does with unexported fields allowed: ask Equal and String.
	{"diff", func(v any) string { return fmt.Sprintf("- %+v\n+ %+v\n%#v", v, &v, []any{v}) }},
}

type recorder struct{ text string }

func (r *recorder) Errorf(format string, args ...any) { r.text += fmt.Sprintf(format, args...) }
func (r *recorder) FailNow()                          {}

// dump prints every integer, string and byte that reflection reaches.
func dump(b *strings.Builder, v reflect.Value, depth int) {
	if depth > 12 {
		return
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			dump(b, v.Elem(), depth+1)
		}
	case reflect.Struct:
		for _, f := range v.Fields() {
			dump(b, f, depth+1)
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			dump(b, v.Index(i), depth+1)
		}
	case reflect.Map:
		for _, k := range v.MapKeys() {
			dump(b, k, depth+1)
			dump(b, v.MapIndex(k), depth+1)
		}
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uint, reflect.Uintptr:
		fmt.Fprintf(b, "%d ", v.Uint())
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Int:
		fmt.Fprintf(b, "%d ", v.Int())
	case reflect.String:
		b.WriteString(v.String())
	default:
	}
}

// notDigits is what stands between the numbers of a printed array.
var notDigits = regexp.MustCompile(`[^0-9]+`)

// leaks reports whether text shows four bytes of the key in a row, in any
// encoding that the probes use.
func leaks(text string, key []byte) bool {
	numbers := " " + notDigits.ReplaceAllString(text, " ") + " "
	for i := 4; i+8 < len(key); i++ {
		k := key[i : i+4]
		if strings.Contains(numbers, fmt.Sprintf(" %d %d %d %d ", k[0], k[1], k[2], k[3])) {
			return true
		}
		for _, s := range []string{
			string(k),
			strings.Trim(fmt.Sprintf("%q", k), `"`),
			hex.EncodeToString(k),
			strings.ToUpper(hex.EncodeToString(k)),
			fmt.Sprintf("%#x, %#x, %#x, %#x", k[0], k[1], k[2], k[3]),
		} {
			if strings.Contains(text, s) {
				return true
			}
		}
	}
	for off := range 3 {
		if enc := base64.StdEncoding.EncodeToString(key[off : off+24]); strings.Contains(text, enc[4:12]) {
			return true
		}
	}
	return false
}

// forms are the ways to carry a value. fmt calls no method on what is behind an
// unexported field.
func forms[T any](v T) map[string]any {
	type exported struct{ Key T }
	type unexported struct{ key T }
	type twice struct{ inner unexported }
	type pointer struct{ key *T }
	type behind struct{ key any }
	return map[string]any{
		"by value":            v,
		"pointer":             &v,
		"field":               exported{v},
		"unexported field":    unexported{v},
		"nested unexported":   twice{unexported{v}},
		"unexported pointer":  pointer{&v},
		"unexported any":      behind{v},
		"pointer to a struct": &exported{v},
		"slice":               []T{v},
		"array":               [1]T{v},
		"map":                 map[string]T{"k": v},
		"unexported in slice": []unexported{{v}},
		"closure":             func() T { return v },
	}
}

// count returns how many probes show the key in some form, and which.
func count[T any](v T, secrets ...[]byte) map[string]bool {
	found := map[string]bool{}
	for form, carried := range forms(v) {
		for _, p := range probes {
			text := p.of(carried)
			for _, s := range secrets {
				if leaks(text, s) {
					found[p.name+", "+form] = true
				}
			}
		}
	}
	return found
}

var secretBytes = func() []byte {
	b := make([]byte, 32)
	for i := range b {
		b[i] = byte(163 + i*5)
	}
	copy(b[12:], "Kq7Z") // XML drops what is not text
	return b
}()

// bare is a key as many programs hold it, and methods is one that redacts
// itself by methods alone.
type (
	bare    struct{ K [32]byte }
	methods [32]byte
)

func (methods) String() string               { return "(hidden)" }
func (methods) GoString() string             { return "(hidden)" }
func (methods) Format(f fmt.State, _ rune)   { _, _ = f.Write([]byte("(hidden)")) }
func (methods) LogValue() slog.Value         { return slog.StringValue("(hidden)") }
func (methods) MarshalText() ([]byte, error) { return []byte("(hidden)"), nil }

func TestNoLeaks(t *testing.T) {
	t.Parallel()
	require.Len(t, probes, 15)

	priv, err := keys.NewPrivateKey(secretBytes)
	require.NoError(t, err)
	psk, err := keys.NewPresharedKey(secretBytes)
	require.NoError(t, err)
	require.Empty(t, count(priv, secretBytes))
	require.Empty(t, count(psk, secretBytes))

	// The probes work: they find the same bytes held in other ways.
	found := count(bare{[32]byte(secretBytes)}, secretBytes)
	for _, p := range probes {
		require.Truef(t, found[p.name+", by value"] || found[p.name+", field"], "probe %s finds nothing", p.name)
	}
	found = count(methods(secretBytes), secretBytes)
	require.False(t, found["%v, by value"], "methods help")
	require.True(t, found["%v, unexported field"], "but not behind an unexported field")
}

// TestOpenedNetworksLeakNothing probes what holds an opened network.
func TestOpenedNetworksLeakNothing(t *testing.T) {
	t.Parallel()
	set := keys.Multi(keystest.NewKEK("a"))
	rec, err := keys.NewDEK(t.Context(), set, "acme", 1, now)
	require.NoError(t, err)
	ring, err := keys.OpenRing(t.Context(), set, now, rec)
	require.NoError(t, err)
	ring.Index(publicKey(t, 1)) // fills the pools
	_, err = ring.Seal(nil, owner("x"), nil)
	require.NoError(t, err)

	v := newVault(t, set, &keys.MemStore{}, nil)
	require.NoError(t, v.Create(t.Context(), call, "acme"))
	_, err = v.Ring(t.Context(), "acme", now)
	require.NoError(t, err)

	s := openSpec(t, rec)
	secrets := [][]byte{s.dek, s.root, specExpand(s.root, "apn/keys/v1 index"), specExpand(s.root, "apn/keys/v1 psk")}
	for p := keys.PurposePrivateKey; p <= keys.PurposeSecret; p++ {
		secrets = append(secrets, specExpand(s.dek, "apn/keys/v1 seal "+p.String()))
	}
	require.Empty(t, count(ring, secrets...))
	require.Empty(t, count(v, secrets...))
	require.Empty(t, count(rec, secrets...))
}

// TestErrorsHoldNoSecret opens a record as somebody else and looks at what the
// error says.
func TestErrorsHoldNoSecret(t *testing.T) {
	t.Parallel()
	ring := newRing(t)
	o := owner("shop/web-1")
	sealed, err := ring.Seal(nil, o, secretBytes)
	require.NoError(t, err)
	o.Gen++
	_, err = ring.Open(nil, o, sealed)
	require.Error(t, err)
	require.Empty(t, count(err, secretBytes, sealed[22:]))
}
