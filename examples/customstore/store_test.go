package customstore_test

import (
	"testing"

	"github.com/apnkit/apnkit/apn/store"
	"github.com/apnkit/apnkit/apn/store/storetest"
	"github.com/apnkit/apnkit/examples/customstore"
)

func TestStore(t *testing.T) {
	srv := startServer(t, "always")
	storetest.Run(t, func(tb testing.TB, dir string) store.Store {
		tb.Helper()
		st, err := customstore.Open(tb.Context(), srv.url, dir)
		if err != nil {
			tb.Fatal(err)
		}
		return st
	}, &storetest.Options{Remote: true, Disturb: srv.crash})
}
