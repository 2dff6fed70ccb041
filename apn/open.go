package apn

import (
	"context"
	"time"
	"weak"
)

// opening is a network that is being loaded, is open, or was open.
type opening struct {
	done chan struct{}
	err  error
	used time.Time
	net  *Network // nil once idle
	weak weak.Pointer[Network]
	stop context.CancelFunc // ends following
}

// Network opens a network, from memory if this Control has it already.
//
// If there is none of that name, the error wraps [ErrNotFound].
func (c *Control) Network(ctx context.Context, name string) (*Network, error) {
	n, err := c.open(ctx, name)
	if err != nil {
		return nil, &Error{Op: "open network", Object: name, Err: err}
	}
	return n, nil
}

// open loads a network once, however many callers ask for it at a time. A
// failure is not kept.
func (c *Control) open(ctx context.Context, name string) (*Network, error) {
	if err := checkNetwork("name", name); err != nil {
		return nil, err
	}
	c.mu.Lock()
	o, ok := c.networks[name]
	if ok && o.weak != (weak.Pointer[Network]{}) {
		o.net = o.weak.Value()
		if ok = o.net != nil; !ok {
			o.stop()
		}
	}
	if !ok {
		if c.closed {
			c.mu.Unlock()
			return nil, ErrClosed
		}
		o = &opening{done: make(chan struct{})}
		c.networks[name] = o
		c.wg.Go(func() { c.load(name, o) }) //nolint:contextcheck // the load serves every caller, so none of them may cancel it
	}
	o.used = c.now()
	n := o.net
	c.mu.Unlock()
	if n != nil {
		return n, nil
	}
	select {
	case <-o.done:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if o.err != nil {
		return nil, o.err
	}
	c.mu.Lock()
	n = o.net
	c.mu.Unlock()
	if n == nil {
		return c.open(ctx, name) // idle already
	}
	return n, nil
}

func (c *Control) load(name string, o *opening) {
	defer close(o.done)
	n := newNetwork(c, name, c.store)
	ctx, cancel := context.WithTimeout(c.ctx, giveUp)
	defer cancel()
	if err := n.load(ctx); err != nil {
		o.err = storeError(err)
		c.mu.Lock()
		delete(c.networks, name)
		c.mu.Unlock()
		return
	}
	n.head.Store(n.tip.copy())
	ref := weak.Make(n)
	waits, stop := context.WithCancel(c.waits)
	c.start(func() { follow(waits, ref) })
	c.mu.Lock()
	o.net, o.weak, o.stop = n, ref, stop
	sweep := c.idle > 0 && !c.sweeping
	c.sweeping = c.sweeping || sweep
	c.mu.Unlock()
	if sweep {
		c.start(c.sweep)
	}
}

// sweep lets go of networks that nobody asked for lately. The garbage collector
// takes those that nobody holds.
func (c *Control) sweep() {
	tick := time.NewTicker(c.idle / 4)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-c.waits.Done():
			return
		}
		c.mu.Lock()
		for name, o := range c.networks {
			switch {
			case o.weak == weak.Pointer[Network]{}: // being loaded
			case o.net == nil && o.weak.Value() == nil:
				o.stop()
				delete(c.networks, name)
			case c.now().Sub(o.used) > c.idle:
				o.net = nil
			}
		}
		c.mu.Unlock()
	}
}
