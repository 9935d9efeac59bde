package admin

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/cycle-bridge/cycle-bridge/bridge"
)

// Health is the answer of /readyz.
type Health struct {
	Status string       `json:"status"` // ready, not_ready or draining
	Parts  []PartHealth `json:"parts,omitempty"`
}

// Ready reports whether everything that was asked for is well.
func (h Health) Ready() bool { return h.Status == statusReady }

const (
	statusReady    = "ready"
	statusNotReady = "not_ready"
	statusDraining = "draining"
)

// PartHealth is the health of one part of the bridge.
type PartHealth struct {
	Part    string    `json:"part"` // journal, hub:NAME, source:NAME, sink:NAME
	Ready   bool      `json:"ready"`
	State   string    `json:"state"`
	Since   time.Time `json:"since,omitzero"`
	Problem string    `json:"problem,omitempty"` // why it is not ready
	Do      string    `json:"do,omitempty"`      // what to do about it
}

// HealthOf judges a snapshot: the journal takes appends, every hub and source
// has a live connection, every sink delivers or is idle. A bridge that drains
// is not ready.
func HealthOf(s bridge.Status) Health {
	h := Health{Parts: []PartHealth{journalHealth(s.Journal)}}
	for _, src := range s.Sources {
		h.Parts = append(h.Parts, sourceHealth(src))
	}
	for _, snk := range s.Sinks {
		h.Parts = append(h.Parts, sinkHealth(snk))
	}
	h.judge(s.Draining)
	return h
}

func (h *Health) judge(draining bool) {
	h.Status = statusReady
	if slices.ContainsFunc(h.Parts, func(p PartHealth) bool { return !p.Ready }) {
		h.Status = statusNotReady
	}
	if draining {
		h.Status = statusDraining
	}
}

func journalHealth(j bridge.JournalInfo) PartHealth {
	p := PartHealth{Part: "journal", Ready: j.Healthy, State: "ok", Since: j.Since, Problem: j.Problem}
	if !j.Healthy {
		p.State = "failing"
		p.Do = "events wait in memory until it takes them: make room on the disk (journal.dir), or bring its server back (journal.url)"
	}
	return p
}

func sourceHealth(s bridge.SourceStatus) PartHealth {
	p := PartHealth{Part: sourcePart(s), State: "connected", Since: s.Since, Problem: s.Problem, Ready: s.Connections > 0}
	switch {
	case s.Connections == 0:
		p.State = "disconnected"
		p.Do = "it keeps trying; what the hub sends meanwhile is lost: check the network, and api_url, id and api_key of this hub"
	case s.Connections < s.Wanted:
		p.State = "degraded"
	}
	return p
}

func sourcePart(s bridge.SourceStatus) string {
	if s.Origin == bridge.OriginHub || s.Origin == "" {
		return "hub:" + s.Name
	}
	return "source:" + s.Name
}

func sinkHealth(s bridge.SinkStatus) PartHealth {
	p := PartHealth{Part: "sink:" + s.Name, Ready: s.Up(), State: string(s.State), Since: s.Since, Problem: s.Problem}
	if p.Ready {
		return p
	}
	switch {
	case s.State == bridge.SinkStarting && s.Problem == "":
		p.Do = "wait: it is looking up where it left off"
	case s.State == bridge.SinkStopped:
		p.Do = "start the bridge again"
	case s.Kind == bridge.KindMisconfigured.String():
		p.Do = "correct the settings, here or there; it goes on by itself once the destination takes messages"
	case s.Kind == bridge.KindThrottled.String():
		p.Do = "nothing: the destination asked to slow down, and it goes on by itself"
	case s.Kind == bridge.KindUnavailable.String():
		p.Do = "bring the destination back; it goes on by itself, and the journal keeps the events until then"
	default:
		p.Do = "look at the problem and at the destination's log; the same messages are tried again"
	}
	return p
}

// partMatches reports whether a part is meant by a word of ?only= or
// ?exclude=: its own name, its kind, or its kind in the plural.
func partMatches(part, word string) bool {
	kind, _, _ := strings.Cut(part, ":")
	return word == part || word == kind || word == kind+"s"
}

// choose keeps the parts that only names (all, if empty) less those that
// exclude names. unknown is a word that names nothing; kinds may be empty.
func (h *Health) choose(only, exclude []string) (unknown string) {
	for _, word := range slices.Concat(only, exclude) {
		if !isKind(word) && !slices.ContainsFunc(h.Parts, func(p PartHealth) bool { return partMatches(p.Part, word) }) {
			return word
		}
	}
	matches := func(p PartHealth, words []string) bool {
		return slices.ContainsFunc(words, func(w string) bool { return partMatches(p.Part, w) })
	}
	h.Parts = slices.DeleteFunc(h.Parts, func(p PartHealth) bool {
		return len(only) > 0 && !matches(p, only) || matches(p, exclude)
	})
	return ""
}

func isKind(word string) bool {
	return slices.Contains([]string{"journal", "hub", "hubs", "source", "sources", "sink", "sinks"}, word)
}

// words returns the values of a query parameter, which may be repeated and
// may hold several with commas.
func words(r *http.Request, name string) []string {
	var out []string
	for _, v := range r.URL.Query()[name] {
		for w := range strings.SplitSeq(v, ",") {
			if w = strings.TrimSpace(w); w != "" {
				out = append(out, w)
			}
		}
	}
	return out
}

func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	status := s.opts.Status()
	h := HealthOf(status)
	detail := s.access(r, allowRead) == accessGranted
	if unknown := h.choose(words(r, "only"), words(r, "exclude")); unknown != "" {
		fail(w, http.StatusBadRequest, fmt.Sprintf("there is no part %q: want journal, hubs, sources, sinks, hub:NAME, source:NAME or sink:NAME", printable(unknown)))
		return
	}
	h.judge(status.Draining)
	code := http.StatusOK
	if !h.Ready() {
		code = http.StatusServiceUnavailable
	}
	if !detail {
		h.Parts = nil
	}
	writeJSON(w, code, h)
}
