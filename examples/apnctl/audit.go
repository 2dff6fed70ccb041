package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/apnkit/apnkit/apn/apnhttp/apnclient"
)

// audit prints events as they come: a log has no end.
func audit(ctx context.Context, c *call) error {
	if c.verify {
		n, err := c.client.VerifyAudit(ctx, c.network)
		if err != nil {
			return err
		}
		if c.json {
			return c.encode(map[string]uint64{"events": n})
		}
		fmt.Fprintf(c.stdout, "the chain of %d events holds\n", n)
		return nil
	}
	q := apnclient.AuditQuery{After: c.since, Actor: c.actor, Action: c.action, Object: c.object, Refused: c.refused, NewestFirst: c.since == 0}
	var events []apnclient.Event
	for e, err := range c.client.SearchAudit(ctx, c.network, q) {
		if err != nil {
			return err
		}
		if events = append(events, e); q.NewestFirst && len(events) == c.last {
			break
		}
	}
	if q.NewestFirst {
		slices.Reverse(events)
		q.NewestFirst = false
	} else if c.last > 0 {
		events = events[max(0, len(events)-c.last):]
	}
	for {
		if len(events) > 0 {
			q.After = events[len(events)-1].N
		}
		if err := c.printEvents(events); err != nil || !c.follow || !wait(ctx, auditEvery) {
			return err
		}
		events = events[:0]
		for e, err := range c.client.SearchAudit(ctx, c.network, q) {
			if err != nil {
				return endedBy(ctx, err)
			}
			events = append(events, e)
		}
	}
}

// auditEvery is how long audit -f waits between looks.
const auditEvery = 2 * time.Second

func (c *call) printEvents(events []apnclient.Event) error {
	rows := make([][]string, len(events))
	for i, e := range events {
		if c.json {
			if err := c.line(e); err != nil {
				return err
			}
		}
		rows[i] = []string{strconv.FormatUint(e.N, 10), e.At.Local().Format(time.Stamp), e.Actor, e.From, strings.TrimSpace(e.Action + " " + e.Outcome), strings.TrimSpace(e.Object + " " + e.Detail)}
	}
	if c.json || len(rows) == 0 {
		return nil
	}
	return c.table("N AT ACTOR FROM ACTION WHAT", rows)
}

// wait reports whether d passed before ctx ended.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// endedBy is err, unless the user has ended the command.
func endedBy(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	return nil
}

func zone(ctx context.Context, c *call) error {
	if c.report {
		r, err := c.client.ZoneReport(ctx, c.network)
		if err != nil {
			return err
		}
		return c.encode(r)
	}
	read, name := func() ([]byte, error) { return c.client.Zone(ctx, c.network, c.zone) }, "zone"
	if c.hosts {
		read, name = func() ([]byte, error) { return c.client.Hosts(ctx, c.network) }, "hosts"
	}
	text, err := read()
	return c.text(name, text, err)
}

// text prints a text as it is.
func (c *call) text(name string, text []byte, err error) error {
	if err != nil {
		return err
	}
	if c.json {
		return c.encode(map[string]string{name: string(text)})
	}
	_, err = c.stdout.Write(text)
	return err
}
