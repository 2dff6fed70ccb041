package apnhttp

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/apnkit/apnkit/apn"
	"github.com/apnkit/apnkit/dnszone"
)

// zone answers with a master file.
func (c *call) zone() error {
	set, err := c.net.Zone(c.ctx())
	if err != nil {
		return err
	}
	want := strings.TrimSuffix(strings.ToLower(c.query.Get("zone")), ".")
	for z := range set.Zones() {
		if want != "" && want != strings.TrimSuffix(z.Name(), ".") {
			continue // without a wish it is the first, the forward one
		}
		var b bytes.Buffer
		if _, err := z.WriteTo(&b); err != nil {
			return err
		}
		return c.send(http.StatusOK, "text/dns", b.Bytes())
	}
	return fmt.Errorf("zone %w", apn.ErrNotFound)
}

// zoneReport answers with the names that nobody gets, and why.
func (c *call) zoneReport() error {
	set, err := c.net.Zone(c.ctx())
	if err != nil {
		return err
	}
	zones := []string{}
	for z := range set.Zones() {
		zones = append(zones, strings.TrimSuffix(z.Name(), "."))
	}
	return c.json(http.StatusOK, struct {
		Serial uint32   `json:"serial"`
		Zones  []string `json:"zones"`
		*dnszone.Report
	}{set.Serial(), zones, set.Report()})
}

func (c *call) hosts() error {
	set, err := c.net.Zone(c.ctx())
	if err != nil {
		return err
	}
	var b bytes.Buffer
	_, err = set.WriteHosts(&b, &dnszone.HostsOptions{Tag: c.net.Name()})
	if e, ok := errors.AsType[*dnszone.TooManyNamesError](err); ok {
		return &refusal{kind: errNotRenderable, detail: fmt.Sprintf("%d names are more than the %d that a hosts file should hold: serve the zone", e.Names, e.Limit)}
	}
	if err != nil {
		return err
	}
	return c.send(http.StatusOK, "text/plain; charset=us-ascii", b.Bytes())
}
