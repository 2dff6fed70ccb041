// Package browser is the proof that people can use the dashboard: Chromium looks
// at what the program of examples/server shows, on a desktop, on a phone in the
// dark, and without scripts.
//
//	go test ./examples/browser -screens /tmp/screens
//
// leaves a picture of every step. Whatever page a test opens, it may load
// nothing from elsewhere, break no rule of its Content-Security-Policy, write
// nothing to the console and be no wider than the screen. The tests need chromium.
package browser
