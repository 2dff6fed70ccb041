//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package localkek_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/keys/localkek"
)

func TestInsecure(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		make func(t *testing.T, path string) // breaks a good file at path
		opts *localkek.FileOptions
		ok   bool
	}{
		{name: "0600", ok: true, make: func(*testing.T, string) {}},
		{name: "0400, a systemd credential", ok: true, make: chmod(0o400)},
		{name: "0644", make: chmod(0o644)},
		{name: "0640", make: chmod(0o640)},
		{name: "0604", make: chmod(0o604)},
		{name: "0610", make: chmod(0o610)},
		{name: "0440, a systemd credential with an ACL", make: chmod(0o440)},
		{name: "0440 allowed", opts: &localkek.FileOptions{GroupRead: true}, ok: true, make: chmod(0o440)},
		{name: "0460 never", opts: &localkek.FileOptions{GroupRead: true}, make: chmod(0o460)},
		{name: "0444 never", opts: &localkek.FileOptions{GroupRead: true}, make: chmod(0o444)},
		{name: "symbolic link", make: func(t *testing.T, path string) {
			t.Helper()
			require.NoError(t, os.Rename(path, path+".real"))
			require.NoError(t, os.Symlink(path+".real", path))
		}},
		{name: "folder", make: func(t *testing.T, path string) {
			t.Helper()
			require.NoError(t, os.Remove(path))
			require.NoError(t, os.Mkdir(path, 0o700))
		}},
		{name: "named pipe", make: func(t *testing.T, path string) {
			t.Helper()
			require.NoError(t, os.Remove(path))
			require.NoError(t, syscall.Mkfifo(path, 0o600))
		}},
		{name: "folder that its group writes", make: func(t *testing.T, path string) {
			t.Helper()
			require.NoError(t, os.Chmod(filepath.Dir(path), 0o770))
		}},
		{name: "folder that all write, sticky", make: func(t *testing.T, path string) {
			t.Helper()
			require.NoError(t, os.Chmod(filepath.Dir(path), 0o777|fs.ModeSticky))
		}},
		{name: "another owner", make: func(t *testing.T, path string) {
			t.Helper()
			chown(t, path)
		}},
		{name: "folder of another owner", make: func(t *testing.T, path string) {
			t.Helper()
			chown(t, filepath.Dir(path))
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "kek")
			_, err := localkek.CreateFile(path, nil)
			require.NoError(t, err)
			tt.make(t, path)
			_, err = localkek.OpenFile(path, tt.opts)
			if tt.ok {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, localkek.ErrInsecureFile)
			_, err = localkek.RotateFile(path, tt.opts)
			require.ErrorIs(t, err, localkek.ErrInsecureFile)
		})
	}
}

func TestCredential(t *testing.T) { // not parallel: it sets a variable
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "below"), 0o700))
	elsewhere := t.TempDir()
	tests := []struct {
		name string
		dir  string // CREDENTIALS_DIRECTORY
		path string
		mode fs.FileMode
		ok   bool
	}{
		{name: "0440", dir: dir, path: dir + "/kek", mode: 0o440, ok: true},
		{name: "0440, other spelling", dir: dir + "/", path: dir + "/below/../kek", mode: 0o440, ok: true},
		{name: "0400", dir: dir, path: dir + "/kek", mode: 0o400, ok: true},
		{name: "0460", dir: dir, path: dir + "/kek", mode: 0o460},
		{name: "0444", dir: dir, path: dir + "/kek", mode: 0o444},
		{name: "in a folder below", dir: dir, path: dir + "/below/kek", mode: 0o440},
		{name: "elsewhere", dir: dir, path: elsewhere + "/kek", mode: 0o440},
		{name: "relative folder", dir: "..", path: dir + "/kek", mode: 0o440},
		{name: "no credentials", dir: "", path: dir + "/kek", mode: 0o440},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("CREDENTIALS_DIRECTORY", tt.dir)
			_, err := localkek.CreateFile(tt.path, nil)
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, os.Remove(tt.path)) })
			require.NoError(t, os.Chmod(tt.path, tt.mode))
			_, err = localkek.OpenFile(tt.path, nil)
			if !tt.ok {
				require.ErrorIs(t, err, localkek.ErrInsecureFile)
				return
			}
			require.NoError(t, err)
			pass, err := localkek.ReadPassphrase(tt.path, nil)
			require.NoError(t, err)
			require.NotEmpty(t, pass)
		})
	}

	t.Run("symbolic link", func(t *testing.T) {
		t.Setenv("CREDENTIALS_DIRECTORY", dir)
		_, err := localkek.CreateFile(elsewhere+"/kek", nil)
		require.NoError(t, err)
		require.NoError(t, os.Symlink(elsewhere+"/kek", dir+"/kek"))
		_, err = localkek.OpenFile(dir+"/kek", nil)
		require.ErrorIs(t, err, localkek.ErrInsecureFile)
	})
	t.Run("another owner", func(t *testing.T) {
		t.Setenv("CREDENTIALS_DIRECTORY", elsewhere)
		require.NoError(t, os.Chmod(elsewhere+"/kek", 0o440))
		chown(t, elsewhere+"/kek")
		_, err := localkek.OpenFile(elsewhere+"/kek", nil)
		require.ErrorIs(t, err, localkek.ErrInsecureFile)
	})
}

func chmod(mode fs.FileMode) func(*testing.T, string) {
	return func(t *testing.T, path string) {
		t.Helper()
		require.NoError(t, os.Chmod(path, mode))
	}
}

// chown gives path to a user that is neither root nor this one.
func chown(t *testing.T, path string) {
	t.Helper()
	err := os.Chown(path, 54321, -1)
	if errors.Is(err, fs.ErrPermission) {
		if os.Getenv("APN_REQUIRE") == "all" {
			t.Fatal("giving a file away needs root")
		}
		t.Skip("giving a file away needs root")
	}
	require.NoError(t, err)
}

func TestInsecurePassphraseFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "pass")
	require.NoError(t, os.WriteFile(path, passphrase, 0o600))
	require.NoError(t, os.Chmod(path, 0o644))
	_, err := localkek.ReadPassphrase(path, nil)
	require.ErrorIs(t, err, localkek.ErrInsecureFile)
}

func TestCreateInInsecureFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o777))
	_, err := localkek.CreateFile(filepath.Join(dir, "kek"), nil)
	require.ErrorIs(t, err, localkek.ErrInsecureFile)
	require.NoFileExists(t, filepath.Join(dir, "kek"))
	_, err = localkek.CreateFile(filepath.Join(dir, "nowhere", "kek"), nil)
	require.ErrorIs(t, err, fs.ErrNotExist)
}
