package etcdstore

import (
	"context"
	"errors"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	patience = 10 * time.Second // an election takes one or two
	pause    = 25 * time.Millisecond
)

// send commits txn, again while the cluster looks for a leader or a member is
// gone: resent. Each transaction of this package may arrive twice. The client
// repeats some of its own accord.
func (s *Store) send(ctx context.Context, txn clientv3.Txn) (resp *clientv3.TxnResponse, resent bool, err error) {
	for end := time.Now().Add(patience); ; resent = true {
		resp, err = txn.Commit()
		if !unavailable(err) || time.Now().After(end) {
			return resp, resent, err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, true, ctx.Err()
		}
	}
}

func unavailable(err error) bool {
	if etcd, ok := errors.AsType[rpctypes.EtcdError](err); ok {
		return etcd.Code() == codes.Unavailable
	}
	return status.Code(err) == codes.Unavailable
}
