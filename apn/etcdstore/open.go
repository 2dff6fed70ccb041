package etcdstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/apnkit/apnkit/apn/store"
)

const format = "1"

// Options are the optional settings of [New].
type Options struct {
	// Prefix is what all keys begin with, printable ASCII. Two prefixes are two
	// stores, even if one continues the other. Empty means "apnkit".
	Prefix string
}

// Store is a [store.Store] in an etcd cluster. Its methods are safe for
// concurrent use.
type Store struct {
	client *clientv3.Client
	owned  bool // Close closes the client
	prefix string
	// turns holds a token for each commit without At that is under way, by the
	// hash of its space. Against each other they would only lose.
	turns [64]chan struct{}

	commits   atomic.Uint64
	conflicts atomic.Uint64
}

var (
	_ store.Store     = (*Store)(nil)
	_ store.Waiter    = (*Store)(nil)
	_ store.Limiter   = (*Store)(nil)
	_ store.Compactor = (*Store)(nil)
)

// New returns the Store below a prefix of the cluster of client, and marks a
// prefix that is new. opts may be nil. Closing the client is up to the caller.
//
// Give the client a DialKeepAliveTime: without one, a call to a member that
// hangs lasts as long as its context. If the rows have a newer format, the
// error wraps [ErrFormat].
func New(ctx context.Context, client *clientv3.Client, opts *Options) (*Store, error) {
	s := &Store{client: client, prefix: "apnkit\x00"}
	if opts != nil && opts.Prefix != "" {
		s.prefix = opts.Prefix + "\x00"
	}
	for _, c := range s.prefix[:len(s.prefix)-1] {
		if c < ' ' || c > '~' {
			return nil, fmt.Errorf("etcdstore: prefix %q: want printable ASCII", opts.Prefix)
		}
	}
	for i := range s.turns {
		s.turns[i] = make(chan struct{}, 1)
	}
	resp, _, err := s.send(ctx, client.Txn(ctx).
		If(unchanged(s.formatKey(), 0)).
		Then(clientv3.OpPut(s.formatKey(), format)).
		Else(clientv3.OpGet(s.formatKey())))
	if err == nil && !resp.Succeeded {
		err = checkFormat(resp.Responses[0].GetResponseRange().Kvs)
	}
	if err != nil {
		return nil, fail(ctx, "open", strings.TrimSuffix(s.prefix, "\x00"), err)
	}
	return s, nil
}

// Close closes the connections that [Open] made. After [New] it does nothing.
// Repeating it does nothing.
func (s *Store) Close() error {
	if !s.owned {
		return nil
	}
	if err := s.client.Close(); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("etcdstore: close: %w", err)
	}
	return nil
}

func (s *Store) formatKey() string { return s.prefix + "format" }

func checkFormat(kvs []*mvccpb.KeyValue) error {
	if len(kvs) == 0 {
		return fmt.Errorf("%w: no format", ErrDamaged)
	}
	if have := string(kvs[0].Value); have != format {
		return fmt.Errorf("%w: format %q, know %q", ErrFormat, have, format)
	}
	return nil
}
