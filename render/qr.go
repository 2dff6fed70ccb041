package render

import (
	"errors"
	"fmt"

	qrcode "github.com/skip2/go-qrcode"

	"github.com/apnkit/apnkit/render/internal/qr"
)

// MaxQRServers is the default limit of servers in a QR code: "If your app has
// more than 10 servers, download the configuration file". Ten is also what a
// code of level L holds whatever the servers' shape, unless host names are very
// long.
const MaxQRServers = 10

// QROptions are the optional settings of [QR].
type QROptions struct {
	Limit   int       // servers; zero: MaxQRServers; negative: no limit
	Level   Level     // zero: LevelL
	Encoder QREncoder // nil: the encoder of this package
}

// QREncoder turns bytes into a symbol: the smallest one that holds them, in byte
// mode. The bytes are cleared when EncodeQR has returned.
type QREncoder interface {
	EncodeQR(data []byte, l Level) (*Symbol, error)
}

// QR returns the QR code of c's [Compact] text. opts may be nil.
//
// c must be valid for phones (Android and Apple) and have its private key. More
// servers than the limit are a [*TooManyServersError], more bytes than a code
// holds a [*TooLargeError]; both match [ErrNoQR] and cost no encoding.
func QR(c *Config, opts *QROptions) (*Symbol, error) {
	var o QROptions
	if opts != nil {
		o = *opts
	}
	if o.Limit == 0 {
		o.Limit = MaxQRServers
	}
	if o.Encoder == nil {
		o.Encoder = encoder{}
	}
	if o.Level > LevelH {
		return nil, fmt.Errorf("render: QR code: unknown level %v", o.Level)
	}
	if o.Limit > 0 && len(c.Peers) > o.Limit {
		return nil, &TooManyServersError{Servers: len(c.Peers), Limit: o.Limit}
	}
	if c.Interface.PrivateKey.IsZero() {
		return nil, fmt.Errorf("render: QR code: %w", ErrNoPrivateKey)
	}
	if err := errors.Join(c.phoneProblems()...); err != nil {
		return nil, err
	}
	b, err := Compact.Append(nil, c, nil)
	if err != nil {
		return nil, err
	}
	defer clear(b)
	if limit := qr.MaxBytes(qr.Level(o.Level)); len(b) > limit {
		return nil, &TooLargeError{Bytes: len(b), Capacity: limit, Level: o.Level}
	}
	return o.Encoder.EncodeQR(b, o.Level)
}

// encoder is the encoder of this package.
type encoder struct{}

func (encoder) EncodeQR(data []byte, l Level) (*Symbol, error) {
	s := new(Symbol)
	if err := s.m.Encode(data, qr.Level(l)); err != nil {
		return nil, fmt.Errorf("render: %w", err)
	}
	return s, nil
}

// Skip2 encodes with github.com/skip2/go-qrcode, about 200 times slower. It may
// pack digits and capitals tighter and so return a smaller symbol.
type Skip2 struct{}

// EncodeQR implements [QREncoder].
func (Skip2) EncodeQR(data []byte, l Level) (*Symbol, error) {
	// go-qrcode takes seconds to refuse a large input, and panics on some.
	if limit := qr.MaxBytes(qr.Level(l)); l > LevelH || len(data) > limit {
		return nil, &TooLargeError{Bytes: len(data), Capacity: limit, Level: l}
	}
	level := [...]qrcode.RecoveryLevel{qrcode.Low, qrcode.Medium, qrcode.High, qrcode.Highest}[l] // its High is Q
	q, err := qrcode.New(string(data), level)
	if err != nil {
		return nil, fmt.Errorf("render: QR code: %w", err)
	}
	q.DisableBorder = true
	rows := q.Bitmap() // once: it encodes anew each time, and not safely in parallel
	return NewSymbol(len(rows), func(x, y int) bool { return rows[y][x] })
}
