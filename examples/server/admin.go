package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/apnkit/apnkit/lease"
)

// The admin socket lies in the data folder, which only the server's user can
// enter: who reaches it may read the KEK anyway. It runs commands inside the
// server, because the database belongs to one process at a time.
const (
	adminSocket  = "admin.sock"
	adminTrailer = "Apn-Error"
)

// serveAdmin serves commands until ctx ends. The caller has the database open,
// so a socket that is there was left by a server that is gone.
func (d *data) serveAdmin(ctx context.Context, log *slog.Logger) (stop func(), err error) {
	path := filepath.Join(d.options.data, adminSocket)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "unix", path)
	if err != nil {
		// Long paths do not fit a socket address. The server works without.
		log.Warn("no admin socket: key commands need a stopped server", "error", err)
		return func() {}, nil
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	mux := http.NewServeMux()
	var busy sync.Mutex
	for name, cmd := range commands() {
		if cmd.alone {
			continue
		}
		mux.HandleFunc("POST /"+strings.ReplaceAll(name, " ", "/"), func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Trailer", adminTrailer)
			err := errors.New("another key command is at work")
			if busy.TryLock() {
				defer busy.Unlock()
				err = cmd.run(r.Context(), d, r.URL.Query().Get("arg"), flushing{w, http.NewResponseController(w)})
			}
			if err != nil {
				w.Header().Set(adminTrailer, strings.ReplaceAll(err.Error(), "\n", "; "))
			}
		})
	}
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: headerTimeout, BaseContext: func(net.Listener) context.Context { return ctx }}
	var wg sync.WaitGroup
	wg.Go(func() { _ = srv.Serve(ln) }) // ends with Close
	return func() {
		_ = srv.Close()
		wg.Wait()
		busy.Lock() // a command at work sees the end of its context
	}, nil
}

// flushing sends each line of progress at once.
type flushing struct {
	io.Writer
	ctl *http.ResponseController
}

func (f flushing) Write(p []byte) (int, error) {
	n, err := f.Writer.Write(p)
	return n, errors.Join(err, f.ctl.Flush())
}

// command runs a command in the server that has the data folder open, or here if
// there is none.
func (o *options) command(ctx context.Context, name, arg string, stdout io.Writer) error {
	if name == "restore" {
		return o.commandHere(ctx, name, arg, stdout) // it may be the first to make a database
	}
	if ok, err := o.store.exists(); err != nil || !ok {
		return errors.Join(fmt.Errorf("there is no database %s", o.store), err)
	}
	if commands()[name].alone {
		return o.commandHere(ctx, name, arg, stdout)
	}
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(o.data, adminSocket))
	}}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://admin/"+strings.ReplaceAll(name, " ", "/")+"?"+url.Values{"arg": {arg}}.Encode(), http.NoBody)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return o.commandHere(ctx, name, arg, stdout)
	}
	if err != nil {
		return fmt.Errorf("the server does not answer: %w", err)
	}
	_, err = io.Copy(stdout, resp.Body)
	err = errors.Join(err, resp.Body.Close())
	switch {
	case err != nil:
		return fmt.Errorf("the server went away, run it again: %w", err)
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("the server answers %s", resp.Status)
	case resp.Trailer.Get(adminTrailer) != "":
		return errors.New(resp.Trailer.Get(adminTrailer))
	}
	return nil
}

func (o *options) commandHere(ctx context.Context, name, arg string, stdout io.Writer) (err error) {
	d, err := o.openData(ctx, lease.SourceOptions{}, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	return commands()[name].run(ctx, d, arg, stdout)
}
