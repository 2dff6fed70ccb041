package etcdstore

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/logutil"
	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Open connects to a cluster by a URL and returns its store, as [New] does.
//
//	etcd://[user:password@]host:port[,host:port...][/prefix][?parameters]
//
// Parameters are the PEM files ca, cert and key; any of them, or tls=true,
// switches TLS on. Without ca the roots of the system count; cert and key are
// read again for each connection. No error contains the password.
//
// A member that hangs is given up after 13 seconds, its calls fail.
func Open(ctx context.Context, dsn string) (*Store, error) {
	config, opts, err := parse(dsn)
	if err != nil {
		return nil, fmt.Errorf("etcdstore: open: %w", err)
	}
	if end, ok := ctx.Deadline(); ok { // the client signs in without ctx
		config.DialTimeout = min(config.DialTimeout, time.Until(end))
	}
	client, err := clientv3.New(config)
	if err != nil {
		return nil, fmt.Errorf("etcdstore: open %s: %w", strings.Join(config.Endpoints, ","), err)
	}
	s, err := New(ctx, client, opts)
	if err != nil {
		return nil, errors.Join(err, client.Close())
	}
	s.owned = true
	return s, nil
}

// parse never puts the URL, or what url.Parse says of it, into an error: that
// may show the password.
func parse(dsn string) (clientv3.Config, *Options, error) {
	u, err := url.Parse(dsn)
	if err != nil || u.Scheme != "etcd" || u.Host == "" {
		return clientv3.Config{}, nil, errors.New("want a URL etcd://host:port,host:port/prefix")
	}
	q := u.Query()
	for name, values := range q { // a slip must not switch TLS off
		if !slices.Contains([]string{"ca", "cert", "key", "tls"}, name) || values[0] == "" || name == "tls" && values[0] != "true" {
			return clientv3.Config{}, nil, fmt.Errorf("unknown parameter %s", name)
		}
	}
	config := clientv3.Config{
		DialTimeout:          5 * time.Second,
		DialKeepAliveTime:    10 * time.Second,
		DialKeepAliveTimeout: 3 * time.Second,
		Username:             u.User.Username(),
	}
	config.Password, _ = u.User.Password()
	// The client's own log goes to stderr, which belongs to the program.
	if config.Logger, err = logutil.CreateDefaultZapLogger(logutil.ConvertToZapLevel("fatal")); err != nil {
		return clientv3.Config{}, nil, err
	}
	scheme := "http://"
	if len(q) > 0 {
		scheme = "https://"
		files := transport.TLSInfo{TrustedCAFile: q.Get("ca"), CertFile: q.Get("cert"), KeyFile: q.Get("key")}
		if config.TLS, err = files.ClientConfig(); err != nil {
			return clientv3.Config{}, nil, err
		}
	}
	for host := range strings.SplitSeq(u.Host, ",") {
		config.Endpoints = append(config.Endpoints, scheme+host)
	}
	return config, &Options{Prefix: strings.TrimPrefix(u.Path, "/")}, nil
}
