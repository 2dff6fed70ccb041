// Package apnclient calls the HTTP API of package apnhttp, for programs that
// automate a control plane. It imports nothing but the standard library.
//
//	c := &apnclient.Client{URL: "https://apn.example.com", Token: token}
//	srv, err := c.AddServer(ctx, "acme", "shop", apnclient.NewServer{Name: "web-1"}, nil)
//	for app, err := range c.Apps(ctx, "acme") { … }
//
// Refusals are [*Problem]; errors.As tells which. Requests that were not
// answered, and answers that ask to come again, are repeated; a mutation carries
// an idempotency key, so that it happens once however often it is sent.
package apnclient
