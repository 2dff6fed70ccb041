package dnszone

// NextSerial returns the serial that follows prev for the revision rev: the low
// 32 bits of rev, or prev + 1 if those are not newer in the order of RFC 1982,
// as after a restore. It never returns 0.
func NextSerial(prev uint32, rev uint64) uint32 {
	next := uint32(rev) //nolint:gosec // the low 32 bits are meant
	if !newer(next, prev) {
		next = prev + 1
	}
	if next == 0 {
		next = 1
	}
	return next
}

// newer reports whether a follows b in serial number arithmetic.
func newer(a, b uint32) bool { return a != b && a-b < 1<<31 }
