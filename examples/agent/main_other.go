//go:build !linux

// Command agent runs on Linux servers only.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "agent: only Linux servers have what the agent sets up")
	os.Exit(1)
}
