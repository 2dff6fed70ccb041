//go:build etcd

package main

import (
	"context"

	"github.com/apnkit/apnkit/apn/etcdstore"
)

func tagEtcd(e engines) {
	e["etcd"] = func(ctx context.Context, dsn string) (database, error) { return etcdstore.Open(ctx, dsn) }
}
