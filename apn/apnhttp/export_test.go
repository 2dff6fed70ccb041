package apnhttp

import "time"

// SetHeartbeat makes the streams of h tell more often that they live.
func SetHeartbeat(h *Handler, d time.Duration) { h.heartbeat = d }

// Route is what tests see of the table of routes.
type Route struct {
	Pattern, Query           string
	Public, Changes, Matches bool
	Secret, ForBrowsers      bool
}

// Routes returns the table of routes, without the line for what is left over.
func Routes() []Route {
	var out []Route
	for _, r := range routes()[1:] {
		out = append(out, Route{
			Pattern: r.pattern, Query: r.query, Public: r.access == public, Changes: r.is(changes),
			Matches: r.is(matches), Secret: r.is(secret), ForBrowsers: r.is(web),
		})
	}
	return out
}

// Action is what tests see of a form of the dashboard.
type Action struct {
	Page, Do, API string // Page and API are patterns
	Asks          bool   // it shows a plan first
	Fields        []string
}

// Actions returns all forms of the dashboard.
func Actions() []Action {
	var out []Action
	for _, p := range pages() {
		for _, a := range p.actions {
			view := Action{Page: p.path, Do: a.do, API: a.api, Asks: a.plan != nil}
			for _, f := range a.fields {
				view.Fields = append(view.Fields, f.name)
			}
			out = append(out, view)
		}
	}
	return out
}
