package keys_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/keys"
)

func states(h keys.KeyHistory) string {
	var list []string
	for _, r := range h {
		list = append(list, string(r.State))
	}
	return strings.Join(list, " ")
}

func TestKeyHistory(t *testing.T) {
	t.Parallel()
	// Steps read "+" for Add, "!n" for Activate, "-n" for Revoke.
	tests := []struct {
		name    string
		steps   string
		want    string
		wantErr error // of the last step
	}{
		{name: "the first key is active", steps: "+", want: "active"},
		{name: "the second waits", steps: "+ +", want: "active pending"},
		{name: "one waits at a time", steps: "+ + +", want: "active pending", wantErr: keys.ErrConflict},
		{name: "applied", steps: "+ + !2", want: "retiring active"},
		{name: "applied twice", steps: "+ + !2 !2", want: "retiring active"},
		{name: "done", steps: "+ + !2 -1", want: "revoked active"},
		{name: "done twice", steps: "+ + !2 -1 -1", want: "revoked active"},
		{name: "two retire", steps: "+ + !2 + !3", want: "retiring retiring active"},
		{name: "no way back", steps: "+ + !2 !1", want: "retiring active", wantErr: keys.ErrConflict},
		{name: "no way back from revoked", steps: "+ + !2 -1 !1", want: "revoked active", wantErr: keys.ErrConflict},
		{name: "a rotation is given up", steps: "+ + -2", want: "active revoked"},
		{name: "and started again", steps: "+ + -2 +", want: "active revoked pending"},
		{name: "compromise", steps: "+ -1", want: "revoked"},
		{name: "after it the next is active at once", steps: "+ -1 +", want: "revoked active"},
		{name: "compromise during a rotation", steps: "+ + -1 !2", want: "revoked active"},
		{name: "unknown", steps: "+ !7", want: "active", wantErr: keys.ErrNotFound},
		{name: "unknown to revoke", steps: "+ -7", want: "active", wantErr: keys.ErrNotFound},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var h keys.KeyHistory
			var err error
			for step := range strings.FieldsSeq(tt.steps) {
				require.NoError(t, err)
				var next keys.KeyHistory
				if next, err = apply(h, step, now); err == nil {
					h = next
				}
			}
			require.ErrorIs(t, err, tt.wantErr)
			require.Equal(t, tt.want, states(h))
		})
	}
}

func apply(h keys.KeyHistory, step string, at time.Time) (keys.KeyHistory, error) {
	var gen uint64
	_, _ = fmt.Sscanf(step[1:], "%d", &gen)
	switch step[0] {
	case '+':
		return h.Add(keys.KeyRecord{Custody: keys.Managed, Public: []byte("p"), Private: []byte("s")}, at)
	case '!':
		return h.Activate(gen, at)
	default:
		return h.Revoke(gen, at)
	}
}

// TestKeyHistoryModel takes random steps and checks what must always hold.
func TestKeyHistoryModel(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 1))
	for range 300 {
		var h keys.KeyHistory
		var steps []string
		for i := range 30 {
			step := []string{"+", "!", "-"}[r.IntN(3)]
			if step != "+" {
				step += fmt.Sprint(r.Uint64N(h.NextGen() + 1))
			}
			steps = append(steps, step)
			before := slices.Clone(h)
			next, err := apply(h, step, now.Add(time.Duration(i)))
			require.Equalf(t, before, h, "seed %d, steps %v: the argument changed", seed, steps)
			if err != nil {
				continue
			}
			h = next
			count := map[keys.KeyState]int{}
			for j, rec := range h {
				count[rec.State]++
				require.Equalf(t, uint64(j+1), rec.Gen, "seed %d, steps %v", seed, steps)
				require.Equalf(t, rec.State == keys.KeyRevoked, rec.Private == nil, "seed %d, steps %v", seed, steps)
				if j < len(before) {
					require.GreaterOrEqualf(t, order(rec.State), order(before[j].State), "seed %d, steps %v: a key went back", seed, steps)
				}
			}
			require.LessOrEqualf(t, count[keys.KeyPending], 1, "seed %d, steps %v", seed, steps)
			require.LessOrEqualf(t, count[keys.KeyActive], 1, "seed %d, steps %v", seed, steps)
		}
	}
}

func order(s keys.KeyState) int {
	return slices.Index([]keys.KeyState{keys.KeyPending, keys.KeyActive, keys.KeyRetiring, keys.KeyRevoked}, s)
}
