package config

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"gatepost/mail"
)

// reports wants each inbox to be a mailbox of ours: mail for other domains is
// not accepted from strangers.
func (k *check) reports() {
	seen := map[string]int{}
	for i, a := range k.c.Report.Inbox {
		path := fmt.Sprintf("report.inbox[%d]", i)
		address, err := mail.ParseAddress(a, true)
		if err != nil || address.IsNull() {
			k.fail(path, "expected a mail address such as reports@example.com, found %q", a)
			continue
		}
		ours := slices.ContainsFunc(k.c.Domains, func(d Domain) bool {
			name, err := mail.ParseDomain(d.Name)
			return err == nil && name == address.Domain()
		})
		if !ours {
			k.fail(path, "%s is not in 'domains', so that no mail for %s would be accepted", address.Domain(), a)
		}
		if strings.EqualFold(address.Local(), "postmaster") {
			k.fail(path, "mail to postmaster is for people (RFC 5321 section 4.5.1); use another address")
		}
		key := strings.ToLower(address.Local()) + "@" + address.Domain().String()
		if first, ok := seen[key]; ok {
			k.fail(path, "%s is report.inbox[%d] already", a, first)
		}
		seen[key] = i
	}
	k.positive("report.keep", int64(k.c.Report.Keep))
	k.positive("report.max_reports", int64(k.c.Report.MaxReports))
	k.positive("report.max_records", int64(k.c.Report.MaxRecords))
	k.aggregateReports()
	k.failureReports()
}

// Bounds of report.dmarc_aggregate: the window leaves the rest of the day for
// what has to be tried again.
const (
	maxWindow  = Duration(20 * time.Hour)
	maxRecords = 20_000
)

// aggregateReports checks the sender of DMARC reports.
func (k *check) aggregateReports() {
	const path = "report.dmarc_aggregate."
	d := k.c.Report.DMARC
	for key, n := range map[string]int64{
		"max_reports": int64(d.MaxReports), "per_destination": int64(d.PerDestination), "max_records": int64(d.MaxRecords),
		"max_size": int64(d.MaxSize), "pause": int64(d.Pause),
	} {
		k.positive(path+key, n)
	}
	if d.MaxRecords > maxRecords {
		k.fail(path+"max_records", "at most %d: readers of reports take no more", maxRecords)
	}
	if d.Window > maxWindow {
		k.fail(path+"window", "at most 20h: the reports of a day are sent on the next one")
	}
	k.reportSender(path+"from", d.From, d.Enabled)
	if !d.Enabled {
		return
	}
	switch {
	case !d.Count:
		k.fail(path+"count", "reports are made of what is counted; set it to true, or enabled to false")
	case !k.c.Policy.DMARC.Enabled:
		k.fail(path+"enabled", "policy.dmarc.enabled is false: there is nothing to report")
	}
}

// failureReports checks the sender of failure reports.
func (k *check) failureReports() {
	const path = "report.dmarc_failure."
	f := k.c.Report.Failure
	k.positive(path+"per_domain_per_day", int64(f.PerDomainPerDay))
	k.positive(path+"per_hour", int64(f.PerHour))
	k.reportSender(path+"from", f.From, f.Enabled)
	if f.Enabled && !k.c.Policy.DMARC.Enabled {
		k.fail(path+"enabled", "policy.dmarc.enabled is false: there is nothing to report")
	}
}

// reportSender wants an address that everybody can take mail from.
func (k *check) reportSender(path, s string, needed bool) {
	from, err := mail.ParseAddress(s, true)
	switch {
	case s == "" && needed:
		k.fail(path, "needed when reports are sent: an address of yours such as dmarc-reports@example.com")
	case s != "" && (err != nil || from.IsNull() || !from.IsASCII() || from.Domain().IsLiteral()):
		k.fail(path, "expected a mail address in US-ASCII such as dmarc-reports@example.com, found %q", s)
	}
}
