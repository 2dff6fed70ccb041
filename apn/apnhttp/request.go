package apnhttp

import (
	"bytes"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/apnkit/apnkit/apn"
	"github.com/apnkit/apnkit/keys"
)

// importFactor is how much larger than other bodies an inventory may be.
const importFactor = 16

// readBody reads the whole body, up to the limit of the route.
func (c *call) readBody() error {
	limit := c.h.maxBody
	if c.route.is(large) {
		limit *= importFactor
	}
	var err error
	if c.body, err = io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, limit)); err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return &refusal{kind: errTooLarge, detail: fmt.Sprintf("the body has more than %d bytes", limit)}
		}
		return malformed("", "the body cannot be read")
	}
	return nil
}

// prepare reads how a change is to be carried out.
func (c *call) prepare() error {
	dry, err := c.flag("dry_run")
	if err != nil {
		return err
	}
	if dry {
		c.opts.DryRun = new(apn.Plan)
	}
	if err := c.precondition(); err != nil {
		return err
	}
	return c.idempotency(dry)
}

// flag reads a boolean query parameter.
func (c *call) flag(name string) (bool, error) {
	switch c.query.Get(name) {
	case "true":
		return true, nil
	case "false":
		return false, nil
	case "":
		if !c.query.Has(name) {
			return false, nil
		}
	}
	return false, malformed(name, `must be "true" or "false"`)
}

// precondition reads If-Match. Only the revision in the tag counts: the rest of
// it tells apart answers that differ in what others say of the object.
func (c *call) precondition() error {
	tags := c.r.Header.Values("If-Match")
	if len(tags) == 0 || len(tags) == 1 && tags[0] == "*" {
		return nil
	}
	if !c.route.is(matches) {
		return malformed("If-Match", "is not supported here")
	}
	tag, ok := strings.CutPrefix(tags[0], `"`)
	tag, closed := strings.CutSuffix(tag, `"`)
	tag, _, _ = strings.Cut(tag, "-")
	rev, err := strconv.ParseUint(tag, 10, 64)
	if !ok || !closed || err != nil || rev == 0 || len(tags) > 1 {
		return malformed("If-Match", "must be one entity tag as an ETag header gave it")
	}
	setRev(&c.opts.IfRev, rev)
	return nil
}

// setRev spares this package the import of the store for the name of a number.
func setRev[R ~uint64](dst *R, rev uint64) { *dst = R(rev) }

// idempotency reads Idempotency-Key. The key is the client's, so what is kept of
// it is bound to who sent it and where.
func (c *call) idempotency(dry bool) error {
	keys := c.r.Header.Values("Idempotency-Key")
	if len(keys) == 0 {
		return nil
	}
	ok := len(keys) == 1 && keys[0] != "" && len(keys[0]) <= 255
	if !ok || strings.ContainsFunc(keys[0], func(r rune) bool { return r < ' ' || r > '~' }) {
		return malformed("Idempotency-Key", "must be one value of 1 to 255 printable ASCII characters")
	}
	if c.route.method != http.MethodPost || dry {
		return nil // PUT, PATCH and DELETE can be repeated anyway
	}
	h := sha256.New()
	for _, part := range []string{c.who.Name, c.who.Network, c.who.Member, strconv.FormatBool(c.who.Operator), c.r.Method, c.r.URL.Path, keys[0]} {
		h.Write(fmt.Appendf(nil, "%d:%s", len(part), part))
	}
	c.opts.RequestID = strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(h.Sum(nil)))
	sum := sha256.Sum256(c.body)
	c.opts.RequestDigest = hex.EncodeToString(sum[:])
	return nil
}

// repeated reports whether err says that the request was carried out before;
// then the answer is the object as it is now.
func (c *call) repeated(err error) bool {
	if errors.Is(err, apn.ErrRepeated) {
		c.replay = true
		c.w.Header().Set("Idempotency-Replayed", "true")
	}
	return c.replay
}

// decode reads a JSON object from the body into v, strictly. An empty body is an
// error unless optional, and then changes nothing.
func (c *call) decode(v any, optional bool) error {
	if len(c.body) == 0 && optional {
		return nil
	}
	kind, _, err := mime.ParseMediaType(c.r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" {
		return &refusal{kind: errMediaType, detail: "the body must be application/json"}
	}
	if text := bytes.TrimLeft(c.body, " \t\r\n"); len(text) > 0 && text[0] != '{' {
		return malformed("", "the body must be a JSON object")
	}
	dec := json.NewDecoder(bytes.NewReader(c.body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return decodeError(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return malformed("", "something follows the JSON object")
	}
	return nil
}

// decodeError says what is wrong with a JSON text without repeating values.
func decodeError(err error) error {
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return &refusal{kind: apn.ErrInvalid, field: e.Field, detail: "must not be a JSON " + strings.Fields(e.Value)[0]}
	}
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		return malformed("", fmt.Sprintf("the body is not JSON from byte %d on", e.Offset))
	}
	if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok && len(name) <= 64 {
		return &refusal{kind: apn.ErrInvalid, field: strings.Trim(name, `"`), detail: "is unknown"}
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return malformed("", "the body ends early")
	}
	return malformed("", "the body is not the JSON object that is expected")
}

// fields reads texts into types and gathers what is wrong with them.
type fields struct{ wrong []fieldProblem }

// fieldProblem is one entry of a problem's errors.
type fieldProblem struct {
	Field  string `json:"field"`
	Detail string `json:"detail"`
}

func (f *fields) add(field, detail string) { f.wrong = append(f.wrong, fieldProblem{field, detail}) }

func (f *fields) err() error {
	if len(f.wrong) == 0 {
		return nil
	}
	return &invalidFields{f.wrong}
}

// invalidFields matches apn.ErrInvalid.
type invalidFields struct{ fields []fieldProblem }

func (e *invalidFields) Error() string { return e.fields[0].Field + ": " + e.fields[0].Detail }

func (e *invalidFields) Unwrap() error { return apn.ErrInvalid }

// addr reads an address; empty is none.
func (f *fields) addr(field, s string) netip.Addr {
	if s == "" {
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		f.add(field, "must be an IP address without a zone")
	}
	return a
}

func (f *fields) prefix(field, s string) netip.Prefix {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		f.add(field, "must be a prefix such as 10.1.0.0/16")
	}
	return p
}

// prefixes returns nil for an empty list.
func (f *fields) prefixes(field string, list []string) []netip.Prefix {
	var out []netip.Prefix
	for i, s := range list {
		out = append(out, f.prefix(fmt.Sprintf("%s[%d]", field, i), s))
	}
	return out
}

// key reads a public key; empty is none.
func (f *fields) key(field, s string) keys.PublicKey {
	if s == "" {
		return keys.PublicKey{}
	}
	k, err := keys.ParsePublicKey(s)
	switch {
	case errors.Is(err, keys.ErrWeakPublicKey):
		f.add(field, "is not canonical or of low order: no WireGuard implementation makes such a key")
	case err != nil:
		f.add(field, "must be 32 bytes in base64, as `wg pubkey` prints them")
	}
	return k
}

// duration reads "1h30m"; empty is zero.
func (f *fields) duration(field, s string) time.Duration {
	if s == "" {
		return 0
	}
	d, err := time.ParseDuration(s)
	if err != nil || strings.Trim(s, "0123456789hms") != "" || d%time.Second != 0 {
		f.add(field, `must be hours, minutes and seconds, such as "24h", "1h30m" or "25s"`)
	}
	return d
}

// text reads what has an UnmarshalText of its own; an empty s is left out.
func (f *fields) text(field, s string, v interface{ UnmarshalText([]byte) error }) {
	if s == "" {
		return
	}
	if err := v.UnmarshalText([]byte(s)); err != nil {
		detail := "is malformed"
		if e, ok := errors.AsType[*apn.FieldError](err); ok {
			detail = e.Reason
		}
		f.add(field, detail)
	}
}

// durationText writes what fields.duration reads, in its shortest form.
func durationText(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
