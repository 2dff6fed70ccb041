package apnhttp_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/apnkit/apnkit/apn"
	"github.com/apnkit/apnkit/apn/apnhttp"
	"github.com/apnkit/apnkit/apn/store"
	"github.com/apnkit/apnkit/keys"
	"github.com/apnkit/apnkit/keys/localkek"
)

// A host program mounts the API beside its own handlers, and brings its own
// idea of who somebody is.
func ExampleNew() {
	kek, err := localkek.New(make([]byte, 32)) // a real one comes from a file or a KMS
	if err != nil {
		panic(err)
	}
	ctl, err := apn.Open(apn.Config{Store: store.NewMem(), KEK: keys.Multi(kek)})
	if err != nil {
		panic(err)
	}
	api, err := apnhttp.New(apnhttp.Config{
		Control: ctl,
		Prefix:  "/private-networks",
		Authenticate: func(r *http.Request) (apnhttp.Principal, error) {
			user, password, _ := r.BasicAuth()
			if user != "admin" || password != "secret" {
				return apnhttp.Principal{}, apnhttp.ErrUnauthenticated
			}
			return apnhttp.Principal{Name: user, Operator: true}, nil
		},
	})
	if err != nil {
		panic(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/private-networks/", api)

	r := httptest.NewRequestWithContext(context.Background(), "POST", "/private-networks/v1/networks", strings.NewReader(`{"name":"acme"}`))
	r.Header.Set("Content-Type", "application/json")
	r.SetBasicAuth("admin", "secret")
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, r)
	fmt.Println(w.Code, w.Header().Get("Location"))
	// Output: 201 /private-networks/v1/networks/acme
}
