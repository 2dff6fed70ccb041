package apnhttp

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// metrics counts requests. What it has to remember is fixed by the table of
// routes, whatever clients send.
type metrics struct{ byRoute map[*route]*routeMetrics }

type routeMetrics struct {
	classes [6]atomic.Uint64 // by the first digit of the status
	buckets [bounds + 1]atomic.Uint64
	micros  atomic.Uint64
}

// bounds is how many buckets of durations have an upper end: 64 microseconds,
// and four times that of the one before, up to 4.2 seconds.
const bounds = 9

func bound(i int) uint64 { return 64 << (2 * i) }

func newMetrics(routes []route) *metrics {
	m := &metrics{byRoute: make(map[*route]*routeMetrics, len(routes))}
	for i := range routes {
		m.byRoute[&routes[i]] = new(routeMetrics)
	}
	return m
}

func (m *metrics) count(rt *route, status int, took time.Duration) {
	r := m.byRoute[rt]
	if class := status / 100; class > 0 && class < len(r.classes) {
		r.classes[class].Add(1)
	}
	micros := uint64(max(took.Microseconds(), 0))
	i := 0
	for i < bounds && micros > bound(i) {
		i++
	}
	r.buckets[i].Add(1)
	r.micros.Add(micros)
}

// writeMetrics answers in the text format of Prometheus.
func (c *call) writeMetrics() error {
	var b strings.Builder
	fmt.Fprintf(&b, "# HELP apn_build_info The version that runs.\n# TYPE apn_build_info gauge\napn_build_info{version=%q} 1\n", strings.Map(plain, c.h.version))
	agents := c.h.ctl.AgentStats()
	fmt.Fprintf(&b, "# HELP apn_agents_waiting Agents that wait for a document.\n# TYPE apn_agents_waiting gauge\napn_agents_waiting %d\n", agents.Waiting)
	fmt.Fprintf(&b, "# HELP apn_netmaps_signed_total Documents that were drawn up for agents.\n# TYPE apn_netmaps_signed_total counter\napn_netmaps_signed_total %d\n", agents.Signed)
	fmt.Fprintf(&b, "# HELP apn_netmaps_encoded_total Ways between documents that were encoded.\n# TYPE apn_netmaps_encoded_total counter\napn_netmaps_encoded_total %d\n", agents.Encoded)
	b.WriteString("# HELP apn_http_requests_total Requests by route and class of status.\n# TYPE apn_http_requests_total counter\n")
	for i := range c.h.routes {
		rt := &c.h.routes[i]
		for class := range c.h.metrics.byRoute[rt].classes {
			if n := c.h.metrics.byRoute[rt].classes[class].Load(); n > 0 {
				fmt.Fprintf(&b, "apn_http_requests_total{%s,code=\"%dxx\"} %d\n", rt.labels(), class, n)
			}
		}
	}
	b.WriteString("# HELP apn_http_request_duration_seconds How long requests took.\n# TYPE apn_http_request_duration_seconds histogram\n")
	for i := range c.h.routes {
		c.h.metrics.byRoute[&c.h.routes[i]].write(&b, c.h.routes[i].labels())
	}
	c.h.writeStale(&b)
	return c.send(http.StatusOK, "text/plain; version=0.0.4; charset=utf-8", []byte(b.String()))
}

func (r *route) labels() string {
	_, path, _ := strings.Cut(r.pattern, " ")
	if r.pattern == "" {
		path = "other"
	}
	return fmt.Sprintf("method=%q,route=%q", r.method, strings.TrimSuffix(path, "{$}"))
}

func (r *routeMetrics) write(b *strings.Builder, labels string) {
	var sum uint64
	for i := range r.buckets {
		sum += r.buckets[i].Load()
	}
	if sum == 0 {
		return
	}
	var below uint64
	for i := range r.buckets {
		below += r.buckets[i].Load()
		le := "+Inf"
		if i < bounds {
			le = strconv.FormatFloat(float64(bound(i))/1e6, 'g', -1, 64)
		}
		fmt.Fprintf(b, "apn_http_request_duration_seconds_bucket{%s,le=%q} %d\n", labels, le, below)
	}
	fmt.Fprintf(b, "apn_http_request_duration_seconds_sum{%s} %g\n", labels, float64(r.micros.Load())/1e6)
	fmt.Fprintf(b, "apn_http_request_duration_seconds_count{%s} %d\n", labels, below)
}
