package source

import (
	"time"

	"golang.org/x/sys/unix"
)

// elapsed returns the kernel's clock that runs on while the machine sleeps. The
// monotonic clock of the time package stands still then, and leases would last
// longer by that (clock_gettime(2), CLOCK_BOOTTIME).
func elapsed() func() time.Duration {
	return func() time.Duration {
		var ts unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
			return 0 // every kernel since 2.6.39 has it
		}
		return time.Duration(ts.Nano())
	}
}
