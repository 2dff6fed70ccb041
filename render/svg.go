package render

import "strconv"

// AppendSVG appends the symbol and its quiet zone as an SVG image: dark on
// white, whatever the page behind it. scale is the width of a module in CSS
// pixels, as in [Symbol.AppendPNG].
func (s *Symbol) AppendSVG(dst []byte, scale int) []byte {
	scale = s.scale(scale)
	modules := int64(s.Size() + 2*quietZone)
	pixels := modules * int64(scale)
	dst = append(dst, `<svg xmlns="http://www.w3.org/2000/svg" width="`...)
	dst = strconv.AppendInt(dst, pixels, 10)
	dst = append(dst, `" height="`...)
	dst = strconv.AppendInt(dst, pixels, 10)
	dst = append(dst, `" viewBox="0 0 `...)
	dst = strconv.AppendInt(dst, modules, 10)
	dst = append(dst, ' ')
	dst = strconv.AppendInt(dst, modules, 10)
	dst = append(dst, `" shape-rendering="crispEdges"><path fill="#fff" d="M0 0h999v999H0z"/><path stroke="#000" d="`...)
	for y := range s.Size() {
		at := -quietZone // of the module that relative moves start from
		for from, to := range s.runs(y) {
			if at < 0 {
				dst = append(dst, 'M')
				dst = strconv.AppendInt(dst, int64(from+quietZone), 10)
				dst = append(dst, ' ')
				dst = strconv.AppendInt(dst, int64(y+quietZone), 10)
				dst = append(dst, ".5"...)
			} else {
				dst = append(dst, 'm')
				dst = strconv.AppendInt(dst, int64(from-at), 10)
				dst = append(dst, " 0"...)
			}
			dst = append(dst, 'h')
			dst = strconv.AppendInt(dst, int64(to-from), 10)
			at = to
		}
	}
	return append(dst, "\"/></svg>\n"...)
}
