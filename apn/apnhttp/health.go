package apnhttp

import (
	_ "embed" // the document
	"net/http"
	"strings"
)

// live tells that the process answers.
func (c *call) live() error {
	return c.send(http.StatusOK, "text/plain; charset=utf-8", []byte("ok\n"))
}

// ready tells that the store answers.
func (c *call) ready() error {
	if _, _, err := c.h.ctl.Networks(c.ctx(), "", 1); err != nil {
		return err
	}
	return c.live()
}

//go:embed openapi.yaml
var document string

// spec is the OpenAPI document of this version of the program.
func spec(version string) []byte {
	return []byte(strings.Replace(document, "version: devel\n", "version: "+strings.Map(plain, version)+"\n", 1))
}

// plain keeps what needs no quotes in YAML.
func plain(r rune) rune {
	if r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || strings.ContainsRune(".+-_", r) {
		return r
	}
	return '-'
}

func (c *call) openAPI() error {
	c.w.Header().Set("Cache-Control", "no-cache")
	return c.send(http.StatusOK, "application/yaml", c.h.spec)
}
