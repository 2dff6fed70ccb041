package browser_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// patience is how long something that has to happen may take on a machine that
// has much else to do.
const patience = time.Minute

var screens = flag.String("screens", "", "`folder` for pictures of what the tests see")

// What all tests share. Each has its own server and its own browser contexts.
var (
	program  string          // of the server
	chromium context.Context // of the browser
	missing  error           // why nothing can run here
)

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "apn-browser-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir) //nolint:errcheck // in the system's own temporary folder
	program = filepath.Join(dir, "server")
	browser, err := exec.LookPath("chromium")
	if err != nil {
		missing = err
		return m.Run()
	}
	if err := build(program); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	alloc, stop := chromedp.NewExecAllocator(context.Background(), append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]),
		chromedp.ExecPath(browser),
		chromedp.NoSandbox, // which root and containers cannot have
		chromedp.WSURLReadTimeout(patience),
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"),
	)...)
	defer stop()
	var cancel context.CancelFunc
	chromium, cancel = chromedp.NewContext(alloc) //nolint:fatcontext // one browser, for all tests
	defer cancel()
	if err := chromedp.Do(chromium); err != nil {
		fmt.Fprintln(os.Stderr, "start", browser+":", err)
		return 1
	}
	return m.Run()
}

// build makes the program under test.
func build(path string) error {
	args := []string{"build", "-o", path}
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		args = append(args, "-race")
	}
	cmd := exec.CommandContext(context.Background(), "go", append(args, "../server")...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the server: %w\n%s", err, out)
	}
	return nil
}

// need skips the test where it lacks something, or fails it where nothing may be
// missing.
func need(t *testing.T, err error) {
	t.Helper()
	switch {
	case err == nil:
	case os.Getenv("APN_REQUIRE") == "all":
		t.Fatal(err)
	default:
		t.Skip(err)
	}
}
