package dnszone

import (
	"crypto/sha256"
	"encoding/base32"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

const maxLabel = 63 // octets, RFC 1035 section 2.3.4

// A LabelPolicy is how free text becomes a label.
type LabelPolicy struct {
	// Reserved are labels that nobody gets, besides localhost, wpad and isatap.
	// Nil means no more than those.
	Reserved []string
	// Cut shortens a label of more than 63 octets and appends a hash of the
	// whole. False means that such a label is an error.
	Cut bool
}

// NormalizeLabel returns the label that s stands for: lower case, ASCII, with
// an A-label (RFC 5890) for other scripts.
//
// Underscores, spaces, dots, slashes, colons and at signs become hyphens,
// apostrophes vanish, runs of hyphens shrink to one. NormalizeLabel of its own
// result is that result. An error is a [*LabelError] and wraps [ErrLabelEmpty],
// [ErrLabelTooLong], [ErrLabelBadRune] or [ErrLabelReserved].
//
// The mapping is UTS 46, non-transitional, with the BiDi rule of RFC 5893.
func NormalizeLabel(s string, p LabelPolicy) (string, error) {
	label, err := normalize(s, p.Cut)
	if err != nil {
		return "", err
	}
	if reserved(label) || slices.Contains(p.Reserved, label) {
		return "", &LabelError{Input: s, Err: ErrLabelReserved}
	}
	return label, nil
}

// CheckLabel reports whether s already is a label that nothing needs to be
// changed about: 1 to 63 lower-case letters, digits and hyphens, no hyphen at
// either end, no two in a row (which keeps out the "xn--" of RFC 5890 and its
// kin), and not reserved. [NormalizeLabel] returns such a label as it is. The
// error is a [*LabelError].
func CheckLabel(s string) error {
	if s == "" {
		return &LabelError{Err: ErrLabelEmpty}
	}
	for i, r := range s {
		if !plain(r) || r == '-' && (i == 0 || i == len(s)-1 || s[i-1] == '-') {
			return &LabelError{Input: s, Rune: r, Pos: i, Err: ErrLabelBadRune}
		}
	}
	if len(s) > maxLabel {
		return &LabelError{Input: s, Err: ErrLabelTooLong}
	}
	if reserved(s) {
		return &LabelError{Input: s, Err: ErrLabelReserved}
	}
	return nil
}

// reserved labels would let a server answer for names that resolvers and
// browsers look up by themselves along the search list.
func reserved(label string) bool {
	return label == "localhost" || label == "wpad" || label == "isatap"
}

func plain(r rune) bool { return 'a' <= r && r <= 'z' || '0' <= r && r <= '9' || r == '-' }

// canonical reports whether normalize would return s itself.
func canonical(s string) bool {
	if s == "" || len(s) > maxLabel || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		if !plain(rune(s[i])) || s[i] == '-' && s[i-1] == '-' {
			return false
		}
	}
	return true
}

func normalize(s string, cut bool) (string, error) {
	if canonical(s) {
		return s, nil
	}
	blame := func(pos int) error {
		r, _ := utf8.DecodeRuneInString(s[pos:])
		return &LabelError{Input: s, Rune: r, Pos: pos, Err: ErrLabelBadRune}
	}
	profile := idna.New(idna.MapForLookup(), idna.StrictDomainName(true), idna.BidiRule())

	text := s
	if len(s) >= 4 && strings.EqualFold(s[:4], "xn--") && firstOther(s) < 0 {
		u, err := profile.ToUnicode(s)
		if err != nil || u == s {
			return "", blame(0)
		}
		text = u
	}
	clean := make([]byte, 0, len(text))
	for i, r := range text {
		switch {
		case strings.ContainsRune("_ .@/:-\u3002\uff0e\uff61", r):
			clean = append(clean, '-')
		case strings.ContainsRune("'\u2018\u2019\u02bc\uff07", r):
		case r != utf8.RuneError && (unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r)):
			clean = utf8.AppendRune(clean, r)
		default:
			return "", blame(min(i, len(s)-1))
		}
	}
	mapped, err := profile.ToUnicode(hyphens(string(clean)))
	if err != nil || strings.Contains(mapped, ".") {
		return "", blame(max(0, firstOther(s)))
	}
	mapped = hyphens(mapped)
	if mapped == "" {
		return "", &LabelError{Input: s, Err: ErrLabelEmpty}
	}
	label, err := profile.ToASCII(mapped)
	if err != nil {
		return "", blame(max(0, firstOther(s)))
	}
	if len(label) > maxLabel {
		if !cut {
			return "", &LabelError{Input: s, Err: ErrLabelTooLong}
		}
		label = shorten(profile, mapped, label)
	}
	return label, nil
}

// firstOther finds the first character beyond ASCII, or -1.
func firstOther(s string) int {
	return strings.IndexFunc(s, func(r rune) bool { return r >= utf8.RuneSelf })
}

// hyphens shrinks runs of hyphens to one and trims them.
func hyphens(s string) string {
	for strings.Contains(s, "--") {
		s = strings.ReplaceAll(s, "--", "-")
	}
	return strings.Trim(s, "-")
}

// shorten cuts mapped so that it fits with a hash of the whole label behind it.
func shorten(profile *idna.Profile, mapped, label string) string {
	sum := sha256.Sum256([]byte(label))
	tail := "-" + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:]))[:6]
	for mapped != "" {
		_, n := utf8.DecodeLastRuneInString(mapped)
		mapped = mapped[:len(mapped)-n]
		short, err := profile.ToASCII(strings.TrimRight(mapped, "-") + tail)
		if err == nil && len(short) <= maxLabel {
			return short
		}
	}
	return tail[1:]
}
