package apnhttp

import (
	"fmt"
	"strings"

	"github.com/apnkit/apnkit/apn"
)

// listStale answers with the devices whose config is out of date.
func (c *call) listStale() error {
	opts, err := c.page()
	if err != nil {
		return err
	}
	devices, more := c.net.StaleDevices(&opts)
	return answerPage(c, devices, more, func(d apn.Device) string { return d.Member + "/" + d.Name }, deviceOf)
}

// writeStale adds one gauge, however many networks there are. Those that nobody
// has asked for lately are not loaded to be counted.
func (h *Handler) writeStale(b *strings.Builder) {
	stale := 0
	for _, n := range h.ctl.Loaded() {
		stale += n.StaleCount()
	}
	fmt.Fprintf(b, "# HELP apn_stale_devices Devices of the networks in memory whose config is out of date.\n# TYPE apn_stale_devices gauge\napn_stale_devices %d\n", stale)
}
