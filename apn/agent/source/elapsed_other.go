//go:build !linux

package source

import "time"

// elapsed returns a clock that runs forward only.
func elapsed() func() time.Duration {
	start := time.Now()                                      //nolint:forbidigo // a clock of its own
	return func() time.Duration { return time.Since(start) } //nolint:forbidigo // a clock of its own
}
