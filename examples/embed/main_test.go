package main

import (
	"io"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/render"
)

func TestMain_PrintsConfig(t *testing.T) {
	r, w, err := os.Pipe()
	require.NoError(t, err)
	stdout := os.Stdout
	os.Stdout = w
	defer func() { os.Stdout = stdout }()
	t.Setenv("TMPDIR", t.TempDir())
	main()
	require.NoError(t, w.Close())
	file, err := io.ReadAll(r)
	require.NoError(t, err)

	cfg, err := render.Parse(file, nil)
	require.NoError(t, err)
	require.Len(t, cfg.Peers, 2)
	require.False(t, cfg.Interface.PrivateKey.IsZero())
	require.Equal(t, "203.0.113.7:51820", cfg.Peers[0].Endpoint.String())
}

// The README shows this program, letter by letter.
func TestReadme(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	program, err := os.ReadFile("main.go")
	require.NoError(t, err)
	_, block, found := strings.Cut(string(readme), "```go\n")
	require.True(t, found)
	block, _, found = strings.Cut(block, "```\n")
	require.True(t, found)
	require.Equal(t, string(program), block)
}
