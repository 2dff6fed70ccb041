package apnhttp

// pages is the table of the dashboard. Each has the access of the route of the
// API that tells the same.
func pages() []page {
	const (
		net    = "/networks/{network}"
		app    = net + "/apps/{app}"
		member = net + "/people/{member}"

		pagedAudit = "before actor action object outcome"
	)
	return []page{
		{path: "/{$}", access: public, query: "after", draw: (*call).homePage, actions: homeActions()},
		{path: "/tokens", access: operator, draw: (*call).tokensPage, actions: tokensActions()},
		{path: "/audit", access: operator, query: pagedAudit, draw: (*call).auditOfNonePage},
		{path: net, access: insider, query: "after", draw: (*call).networkPage, actions: networkActions()},
		{path: app, access: viewer, query: "after find", draw: (*call).appPage, actions: appActions()},
		{path: app + "/servers/{server}", access: viewer, draw: (*call).serverPage, actions: serverActions()},
		{path: net + "/people", access: operator, query: "after", draw: (*call).peoplePage, actions: peopleActions()},
		{path: member, access: self, draw: (*call).memberPage, actions: memberActions()},
		{path: member + "/devices/{device}", access: self, draw: (*call).devicePage, actions: deviceActions()},
		{path: net + "/names", access: operator, draw: (*call).namesPage},
		{path: net + "/audit", access: operator, query: pagedAudit, draw: (*call).auditPage},
		{path: net + "/keys", access: operator, draw: (*call).keysPage},
	}
}
