// Package browser is the proof that people can use the dashboard: Chromium walks
// the tutorial click by click against the program of examples/server.
//
//	go test ./examples/browser -screens /tmp/screens
//
// leaves a picture of every step. Whatever page a test opens, it may load
// nothing from elsewhere, break no rule of its Content-Security-Policy, write
// nothing to the console and be no wider than the screen.
//
// The tests need chromium and zbarimg, and axe-core for what they say of
// accessibility: npm install axe-core, here or in a folder above, or APN_AXE with
// the path of axe.min.js.
package browser
