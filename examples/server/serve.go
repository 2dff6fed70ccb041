package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"github.com/apnkit/apnkit/apn"
	"github.com/apnkit/apnkit/apn/apnhttp"
	"github.com/apnkit/apnkit/lease"
)

const (
	headerTimeout = 10 * time.Second
	bodyTimeout   = time.Minute // for a request with a body, all in all
	idleTimeout   = 2 * time.Minute
	shutdownTime  = 10 * time.Second
)

// serve runs until ctx ends.
func (o *options) serve(ctx context.Context, stdout, stderr io.Writer) (err error) {
	level := slog.LevelWarn
	if o.verbose {
		level = slog.LevelInfo
	}
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level}))

	var certs []tls.Certificate
	var pin []byte
	if o.tlsCert != "" {
		cert, err := tls.LoadX509KeyPair(o.tlsCert, o.tlsKey)
		if err != nil {
			return fmt.Errorf("the certificate cannot be used: %w", err)
		}
		certs = append(certs, cert)
		pin = pinOf(cert)
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", o.addr)
	if err != nil {
		return fmt.Errorf("%s cannot be listened on: %w", o.addr, err)
	}
	defer func() { err = errors.Join(err, ignoreClosed(ln.Close())) }()
	loopback := ln.Addr().(*net.TCPAddr).IP.IsLoopback()
	// Nobody else reaches a loopback address, so to try things out a lease may be
	// for it.
	d, err := o.openData(ctx, lease.SourceOptions{AllowLoopback: loopback, AllowPrivate: loopback || o.privateSources}, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()

	defaults := apn.NetworkOptions{Prefixes: o.pool, Suffix: o.suffix}
	if err := checkDefaults(ctx, d.ctl, defaults); err != nil {
		return err
	}
	login, err := o.openOIDC(ln.Addr(), d.ctl, log)
	if err != nil {
		return err
	}
	api, err := apnhttp.New(apnhttp.Config{
		Control: d.ctl, Authenticate: apnhttp.TokenAuth(d.ctl), TrustedProxies: o.proxies, Defaults: defaults,
		URL: o.url, Pin: pin, SignInLinks: login.links(), Version: version(), Logger: log,
	})
	if err != nil {
		return err
	}
	stop, err := d.serveAdmin(ctx, log)
	if err != nil {
		return err
	}
	defer stop()
	webhooks, endWebhooks := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { _ = api.DeliverWebhooks(webhooks, nil) }) // ends with its context
	defer wg.Wait()
	defer endWebhooks()
	defer d.compactLoop(ctx, log)()
	if o.dns != "" {
		stop, err := d.serveDNS(ctx, log)
		if err != nil {
			return err
		}
		defer stop()
	}
	if err := o.greet(ctx, d, ln.Addr(), stdout); err != nil {
		return err
	}
	if len(certs) > 0 {
		ln = tls.NewListener(ln, &tls.Config{Certificates: certs, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}})
	}
	return listen(ctx, ln, login.handler(api), api.EndWaits, log)
}

// greet prints the address, and the first admin token or another one.
func (o *options) greet(ctx context.Context, d *data, addr net.Addr, stdout io.Writer) error {
	first, err := d.firstStart(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "listening on %s://%s\n", o.scheme(), addr)
	if d.dnsAddr != nil {
		fmt.Fprintf(stdout, "answering DNS at %s\n", d.dnsAddr)
	}
	if first || o.newToken {
		secret, _, err := d.ctl.AddToken(ctx, "admin", nil)
		if err != nil {
			return err
		}
		fmt.Fprintf(stdout, "admin token, shown once: %s\n", secret)
	}
	return nil
}

func (o *options) scheme() string {
	if o.tlsCert != "" {
		return "https"
	}
	return "http"
}

// pinOf returns what agents recognise a certificate by that signs itself: no
// authority vouches for it. Others change their keys when they are renewed.
func pinOf(cert tls.Certificate) []byte {
	if cert.Leaf.CheckSignature(cert.Leaf.SignatureAlgorithm, cert.Leaf.RawTBSCertificate, cert.Leaf.Signature) != nil {
		return nil
	}
	sum := sha256.Sum256(cert.Leaf.RawSubjectPublicKeyInfo)
	return sum[:]
}

// listen serves until ctx ends, and then ends requests that wait, and finishes
// the others that are under way.
func listen(ctx context.Context, ln net.Listener, h http.Handler, endWaits func(), log *slog.Logger) error {
	srv := &http.Server{
		Handler: bodyDeadline(h), ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	srv.RegisterOnShutdown(endWaits)
	done := make(chan error, 1)
	go func() {
		<-ctx.Done()
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
		defer cancel()
		done <- srv.Shutdown(end)
	}()
	if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-done
}

// bodyDeadline bounds how long a body may take. The server's own ReadTimeout
// would also cut requests that wait without a body.
func bodyDeadline(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 {
			// A connection without deadlines serves nevertheless.
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout))
		}
		h.ServeHTTP(w, r)
	})
}

// checkDefaults refuses flags that no network could be made with.
func checkDefaults(ctx context.Context, ctl *apn.Control, opts apn.NetworkOptions) error {
	opts.DryRun = new(apn.Plan)
	_, err := ctl.CreateNetwork(ctx, "flags", &opts)
	if errors.Is(err, apn.ErrInvalid) {
		return fmt.Errorf("-pool or -suffix cannot be used: %w", err)
	}
	return nil // a network of that name may exist
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// version is that of the module, if the build tells.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == "github.com/apnkit/apnkit" && m.Version != "v0.0.0" {
				return m.Version
			}
		}
	}
	return "devel"
}
