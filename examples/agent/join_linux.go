package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/apnkit/apnkit/apn/agent"
	"github.com/apnkit/apnkit/apn/agent/source"
	"github.com/apnkit/apnkit/apn/netmap"
)

// join makes this server the one that a token is for. The secrets are on disk
// before anybody hears of them, so a second try after a lost answer works.
func (o *options) join(ctx context.Context, args []string) error {
	text := args[0]
	if text == "-" {
		data, err := io.ReadAll(io.LimitReader(o.stdin, 1<<16))
		if err != nil {
			return err
		}
		text = string(data)
	}
	token, err := netmap.ParseJoinToken(text)
	if err != nil {
		return err
	}
	dir, err := agent.OpenDir(o.state)
	if err != nil {
		return err
	}
	id, err := dir.Identity()
	switch {
	case err == nil && id.Joined():
		return fmt.Errorf("this server is %s already: run \"agent leave\" first", id)
	case err == nil && id.Token == token.Secret && bytes.Equal(id.Key, token.Key): // once more
	case err == nil || errors.Is(err, agent.ErrNotJoined):
		if id, err = agent.NewIdentity(token, &agent.IdentityOptions{Managed: o.managed}); err != nil {
			return err
		}
		if err := dir.SaveIdentity(id); err != nil {
			return err
		}
	default:
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	if err := source.Join(ctx, id, o.channel()); err != nil {
		return err
	}
	if err := dir.SaveIdentity(id); err != nil {
		return err
	}
	fmt.Fprintf(o.stdout, "this server is %s\n", id)
	if key := id.PublicKey(); !key.IsZero() {
		fmt.Fprintf(o.stdout, "its key is %s; nobody else has the private half\n", key)
	}
	fingerprint := sha256.Sum256(id.Key)
	fmt.Fprintf(o.stdout, "documents are signed by %x\n", fingerprint[:8])
	fmt.Fprintln(o.stdout, "next: agent run")
	return nil
}
