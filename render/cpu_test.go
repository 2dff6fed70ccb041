//go:build unix

package render_test

import (
	"syscall"
	"testing"
)

// cpu starts a clock of processor time and returns what reports it: a figure
// that other programs on the machine disturb less than the elapsed time.
func cpu(b *testing.B) (report func()) {
	b.Helper()
	start := cpuTime()
	return func() { b.ReportMetric(float64(cpuTime()-start)/float64(b.N), "cpu-ns/op") }
}

func cpuTime() int64 {
	var r syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &r) != nil {
		return 0
	}
	return r.Utime.Nano() + r.Stime.Nano()
}
