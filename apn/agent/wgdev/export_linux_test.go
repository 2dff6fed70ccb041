package wgdev //nolint:testpackage // for tests, on Linux only

import (
	"context"
	"log/slog"
)

// Errorf logs a line as wireguard-go does.
func Errorf(ctx context.Context, l *slog.Logger, format string, args ...any) {
	logger(ctx, l).Errorf(format, args...)
}
