package render

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/apnkit/apnkit/keys"
)

// Mesh is a snapshot of servers that are all peers of each other, ready to
// render the file of any of them. The text of the peers is built once and
// shared: a file is its own header and what lies before and behind its own
// block, so that n files cost n headers and plain copies.
//
// The files are what [Format.Append] writes with [Options.NoFingerprint]: a
// fingerprint would cost more than the rest of the file. [Mesh.Digest] tells
// whether one has changed.
//
// Private keys are revealed while a file is written and are not in the shared
// text. A Mesh does not change and is safe for concurrent use.
type Mesh struct {
	format    Format
	words     *words
	preshared func(a, b keys.PublicKey) (keys.PresharedKey, error)
	servers   []draft // without peers
	at        []int   // server i is block at[i]
	peers     []Peer  // of each block
	arena     []byte
	blocks    []block
	digest    [32]byte // of the arena
}

const meshDomain = "apn/render/v1 mesh\x00"

// block is where a peer lies in the arena, and where in it a preshared key
// belongs.
type block struct{ start, preshared, end int }

// MeshServer is one server of a [Mesh].
type MeshServer struct {
	Name      string    // of its own file, as [Config.Name]
	Interface Interface // of its own file
	// Peer is how the others see it. PublicKey is taken from the interface, and
	// there is no preshared key; see [MeshOptions]. Servers that see each other
	// under different endpoints need a Mesh per view.
	Peer Peer
}

// MeshOptions are the optional settings of [NewMesh].
type MeshOptions struct {
	// Preshared returns the key of two servers, the same in either order. It is
	// called once per peer while a file is written. Nil means none.
	Preshared func(a, b keys.PublicKey) (keys.PresharedKey, error)
	// Hooks allows interfaces with hooks. False refuses them.
	Hooks bool
}

// NewMesh checks the servers as [Format.Append] checks each file, and builds the
// shared text. format is Quick, Compact, SetConf or UAPI. opts may be nil.
func NewMesh(format Format, servers []MeshServer, opts *MeshOptions) (*Mesh, error) {
	if opts == nil {
		opts = &MeshOptions{}
	}
	if format > UAPI {
		return nil, fmt.Errorf("render: new mesh: no mesh in format %v", format)
	}
	m := &Mesh{format: format, words: &wordTable()[format], preshared: opts.Preshared}
	all := &Config{Peers: make([]Peer, len(servers))}
	var errs []error
	for i := range servers {
		s := &servers[i]
		d, err := prepare(format, (&Config{Name: s.Name, Interface: s.Interface}).Clone(), &Options{Hooks: opts.Hooks})
		p := &all.Peers[i]
		*p = s.Peer
		p.AllowedIPs = slices.Clone(p.AllowedIPs)
		p.PublicKey = d.own
		if err != nil {
			errs = append(errs, fmt.Errorf("render: mesh server %q: %w", p.label(), err))
		}
		if p.digest() != (PresharedDigest{}) {
			errs = append(errs, &ValueError{Field: "PresharedKey", Peer: p.label(), Reason: "of one server; a mesh has one per pair"})
		}
		m.servers = append(m.servers, d)
	}
	s := all.survey()
	errs = append(errs, s.errs...)
	errs = append(errs, format.peerProblems(all, false)...)
	for i := range servers { // which may be too low for what the others have
		if reason := servers[i].Interface.mtuProblem(all.Peers); reason != "" {
			errs = append(errs, fmt.Errorf("render: mesh server %q: %w", all.Peers[i].label(), &ValueError{Field: "MTU", Reason: reason}))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	all.Normalize()
	if err := errors.Join(all.conflicts(keys.PublicKey{}, false)...); err != nil {
		return nil, err
	}
	m.build(all.Peers)
	return m, nil
}

func (m *Mesh) build(peers []Peer) {
	m.peers = peers
	t := digitTable()
	m.arena = make([]byte, 0, (&draft{Config: &Config{Peers: peers}}).size(m.format))
	where := make(map[keys.PublicKey]int, len(peers))
	for k := range peers {
		where[peers[k].PublicKey] = k
		b := block{start: len(m.arena)}
		m.arena = m.words.putHead(m.arena, &peers[k], t)
		b.preshared = len(m.arena)
		m.arena = m.words.putRest(m.arena, &peers[k], t)
		b.end = len(m.arena)
		m.blocks = append(m.blocks, b)
	}
	m.arena = put(m.arena, &m.words.end)
	m.digest = sha256.Sum256(m.arena)
	for i := range m.servers {
		m.at = append(m.at, where[m.servers[i].own])
	}
}

// Len returns the number of servers.
func (m *Mesh) Len() int { return len(m.servers) }

// Append appends the file of server i, in the order given to [NewMesh]. An error
// comes from [MeshOptions.Preshared]; dst is then returned unchanged.
func (m *Mesh) Append(dst []byte, i int) ([]byte, error) {
	d, own := &m.servers[i], m.blocks[m.at[i]]
	out := slices.Grow(dst, d.size(m.format)+len(m.arena)+m.presharedSize())
	out = d.head(out, m.format)
	if m.preshared == nil {
		out = append(out, m.arena[:own.start]...)
		return append(out, m.arena[own.end:]...), nil
	}
	for k, b := range m.blocks {
		if k == m.at[i] {
			continue
		}
		psk, err := m.preshared(d.own, m.peers[k].PublicKey)
		if err != nil {
			clear(out[len(dst):])
			return dst, fmt.Errorf("render: preshared key of %q and %q: %w", d.Name, m.peers[k].label(), err)
		}
		out = append(out, m.arena[b.start:b.preshared]...)
		if !psk.IsZero() {
			out = m.words.putPreshared(out, psk)
		}
		out = append(out, m.arena[b.preshared:b.end]...)
	}
	return put(out, &m.words.end), nil
}

func (m *Mesh) presharedSize() int {
	if m.preshared == nil {
		return 0
	}
	return len(m.blocks) * (m.words.preshared.n + 64)
}

// WriteTo writes the file of server i to w and clears its buffers. Without
// preshared keys the shared text is not even copied: w gets it in up to three
// calls.
func (m *Mesh) WriteTo(w io.Writer, i int) (n int64, err error) {
	parts := [3][]byte{}
	if m.preshared == nil {
		d, own := &m.servers[i], m.blocks[m.at[i]]
		parts = [3][]byte{d.head(make([]byte, 0, d.size(m.format)), m.format), m.arena[:own.start], m.arena[own.end:]}
	} else if parts[0], err = m.Append(nil, i); err != nil {
		return 0, err
	}
	defer clear(parts[0])
	for _, p := range parts {
		k, err := w.Write(p)
		n += int64(k)
		if err != nil {
			return n, fmt.Errorf("render: write %v: %w", m.format, err)
		}
	}
	return n, nil
}

// Digest changes whenever the file of server i does, save for preshared and
// private keys; the latter have their public key in it. It takes the same time
// for any number of servers and holds no secret.
func (m *Mesh) Digest(i int) [32]byte {
	d, own := &m.servers[i], m.blocks[m.at[i]]
	b := make([]byte, 0, 512)
	b = append(b, meshDomain...)
	b = append(b, byte(m.format))
	b = append(b, m.digest[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(own.start)) //nolint:gosec // not negative
	b = appendTexts(b, []string{d.Name})
	return sha256.Sum256(d.appendCanonical(b, d.own))
}
