package main

import (
	"flag"
	"fmt"
	"io"
	"net/netip"
	"path/filepath"
	"strings"
	"time"
)

// options are the command line.
type options struct {
	addr           string
	url            string
	data           string
	store          storeSpec
	engines        engines
	kek            kekSource
	tlsCert        string
	tlsKey         string
	proxies        []netip.Prefix
	pool           []netip.Prefix
	suffix         string
	dns            string
	oidc           oidcOptions
	privateSources bool
	keepAudit      time.Duration
	newToken       bool
	verbose        bool
}

// kekSource says where the KEK is.
type kekSource struct {
	file       string
	passphrase string // a file; empty: the KEK is in clear
}

func parse(args []string, stderr io.Writer) (*options, error) {
	o := new(options)
	f := flag.NewFlagSet("server", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&o.addr, "addr", "127.0.0.1:8066", "`address` to listen on")
	f.StringVar(&o.url, "url", "", "`URL` at which agents and people reach the server (default as each request came)")
	f.StringVar(&o.data, "data", "./apn-data", "`folder` of database and KEK; made if it is missing")
	f.Func("store", "`where` the rows are: bolt:PATH, sqlite:PATH, postgres://… or etcd://… (default bolt:apn.db in the data folder)", func(s string) (err error) {
		o.store, err = parseStore(s)
		return err
	})
	f.Func("kek", "`source` of the key that wraps all others: file:PATH, or passphrase-file:PATH for a file in the data folder under the passphrase in PATH (default file:kek.key in the data folder)", o.kek.parse)
	f.StringVar(&o.tlsCert, "tls-cert", "", "`file` with the certificate, for HTTPS")
	f.StringVar(&o.tlsKey, "tls-key", "", "`file` with the certificate's key")
	f.Func("trusted-proxies", "comma-separated `prefixes` whose X-Forwarded-For is believed", list(&o.proxies))
	f.Func("pool", "comma-separated `prefixes` for new networks that name none (default random)", list(&o.pool))
	f.StringVar(&o.suffix, "suffix", "", "DNS `suffix` of new networks that name none (default apn)")
	f.StringVar(&o.dns, "dns", "", "`[NETWORK@]ADDRESS` to answer DNS queries for a network's names at (default none)")
	o.oidc.flags(f)
	f.BoolVar(&o.privateSources, "private-sources", false, "let leases be for private addresses; always so when listening on loopback alone")
	f.DurationVar(&o.keepAudit, "keep-audit", 0, "forget audit events after this `time`, like 8760h for a year (default never)")
	f.BoolVar(&o.newToken, "new-token", false, "print another admin token")
	f.BoolVar(&o.verbose, "v", false, "log every request")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	err := o.oidc.check()
	switch {
	case err != nil:
	case f.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q", f.Arg(0))
	case o.keepAudit < 0:
		err = fmt.Errorf("-keep-audit must not be negative")
	case (o.tlsCert == "") != (o.tlsKey == ""):
		err = fmt.Errorf("-tls-cert and -tls-key go together")
	}
	if err != nil {
		fmt.Fprintln(stderr, err)
		f.Usage()
		return nil, err
	}
	if o.store == "" {
		o.store = storeSpec("bolt:" + filepath.Join(o.data, "apn.db"))
	}
	if o.kek.file == "" {
		o.kek.file = filepath.Join(o.data, "kek.key")
	}
	return o, nil
}

func (k *kekSource) parse(s string) error {
	kind, path, _ := strings.Cut(s, ":")
	switch {
	case path == "":
	case kind == "file":
		*k = kekSource{file: path}
		return nil
	case kind == "passphrase-file":
		*k = kekSource{passphrase: path}
		return nil
	}
	return fmt.Errorf("must be file:PATH or passphrase-file:PATH")
}

// list reads comma-separated prefixes; an address alone is a prefix of one.
func list(dst *[]netip.Prefix) func(string) error {
	return func(s string) error {
		for part := range strings.SplitSeq(s, ",") {
			part = strings.TrimSpace(part)
			if a, err := netip.ParseAddr(part); err == nil {
				*dst = append(*dst, netip.PrefixFrom(a, a.BitLen()))
				continue
			}
			p, err := netip.ParsePrefix(part)
			if err != nil || p != p.Masked() {
				return fmt.Errorf("%q is not a prefix", part)
			}
			*dst = append(*dst, p)
		}
		return nil
	}
}
