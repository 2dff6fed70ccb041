package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/apnkit/apnkit/apn/agent"
	"github.com/apnkit/apnkit/apn/agent/wgdev"
	"github.com/apnkit/apnkit/apn/netmap"
	"github.com/apnkit/apnkit/keys"
	"github.com/apnkit/apnkit/lease/nft"
)

// errNotRunning says that no agent answers in the state directory.
var errNotRunning = errors.New("the agent does not run here")

// state is what a running agent tells the other commands.
type state struct {
	Server      string          `json:"server"`
	Interface   string          `json:"interface"`
	Kind        string          `json:"kind"` // of the interface
	Port        int             `json:"port"`
	Epoch       string          `json:"epoch"`
	Wanted      uint64          `json:"wanted"`  // revision of the last document
	Applied     uint64          `json:"applied"` // revision that the server matches
	ClockOffset time.Duration   `json:"clock_offset"`
	Suffix      string          `json:"suffix"`
	Names       []string        `json:"names"` // the server's own
	Addresses   []netip.Prefix  `json:"addresses"`
	Errors      []string        `json:"errors,omitempty"`
	Peers       []peer          `json:"peers"`
	Openings    netmap.Openings `json:"openings"`
	Table       *table          `json:"table,omitempty"` // nil: none is installed
}

// table is what the kernel says of the nftables table.
type table struct {
	nft.State
	Warnings []string `json:"warnings,omitempty"`
	Error    string   `json:"error,omitempty"`
}

type peer struct {
	ID         string         `json:"id"`
	Name       string         `json:"name"`
	AllowedIPs []netip.Prefix `json:"allowed_ips"`
	Endpoint   string         `json:"endpoint"`
	Handshake  time.Time      `json:"handshake,omitzero"`
	Received   int64          `json:"received"`
	Sent       int64          `json:"sent"`
}

// view answers the other commands, on a socket in the state directory.
type view struct {
	name  string
	id    *agent.Identity
	agent *agent.Agent
	iface *wgdev.Interface
	fw    *firewall // nil: none
	stop  func()
}

// serve answers until ctx ends. The caller holds the lock, so a socket that is
// there is left over.
func (v *view) serve(ctx context.Context, path string, wg *sync.WaitGroup) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	l, err := new(net.ListenConfig).Listen(ctx, "unix", path) // in a directory that nobody else may enter
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, r *http.Request) {
		s, err := v.state(r.Context())
		if err != nil {
			s.Errors = append(s.Errors, err.Error())
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(s) // who asked may be gone
	})
	mux.HandleFunc("POST /rotate", func(w http.ResponseWriter, r *http.Request) {
		if err := v.agent.Rotate(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
		}
	})
	mux.HandleFunc("POST /stop", func(http.ResponseWriter, *http.Request) { v.stop() })
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	wg.Go(func() { _ = srv.Serve(l) })
	wg.Go(func() {
		<-ctx.Done()
		_ = srv.Shutdown(context.WithoutCancel(ctx)) // answers are short
	})
	return nil
}

// state reads how the server is.
func (v *view) state(ctx context.Context) (state, error) {
	s := stateOf(v.id, v.agent.Netmap())
	s.Interface = v.name
	st, err := v.agent.Status(ctx)
	s.Applied, s.ClockOffset, s.Errors = st.Revision, st.ClockOffset, st.Errors
	if err != nil {
		return s, err
	}
	dev, err := v.iface.Device(ctx)
	if err != nil {
		return s, err
	}
	s.Kind, s.Port = dev.Type.String(), dev.ListenPort
	if v.fw != nil {
		s.Table = v.fw.state(ctx)
	}
	ids := map[keys.PublicKey]int{}
	if m := v.agent.Netmap(); m != nil {
		for i := range m.Peers {
			ids[m.Peers[i].PublicKey] = i
		}
	}
	for _, p := range dev.Peers {
		i, ok := ids[keys.PublicKey(p.PublicKey)]
		if !ok || i >= len(s.Peers) {
			continue
		}
		out := &s.Peers[i]
		out.Handshake, out.Received, out.Sent = p.LastHandshakeTime, p.ReceiveBytes, p.TransmitBytes
		if p.Endpoint != nil {
			out.Endpoint = p.Endpoint.String()
		}
	}
	return s, nil
}

// stateOf returns what a document alone tells; m may be nil.
func stateOf(id *agent.Identity, m *netmap.Config) state {
	s := state{Server: id.String()}
	if m == nil {
		return s
	}
	s.Epoch, s.Wanted, s.Suffix, s.Addresses, s.Openings = m.Epoch, m.Revision, m.Suffix, m.Addresses, m.Openings
	for _, n := range m.Names {
		if n.ID == m.ID {
			s.Names = n.Names
		}
	}
	for i := range m.Peers {
		p := &m.Peers[i]
		s.Peers = append(s.Peers, peer{ID: p.ID, Name: p.Name, AllowedIPs: p.AllowedIPs, Endpoint: p.Endpoint})
	}
	return s
}

// ask asks the agent that runs here; a path alone is a POST. out may be nil.
func (o *options) ask(ctx context.Context, path string, out any) error {
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(o.state, socketFile))
	}}}
	defer client.CloseIdleConnections()
	method := http.MethodPost
	if out != nil {
		method = http.MethodGet
	}
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://agent"+path, bytes.NewReader(nil))
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return fmt.Errorf("%w: %w", errNotRunning, op.Err)
	}
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end
	data, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return err
	case resp.StatusCode != http.StatusOK:
		return errors.New(strings.TrimSpace(string(data)))
	case out == nil:
		return nil
	}
	return json.Unmarshal(data, out)
}
