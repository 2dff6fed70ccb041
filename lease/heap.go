package lease

import "time"

// due says when somebody should look at a lease.
type due struct {
	at time.Time
	id string
}

// dueHeap is a heap of values with four children per entry, the earliest at
// [0]. Entries are never changed inside: one that is outdated stays until it
// comes to the head, so renewing a lease costs nothing here.
type dueHeap []due

const arity = 4

func (h *dueHeap) push(d due) {
	*h = append(*h, d)
	q := *h
	i := len(q) - 1
	for i > 0 {
		parent := (i - 1) / arity
		if !d.at.Before(q[parent].at) {
			break
		}
		q[i] = q[parent]
		i = parent
	}
	q[i] = d
}

// pop removes the head.
func (h *dueHeap) pop() {
	n := len(*h) - 1
	last := (*h)[n]
	(*h)[n] = due{} // lets go of the string
	*h = (*h)[:n]
	if n > 0 {
		h.replace(last)
	}
}

// replace puts d in the place of the head.
func (h *dueHeap) replace(d due) {
	q := *h
	i := 0
	for {
		first := arity*i + 1
		if first >= len(q) {
			break
		}
		least := first
		for c := first + 1; c < min(first+arity, len(q)); c++ {
			if q[c].at.Before(q[least].at) {
				least = c
			}
		}
		if !q[least].at.Before(d.at) {
			break
		}
		q[i] = q[least]
		i = least
	}
	q[i] = d
}
