package apnhttp_test

import (
	"errors"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn"
	"github.com/apnkit/apnkit/apn/apnhttp"
)

// TestSignIn signs people in as a host program does, which knows them itself.
func TestSignIn(t *testing.T) {
	t.Parallel()
	a := newAPI(t, func(cfg *apnhttp.Config) {
		cfg.SignInLinks = []apnhttp.SignInLink{{Label: "Sign in with <example>", URL: "/host?provider=example"}}
	})
	a.fill()
	h := a.h.(*apnhttp.Handler)
	mux := http.NewServeMux()
	mux.Handle("/", h)
	mux.HandleFunc("GET /host", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		who := apnhttp.Principal{Name: q.Get("name"), Network: q.Get("network"), Member: q.Get("name")}
		if q.Get("name") == "root" {
			who = apnhttp.Principal{Name: "root", Operator: true}
		}
		var err error
		switch {
		case q.Get("name") == "nobody":
			err = h.RefuseSignIn(w, r, http.StatusForbidden, "Nobody knows <you>.") //nolint:contextcheck // it has its request's
		case !who.Operator && who.Network == "":
			err = h.ChooseSignIn(w, r, "Which network?", []apnhttp.SignInLink{{Label: "acme", URL: "/host?name=ada&network=acme"}}) //nolint:contextcheck // the same
		default:
			err = h.SignIn(w, r, who, q.Get("next")) //nolint:contextcheck // the same
		}
		if errors.Is(err, apn.ErrNotFound) {
			w.WriteHeader(http.StatusTeapot)
		}
	})
	a.h = mux

	// The page to sign in leads there, and says what was asked for.
	b := a.browse()
	b.do(http.MethodGet, "/networks/acme/apps/shop", nil)
	b.is(401)
	link := b.find("sign-in-links")[0].FirstChild
	require.Equal(t, "Sign in with <example>", textOf(link))
	require.Equal(t, "/host?next=%2Fnetworks%2Facme%2Fapps%2Fshop&provider=example", attr(link, "href"))

	// Somebody who is known is signed in.
	require.Equal(t, "/networks/acme", b.open("/host?name=ada").follow("acme").at)
	require.Equal(t, "ada", b.says("who"))
	for next, at := range map[string]string{
		"/networks/acme/apps/shop": "/networks/acme/apps/shop", "": "/networks/acme", "https://evil.example/": "/networks/acme",
	} {
		require.Equal(t, at, a.browse().open("/host?name=ada&network=acme&next="+next).at)
	}
	require.NotEmpty(t, a.browse().open("/host?name=root").find("networks"))

	// Nobody else.
	b = a.browse()
	b.do(http.MethodGet, "/host?name=nobody", nil)
	require.Equal(t, "Nobody knows <you>.", b.is(403).says("problem"))
	require.NotEmpty(t, b.find("sign-in"))
	b.do(http.MethodGet, "/host?name=eve&network=acme", nil)
	b.is(http.StatusTeapot)
	require.Empty(t, b.cookies)
}

func TestSignInLinks(t *testing.T) {
	t.Parallel()
	a := newAPI(t, nil)
	for _, l := range []apnhttp.SignInLink{{Label: "x"}, {URL: "/x"}, {Label: "x", URL: "%zz"}} {
		_, err := apnhttp.New(apnhttp.Config{
			Control: a.ctl, Authenticate: apnhttp.TokenAuth(a.ctl), SignInLinks: []apnhttp.SignInLink{l},
		})
		require.ErrorContains(t, err, "SignInLinks")
	}
}
