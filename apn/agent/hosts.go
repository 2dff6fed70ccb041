package agent

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/apnkit/apnkit/apn/netmap"
)

// hostsLines returns the names of c as lines of a hosts file (hosts(5)).
func hostsLines(c *netmap.Config) []string {
	var lines []string
	for _, n := range c.Names {
		for _, a := range n.Addrs {
			if len(n.Names) > 0 {
				lines = append(lines, a.String()+"\t"+strings.Join(n.Names, " "))
			}
		}
	}
	return lines
}

// writeHosts makes lines our section of the hosts file, and takes the section
// out if there are none. The rest of the file stays byte for byte.
func (h *HostResolver) writeHosts(lines []string) (wrote bool, err error) {
	path, tag := cmp.Or(h.HostsFile, "/etc/hosts"), cmp.Or(h.Tag, "apn")
	if limit := cmp.Or(h.HostsLimit, 10_000); len(lines) > limit {
		return false, fmt.Errorf("%d addresses are more than a hosts file should hold (%d)", len(lines), limit)
	}
	old, err := os.ReadFile(path) //nolint:gosec // the operator's own choice
	if errors.Is(err, fs.ErrNotExist) && len(lines) == 0 {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	begin, end := "# BEGIN "+tag+" (written by the apn agent)\n", "# END "+tag+"\n"
	rest, err := cutSection(string(old), begin, end)
	if err != nil {
		return false, err
	}
	text := rest
	if len(lines) > 0 {
		if text != "" && !strings.HasSuffix(text, "\n") {
			text += "\n"
		}
		text += begin + strings.Join(lines, "\n") + "\n" + end
	}
	if bytes.Equal([]byte(text), old) {
		return false, nil
	}
	return true, replaceFile(path, []byte(text))
}

// cutSection returns text without what stands between two lines, and the lines.
func cutSection(text, begin, end string) (string, error) {
	before, section, ok := strings.Cut(text, begin)
	if !ok {
		return text, nil
	}
	_, after, ok := strings.Cut(section, end)
	if !ok {
		return "", fmt.Errorf("the line %q is missing", strings.TrimSpace(end))
	}
	return before + after, nil
}

// replaceFile replaces a file as a whole and keeps its mode. In containers the
// hosts file is often mounted by itself, and can only be written in place.
func replaceFile(path string, data []byte) (err error) {
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	inPlace := func() error {
		return os.WriteFile(path, data, info.Mode().Perm()) //nolint:gosec // the operator's own choice
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".apn-*")
	if err != nil {
		return inPlace()
	}
	_, err = f.Write(data)
	if err == nil {
		err = errors.Join(f.Chmod(info.Mode().Perm()), f.Sync())
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	if os.Rename(f.Name(), path) != nil {
		return errors.Join(inPlace(), os.Remove(f.Name()))
	}
	return nil
}
