package lease

// Queued tells how many entries the queue holds, outdated ones included.
func (b *Book) Queued() int { return len(b.queue) }
