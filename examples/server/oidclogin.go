package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/apnkit/apnkit/apn"
	"github.com/apnkit/apnkit/apn/apnhttp"
)

// oidcAttempt is what a browser keeps while somebody signs in.
type oidcAttempt struct {
	State, Nonce, Verifier string
	Network                string // that was chosen
	Next                   string
	Until                  time.Time
}

// begin leads to the provider.
func (l *oidcLogin) begin(w http.ResponseWriter, r *http.Request) error {
	config, _, err := l.found(r.Context())
	if err != nil {
		return err
	}
	a := oidcAttempt{
		State: rand.Text(), Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier(),
		Network: r.FormValue("network"), Next: r.FormValue("next"), Until: time.Now().Add(oidcTime),
	}
	text, err := json.Marshal(a)
	if err != nil {
		return err
	}
	l.setCookie(w, base64.RawURLEncoding.EncodeToString(text), int(oidcTime/time.Second))
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, config.AuthCodeURL(a.State, oidc.Nonce(a.Nonce), oauth2.S256ChallengeOption(a.Verifier)), http.StatusFound)
	return nil
}

// setCookie sets the cookie of an attempt. Lax: the provider, another site,
// leads back with it.
func (l *oidcLogin) setCookie(w http.ResponseWriter, value string, age int) {
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // G124: without TLS a Secure cookie would not come back
		Name: oidcCookie, Value: value, MaxAge: age, Path: oidcPath, HttpOnly: true, SameSite: http.SameSiteLaxMode,
		Secure: strings.HasPrefix(l.config.RedirectURL, "https:"),
	})
}

// finish signs in whom the provider has led back.
func (l *oidcLogin) finish(w http.ResponseWriter, r *http.Request) error {
	var a oidcAttempt
	if cookie, err := r.Cookie(oidcCookie); err == nil {
		text, err := base64.RawURLEncoding.DecodeString(cookie.Value)
		if err != nil || json.Unmarshal(text, &a) != nil {
			a = oidcAttempt{}
		}
	}
	// Once, whatever comes of it.
	l.setCookie(w, "", -1)
	query := r.URL.Query()
	if a.State == "" || subtle.ConstantTimeCompare([]byte(a.State), []byte(query.Get("state"))) != 1 || time.Now().After(a.Until) {
		return &oidcRefusal{http.StatusBadRequest, "Nobody began to sign in here within the last 10 minutes, or not in this browser. Please try again.", nil}
	}
	claims, err := l.redeem(r.Context(), &a, query)
	if err != nil {
		return err
	}
	name, err := l.member(claims)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(l.operators, func(o string) bool { return l.fold(o) == name }) {
		return l.pages.SignIn(w, r, apnhttp.Principal{Name: name, Operator: true}, a.Next) //nolint:contextcheck // it has its request's
	}
	networks, err := l.networks(r.Context(), name, cmp.Or(a.Network, networkOf(a.Next)))
	switch {
	case err != nil:
		return err
	case len(networks) == 0:
		return &oidcRefusal{http.StatusForbidden, fmt.Sprintf("%s knows you as %s, and no network here does. Ask whoever runs this server to add you.", l.name(), name), nil}
	case len(networks) > 1:
		var links []apnhttp.SignInLink
		for _, network := range networks {
			links = append(links, apnhttp.SignInLink{Label: network, URL: oidcPath + "?" + url.Values{"network": {network}}.Encode()})
		}
		return l.pages.ChooseSignIn(w, r, "Which network?", links) //nolint:contextcheck // the same
	}
	return l.pages.SignIn(w, r, apnhttp.Principal{Name: name, Network: networks[0], Member: name}, a.Next) //nolint:contextcheck // the same
}

// found returns the provider, and asks it for its endpoints the first time.
func (l *oidcLogin) found(ctx context.Context) (*oauth2.Config, *oidc.Provider, error) {
	p := l.provider.Load()
	if p == nil {
		var err error
		if p, err = oidc.NewProvider(oidc.ClientContext(ctx, l.client), l.issuer); err != nil {
			return nil, nil, &oidcRefusal{http.StatusBadGateway, l.name() + " does not answer as it should. Please try later.", err}
		}
		l.provider.Store(p)
	}
	config := l.config
	config.Endpoint = p.Endpoint()
	return &config, p, nil
}

// redeem exchanges the provider's code for what it says of somebody.
func (l *oidcLogin) redeem(ctx context.Context, a *oidcAttempt, query url.Values) (map[string]any, error) {
	refused := func(err error) error {
		return &oidcRefusal{http.StatusBadRequest, l.name() + " did not sign you in. Please try again.", err}
	}
	if code := query.Get("error"); code != "" {
		return nil, refused(errors.New(code))
	}
	if iss := query.Get("iss"); iss != "" && iss != l.issuer { // RFC 9207
		return nil, refused(errors.New("the answer is of another provider"))
	}
	config, provider, err := l.found(ctx)
	if err != nil {
		return nil, err
	}
	ctx = oidc.ClientContext(ctx, l.client)
	token, err := config.Exchange(ctx, query.Get("code"), oauth2.VerifierOption(a.Verifier))
	if err != nil {
		return nil, refused(err)
	}
	raw, _ := token.Extra("id_token").(string)
	id, err := provider.Verifier(&oidc.Config{ClientID: l.clientID}).Verify(ctx, raw)
	if err != nil {
		return nil, refused(err)
	}
	if subtle.ConstantTimeCompare([]byte(id.Nonce), []byte(a.Nonce)) != 1 {
		return nil, refused(errors.New("the nonce is another one"))
	}
	claims := map[string]any{}
	if err := id.Claims(&claims); err != nil {
		return nil, refused(err)
	}
	if _, ok := claims[l.claim]; ok || provider.UserInfoEndpoint() == "" {
		return claims, nil
	}
	info, err := provider.UserInfo(ctx, oauth2.StaticTokenSource(token))
	if err != nil {
		return nil, refused(err)
	}
	if info.Subject != id.Subject { // OpenID Connect Core 1.0, 5.3.2
		return nil, refused(errors.New("the user info is of somebody else"))
	}
	clear(claims) // so that nothing of two sources is mixed
	if err := info.Claims(&claims); err != nil {
		return nil, refused(err)
	}
	return claims, nil
}

// member returns the name of somebody.
func (l *oidcLogin) member(claims map[string]any) (string, error) {
	name, _ := claims[l.claim].(string)
	if name == "" {
		return "", &oidcRefusal{http.StatusForbidden, fmt.Sprintf("%s did not say who you are: the claim %s is missing.", l.name(), l.claim), nil}
	}
	verified, known := claims[l.claim+"_verified"]
	if ok := verified == true || verified == "true"; !ok && (known || l.claim == "email") { // some send a text
		return "", &oidcRefusal{http.StatusForbidden, fmt.Sprintf("%s has not verified that %s is yours. Please verify it there.", l.name(), name), nil}
	}
	return l.fold(name), nil
}

// fold writes an e-mail address as members are named. Only ASCII is folded:
// other letters could become those of somebody else.
func (l *oidcLogin) fold(name string) string {
	if l.claim != "email" {
		return name
	}
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r - 'A' + 'a'
		}
		return r
	}, name)
}

// networkOf returns the network that a page of the dashboard is of, or nothing.
func networkOf(page string) string {
	rest, ok := strings.CutPrefix(page, "/networks/")
	if !ok {
		return ""
	}
	name, _, _ := strings.Cut(rest, "/")
	return name
}

// networks returns the networks that have a member: the one that is wanted, if
// it does, or else all.
func (l *oidcLogin) networks(ctx context.Context, member, wanted string) ([]string, error) {
	has := func(name string) (bool, error) {
		n, err := l.ctl.Network(ctx, name)
		if err == nil {
			_, err = n.Member(member)
		}
		if errors.Is(err, apn.ErrNotFound) || errors.Is(err, apn.ErrInvalid) {
			return false, nil
		}
		return err == nil, err
	}
	if ok, err := has(wanted); ok || err != nil {
		return []string{wanted}, err
	}
	var found []string
	for after := ""; ; {
		names, _, err := l.ctl.Networks(ctx, after, 0)
		if err != nil || len(names) == 0 {
			return found, err
		}
		after = names[len(names)-1]
		for _, name := range names {
			ok, err := has(name)
			if err != nil {
				return nil, err
			}
			if ok {
				found = append(found, name)
			}
		}
	}
}
