package gateway

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"gatepost/config"
	"gatepost/gateway/intake"
	"gatepost/mail"
	"gatepost/policy"
	"gatepost/queue"
	"gatepost/trace"
)

// ReplayQuestion asks for a page of judged messages.
type ReplayQuestion struct {
	Since   time.Duration `json:"since"`
	Waiting bool          `json:"waiting,omitempty"` // those in the queue or held; else those of the trace
	After   int64         `json:"after,omitempty"`
}

// ReplayPage is a page of judged messages; Next is 0 behind the last one.
type ReplayPage struct {
	Judged []trace.Judged `json:"judged"`
	Next   int64          `json:"next,omitempty"`
}

// replayPage bounds an answer.
const replayPage = 500

func (g *Gateway) replay(ctx context.Context, q ReplayQuestion) (ReplayPage, error) {
	since := g.now().Add(-q.Since)
	if q.Waiting {
		return g.replayWaiting(ctx, since, q.After)
	}
	judged, next, err := g.trace.Judged(ctx, since, q.After, replayPage)
	return ReplayPage{judged, next}, err
}

// replayWaiting reads messages that have no end in the trace yet.
func (g *Gateway) replayWaiting(ctx context.Context, since time.Time, after int64) (ReplayPage, error) {
	entries, err := g.queue.List(ctx, queue.Filter{After: mail.ID(after), Limit: replayPage})
	if err != nil {
		return ReplayPage{}, err
	}
	var page ReplayPage
	for _, e := range entries {
		if e.Received.Before(since) {
			continue
		}
		m, err := g.queue.Message(ctx, e.ID)
		if errors.Is(err, queue.ErrNotFound) {
			continue // it has just ended: the trace has it
		}
		if err != nil {
			return ReplayPage{}, err
		}
		if len(m.Facts) > 0 {
			page.Judged = append(page.Judged, trace.Judged{ID: e.ID, At: e.Received, From: e.From.String(), Facts: m.Facts})
		}
	}
	if len(entries) == replayPage {
		page.Next = int64(entries[len(entries)-1].ID)
	}
	return page, nil
}

// Replay lets the policy of a configuration judge messages that were judged
// before, by what was found out about them then. It asks no DNS.
type Replay struct {
	engine *policy.Engine
	report ReplayReport
	seen   map[mail.ID]bool
	groups map[string]*ReplayGroup
	differ map[policy.Difference]int
}

// ReplayReport is what would change.
type ReplayReport struct {
	Judged  int           `json:"judged"`
	Changed int           `json:"changed"` // undecided ones too
	Groups  []ReplayGroup `json:"groups"`
	// Settings are those that shape the proofs and are not what they were when
	// the proofs were made. Such a message is judged by what its facts tell of
	// it all the same, and is undecided where they do not.
	Settings []ReplaySetting `json:"settings,omitempty"`
	// Unknown counts messages of an older version, whose facts do not tell by
	// which of these settings they were gathered: taken for the same.
	Unknown int `json:"unknown_settings,omitempty"`
}

// ReplaySetting is a setting that changed, and for how many messages.
type ReplaySetting struct {
	Setting string `json:"setting"`
	Was     string `json:"was"`
	Is      string `json:"is"`
	Count   int    `json:"count"`
}

// ReplayGroup are messages of one author's domain that would change alike.
type ReplayGroup struct {
	Domain   string    `json:"domain"` // of the header From, else of the reverse-path
	Was      string    `json:"was"`
	Becomes  string    `json:"becomes"` // Undecided: the proofs that decide were not asked for then
	Rule     string    `json:"rule,omitempty"`
	Count    int       `json:"count"`
	Examples []mail.ID `json:"examples"` // the first ones
}

// Undecided is what a message becomes of which too little is known.
const Undecided = "undecided"

// replayExamples is how many ids a group shows.
const replayExamples = 5

// NewReplay makes one for the policy of c.
func NewReplay(c *config.Loaded) (*Replay, error) {
	o := policyOptions(&c.Config)
	o.Logger = slog.New(slog.DiscardHandler)
	engine, err := policy.New(o)
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	return &Replay{engine: engine, seen: map[mail.ID]bool{}, groups: map[string]*ReplayGroup{}, differ: map[policy.Difference]int{}}, nil
}

// Add judges messages; one that it has judged already it passes over.
func (r *Replay) Add(list []trace.Judged) {
	for _, j := range list {
		var was intake.Record
		// Refusals by limits and our own notices hold no verdict of the policy.
		if r.seen[j.ID] || json.Unmarshal(j.Facts, &was) != nil || was.Verdict.Action == "" {
			continue
		}
		r.seen[j.ID] = true
		r.report.Judged++
		r.settings(policySession(was.Session), was.Facts)
		d := r.engine.Decide(policySession(was.Session), was.Facts)
		before, after := actionText(was.Verdict), actionText(d.Verdict)
		if d.Undecided {
			after, d.Verdict.Rule = Undecided, ""
		}
		if before != after {
			r.changed(j, was.Facts, ReplayGroup{Was: before, Becomes: after, Rule: d.Verdict.Rule})
		}
	}
}

// settings notes by which other settings the proofs were made.
func (r *Replay) settings(s policy.Session, f policy.Facts) {
	list, known := r.engine.Differences(s, f)
	if !known && f.Proved {
		r.report.Unknown++
	}
	for _, d := range list {
		r.differ[d]++
	}
}

func policySession(s intake.Session) policy.Session {
	return policy.Session{Listener: s.Listener, Addr: s.Addr, Helo: s.Helo, TLS: s.TLS != "", Role: s.Role, Client: s.Client, User: s.User}
}

// actionText is the action, and in monitor mode what it would have been.
func actionText(v policy.Verdict) string {
	if v.Would != "" {
		return fmt.Sprintf("%s (would %s)", v.Action, v.Would)
	}
	return string(v.Action)
}

func (r *Replay) changed(j trace.Judged, f policy.Facts, g ReplayGroup) {
	r.report.Changed++
	g.Domain = f.From.Domain().String()
	if g.Domain == "" {
		g.Domain = j.From[strings.LastIndexByte(j.From, '@')+1:]
	}
	key := strings.Join([]string{g.Domain, g.Was, g.Becomes, g.Rule}, "\x00")
	group := r.groups[key]
	if group == nil {
		group = &g
		r.groups[key] = group
	}
	group.Count++
	if len(group.Examples) < replayExamples {
		group.Examples = append(group.Examples, j.ID)
	}
}

// Report is what came out so far, the largest groups first.
func (r *Replay) Report() ReplayReport {
	out := r.report
	out.Groups = make([]ReplayGroup, 0, len(r.groups))
	for _, g := range r.groups {
		out.Groups = append(out.Groups, *g)
	}
	for d, n := range r.differ {
		out.Settings = append(out.Settings, ReplaySetting{d.Setting, d.Was, d.Is, n})
	}
	slices.SortFunc(out.Settings, func(a, b ReplaySetting) int {
		return cmp.Or(cmp.Compare(a.Setting, b.Setting), b.Count-a.Count, cmp.Compare(a.Was, b.Was))
	})
	slices.SortFunc(out.Groups, func(a, b ReplayGroup) int {
		return cmp.Or(b.Count-a.Count, cmp.Compare(a.Domain, b.Domain), cmp.Compare(a.Was+a.Becomes+a.Rule, b.Was+b.Becomes+b.Rule))
	})
	return out
}
