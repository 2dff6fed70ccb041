package ipam

import "slices"

// Change is a decision: the records that it writes and removes. Its steps have
// different keys; their order has no meaning. Commit it to the store as a whole,
// then give it to [Pool.Apply].
type Change struct {
	Steps []Step `json:"steps,omitempty"`
}

// Step replaces the record Before by After, which has the same key. Nil Before:
// the record is new. Nil After: it goes.
type Step struct {
	Before *Record `json:"before,omitempty"`
	After  *Record `json:"after,omitempty"`
}

// Empty reports whether nothing changes.
func (c Change) Empty() bool { return len(c.Steps) == 0 }

// Inverse returns the Change that undoes c.
func (c Change) Inverse() Change {
	inv := Change{slices.Clone(c.Steps)}
	for i, s := range inv.Steps {
		inv.Steps[i] = s.flip()
	}
	return inv
}

// Join returns the Change that has the effect of all changes one after the
// other, so that many decisions become one commit:
//
//	var done []ipam.Change
//	for _, server := range servers {
//		_, c, err := pool.Acquire(now, "shop", server, nil)
//		// on an error: pool.Apply(ipam.Join(done...).Inverse())
//		err = pool.Apply(c)
//		done = append(done, c)
//	}
//	bulk := ipam.Join(done...)
//
// Each change must start from the state that the ones before it lead to.
// Records that end as they began are left out.
func Join(changes ...Change) Change {
	var steps []Step
	at := map[string]int{}
	for _, c := range changes {
		for _, s := range c.Steps {
			key := s.key()
			if i, ok := at[key]; ok {
				steps[i].After = s.After
				continue
			}
			at[key] = len(steps)
			steps = append(steps, s)
		}
	}
	return Change{slices.DeleteFunc(steps, Step.idle)}
}

func (s Step) flip() Step { return Step{s.After, s.Before} }

// idle reports whether s changes nothing.
func (s Step) idle() bool {
	if s.Before == nil || s.After == nil {
		return s.Before == s.After
	}
	return s.Before.equal(s.After)
}

func (s Step) key() string {
	switch {
	case s.After != nil:
		return s.After.Key()
	case s.Before != nil:
		return s.Before.Key()
	}
	return ""
}
