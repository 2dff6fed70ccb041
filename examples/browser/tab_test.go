package browser_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/audits"
	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// look is how somebody looks at the dashboard.
type look struct {
	name     string
	dark     bool
	phone    bool
	noScript bool
}

// tab is somebody's browser: no cookie is shared with another tab.
type tab struct {
	t       *testing.T
	ctx     context.Context
	origins []string // that it may load from; the first is the server's
	look    look
	files   string // what it downloads
	shots   int

	mu         sync.Mutex
	complaints []string
}

func openTab(t *testing.T, l look, origins ...string) *tab {
	t.Helper()
	b := &tab{t: t, origins: origins, look: l, files: t.TempDir()}
	var cancel context.CancelFunc
	b.ctx, cancel = chromedp.NewContext(chromium, chromedp.WithNewBrowserContext(), chromedp.WithListener(b.watch))
	t.Cleanup(func() {
		if t.Failed() {
			b.shot("failed")
		}
		cancel()
		b.mu.Lock()
		defer b.mu.Unlock()
		require.Empty(t, b.complaints)
	})
	require.NoError(t, chromedp.Do(b.ctx)) // which opens it
	scheme := "light"
	if l.dark {
		scheme = "dark"
	}
	call(b, audits.Enable, cdp.Empty{})
	call(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
	call(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: l.noScript})
	if l.phone {
		b.do(chromedp.EmulateViewport(390, 844, chromedp.EmulateScale(2), chromedp.EmulateMobile, chromedp.EmulateTouch))
	} else {
		b.do(chromedp.EmulateViewport(1280, 900))
	}
	_, err := chromedp.CallBrowser(b.ctx, browser.SetDownloadBehavior, browser.SetDownloadBehaviorParams{
		Behavior: browser.SetDownloadBehaviorBehaviorAllow, BrowserContextID: chromedp.FromContext(b.ctx).BrowserContextID,
		DownloadPath: b.files, EventsEnabled: new(true),
	})
	require.NoError(t, err)
	return b
}

// watch notes what no page may do.
func (b *tab) watch(ev any) {
	switch ev := ev.(type) {
	case *network.EventRequestWillBeSent:
		if !b.own(ev.Request.URL) {
			b.complain("a request to %s", ev.Request.URL)
		}
	case *network.EventResponseReceived:
		// A page may answer a form with a problem.
		if ev.Type != network.ResourceTypeDocument && ev.Response.Status >= 400 {
			b.complain("%d for %s", ev.Response.Status, ev.Response.URL)
		}
	case *network.EventLoadingFailed:
		if !ev.Canceled {
			b.complain("%s of a %s", ev.ErrorText, ev.Type)
		}
	case *runtime.EventConsoleAPICalled:
		text, _ := json.Marshal(ev.Args)
		b.complain("console.%s %s", ev.Type, text)
	case *runtime.EventExceptionThrown:
		text, _ := json.Marshal(ev.ExceptionDetails)
		b.complain("exception: %s", text)
	case *log.EventEntryAdded:
		// The responses tell of the network; verbose are recommendations.
		if ev.Entry.Source != log.EntrySourceNetwork && ev.Entry.Level != log.EntryLevelVerbose {
			b.complain("%s, %s: %s", ev.Entry.Source, ev.Entry.Level, ev.Entry.Text)
		}
	case *audits.EventIssueAdded:
		text, _ := json.Marshal(ev.Issue.Details)
		b.complain("%s %s", ev.Issue.Code, text)
	}
}

func (b *tab) own(url string) bool {
	for _, origin := range b.origins {
		if strings.HasPrefix(url, origin+"/") {
			return true
		}
	}
	return strings.HasPrefix(url, "data:")
}

func (b *tab) complain(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.complaints = append(b.complaints, fmt.Sprintf(format, args...))
}

// await does something in a tab that has to be done within the patience.
func await[T any](b *tab, what string, a chromedp.Action[T]) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, a)
	require.NoError(b.t, err, "%s\n%s", what, b)
	return v
}

// call sends a command of the protocol.
func call[P any](b *tab, cmd cdp.Command[P, cdp.Empty], params P) {
	b.t.Helper()
	_, err := chromedp.Call(b.ctx, cmd, params)
	require.NoError(b.t, err)
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	await(b, "", chromedp.Steps(steps...))
}

// String is what somebody sees.
func (b *tab) String() string {
	text, err := chromedp.Run(b.ctx, chromedp.Evaluate[string](`document.location + "\n" + document.body.innerText`))
	if err != nil {
		return err.Error()
	}
	return text
}

// open goes to a path of the server, and returns the status.
func (b *tab) open(path string) int {
	b.t.Helper()
	return b.arrived(await(b, "open "+path, chromedp.NavigateResponse(b.origins[0]+path)))
}

// press clicks on what leads to another page, and returns its status.
func (b *tab) press(selector string) int {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	resp, err := chromedp.RunResponse(ctx, chromedp.Click(chromedp.CSS(selector)))
	require.NoError(b.t, err, "press %s\n%s", selector, b)
	return b.arrived(resp)
}

// arrived looks at what all pages have in common.
func (b *tab) arrived(resp *network.Response) int {
	b.t.Helper()
	require.NotNil(b.t, resp, "the page has a response\n%s", b)
	wide := await(b, "measure", chromedp.Evaluate[int](`document.documentElement.scrollWidth - document.documentElement.clientWidth`))
	require.LessOrEqual(b.t, wide, 0, "wider than the screen\n%s", b)
	return int(resp.Status)
}

// fill writes into an input of a form.
func (b *tab) fill(form, name, value string) {
	b.t.Helper()
	input := chromedp.CSS(fmt.Sprintf(`[data-test=%q] [name=%q]`, form, name))
	b.do(chromedp.Clear(input), chromedp.SendKeys(input, value))
}

// submit sends a form, and returns the status of the page that it leads to.
func (b *tab) submit(form string) int {
	b.t.Helper()
	return b.press(fmt.Sprintf(`[data-test=%q] .actions button, [data-test=%q].inline button`, form, form))
}

// sees fails unless an element shows a text.
func (b *tab) sees(selector, text string) {
	b.t.Helper()
	got := await(b, "look at "+selector, chromedp.Text(chromedp.CSS(selector)))
	require.Contains(b.t, got, text, "%s\n%s", selector, b)
}

// shot saves a picture of the whole page, if pictures are wanted.
func (b *tab) shot(name string) {
	b.t.Helper()
	if *screens == "" {
		return
	}
	b.shots++
	image := await(b, "take a picture", chromedp.FullScreenshot(100))
	path := filepath.Join(*screens, b.t.Name(), fmt.Sprintf("%02d-%s.png", b.shots, name))
	require.NoError(b.t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(b.t, os.WriteFile(path, image, 0o600))
}
