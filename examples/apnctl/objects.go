package main

import (
	"context"
	"fmt"

	"github.com/apnkit/apnkit/apn/apnhttp/apnclient"
)

type (
	client = apnclient.Client
	opts   = *apnclient.Options
)

// Flags of mutations: of those that only add, and of those that ask first.
const (
	changes  = "dry-run"
	destroys = "dry-run yes"
)

// objects are the commands that list, show and change what a network has.
func objects() []command {
	return []command{
		{"networks", "", "list networks", "", signedIn, networks},
		{"networks show", "", "one network", "", inNetwork, show0((*client).Network)},
		{"networks add", "NETWORK", "make a network", "subnet suffix links " + changes, signedIn, change(func(ctx context.Context, c *call, o opts) (apnclient.Network, error) {
			return c.client.AddNetwork(ctx, apnclient.NewNetwork{Name: c.words[0], Prefixes: c.subnet, Suffix: c.suffix, Links: c.links}, o)
		})},
		{"networks set", "", "change settings", "subnet links " + destroys, inNetwork, change(setNetwork)},
		{"apps", "", "list apps", "", inNetwork, apps},
		{"apps show", "APP", "one app", "", inNetwork, show1((*client).App)},
		{"apps add", "APP", "add an app", "subnet " + changes, inNetwork, change(func(ctx context.Context, c *call, o opts) (apnclient.App, error) {
			return c.client.AddApp(ctx, c.network, apnclient.NewApp{Name: c.words[0], Subnets: c.subnet}, o)
		})},
		{"apps rm", "APP", "remove an app", "servers " + destroys, inNetwork, remove(func(ctx context.Context, c *call, o opts) error {
			return c.client.RemoveApp(ctx, c.network, c.words[0], c.servers, o)
		})},
		{"servers", "[APP]", "list servers", "", inNetwork, servers},
		{"servers show", "APP/SERVER", "one server, and what its agent reports", "", inNetwork, show2((*client).Server)},
		{"servers add", "APP/SERVER", "add a server", "endpoint address key " + changes, inNetwork, change(func(ctx context.Context, c *call, o opts) (apnclient.Server, error) {
			return c.client.AddServer(ctx, c.network, c.of, apnclient.NewServer{Name: c.name, Endpoint: c.endpoint, Address: c.address, PublicKey: c.pub}, o)
		})},
		{"servers set", "APP/SERVER", "change a server's endpoint", "endpoint " + changes, inNetwork, change(func(ctx context.Context, c *call, o opts) (apnclient.Server, error) {
			return c.client.UpdateServer(ctx, c.network, c.of, c.name, apnclient.ServerUpdate{Endpoint: &c.endpoint}, o)
		})},
		{"servers rm", "APP/SERVER", "remove a server", destroys, inNetwork, remove2((*client).RemoveServer)},
		{"servers rotate", "APP/SERVER", "give a server a new key", "key " + destroys, inNetwork, change(func(ctx context.Context, c *call, o opts) (apnclient.Server, error) {
			return c.client.RotateServer(ctx, c.network, c.of, c.name, c.pub, o)
		})},
		{"servers join", "APP/SERVER", "a token for its agent, for: agent join -", "", inNetwork, joinServer},
		{"members", "", "list members", "", inNetwork, members},
		{"members show", "MEMBER", "one member", "", inNetwork, show1((*client).Member)},
		{"members add", "MEMBER", "add a member", changes, inNetwork, change(func(ctx context.Context, c *call, o opts) (apnclient.Member, error) {
			return c.client.AddMember(ctx, c.network, c.words[0], o)
		})},
		{"members rm", "MEMBER", "remove a member, with devices and leases", destroys, inNetwork, remove1((*client).RemoveMember)},
		{"devices", "[MEMBER]", "list devices", "stale", inNetwork, devices},
		{"devices show", "[MEMBER/]DEVICE", "one device, and why it is stale", "", inNetwork, show2((*client).Device)},
		{"devices add", "[MEMBER/]DEVICE", "add a device; -key makes its key here", "address custody key " + changes, inNetwork, change(func(ctx context.Context, c *call, o opts) (apnclient.Device, error) {
			return c.client.AddDevice(ctx, c.network, c.of, apnclient.NewDevice{Name: c.name, Custody: c.custody, Address: c.address, PublicKey: c.pub}, o)
		})},
		{"devices rm", "[MEMBER/]DEVICE", "remove a device", destroys, inNetwork, remove2((*client).RemoveDevice)},
		{"devices rotate", "[MEMBER/]DEVICE", "give a device a new key; its config ends", "key " + destroys, inNetwork, change(func(ctx context.Context, c *call, o opts) (apnclient.Device, error) {
			return c.client.RotateDevice(ctx, c.network, c.of, c.name, c.pub, o)
		})},
		{"devices link", "[MEMBER/]DEVICE", "a one-time link to its config", "ttl format", inNetwork, linkDevice},
		{"roles", "[MEMBER]", "list who may reach what", "", inNetwork, roles},
		{"roles add", "MEMBER APP ROLE", "give a role: viewer, developer or admin", changes, inNetwork, change(setRole)},
		{"roles rm", "MEMBER APP", "take a role away", destroys, inNetwork, change(setRole)},
		{"links", "", "list exceptions to the links policy", "", inNetwork, links},
		{"links add", "APP APP", "link two apps", changes, inNetwork, change(func(ctx context.Context, c *call, o opts) (apnclient.Link, error) {
			return c.client.SetLink(ctx, c.network, c.of, c.name, true, o)
		})},
		{"links rm", "APP APP", "part two apps", destroys, inNetwork, change(func(ctx context.Context, c *call, o opts) (apnclient.Link, error) {
			return c.client.SetLink(ctx, c.network, c.of, c.name, false, o)
		})},
		{"links reset", "APP APP", "leave two apps to the policy", destroys, inNetwork, remove2((*client).ResetLink)},
		{"leases", "[APP]", "list leases", "", inNetwork, leases},
		{"leases show", "APP LEASE", "one lease", "", inNetwork, show2((*client).Lease)},
		{"leases rm", "APP LEASE", "end a lease", destroys, inNetwork, remove2((*client).RevokeLease)},
		{"rules", "[APP]", "list permanent openings", "", inNetwork, rules},
		{"rules show", "APP RULE", "one rule", "", inNetwork, show2((*client).Rule)},
		{"rules add", "APP SOURCE", "open the port to an address or prefix", "note " + changes, inNetwork, change(func(ctx context.Context, c *call, o opts) (apnclient.Rule, error) {
			return c.client.AddRule(ctx, c.network, c.of, c.name, c.note, o)
		})},
		{"rules rm", "APP RULE", "close it again", destroys, inNetwork, remove2((*client).RemoveRule)},
		{"tokens", "", "list API tokens", "", signedIn, tokens},
		{"tokens show", "TOKEN", "one API token", "", signedIn, showToken},
		{"tokens add", "NAME", "make an API token, and show it once", "member ttl " + changes, signedIn, change(addToken)},
		{"tokens rm", "TOKEN", "end an API token", destroys, signedIn, remove(func(ctx context.Context, c *call, o opts) error {
			if o != nil {
				return nil // tokens are no part of a network: their plans are empty
			}
			return c.client.RemoveToken(ctx, c.words[0])
		})},
	}
}

// read is a command that shows what it gets.
func read[T any](get func(ctx context.Context, c *call) (T, error)) func(context.Context, *call) error {
	return func(ctx context.Context, c *call) error {
		v, err := get(ctx, c)
		return show(c, v, err)
	}
}

func show0[T any](get func(cl *client, ctx context.Context, network string) (T, error)) func(context.Context, *call) error {
	return read(func(ctx context.Context, c *call) (T, error) { return get(c.client, ctx, c.network) })
}

func show1[T any](get func(cl *client, ctx context.Context, network, name string) (T, error)) func(context.Context, *call) error {
	return read(func(ctx context.Context, c *call) (T, error) { return get(c.client, ctx, c.network, c.words[0]) })
}

func show2[T any](get func(cl *client, ctx context.Context, network, of, name string) (T, error)) func(context.Context, *call) error {
	return read(func(ctx context.Context, c *call) (T, error) { return get(c.client, ctx, c.network, c.of, c.name) })
}

func remove1(do func(cl *client, ctx context.Context, network, name string, o opts) error) func(context.Context, *call) error {
	return remove(func(ctx context.Context, c *call, o opts) error { return do(c.client, ctx, c.network, c.words[0], o) })
}

func remove2(do func(cl *client, ctx context.Context, network, of, name string, o opts) error) func(context.Context, *call) error {
	return remove(func(ctx context.Context, c *call, o opts) error { return do(c.client, ctx, c.network, c.of, c.name, o) })
}

func setNetwork(ctx context.Context, c *call, o opts) (apnclient.Network, error) {
	in := apnclient.NetworkUpdate{AddPrefixes: c.subnet}
	if c.links != "" {
		in.Links = &c.links
	}
	return c.client.UpdateNetwork(ctx, c.network, in, o)
}

func setRole(ctx context.Context, c *call, o opts) (apnclient.Member, error) {
	role := "none"
	if len(c.words) > 2 {
		role = c.words[2]
	}
	return c.client.SetRole(ctx, c.network, c.words[0], c.words[1], role, o)
}

func addToken(ctx context.Context, c *call, o opts) (apnclient.Token, error) {
	in := apnclient.NewToken{Name: c.words[0], Member: c.member, TTL: period(c.ttl)}
	if in.Member != "" {
		if err := c.findNetwork(ctx); err != nil {
			return apnclient.Token{}, err
		}
		in.Network = c.network
	}
	if o != nil {
		return apnclient.Token{}, nil
	}
	return c.client.AddToken(ctx, in)
}

func showToken(ctx context.Context, c *call) error {
	for t, err := range c.client.Tokens(ctx) {
		if err != nil || t.ID == c.words[0] {
			return show(c, t, err)
		}
	}
	return fmt.Errorf("there is no token %q", c.words[0])
}

func joinServer(ctx context.Context, c *call) error {
	t, err := c.client.AddJoinToken(ctx, c.network, c.of, c.name)
	if err != nil || c.json {
		return show(c, t, err)
	}
	fmt.Fprintln(c.stdout, t.Token)
	fmt.Fprintf(c.stderr, "good once, until %s\n", moment(t.ExpiresAt))
	return nil
}

func linkDevice(ctx context.Context, c *call) error {
	l, err := c.client.AddDeviceLink(ctx, c.network, c.of, c.name, apnclient.NewDeviceLink{Format: c.format, TTL: period(c.ttl)})
	if err != nil || c.json {
		return show(c, l, err)
	}
	fmt.Fprintln(c.stdout, l.URL)
	fmt.Fprintf(c.stderr, "good once, until %s\n", moment(l.ExpiresAt))
	return nil
}
