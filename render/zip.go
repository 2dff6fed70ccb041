package render

import (
	"cmp"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"net/netip"
	"slices"
	"strings"
)

// AppendZip appends a zip archive with a [Quick] file per config, sorted by
// file name: one tunnel per app, the way out when a QR code does not hold all
// servers. Android and Windows import such an archive as it is. opts may be nil.
//
// Equal configs give equal bytes: the files are stored without compression and
// without a time. A config without a name, and two whose file names differ in
// case at most, are a [*ValueError]. Two configs whose allowed IPs overlap are a
// [*ConflictError] that names them: with both tunnels up, only one would get the
// traffic. On an error dst is returned unchanged.
func AppendZip(dst []byte, configs []*Config, opts *Options) ([]byte, error) {
	if len(configs) > 1<<16-1 {
		return dst, errors.New("render: append zip: more than 65535 files")
	}
	if opts != nil && opts.Fingerprint != (Fingerprint{}) {
		return dst, errors.New("render: append zip: one fingerprint for several files")
	}
	files := make([]zipFile, len(configs))
	for i, c := range configs {
		name, err := Quick.Filename(c)
		if err != nil {
			return dst, err
		}
		files[i] = zipFile{name: name, config: c.normalized()}
	}
	slices.SortFunc(files, func(a, b zipFile) int {
		return cmp.Or(strings.Compare(strings.ToLower(a.name), strings.ToLower(b.name)), strings.Compare(a.name, b.name))
	})
	for i := range files[min(1, len(files)):] {
		if strings.EqualFold(files[i].name, files[i+1].name) {
			return dst, &ValueError{Field: "Name", Reason: "two files of one name in a zip"}
		}
	}
	if err := overlaps(files); err != nil {
		return dst, err
	}

	out := dst
	for i := range files {
		f := &files[i]
		f.offset = len(out) - len(dst)
		out = append(out, make([]byte, 30)...)
		out = append(out, f.name...)
		start := len(out)
		body, err := Quick.Append(out, f.config, opts)
		if err != nil {
			clear(out[len(dst):])
			return dst, err
		}
		out = body
		f.size, f.sum = len(out)-start, crc32.ChecksumIEEE(out[start:])
		header := out[len(dst)+f.offset:]
		copy(header, "PK\x03\x04")
		f.describe(header[4:])
	}
	directory := len(out)
	for i := range files {
		f := &files[i]
		var header [46]byte
		copy(header[:], "PK\x01\x02")
		binary.LittleEndian.PutUint16(header[4:], 3<<8|20) // written under Unix, so that the mode counts
		f.describe(header[6:])
		binary.LittleEndian.PutUint32(header[38:], 0o100600<<16)
		binary.LittleEndian.PutUint32(header[42:], uint32(f.offset)) //nolint:gosec // the files fit into memory
		out = append(append(out, header[:]...), f.name...)
	}
	var end [22]byte
	copy(end[:], "PK\x05\x06")
	binary.LittleEndian.PutUint16(end[8:], uint16(len(files)))          //nolint:gosec // checked above
	binary.LittleEndian.PutUint16(end[10:], uint16(len(files)))         //nolint:gosec // checked above
	binary.LittleEndian.PutUint32(end[12:], uint32(len(out)-directory)) //nolint:gosec // below 2^32
	binary.LittleEndian.PutUint32(end[16:], uint32(directory-len(dst))) //nolint:gosec // below 2^32
	return append(out, end[:]...), nil
}

type zipFile struct {
	name   string
	config *Config
	offset int // of the file in the archive
	size   int
	sum    uint32
}

// describe fills the 26 bytes that the header of a file and its entry in the
// directory share (APPNOTE.TXT 4.3.7).
func (f *zipFile) describe(b []byte) {
	binary.LittleEndian.PutUint16(b, 20)                       // version 2.0, stored
	binary.LittleEndian.PutUint16(b[8:], 1<<5|1)               // 1980-01-01
	binary.LittleEndian.PutUint32(b[10:], f.sum)               //
	binary.LittleEndian.PutUint32(b[14:], uint32(f.size))      //nolint:gosec // below 2^32
	binary.LittleEndian.PutUint32(b[18:], uint32(f.size))      //nolint:gosec // below 2^32
	binary.LittleEndian.PutUint16(b[22:], uint16(len(f.name))) //nolint:gosec // an interface name
}

// overlaps reports the first two files that claim a common address.
func overlaps(files []zipFile) error {
	type claim struct {
		prefix netip.Prefix
		file   int
	}
	var claims []claim
	for i, f := range files {
		for k := range f.config.Peers {
			for _, p := range f.config.Peers[k].AllowedIPs {
				claims = append(claims, claim{p, i})
			}
		}
	}
	slices.SortFunc(claims, func(a, b claim) int { return cmp.Or(a.prefix.Compare(b.prefix), cmp.Compare(a.file, b.file)) })
	// Sorted, a prefix follows those that hold it, so the innermost one of them is
	// the top of a stack.
	var open []claim
	for _, c := range claims {
		for len(open) > 0 && !open[len(open)-1].prefix.Contains(c.prefix.Addr()) {
			open = open[:len(open)-1]
		}
		if len(open) > 0 && open[len(open)-1].file != c.file {
			return &ConflictError{Prefix: c.prefix, A: files[open[len(open)-1].file].config.Name, B: files[c.file].config.Name}
		}
		open = append(open, c)
	}
	return nil
}
