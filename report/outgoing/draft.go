package outgoing

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gatepost/auth/dmarc"
	"gatepost/auth/spf"
	"gatepost/mail"
	"gatepost/report/suppress"
	"gatepost/report/tally"
)

// errTemporary is DNS trouble: the report is tried again.
var errTemporary = errors.New("DNS trouble")

// Draft makes the report about a domain and day as it would be sent now. An
// error is trouble of ours or of DNS, worth another try.
func (x *Sender) Draft(ctx context.Context, s Settings, day tally.Day, domain mail.Domain) (Draft, error) {
	sum, err := x.o.Tally.Sum(ctx, day, domain)
	if err != nil {
		return Draft{}, err
	}
	d := Draft{Sum: sum}
	if sum.Messages == 0 {
		return d.refuse(NothingCounted, "no mail of this domain was judged on that day by a record that asks for reports"), nil
	}
	rows, err := x.o.Tally.Rows(ctx, day, domain, s.MaxRecords)
	if err != nil {
		return Draft{}, err
	}
	d.Report = build(s, sum, rows)
	if sum.Accepted == 0 {
		return d.refuse(NotAccepted, "all mail of this domain was refused on that day; whoever forges it must not make us write to others"), nil
	}
	ok, why, err := x.destinations(ctx, s, &d)
	if err != nil || why != "" {
		return d.refuse(NoAddress, why), err
	}
	return x.address(ctx, s, d, rows, ok)
}

// destinations asks DNS who wants the report today, and why nobody does.
func (x *Sender) destinations(ctx context.Context, s Settings, d *Draft) (ok []dmarc.Destination, why string, err error) {
	ctx, cancel := context.WithTimeout(ctx, dnsWait)
	defer cancel()
	domain := d.Sum.Domain
	found := s.DNS.Check(ctx, domain, spf.Result{}, nil)
	switch {
	case found.Record == nil && found.Value == dmarc.TempError:
		return nil, "", fmt.Errorf("%w: the record of %s: %s", errTemporary, domain, found.Reason)
	case found.Record == nil || found.PolicyDomain != domain:
		return nil, "there is no DMARC record at " + domain.String() + " any more", nil
	case len(found.Record.Aggregate) == 0:
		return nil, "the DMARC record of " + domain.String() + " asks for no reports any more", nil
	}
	ok, refused, err := s.DNS.Destinations(ctx, domain, found.Record.Aggregate)
	switch patient := x.o.Now().Before((d.Sum.Day + 1).Begin().Add(patience)); {
	case err != nil && patient:
		return nil, "", fmt.Errorf("%w: destinations of reports about %s: %w", errTemporary, domain, err)
	case err != nil: // the others have waited long enough
		d.Refused = append(d.Refused, Refused{"", mail.SafeText(err.Error(), 300)})
	}
	for _, r := range refused {
		d.Refused = append(d.Refused, Refused{r.URI, r.Reason})
	}
	return ok, "", nil
}

// address finds those of the destinations that get the report, and writes it
// to them.
func (x *Sender) address(ctx context.Context, s Settings, d Draft, rows []tally.Row, ok []dmarc.Destination) (Draft, error) {
	limits := map[mail.Address]uint64{}
	for _, to := range ok {
		why, err := x.spared(ctx, s, to.Address)
		if err != nil {
			return Draft{}, err
		}
		if why != "" {
			d.Refused = append(d.Refused, Refused{"mailto:" + to.Address.String(), why})
			continue
		}
		d.To = append(d.To, to.Address)
		limits[to.Address] = to.MaxSize
	}
	for len(d.To) > 0 {
		var err error
		if d.Report, d.content, err = x.composed(s, d.Sum, rows, d.To); err != nil {
			return d.refuse(Unwritable, "the report cannot be written: "+err.Error()), nil
		}
		if int64(len(d.content)) > s.MaxSize {
			return d.refuse(Limit, fmt.Sprintf("the report has more than max_size, %d octets, with one record", s.MaxSize)), nil
		}
		if !d.tooLarge(limits) {
			return d, nil
		}
	}
	return d.refuse(NoDestination, "no address of its record may get the report"), nil
}

// tooLarge takes away those who take no message of this size (RFC 7489 section
// 6.2), and tells whether there were any.
func (d *Draft) tooLarge(limits map[mail.Address]uint64) bool {
	var left []mail.Address
	for _, a := range d.To {
		if limit := limits[a]; limit > 0 && uint64(len(d.content)) > limit {
			d.Refused = append(d.Refused, Refused{"mailto:" + a.String(), fmt.Sprintf("it takes %d octets at most, and the report has %d", limit, len(d.content))})
			continue
		}
		left = append(left, a)
	}
	changed := len(left) < len(d.To)
	d.To = left
	return changed
}

// spared tells why an address gets no report now; empty where it may.
func (x *Sender) spared(ctx context.Context, s Settings, a mail.Address) (string, error) {
	if a.EqualFold(s.From) {
		return "it is the sender of our reports", nil
	}
	p, paused, err := x.o.Suppress.Paused(ctx, a)
	if err != nil {
		return "", err
	}
	if paused {
		return fmt.Sprintf("paused until %s, for a report could not be delivered: %s", p.Until.Format(time.RFC3339), p.Reason), nil
	}
	n, err := x.o.Suppress.Count(ctx, suppress.Aggregate, a, tally.DayOf(x.o.Now()).Begin())
	if err == nil && n >= int64(s.PerDestination) {
		return fmt.Sprintf("it got %d reports today already (per_destination)", n), nil
	}
	return "", err
}
