package render

// TextOptions are the optional settings of [Symbol.AppendText].
type TextOptions struct {
	// Plain leaves out colour codes; the text is then drawn for light letters on
	// a dark background. False sets black and white explicitly, so that it scans
	// in any theme.
	Plain bool
	// DarkText draws plain text for dark letters on a light background. False
	// means light on dark. It has no effect on coloured text.
	DarkText bool
}

// Columns returns how wide [Symbol.AppendText] draws: a terminal needs at least
// as many columns, and half as many lines.
func (s *Symbol) Columns() int { return s.Size() + 2*quietZone }

// AppendText appends the symbol and its quiet zone as lines of half block
// characters, two modules high. opts may be nil.
func (s *Symbol) AppendText(dst []byte, opts *TextOptions) []byte {
	var o TextOptions
	if opts != nil {
		o = *opts
	}
	blocks := [4]string{" ", "▀", "▄", "█"} // by what is inked: nothing, above, below, both
	paper := o.Plain && !o.DarkText         // light letters ink the light modules
	for y := -quietZone; y < s.Size()+quietZone; y += 2 {
		if !o.Plain {
			dst = append(dst, "\x1b[38;5;16;48;5;231m"...) // fixed colours, which themes leave alone
		}
		for x := -quietZone; x < s.Size()+quietZone; x++ {
			ink := 0
			if s.Dark(x, y) != paper {
				ink = 1
			}
			if s.Dark(x, y+1) != paper {
				ink += 2
			}
			dst = append(dst, blocks[ink]...)
		}
		if !o.Plain {
			dst = append(dst, "\x1b[0m"...)
		}
		dst = append(dst, '\n')
	}
	return dst
}
