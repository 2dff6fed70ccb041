package apnhttp

import (
	"net/http"
	"strings"
)

// route is one line of the table of what this package serves, and for whom.
type route struct {
	pattern string // "GET /v1/networks/{network}"
	access  access
	handle  func(*call) error
	query   string // parameters besides dry_run, separated by spaces
	flags   flags
	page    *page // of the dashboard

	method string
	params []string // names of the path's parameters
}

type flags uint8

const (
	changes flags = 1 << iota // a command of apn: dry_run, Idempotency-Key on POST
	matches                   // takes If-Match
	secret                    // answers with a private key: never to HEAD
	asks                      // has a body, and no dry run
	large                     // takes large bodies
	web                       // for browsers: errors are pages
)

func (r *route) is(f flags) bool { return r.flags&f != 0 }

const (
	paged   = "limit cursor"
	toNet   = "/v1/networks/{network}"
	toApp   = toNet + "/apps/{app}"
	toSrv   = toApp + "/servers/{server}"
	toLease = toApp + "/leases/{lease}"
	toMem   = toNet + "/members/{member}"
	toDev   = toMem + "/devices/{device}"
)

// routes is the table. Its first line takes what the others leave.
func routes() []route {
	list := []route{
		{access: public, handle: (*call).noRoute},

		{pattern: "GET /livez", access: public, handle: (*call).live},
		{pattern: "GET /readyz", access: public, handle: (*call).ready},
		{pattern: "GET /metrics", access: operator, handle: (*call).writeMetrics},
		{pattern: "GET /openapi.yaml", access: public, handle: (*call).openAPI},

		{pattern: "GET /web/{file}", access: public, handle: (*call).asset, query: "v", flags: web},
		{pattern: "POST /sign-in", access: public, handle: (*call).signIn, flags: web},
		{pattern: "POST /sign-out", access: public, handle: (*call).signOut, flags: web},

		{pattern: "GET /d", access: public, handle: (*call).handoverPage, flags: web},
		{pattern: "GET /d/{file}", access: public, handle: (*call).handoverFile, flags: web},
		{pattern: "POST /d", access: public, handle: (*call).redeem},

		{pattern: "GET /v1/whoami", access: signedIn, handle: (*call).whoami},
		{pattern: "GET /v1/tokens", access: operator, handle: (*call).listTokens, query: paged},
		{pattern: "POST /v1/tokens", access: operator, handle: (*call).addToken, flags: changes},
		{pattern: "DELETE /v1/tokens/{token}", access: operator, handle: (*call).removeToken, flags: changes},

		{pattern: "GET /v1/audit", access: operator, handle: (*call).auditOfNone, query: auditQuery},
		{pattern: "GET /v1/audit/verify", access: operator, handle: (*call).verifyAuditOfNone},

		{pattern: "GET /v1/networks", access: operator, handle: (*call).listNetworks, query: paged},
		{pattern: "POST /v1/networks", access: operator, handle: (*call).addNetwork, flags: changes},
		{pattern: "GET " + toNet, access: insider, handle: (*call).network},
		{pattern: "PATCH " + toNet, access: operator, handle: (*call).updateNetwork, flags: changes | matches},
		{pattern: "POST " + toNet + "/import", access: operator, handle: (*call).importInventory, flags: changes | large},
		{pattern: "GET " + toNet + "/zone", access: operator, handle: (*call).zone, query: "zone"},
		{pattern: "GET " + toNet + "/zone/report", access: operator, handle: (*call).zoneReport},
		{pattern: "GET " + toNet + "/hosts", access: operator, handle: (*call).hosts},
		{pattern: "POST " + toNet + "/config/check", access: insider, handle: (*call).checkConfig, flags: asks},
		{pattern: "GET " + toNet + "/audit", access: operator, handle: (*call).audit, query: auditQuery},
		{pattern: "GET " + toNet + "/audit/verify", access: operator, handle: (*call).verifyAudit},
		{pattern: "GET " + toNet + "/webhooks", access: operator, handle: (*call).listWebhooks, query: paged},
		{pattern: "POST " + toNet + "/webhooks", access: operator, handle: (*call).addWebhook, flags: changes},
		{pattern: "DELETE " + toNet + "/webhooks/{webhook}", access: operator, handle: (*call).removeWebhook, flags: changes},
		{pattern: "GET " + toNet + "/events", access: insider, handle: (*call).events},
		{pattern: "GET " + toNet + "/stale", access: operator, handle: (*call).listStale, query: paged},
		{pattern: "GET " + toNet + "/links", access: operator, handle: (*call).listLinks, query: paged},
		{pattern: "PUT " + toNet + "/links/{a}/{b}", access: operator, handle: (*call).setLink, flags: changes | matches},
		{pattern: "DELETE " + toNet + "/links/{a}/{b}", access: operator, handle: (*call).resetLink, flags: changes | matches},

		{pattern: "GET " + toNet + "/apps", access: insider, handle: (*call).listApps, query: paged},
		{pattern: "POST " + toNet + "/apps", access: operator, handle: (*call).addApp, flags: changes},
		{pattern: "GET " + toApp, access: viewer, handle: (*call).app},
		{pattern: "DELETE " + toApp, access: operator, handle: (*call).removeApp, query: "servers", flags: changes | matches},

		{pattern: "GET " + toApp + "/servers", access: viewer, handle: (*call).listServers, query: paged},
		{pattern: "POST " + toApp + "/servers", access: admin, handle: (*call).addServer, flags: changes},
		{pattern: "GET " + toSrv, access: viewer, handle: (*call).server},
		{pattern: "PATCH " + toSrv, access: admin, handle: (*call).updateServer, flags: changes | matches},
		{pattern: "DELETE " + toSrv, access: admin, handle: (*call).removeServer, flags: changes | matches},
		{pattern: "POST " + toSrv + "/rotate", access: admin, handle: (*call).rotateServer, flags: changes | matches},
		{pattern: "GET " + toSrv + "/config", access: admin, handle: (*call).serverConfig, query: "format", flags: secret},
		{pattern: "GET " + toSrv + "/netmap", access: admin, handle: (*call).serverMap},
		{pattern: "POST " + toSrv + "/join", access: admin, handle: (*call).addJoinToken, flags: changes},

		{pattern: "POST /v1/agent/join", access: public, handle: (*call).joinAgent, flags: asks},
		{pattern: "GET /v1/agent/netmap", access: agents, handle: (*call).agentNetmap},
		{pattern: "GET /v1/agent/secrets", access: agents, handle: (*call).agentSecrets, flags: secret},
		{pattern: "POST /v1/agent/key", access: agents, handle: (*call).agentKey, flags: asks},
		{pattern: "POST /v1/agent/status", access: agents, handle: (*call).agentStatus, flags: asks},
		{pattern: "POST /v1/agent/leave", access: agents, handle: (*call).agentLeave, flags: asks},

		{pattern: "GET " + toApp + "/leases", access: developer, handle: (*call).listLeases, query: paged},
		{pattern: "POST " + toApp + "/leases", access: developer, handle: (*call).addLease, flags: changes},
		{pattern: "GET " + toLease, access: developer, handle: (*call).lease},
		{pattern: "DELETE " + toLease, access: developer, handle: (*call).revokeLease, flags: changes},
		{pattern: "POST " + toLease + "/renew", access: developer, handle: (*call).renewLease, flags: changes},
		{pattern: "GET " + toApp + "/rules", access: admin, handle: (*call).listRules, query: paged},
		{pattern: "POST " + toApp + "/rules", access: admin, handle: (*call).addRule, flags: changes},
		{pattern: "GET " + toApp + "/rules/{rule}", access: admin, handle: (*call).rule},
		{pattern: "DELETE " + toApp + "/rules/{rule}", access: admin, handle: (*call).removeRule, flags: changes | matches},

		{pattern: "GET " + toNet + "/members", access: operator, handle: (*call).listMembers, query: paged},
		{pattern: "POST " + toNet + "/members", access: operator, handle: (*call).addMember, flags: changes},
		{pattern: "GET " + toMem, access: self, handle: (*call).member},
		{pattern: "DELETE " + toMem, access: operator, handle: (*call).removeMember, flags: changes | matches},
		{pattern: "PUT " + toMem + "/roles/{app}", access: operator, handle: (*call).setRole, flags: changes | matches},

		{pattern: "GET " + toMem + "/devices", access: self, handle: (*call).listDevices, query: paged},
		{pattern: "POST " + toMem + "/devices", access: self, handle: (*call).addDevice, flags: changes},
		{pattern: "GET " + toDev, access: self, handle: (*call).device},
		{pattern: "DELETE " + toDev, access: self, handle: (*call).removeDevice, flags: changes | matches},
		{pattern: "POST " + toDev + "/rotate", access: self, handle: (*call).rotateDevice, flags: changes | matches},
		{pattern: "GET " + toDev + "/config", access: self, handle: (*call).deviceConfig, query: "format", flags: secret},
		{pattern: "GET " + toDev + "/configs.zip", access: self, handle: (*call).deviceConfigs, flags: secret},
		{pattern: "GET " + toDev + "/qr.png", access: self, handle: (*call).qrPNG, query: "scale", flags: secret},
		{pattern: "GET " + toDev + "/qr.svg", access: self, handle: (*call).qrSVG, query: "scale", flags: secret},
		{pattern: "GET " + toDev + "/qr.txt", access: self, handle: (*call).qrText, query: "plain", flags: secret},
		{pattern: "GET " + toDev + "/links", access: self, handle: (*call).listDeviceLinks, query: paged},
		{pattern: "POST " + toDev + "/links", access: self, handle: (*call).addDeviceLink, flags: changes},
		{pattern: "DELETE " + toDev + "/links/{link}", access: self, handle: (*call).removeDeviceLink, flags: changes},
	}
	for _, p := range pages() {
		list = append(list, p.routes()...)
	}
	for i := range list {
		r := &list[i]
		method, path, _ := strings.Cut(r.pattern, " ")
		r.method = method
		for part := range strings.SplitSeq(path, "/") {
			if name, ok := strings.CutPrefix(part, "{"); ok && name != "$}" {
				r.params = append(r.params, strings.TrimSuffix(name, "}"))
			}
		}
	}
	return list
}

// noRoute tells a wrong method from a wrong path.
func (c *call) noRoute() error {
	var allow []string
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		probe := *c.r
		probe.Method = method
		if _, pattern := c.h.mux.Handler(&probe); pattern != "/" && pattern != "" {
			allow = append(allow, method)
		}
	}
	if len(allow) == 0 {
		return errRoute
	}
	c.w.Header().Set("Allow", strings.Join(allow, ", "))
	return errMethod
}
