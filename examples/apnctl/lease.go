package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"github.com/apnkit/apnkit/apn/apnhttp/apnclient"
)

// leaseEvery is how often lease looks where this computer is now.
const leaseEvery = time.Minute

// leaseNow opens the port, and keeps it open for wherever this computer goes.
func leaseNow(ctx context.Context, c *call) error {
	app := c.words[0]
	me, err := c.client.Whoami(ctx)
	if err != nil {
		return err
	}
	in := apnclient.NewLease{Member: c.member, Sources: c.sources, Duration: period(c.duration)}
	held, err := c.client.AddLease(ctx, c.network, app, in, nil)
	if err == nil {
		err = c.sayLeases("opened", held)
	}
	if err != nil || c.once {
		return err
	}
	next := time.Now().Add(leaseEvery)
	for wait(ctx, c.tick(app, held)) {
		if time.Now().Before(next) {
			continue
		}
		next = time.Now().Add(leaseEvery)
		renewed, err := c.holdLeases(ctx, app, in, &me.Address, held)
		switch {
		case err == nil:
			held = renewed
		case ctx.Err() == nil && !refused(err):
			c.clearLine()
			fmt.Fprintf(c.stderr, "apnctl: %s\n", explain(err)) // and try again
		default:
			c.clearLine()
			return endedBy(ctx, err)
		}
	}
	c.clearLine()
	if !c.end {
		return c.sayLeases("open", held)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	for _, l := range held {
		if err := c.client.RevokeLease(ctx, c.network, app, l.ID, nil); err != nil {
			if p, ok := errors.AsType[*apnclient.Problem](err); !ok || p.Status != http.StatusNotFound {
				return err
			}
		}
	}
	return c.sayLeases("ended", held)
}

// holdLeases renews leases that are half over, and follows the computer to
// another address.
func (c *call) holdLeases(ctx context.Context, app string, in apnclient.NewLease, at *netip.Addr, held []apnclient.Lease) ([]apnclient.Lease, error) {
	me, err := c.client.Whoami(ctx)
	if err != nil {
		return nil, err
	}
	moved := len(in.Sources) == 0 && me.Address != *at
	due := moved
	for _, l := range held {
		due = due || time.Until(l.ExpiresAt) < l.ExpiresAt.Sub(l.IssuedAt)/2
	}
	if !due {
		return held, nil
	}
	// Leasing again extends, and works also if the lease was lost meanwhile.
	if held, err = c.client.AddLease(ctx, c.network, app, in, nil); err != nil {
		return nil, err
	}
	*at = me.Address
	c.clearLine()
	if moved {
		return held, c.sayLeases("moved", held)
	}
	return held, c.sayLeases("renewed", held)
}

func (c *call) sayLeases(event string, leases []apnclient.Lease) error {
	for _, l := range leases {
		line := struct {
			Event string          `json:"event"`
			Lease apnclient.Lease `json:"lease"`
		}{event, l}
		text := fmt.Sprintf("%s: %s for %s until %s", l.App, event, l.Source, moment(l.ExpiresAt))
		if event == "ended" {
			text = fmt.Sprintf("%s: ended for %s", l.App, l.Source)
		}
		if err := c.say(line, text); err != nil {
			return err
		}
	}
	return nil
}

// tick shows the countdown where somebody sees it, and returns the time to the
// next one.
func (c *call) tick(app string, held []apnclient.Lease) time.Duration {
	if !c.tty || c.json || len(held) == 0 {
		return leaseEvery
	}
	fmt.Fprintf(c.stdout, "\r%s: %s left, renewed in time; Ctrl-C ends this \x1b[K", app, left(held[0].ExpiresAt))
	return time.Second
}

func (c *call) clearLine() {
	if c.tty && !c.json {
		fmt.Fprint(c.stdout, "\r\x1b[K")
	}
}
