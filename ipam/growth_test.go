package ipam_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/ipam"
)

// TestGrowth starts 5,000 apps with a /26 each, of which 17 % grow to a /24,
// 3.5 % to a /22 and 1.35 % to a /20, one doubling at a time and in random order,
// and prints how many doublings kept the app's number of ranges.
func TestGrowth(t *testing.T) {
	t.Parallel()
	const apps = 5000
	for _, tt := range []struct {
		pool      string
		placement ipam.Placement
		inPlace   float64 // percent, at least
	}{
		{"10.0.0.0/8", ipam.Spread, 99.5},
		{"10.0.0.0/10", ipam.Spread, 96},
		{"10.0.0.0/12", ipam.Spread, 80},
		{"10.0.0.0/8", ipam.Pack, 0},
	} {
		name := "spread"
		if tt.placement == ipam.Pack {
			name = "pack"
		}
		t.Run(fmt.Sprint(tt.pool[len("10.0.0.0/"):], "/", name), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(1, 2))
			p, err := ipam.New(ipam.Config{
				Prefixes: pfx(tt.pool), Placement: tt.placement,
				Subnet4: ipam.Bits{Default: 26},
			})
			require.NoError(t, err)

			// An event is an app that comes or doubles.
			var events []int
			for app := range apps {
				doublings := 0
				switch x := rng.Float64() * 100; {
				case x < 1.35:
					doublings = 6
				case x < 1.35+3.5:
					doublings = 4
				case x < 1.35+3.5+17:
					doublings = 2
				}
				for range 1 + doublings {
					events = append(events, app)
				}
			}
			rng.Shuffle(len(events), func(i, j int) { events[i], events[j] = events[j], events[i] })

			doublings, inPlace := 0, 0
			for _, e := range events {
				app := fmt.Sprint("app-", e)
				old, ok := p.SubnetOf(app)
				if !ok {
					_, c, err := p.Subnet(start, app, nil)
					require.NoError(t, err)
					require.NoError(t, p.Apply(c))
					continue
				}
				s, c, err := p.Grow(start, app, p.Usage(app).Free+1)
				require.NoError(t, err)
				require.NoError(t, p.Apply(c))
				doublings++
				if len(s.Prefixes) == len(old.Prefixes) {
					inPlace++
				}
			}

			ranges, most, used := 0, 0, 0.0
			for s := range p.Subnets() {
				ranges += len(s.Prefixes)
				most = max(most, len(s.Prefixes))
				used += 100 * float64(p.Usage(s.App).Total)
			}
			used /= float64(p.Usage("").Total)
			share := 100 * float64(inPlace) / float64(doublings)
			t.Logf("%s %s: %d doublings, %.1f %% in place; %.3f ranges per app, at most %d; pool used %.1f %%",
				tt.pool, name, doublings, share, float64(ranges)/apps, most, used)
			require.GreaterOrEqual(t, share, tt.inPlace)
		})
	}
}
