package admin

import (
	"cmp"
	"net/http"
	"slices"
	"time"

	"github.com/cycle-bridge/cycle-bridge/bridge"
)

// maxSources is how many sources are told apart, in metrics and in status.
const maxSources = 200

// worstSources is how many are shown where there are more.
const worstSources = 10

// View is the answer of /api/v1/status. Its JSON is a contract: members are
// added, never renamed.
type View struct {
	Name          string       `json:"name"`
	Version       string       `json:"version"`
	Started       time.Time    `json:"started"`
	UptimeSeconds float64      `json:"uptime_seconds"`
	Health        Health       `json:"health"`
	Journal       JournalView  `json:"journal"`
	SourcesTotal  int          `json:"sources_total"`
	Sources       []SourceView `json:"sources"` // the worst ten when there are more than 200
	Sinks         []SinkView   `json:"sinks"`
	Families      []FamilyView `json:"families"`
	Queue         QueueView    `json:"queue"`
	Draining      bool         `json:"draining"`
}

// JournalView is the journal in a View.
type JournalView struct {
	ID           string    `json:"id"`
	Name         string    `json:"name"`
	Where        string    `json:"where"`
	New          bool      `json:"new"`
	Epoch        string    `json:"epoch"`
	OldestOffset uint64    `json:"oldest_offset"`
	LastOffset   uint64    `json:"last_offset"`
	OldestAt     time.Time `json:"oldest_at,omitzero"`
	Bytes        uint64    `json:"bytes"`
	Healthy      bool      `json:"healthy"`
	Problem      string    `json:"problem,omitempty"`
	Since        time.Time `json:"since,omitzero"`
}

// SourceView is a hub or another source in a View.
type SourceView struct {
	Name        string    `json:"name"`
	ID          string    `json:"id"`
	Origin      string    `json:"origin"`
	Connections int       `json:"connections"`
	Wanted      int       `json:"wanted"`
	Since       time.Time `json:"since,omitzero"`
	LastAlive   time.Time `json:"last_alive,omitzero"`
	LastEvent   time.Time `json:"last_event,omitzero"`
	Events      uint64    `json:"events"`
	Bytes       uint64    `json:"bytes"`
	Reconnects  uint64    `json:"reconnects"`
	Unparsed    uint64    `json:"unparsed"`
	Truncated   uint64    `json:"truncated"`
	Problem     string    `json:"problem,omitempty"`
	Filter      string    `json:"filter,omitempty"`
	Server      string    `json:"server,omitempty"`
}

// SinkView is a sink in a View.
type SinkView struct {
	Name         string    `json:"name"`
	Type         string    `json:"type"`
	State        string    `json:"state"`
	Up           bool      `json:"up"`
	Since        time.Time `json:"since,omitzero"`
	Problem      string    `json:"problem,omitempty"`
	Kind         string    `json:"kind,omitempty"`
	Position     uint64    `json:"position"`
	LagEvents    uint64    `json:"lag_events"`
	LagSeconds   float64   `json:"lag_seconds"`
	Delivered    uint64    `json:"delivered"`
	NotRouted    uint64    `json:"not_routed"`
	DeadLettered uint64    `json:"dead_lettered"`
	Overrun      uint64    `json:"overrun"`
	Lost         uint64    `json:"lost"`
	Attempts     uint64    `json:"attempts"`
	Retried      uint64    `json:"retried"`
	Pauses       uint64    `json:"pauses"`
	Bytes        uint64    `json:"bytes"`
	Unclassified uint64    `json:"unclassified"`
	Unaccounted  int64     `json:"unaccounted"`
	LastError    string    `json:"last_error,omitempty"`
	LastErrorAt  time.Time `json:"last_error_at,omitzero"`
	LastDelivery time.Time `json:"last_delivery,omitzero"`
}

// FamilyView counts the events of a topic family.
type FamilyView struct {
	Family string `json:"family"`
	Events uint64 `json:"events"`
}

// QueueView is what waits for the journal.
type QueueView struct {
	Events int `json:"events"`
	Bytes  int `json:"bytes"`
}

// NewView makes the View of a snapshot that was taken at now.
func NewView(s bridge.Status, now time.Time) View {
	v := View{
		Name: s.Name, Version: s.Version, Started: s.Started,
		Health: HealthOf(s), SourcesTotal: len(s.Sources), Draining: s.Draining,
		Queue: QueueView{s.QueueEvents, s.QueueBytes},
		// Never null: who reads a list need not ask whether there is one.
		Sources: []SourceView{}, Sinks: []SinkView{}, Families: []FamilyView{},
	}
	if !s.Started.IsZero() {
		v.UptimeSeconds = now.Sub(s.Started).Seconds()
	}
	j := s.Journal
	v.Journal = JournalView{
		ID: j.ID, Name: j.Name, Where: j.Where, New: j.New, Epoch: j.Epoch, OldestOffset: j.Oldest, LastOffset: j.Last,
		OldestAt: j.OldestAt, Bytes: j.Bytes, Healthy: j.Healthy, Problem: j.Problem, Since: j.Since,
	}
	sources := s.Sources
	if len(sources) > maxSources {
		sources = worst(sources)
		v.Health.Parts = slices.DeleteFunc(v.Health.Parts, func(p PartHealth) bool {
			return p.Part != "journal" && !partMatches(p.Part, "sinks") &&
				!slices.ContainsFunc(sources, func(s bridge.SourceStatus) bool { return sourcePart(s) == p.Part })
		})
	}
	for _, x := range sources {
		v.Sources = append(v.Sources, SourceView{
			Name: x.Name, ID: x.ID, Origin: x.Origin, Connections: x.Connections, Wanted: x.Wanted, Since: x.Since,
			LastAlive: x.LastAlive, LastEvent: x.LastEvent, Events: x.Events, Bytes: x.Bytes, Reconnects: x.Reconnects,
			Unparsed: x.Unparsed, Truncated: x.Truncated, Problem: x.Problem, Filter: x.Filter, Server: x.Server,
		})
	}
	for _, x := range s.Sinks {
		v.Sinks = append(v.Sinks, SinkView{
			Name: x.Name, Type: x.Type, State: string(x.State), Up: x.Up(), Since: x.Since, Problem: x.Problem, Kind: x.Kind,
			Position: x.Position, LagEvents: x.LagEvents, LagSeconds: x.LagSeconds, Delivered: x.Delivered,
			NotRouted: x.NotRouted, DeadLettered: x.DeadLettered, Overrun: x.Overrun, Lost: x.Lost, Attempts: x.Attempts,
			Retried: x.Retried, Pauses: x.Pauses, Bytes: x.Bytes, Unclassified: x.Unclassified, Unaccounted: x.Unaccounted,
			LastError: x.LastError, LastErrorAt: x.LastErrorAt, LastDelivery: x.LastDelivery,
		})
	}
	for _, f := range s.Families {
		v.Families = append(v.Families, FamilyView(f))
	}
	return v
}

// worst returns the sources that need a look most: without a connection
// first, then those with the oldest proof of life.
func worst(sources []bridge.SourceStatus) []bridge.SourceStatus {
	out := slices.SortedStableFunc(slices.Values(sources), func(a, b bridge.SourceStatus) int {
		return cmp.Or(
			cmp.Compare(min(a.Connections, 1), min(b.Connections, 1)),
			a.LastAlive.Compare(b.LastAlive),
			cmp.Compare(a.Name, b.Name))
	})
	return out[:min(len(out), worstSources)]
}

func (s *Server) status(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, NewView(s.opts.Status(), time.Now()))
}
