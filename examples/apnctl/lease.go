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

// hold is what lease has opened.
type hold struct {
	app    string
	in     apnclient.NewLease
	leases []apnclient.Lease
	at     netip.Addr // this computer
	due    time.Time  // to be renewed
}

// leaseNow opens the port, and keeps it open for wherever this computer goes.
func leaseNow(ctx context.Context, c *call) error {
	h := &hold{app: c.words[0], in: apnclient.NewLease{Member: c.member, Sources: c.sources, Duration: period(c.duration)}}
	err := c.keep(ctx, h)
	if err != nil || c.once {
		return err
	}
	next := time.Now().Add(leaseEvery)
	for err == nil && wait(ctx, c.tick(h)) {
		if time.Now().Before(next) {
			continue
		}
		next = time.Now().Add(leaseEvery)
		if err = c.keep(ctx, h); err != nil && !refused(err) && ctx.Err() == nil {
			fmt.Fprintf(c.stderr, "apnctl: %s\n", explain(err))
			err = nil // and try again
		}
	}
	c.clearLine()
	if ctx.Err() == nil || !c.end {
		return endedBy(ctx, err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	for _, l := range h.leases {
		if err := c.client.RevokeLease(ctx, c.network, h.app, l.ID, nil); err != nil {
			if p, ok := errors.AsType[*apnclient.Problem](err); !ok || p.Status != http.StatusNotFound {
				return err
			}
		}
	}
	return c.sayLeases("ended", h.leases)
}

// keep leases for the first time, when half of the time is over, and when the
// computer has another address.
func (c *call) keep(ctx context.Context, h *hold) error {
	me, err := c.client.Whoami(ctx)
	if err != nil {
		return err
	}
	event := "opened"
	switch moved := len(h.in.Sources) == 0 && me.Address != h.at; {
	case len(h.leases) == 0:
	case moved:
		event = "moved"
	case c.now().Before(h.due):
		return nil
	default:
		event = "renewed"
	}
	// Leasing again extends, and works also if the lease was ended meanwhile.
	leases, err := c.client.AddLease(ctx, c.network, h.app, h.in, nil)
	if err != nil {
		return err
	}
	h.leases, h.at = leases, me.Address
	for i, l := range leases {
		if due := c.now().Add(l.ExpiresAt.Sub(c.now()) / 2); i == 0 || due.Before(h.due) {
			h.due = due
		}
	}
	c.clearLine()
	return c.sayLeases(event, leases)
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
func (c *call) tick(h *hold) time.Duration {
	if !c.tty || c.json {
		return leaseEvery
	}
	fmt.Fprintf(c.stdout, "\r%s: %s left, renewed in time; Ctrl-C ends this\x1b[K", h.app, c.left(h.leases[0].ExpiresAt))
	return time.Second
}

func (c *call) clearLine() {
	if c.tty && !c.json {
		fmt.Fprint(c.stdout, "\r\x1b[K")
	}
}
