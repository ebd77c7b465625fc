package integration

import (
	"fmt"
	"testing"
	"time"
)

// TestOverrideForAForwarder: one author by one forwarder, and nobody else.
func TestOverrideForAForwarder(t *testing.T) {
	t.Parallel()
	until := time.Now().AddDate(0, 1, 0).Format(time.DateOnly)
	s := startSite(t, "", func(vars map[string]string) {
		vars["policy"] = fmt.Sprintf(`overrides: [{from: reject.test, forwarder: {client: good.test}, until: %s, note: "the list of ticket 17"},
  {from: quar.test, forwarder: {dkim: good.test}, action: tag, until: 2026-01-01, note: "old"}]`, until)
	})
	reply := send(t, fromWorld, s.mx, 250, "list@good.test", "bob@example.test", letter("a@reject.test", "bob@example.test", "by the list", "text"))
	contains(t, unfolded(s.inside.wait(t, "Subject: by the list").Data), "dmarc=fail", "policy reject, policy_override")
	s.traced(queuedID(t, reply), "by rule override", "client good.test", "policy_override the list of ticket 17")
	send(t, fromStranger, s.mx, 550, "list@good.test", "bob@example.test", letter("a@reject.test", "bob@example.test", "by a stranger", "text"))
	contains(t, s.mustRun("check"), "policy.overrides[1].until", "has expired and is ignored")
}
