//go:build linux

package nft

import "context"

// Generation returns the number of the ruleset, which each transaction raises.
func (t *Table) Generation(ctx context.Context) (gen uint32, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	err = t.transact(ctx, func(l *link) error {
		gen, err = l.generation()
		return err
	})
	return gen, err
}
