package apnhttp

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
