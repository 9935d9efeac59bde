package jetjournal

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/cycle-bridge/cycle-bridge/bridge"
)

// storedLetter is a dead letter as it is stored: JSON, bytes as base64.
type storedLetter struct {
	Version     int            `json:"v"`
	Sink        string         `json:"sink"`
	Event       string         `json:"event"`
	Destination string         `json:"destination"`
	Key         []byte         `json:"key,omitempty"`
	Headers     []storedHeader `json:"headers,omitempty"`
	Payload     []byte         `json:"payload"`
	Reason      string         `json:"reason"`
	Attempts    int            `json:"attempts"`
	First       time.Time      `json:"first"`
	Last        time.Time      `json:"last"`
}

type storedHeader struct {
	Name  string `json:"name"`
	Value []byte `json:"value"`
}

// Letter is a dead letter with its number in the store.
type Letter struct {
	Seq uint64
	bridge.DeadLetter
}

func (j *Journal) deadStream() string { return j.cfg.Name + "-dead" }

func (j *Journal) deadSubject(sink string) string {
	return j.deadStream() + "." + cursorKey(sink)[len(cursorPrefix):]
}

// PutDeadLetter implements bridge.Journal. One sink's letter of one event is
// stored once, however often it is put within two minutes.
func (j *Journal) PutDeadLetter(ctx context.Context, dl bridge.DeadLetter) error {
	const op = "store dead letter"
	s := storedLetter{
		Version: 1, Sink: dl.Sink, Event: dl.Event.String(), Destination: dl.Destination, Key: dl.Key,
		Payload: dl.Payload, Reason: dl.Reason, Attempts: dl.Attempts, First: dl.First, Last: dl.Last,
	}
	for _, h := range dl.Headers {
		s.Headers = append(s.Headers, storedHeader(h))
	}
	b, err := json.Marshal(&s)
	if err != nil {
		return bridge.Errorf(bridge.KindUnknown, op, "%w", err)
	}
	select {
	case <-j.closing:
		return bridge.ErrClosed
	default:
	}
	m := &nats.Msg{
		Subject: j.deadSubject(dl.Sink), Data: b,
		Header: nats.Header{jetstream.MsgIDHeader: []string{dl.Event.String() + "." + dl.Sink + "." + dl.Last.UTC().Format(time.RFC3339Nano)}},
	}
	if !j.deadReady.Load() {
		if err := j.ensureDead(ctx); err != nil {
			return bridge.Errorf(bridge.KindUnavailable, op, "%w", err)
		}
		j.deadReady.Store(true)
	}
	if _, err := j.link.js.PublishMsg(ctx, m); err != nil {
		j.deadReady.Store(false) // perhaps the stream is gone; the next try looks
		return &bridge.Error{
			Op: op, Kind: bridge.KindUnavailable, Err: err,
			Hint: "dead letters stand in the stream " + j.deadStream() + " of the journal's server",
		}
	}
	return nil
}

func (j *Journal) ensureDead(ctx context.Context) error {
	_, err := j.link.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: j.deadStream(), Subjects: []string{j.deadStream() + ".*"},
		Description: "messages that a sink of cycle-bridge will never take",
		Storage:     jetstream.FileStorage, Retention: jetstream.LimitsPolicy,
		Replicas: j.replicas, AllowDirect: true,
	})
	return err
}

// DeadLetters returns up to limit dead letters after number after, oldest first.
func (j *Journal) DeadLetters(ctx context.Context, after uint64, limit int) ([]Letter, error) {
	const op = "read dead letters"
	f, err := j.link.newFetcher()
	if err != nil {
		return nil, bridge.Errorf(bridge.KindUnavailable, op, "%w", err)
	}
	defer f.close()
	if err := f.request(j.deadStream(), after+1, limit); err != nil {
		return nil, bridge.Errorf(bridge.KindUnavailable, op, "%w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, j.timing.deadline)
	defer cancel()
	var out []Letter
	for {
		seq, data, err := f.next(ctx)
		if errors.Is(err, nats.ErrNoResponders) {
			return nil, nil // none was ever stored
		}
		if err != nil {
			return nil, bridge.Errorf(bridge.KindUnavailable, op, "%w", err)
		}
		if seq == 0 {
			return out, nil
		}
		var s storedLetter
		if err := json.Unmarshal(data, &s); err != nil {
			return nil, bridge.Errorf(bridge.KindUnknown, op, "number %d: %w", seq, err)
		}
		l := Letter{Seq: seq, DeadLetter: bridge.DeadLetter{
			Sink: s.Sink, Destination: s.Destination, Key: s.Key, Payload: s.Payload,
			Reason: s.Reason, Attempts: s.Attempts, First: s.First, Last: s.Last,
		}}
		if l.Event, err = bridge.ParseID(s.Event); err != nil {
			return nil, bridge.Errorf(bridge.KindUnknown, op, "number %d: %w", seq, err)
		}
		for _, h := range s.Headers {
			l.Headers = append(l.Headers, bridge.Header(h))
		}
		out = append(out, l)
	}
}
