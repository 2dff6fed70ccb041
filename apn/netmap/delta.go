package netmap

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Delta leads from one signed document to another of the same epoch, or from
// nothing to a whole one. It is immutable.
type Delta struct {
	from      uint64
	head      head
	raw       []byte // head as it was signed
	set       []*item
	del       []string
	signature []byte
}

// From returns the revision that the delta starts from; 0: from nothing.
func (d *Delta) From() uint64 { return d.from }

// Epoch returns the epoch of the result.
func (d *Delta) Epoch() string { return d.head.Epoch }

// To returns the revision of the result.
func (d *Delta) To() uint64 { return d.head.Revision }

// Changes returns how many items the delta sets and removes.
func (d *Delta) Changes() (set, removed int) { return len(d.set), len(d.del) }

// Diff returns what leads from one document to a later one. If from is nil,
// later, or of another epoch, network or app, that is the whole of to. From a
// document to itself it is a delta of nothing, for use with [Delta.At].
func Diff(from, to *Signed) *Delta {
	d := &Delta{head: to.head, raw: to.raw, signature: to.signature}
	if from == nil || from.head.Revision > to.head.Revision || from.head.Epoch != to.head.Epoch || from.head.Network != to.head.Network || from.head.App != to.head.App {
		d.set = to.items
		return d
	}
	d.from = from.head.Revision
	was, is := from.items, to.items
	for len(was) > 0 || len(is) > 0 {
		switch {
		case len(is) == 0 || len(was) > 0 && was[0].key < is[0].key:
			d.del = append(d.del, was[0].key)
			was = was[1:]
		case len(was) == 0 || was[0].key > is[0].key:
			d.set = append(d.set, is[0])
			is = is[1:]
		default:
			if was[0] != is[0] && was[0].sum != is[0].sum {
				d.set = append(d.set, is[0])
			}
			was, is = was[1:], is[1:]
		}
	}
	return d
}

// At returns d for a reader whose document has the content that d starts from,
// under another revision of the same epoch (see [Signed.Content]). A from that
// is not below d.To gives nil.
func (d *Delta) At(from uint64) *Delta {
	if from == 0 || from >= d.head.Revision || d.from == 0 {
		return nil
	}
	moved := *d
	moved.from = from
	return &moved
}

// Apply returns the document that d makes of s, which may be nil if d is whole.
// Only [Signed.Open] tells whether the result is genuine. If d does not follow
// s, the error wraps [ErrBase].
func (s *Signed) Apply(d *Delta) (*Signed, error) {
	out := &Signed{head: d.head, raw: d.raw, signature: d.signature}
	if d.from == 0 {
		if len(d.del) > 0 {
			return nil, fmt.Errorf("netmap: apply delta: %w: removes from nothing", ErrBase)
		}
		out.items = d.set
		return out, nil
	}
	if s == nil || s.head.Epoch != d.head.Epoch || s.head.Revision != d.from {
		return nil, fmt.Errorf("netmap: apply delta from revision %d: %w", d.from, ErrBase)
	}
	out.items = make([]*item, 0, len(s.items)+len(d.set))
	set, del := d.set, d.del
	for _, it := range s.items {
		for len(set) > 0 && set[0].key < it.key {
			out.items = append(out.items, set[0])
			set = set[1:]
		}
		switch {
		case len(del) > 0 && del[0] == it.key:
			del = del[1:]
		case len(set) > 0 && set[0].key == it.key:
			out.items = append(out.items, set[0])
			set = set[1:]
		default:
			out.items = append(out.items, it)
		}
	}
	if len(del) > 0 {
		return nil, fmt.Errorf("netmap: apply delta from revision %d: %w: removes what is not there", d.from, ErrBase)
	}
	out.items = append(out.items, set...)
	return out, nil
}

// Append appends the delta as JSON to dst. The same two revisions always give
// the same bytes.
func (d *Delta) Append(dst []byte) []byte {
	dst = append(dst, `{"from":`...)
	dst = strconv.AppendUint(dst, d.from, 10)
	dst = append(append(dst, `,"head":`...), d.raw...)
	dst = append(dst, `,"set":{`...)
	for i, it := range d.set {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendKey(dst, it.key), ':')
		dst = append(dst, it.raw...)
	}
	dst = append(dst, `},"del":[`...)
	for i, key := range d.del {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendKey(dst, key)
	}
	dst = append(dst, `],"signature":"`...)
	dst = base64.StdEncoding.AppendEncode(dst, d.signature)
	return append(dst, `"}`...)
}

// appendKey quotes a key; keys are plain text, which needs no escapes.
func appendKey(dst []byte, key string) []byte {
	return append(append(append(dst, '"'), key...), '"')
}

// ParseDelta reads what [Delta.Append] writes. The error wraps [ErrFormat].
func ParseDelta(data []byte) (*Delta, error) {
	d, err := parseDelta(data)
	if err != nil {
		return nil, fmt.Errorf("netmap: parse delta: %w: %w", ErrFormat, err)
	}
	return d, nil
}

func parseDelta(data []byte) (*Delta, error) {
	if len(data) > MaxBytes {
		return nil, fmt.Errorf("%d bytes, at most %d", len(data), MaxBytes)
	}
	var wire struct {
		From      uint64                     `json:"from"`
		Head      json.RawMessage            `json:"head"`
		Set       map[string]json.RawMessage `json:"set"`
		Del       []string                   `json:"del"`
		Signature []byte                     `json:"signature"`
	}
	if err := json.Unmarshal(data, &wire); err != nil {
		return nil, errors.New("not a JSON document of the right shape")
	}
	d := &Delta{from: wire.From, raw: wire.Head, del: wire.Del, signature: wire.Signature}
	if err := json.Unmarshal(wire.Head, &d.head); err != nil {
		return nil, errors.New("no head of the right shape")
	}
	if d.head.Format > Format {
		return nil, fmt.Errorf("format %d, newest known is %d", d.head.Format, Format)
	}
	if d.from >= d.head.Revision {
		return nil, fmt.Errorf("from revision %d to %d", d.from, d.head.Revision)
	}
	d.set = make([]*item, 0, len(wire.Set))
	for _, key := range slices.Sorted(maps.Keys(wire.Set)) {
		it, err := parseItem(key, wire.Set[key])
		if err != nil {
			return nil, err
		}
		d.set = append(d.set, it)
	}
	for i, key := range d.del {
		if !plain(key) || i > 0 && d.del[i-1] >= key {
			return nil, errors.New("removed keys are out of order")
		}
		if _, both := slices.BinarySearchFunc(d.set, key, func(it *item, key string) int { return strings.Compare(it.key, key) }); both {
			return nil, errors.New("a key is set and removed")
		}
	}
	return d, nil
}

// Append appends the whole document as JSON to dst, in the form of a [Delta].
func (s *Signed) Append(dst []byte) []byte { return Diff(nil, s).Append(dst) }

// Parse reads what [Signed.Append] writes. The error wraps [ErrFormat]; the
// signature is not verified.
func Parse(data []byte) (*Signed, error) {
	d, err := ParseDelta(data)
	if err != nil {
		return nil, err
	}
	var s *Signed
	return s.Apply(d)
}
