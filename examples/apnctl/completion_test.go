package main

import (
	"bufio"
	"bytes"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestComplete(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fill(t)
	tests := []struct{ words, has, lacks string }{
		{"", "login servers lease", "add complete -json"},
		{"servers", "add rm shop -json", "login"},
		{"servers rm", "shop/web-1 shop/web-2 -yes", "add"},
		{"servers rm shop/web-1", "-yes -dry-run", "shop/web-1"},
		{"config", "ada/laptop -format", "shop"},
		{"roles add", "ada", "shop"},
		{"roles add ada", "shop", "ada"},
		{"roles add ada shop", "developer", "shop"},
		{"lease", "shop -once", "-yes"},
		{"completion", "bash fish", "shop"},
		{"nonsense", "", "login"},
	}
	for _, tt := range tests {
		found := strings.Fields(w.must(t, append([]string{"complete", "--"}, strings.Fields(tt.words)...)...))
		require.Subset(t, found, strings.Fields(tt.has), tt.words)
		for word := range strings.FieldsSeq(tt.lacks) {
			require.NotContains(t, found, word, tt.words)
		}
	}
	w.env = map[string]string{}
	require.Contains(t, w.must(t, "complete", "--", "servers", "rm"), "-yes", "also without a session")
}

// shell returns the path of a shell, or skips the test.
func shell(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil && os.Getenv("APN_REQUIRE") == "all" {
		t.Fatal(err)
	} else if err != nil {
		t.Skip(err)
	}
	return path
}

func TestScripts(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"bash", "zsh", "fish"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			script := filepath.Join(w.dir, "script")
			require.NoError(t, os.WriteFile(script, []byte(w.must(t, "completion", name)), 0o600))
			out, err := exec.CommandContext(t.Context(), shell(t, name), "-n", script).CombinedOutput()
			require.NoError(t, err, string(out))
		})
	}
}

// TestInterrupt ends the program as a person does.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fill(t)
	web := httptest.NewServer(w.api)
	t.Cleanup(web.Close)
	self, err := os.Executable()
	require.NoError(t, err)
	path := filepath.Join(w.dir, "laptop.conf")
	cmd := exec.CommandContext(t.Context(), self, "up", "ada/laptop", path)
	cmd.Env = append(os.Environ(), asProgram+"=1", "XDG_CONFIG_HOME="+w.dir, "APN_URL="+web.URL, "APN_TOKEN="+w.token)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, line, "new file")
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	require.NoError(t, cmd.Wait())
	require.FileExists(t, path)
}

// TestBash has bash complete a word with this very program.
func TestBash(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), shell(t, "bash"), "-c", `
apnctl() { "$PROGRAM" "$@"; }
source <(apnctl completion bash)
COMP_WORDS=(apnctl servers r) COMP_CWORD=2
_apnctl
echo "${COMPREPLY[@]}"`)
	cmd.Env = append(os.Environ(), asProgram+"=1", "PROGRAM="+self, "XDG_CONFIG_HOME="+t.TempDir(), "APN_URL=", "APN_TOKEN=")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, stderr.String())
	require.Equal(t, "rm rotate\n", string(out))
}
