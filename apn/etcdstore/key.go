package etcdstore

import (
	"fmt"
	"strconv"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/apnkit/apnkit/apn/store"
)

// What stands behind the name of a space.
const (
	headKey  = "r"
	rowKey   = "k"
	logKey   = "l"
	floorKey = "f"
)

// key returns the key of what in a space; a row's key or a revision follows it.
func (s *Store) key(space, what string) string {
	return s.prefix + "/" + space + "\x00" + what
}

// log names the log key of the commit that came after a revision.
func (s *Store) log(space string, before store.Rev) string {
	return s.key(space, logKey) + fmt.Sprintf("%016x", uint64(before))
}

// forgotten is the revision in a floor key.
func forgotten(r *pb.RangeResponse) (store.Rev, error) {
	if len(r.Kvs) == 0 {
		return 0, nil
	}
	n, err := strconv.ParseUint(string(r.Kvs[0].Value), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: floor", ErrDamaged)
	}
	return store.Rev(n), nil
}

// modified is the revision of a key, 0 if it is absent.
func modified(r *pb.RangeResponse) store.Rev {
	if len(r.Kvs) == 0 {
		return 0
	}
	return rev(r.Kvs[0].ModRevision)
}

func rev(n int64) store.Rev { return store.Rev(n) } //nolint:gosec // etcd counts upwards from 1

// unchanged compares the revision of a key; 0 is absent.
func unchanged(key string, rev store.Rev) clientv3.Cmp {
	return clientv3.Compare(clientv3.ModRevision(key), "=", int64(rev)) //nolint:gosec // what no commit has, no key has
}
