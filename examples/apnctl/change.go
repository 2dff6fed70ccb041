package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/apnkit/apnkit/apn/apnhttp/apnclient"
)

// change is a command that changes something and shows it. With
// [apnclient.Options.DryRun] do only tells what would change; opts is nil
// otherwise.
func change[T any](do func(context.Context, *call, opts) (T, error)) func(context.Context, *call) error {
	return func(ctx context.Context, c *call) (err error) {
		if c.pub, err = c.publicKey(); err != nil {
			return err
		}
		if done, err := c.ask(ctx, func(o opts) error { _, err := do(ctx, c, o); return err }); done || err != nil {
			return err
		}
		v, err := do(ctx, c, nil)
		return show(c, v, err)
	}
}

// remove is a command that leaves nothing to show.
func remove(do func(context.Context, *call, opts) error) func(context.Context, *call) error {
	return func(ctx context.Context, c *call) error {
		if done, err := c.ask(ctx, func(o opts) error { return do(ctx, c, o) }); done || err != nil {
			return err
		}
		if err := do(ctx, c, nil); err != nil {
			return err
		}
		what := strings.Join(c.words, " ")
		if c.json {
			return c.encode(map[string]string{"removed": what})
		}
		fmt.Fprintf(c.stdout, "removed %s\n", what)
		return nil
	}
}

// ask prints the plan of a mutation, and gets leave for it where the command asks.
// It reports whether that is all.
func (c *call) ask(ctx context.Context, do func(opts) error) (done bool, err error) {
	asks := strings.HasSuffix(c.cmd.flags, destroys) && !c.yes
	if !c.dryRun && !asks {
		return false, nil
	}
	var plan apnclient.Plan
	if err := do(&apnclient.Options{DryRun: &plan}); err != nil {
		return true, err
	}
	switch {
	case !c.dryRun:
		return false, c.confirm(ctx, planText(plan)+strings.ToUpper(c.cmd.about[:1])+c.cmd.about[1:]+": "+strings.Join(c.words, " ")+"?")
	case c.json:
		return true, c.encode(plan)
	default:
		_, err := io.WriteString(c.stdout, planText(plan))
		return true, err
	}
}

// confirm asks on stderr and reads the answer from stdin.
func (c *call) confirm(ctx context.Context, question string) error {
	fmt.Fprintf(c.stderr, "%s [y/N] ", question)
	answer, err := c.readLine(ctx)
	if err != nil {
		return err
	}
	if a := strings.ToLower(answer); a != "y" && a != "yes" {
		return errors.New("nothing was changed; -yes does it without asking")
	}
	return nil
}

// readLine reads a line of stdin, unless ctx ends first.
func (c *call) readLine(ctx context.Context) (string, error) {
	type answer struct {
		line string
		err  error
	}
	got := make(chan answer, 1)
	go func() { // a read of a terminal cannot be cut off; the process ends with it
		line, err := bufio.NewReader(c.stdin).ReadString('\n')
		if errors.Is(err, io.EOF) {
			err = nil
		}
		got <- answer{strings.TrimSpace(line), err}
	}()
	select {
	case a := <-got:
		return a.line, a.err
	case <-ctx.Done():
		return "", errors.New("interrupted; nothing was changed")
	}
}

// planLines is how many lines of one kind a plan shows.
const planLines = 12

// planText says a plan in words.
func planText(p apnclient.Plan) string {
	var b strings.Builder
	several := func(objects []string, one, many string) {
		if len(objects) == 0 {
			return
		}
		text := many
		if len(objects) == 1 {
			text = one
		}
		fmt.Fprintf(&b, "%d %s:\n", len(objects), text)
		for i, o := range objects {
			if i == planLines {
				fmt.Fprintf(&b, "  and %d more\n", len(objects)-i)
				break
			}
			fmt.Fprintf(&b, "  %s\n", clean(o))
		}
	}
	several(p.Servers, "server is set up anew", "servers are set up anew")
	several(p.Devices, "device needs a new config", "devices need a new config")
	several(planChanges(p.Leases), "lease changes", "leases change")
	several(planChanges(p.Rules), "rule changes", "rules change")
	several(planChanges(p.Names), "name changes", "names change")
	if b.Len() == 0 {
		return "Nothing else changes.\n"
	}
	return b.String()
}

func planChanges(changes []apnclient.PlanChange) []string {
	all := make([]string, len(changes))
	for i, l := range changes {
		switch {
		case l.Before == "":
			all[i] = "+ " + l.Object + " " + l.After
		case l.After == "":
			all[i] = "- " + l.Object + " " + l.Before
		default:
			all[i] = "~ " + l.Object + " " + l.Before + " -> " + l.After
		}
	}
	return all
}
