package apnhttp

import (
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/apnkit/apnkit/apn"
)

type rule struct {
	ID        string       `json:"id"`
	App       string       `json:"app"`
	Source    netip.Prefix `json:"source"`
	Note      string       `json:"note,omitempty"`
	CreatedAt time.Time    `json:"created_at"`
	Revision  uint64       `json:"revision"`
}

func ruleOf(r apn.Rule) rule {
	return rule{ID: r.ID, App: r.App, Source: r.Source, Note: r.Note, CreatedAt: r.CreatedAt, Revision: uint64(r.Rev)}
}

type ruleIn struct {
	Source string `json:"source"`
	Note   string `json:"note"`
}

func (c *call) addRule() error {
	var in ruleIn
	if err := c.decode(&in, false); err != nil {
		return err
	}
	var f fields
	source := f.prefix("source", in.Source)
	if err := f.err(); err != nil {
		return err
	}
	r, err := c.net.AddRule(c.ctx(), c.r.PathValue("app"), source, &apn.RuleOptions{CommitOptions: c.opts, Note: in.Note})
	if c.repeated(err) {
		r, err = c.ruleAt(strings.Replace(source.String(), "/", "_", 1))
	}
	if err != nil {
		return err
	}
	return c.created(uint64(r.Rev), ruleOf(r), "networks", c.net.Name(), "apps", c.r.PathValue("app"), "rules", r.ID)
}

func (c *call) listRules() error {
	rules, err := c.net.Rules(c.r.PathValue("app"))
	if err != nil {
		return err
	}
	return answerAll(c, rules, func(r apn.Rule) string { return r.ID }, ruleOf)
}

func (c *call) ruleAt(id string) (apn.Rule, error) {
	rules, err := c.net.Rules(c.r.PathValue("app"))
	for _, r := range rules {
		if r.ID == id {
			return r, nil
		}
	}
	if err == nil {
		err = apn.ErrNotFound
	}
	return apn.Rule{}, err
}

func (c *call) rule() error {
	r, err := c.ruleAt(c.r.PathValue("rule"))
	if err != nil {
		return err
	}
	return c.object(http.StatusOK, uint64(r.Rev), ruleOf(r))
}

func (c *call) removeRule() error {
	return c.removed(c.net.RemoveRule(c.ctx(), c.r.PathValue("app"), c.r.PathValue("rule"), &c.opts))
}
