package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/apnkit/apnkit/apn/netmap"
)

// Dir is where an agent keeps what it needs to start without its control plane:
// who it is, the last document, and the last secrets. Files are replaced as a
// whole and are on disk when a call returns. Only the owner may read them.
type Dir struct{ path string }

const (
	identityFile = "identity.json"
	netmapFile   = "netmap.json"
	secretsFile  = "secrets.json"
	memoryFile   = "memory.json"
)

// OpenDir opens the directory at path, and makes it if it is not there. One
// that others may read is refused.
func OpenDir(path string) (*Dir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("agent: open state directory: %w", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("agent: open state directory: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("agent: open state directory: others may read %s (mode %04o): run chmod 700 on it", path, info.Mode().Perm())
	}
	return &Dir{path}, nil
}

// Path returns where the directory is.
func (d *Dir) Path() string { return d.path }

// Identity returns who the server is. If nothing is stored, the error wraps
// [ErrNotJoined].
func (d *Dir) Identity() (*Identity, error) {
	data, err := d.load(identityFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("agent: read %s: %w", d.path, ErrNotJoined)
	}
	if err != nil {
		return nil, err
	}
	id, err := parseIdentity(data)
	if err != nil {
		return nil, fmt.Errorf("agent: read %s: %w", identityFile, err)
	}
	return id, nil
}

// SaveIdentity stores who the server is.
func (d *Dir) SaveIdentity(id *Identity) error {
	data, err := id.marshal()
	if err != nil {
		return fmt.Errorf("agent: save identity: %w", err)
	}
	return d.save(identityFile, data)
}

// Clear removes all that an agent keeps, but not the directory.
func (d *Dir) Clear() error {
	var errs []error
	for _, name := range []string{netmapFile, secretsFile, memoryFile, identityFile} {
		list, _ := filepath.Glob(filepath.Join(d.path, name+"*")) // with what a crash left; the pattern is valid
		for _, file := range list {
			if err := os.Remove(file); err != nil {
				errs = append(errs, fmt.Errorf("agent: clear state directory: %w", err))
			}
		}
	}
	return errors.Join(errs...)
}

// memory is what the agent learnt besides documents.
type memory struct {
	// ClockOffset is how far the server's clock was ahead of the control plane's.
	ClockOffset time.Duration `json:"clock_offset"`
	// Left are epochs that documents came from earlier, latest last.
	Left []string `json:"left,omitempty"`
	// Hosts are the endpoints that are host names, as last looked up. Only a
	// sync changes it, which reads it without holding the agent's lock.
	Hosts map[string]netip.AddrPort `json:"hosts,omitempty"`
}

// saved is what a directory holds besides the identity.
type saved struct {
	signed *netmap.Signed
	sealed *netmap.Sealed
	memory memory
}

// read returns what is there. Damaged files count as missing, and are in the
// error: the control plane has it all.
func (d *Dir) read() (s saved, err error) {
	var errs []error
	load := func(name string, parse func([]byte) error) {
		data, err := d.load(name)
		if err == nil {
			err = parse(data)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("agent: read %s: %w", name, err))
		}
	}
	load(netmapFile, func(data []byte) (err error) {
		s.signed, err = netmap.Parse(data)
		return err
	})
	load(secretsFile, func(data []byte) error {
		var sealed netmap.Sealed
		if json.Unmarshal(data, &sealed) != nil {
			return errors.New("malformed")
		}
		s.sealed = &sealed
		return nil
	})
	load(memoryFile, func(data []byte) error { return json.Unmarshal(data, &s.memory) })
	return s, errors.Join(errs...)
}

func (d *Dir) saveJSON(name string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("agent: save %s: %w", name, err)
	}
	return d.save(name, data)
}

func (d *Dir) load(name string) ([]byte, error) {
	data, err := os.ReadFile(filepath.Join(d.path, name)) //nolint:gosec // one of four names in our directory
	if err != nil {
		return nil, fmt.Errorf("agent: read %s: %w", name, err)
	}
	return data, nil
}

// save replaces a file: who reads it sees the old or the new one, whatever
// happens meanwhile.
func (d *Dir) save(name string, data []byte) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("agent: save %s: %w", name, err)
		}
	}()
	f, err := os.CreateTemp(d.path, name+".*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), filepath.Join(d.path, name)); err != nil {
		return err
	}
	dir, err := os.Open(d.path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
