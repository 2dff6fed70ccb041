package storetest_test

import (
	"sync"
	"testing"

	"github.com/apnkit/apnkit/apn/store"
	"github.com/apnkit/apnkit/apn/store/storetest"
)

func TestMem(t *testing.T) {
	t.Parallel()
	var stores sync.Map
	storetest.Run(t, func(_ testing.TB, dir string) store.Store {
		st, _ := stores.LoadOrStore(dir, store.NewMem())
		return st.(store.Store)
	}, &storetest.Options{Volatile: true})
}
