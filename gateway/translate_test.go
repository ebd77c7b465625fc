package gateway

import (
	"testing"

	"gatepost/config"
)

// What the policy is told of keys whose default is the zero value: one that
// were forgotten would change nothing that other tests see.
func TestPolicyIsToldOfBadFromAndSealing(t *testing.T) {
	c := &config.Config{}
	if o := policyOptions(c); o.BadFrom != "" || o.Sealing {
		t.Errorf("%+v", o)
	}
	c.Policy.BadFrom, c.Policy.ARC.Seal.Domain = "quarantine", "seal.test"
	if o := policyOptions(c); o.BadFrom != "quarantine" || !o.Sealing {
		t.Errorf("%+v", o)
	}
}
