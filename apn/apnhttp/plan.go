package apnhttp

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"github.com/apnkit/apnkit/apn"
)

// plan is what a dry run answers.
type plan struct {
	Servers []string     `json:"servers"`
	Devices []string     `json:"devices"`
	Leases  []planChange `json:"leases"`
	Rules   []planChange `json:"rules"`
	Names   []planChange `json:"names"`
}

type planChange struct {
	Object string `json:"object"`
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
}

func planOf(p apn.Plan) plan {
	lines := func(in []apn.PlanChange) []planChange {
		out := make([]planChange, len(in))
		for i, l := range in {
			out[i] = planChange(l)
		}
		return out
	}
	return plan{
		Servers: append([]string{}, p.Servers...), Devices: append([]string{}, p.Devices...),
		Leases: lines(p.Leases), Rules: lines(p.Rules), Names: lines(p.Names),
	}
}

// stamp tells one plan from another.
func (p plan) stamp() string {
	text, err := json.Marshal(p)
	if err != nil { // texts always encode
		return ""
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}
