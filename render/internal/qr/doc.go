// Package qr encodes bytes as a QR Code symbol: byte mode, versions 1 to 40,
// levels L to H, the best of the eight masks (ISO/IEC 18004:2015).
//
// Rows are bit sets, so that masks are applied and scored 64 modules at a
// time. [Matrix.Encode] allocates nothing once the layout of its version has
// been built.
package qr
