package jetstream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/cycle-bridge/cycle-bridge/bridge"
	"github.com/cycle-bridge/cycle-bridge/bridge/natsconn"
)

const (
	// stepBack is how many messages are read one by one from the end of the
	// stream before a consumer reads larger pieces.
	stepBack  = 64
	firstHaul = 1 << 12
	largeHaul = 1 << 16
	// maxSearch bounds how far back an own message is looked for at start.
	maxSearch = 2_000_000
)

// Resume implements bridge.Resumer: the position of the last live event of
// this journal and sink in the stream. A stream that has none does not tell.
func (s *Sink) Resume(ctx context.Context, stored bridge.Position, known bool) (bridge.Position, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.connected(ctx); err != nil {
		return stored, false, err
	}
	s.synced, s.known = false, false
	clear(s.settled)
	if err := s.sync(ctx); err != nil {
		return stored, false, err
	}
	var end bridge.ID
	for epoch, offset := range s.settled {
		if offset > end.Offset {
			end = bridge.ID{Epoch: epoch, Offset: offset}
		}
	}
	switch {
	case end.IsZero():
		return stored, false, nil
	case known && end.Offset <= stored.ID.Offset:
		return stored, true, nil
	}
	if known && end.Offset > stored.ID.Offset {
		s.log.Info("stream is ahead of the cursor", slog.String("sink", s.env.Name), slog.String("stream", s.stream),
			slog.String("cursor", stored.ID.String()), slog.String("stream_end", end.String()))
	}
	return bridge.Position{ID: end}, true, nil
}

// sync learns the fate of all that was sent: it reads the stream's end, and
// from there back to the last sequence known before, for the last live event
// of ours. Afterwards last is the stream's last sequence.
func (s *Sink) sync(ctx context.Context) error {
	guarded, stop := s.requests.guard(ctx)
	defer stop()
	err := s.readOn(guarded)
	if err != nil && ctx.Err() == nil && guarded.Err() != nil {
		return context.Cause(guarded)
	}
	return err
}

func (s *Sink) readOn(ctx context.Context) error {
	info, err := s.streamInfo(ctx)
	if err != nil {
		return err
	}
	prev := s.info
	s.info, s.atomic = info, info.Config.AllowAtomicPublish
	state := info.State
	if s.known && (prev != nil && !prev.Created.Equal(info.Created) || state.LastSeq < s.last) {
		s.log.Warn("stream was made anew or set back", slog.String("sink", s.env.Name), slog.String("stream", s.stream),
			slog.Uint64("known_sequence", s.last), slog.Uint64("last_sequence", state.LastSeq))
		s.known = false
		clear(s.settled)
	}
	low := uint64(1)
	if s.known {
		low = s.last + 1
	}
	found, foreign, err := s.search(ctx, low, max(low, state.FirstSeq), state.LastSeq)
	if err != nil {
		return err
	}
	if found.Offset > 0 {
		if s.settled[found.Epoch] < found.Offset {
			s.settled[found.Epoch] = found.Offset
		}
	} else if s.known && state.FirstSeq > low {
		s.log.Warn("retention removed what may have been ours: at least once for what was under way",
			slog.String("sink", s.env.Name), slog.String("stream", s.stream),
			slog.Uint64("first_removed", low), slog.Uint64("last_removed", state.FirstSeq-1))
	}
	wasKnown := s.known
	s.last, s.known, s.synced = state.LastSeq, true, true
	if s.exclusive && wasKnown && foreign != nil {
		return &bridge.Error{
			Op: opPublish, Kind: bridge.KindMisconfigured,
			Err:  fmt.Errorf("another writer put subject %q at sequence %d into stream %s, which is to be ours alone", foreign.Subject, foreign.Sequence, s.stream),
			Hint: "stop that writer, or set exclusive: false",
		}
	}
	return nil
}

// streamInfo asks for the stream, and makes it where that is wanted.
func (s *Sink) streamInfo(ctx context.Context) (*jetstream.StreamInfo, error) {
	const op = "jetstream stream info"
	st, err := s.js.Stream(ctx, s.stream)
	if err == nil {
		return st.CachedInfo(), nil
	}
	if natsconn.Code(err) != natsconn.CodeStreamNotFound {
		e := natsconn.Classify(op, err)
		if e.Kind == bridge.KindUnknown {
			e.Kind = bridge.KindTransient
		}
		if errors.Is(err, nats.ErrNoResponders) {
			e.Hint = "JetStream does not answer: is it enabled, also for this account, and is domain or api_prefix right?"
		}
		return nil, e
	}
	switch {
	case s.config.IsEmbedded():
		return nil, bridge.Errorf(bridge.KindUnavailable, op, "the embedded server has no stream %s yet", s.stream)
	case s.config.Create == createMissing:
		return s.create(ctx)
	}
	return nil, &bridge.Error{
		Op: op, Kind: bridge.KindMisconfigured, Err: fmt.Errorf("there is no stream %s", s.stream),
		Hint: s.addCommand() + ", or set create: missing",
	}
}

func (s *Sink) addCommand() string {
	return fmt.Sprintf("nats stream add %s --subjects='%s' --storage=file --allow-batch --defaults",
		s.stream, strings.Join(s.config.patterns(), ","))
}

// found is a message of the stream, without its payload.
type found struct {
	Subject  string
	Sequence uint64
	header   []byte
}

// search looks from last back to first for the last live event of ours, and
// for a message that is neither ours nor of this bridge. It never reads more
// than it needs: what lies before our last event was settled with it. Where
// it cannot read any further it gives up, as if there were none.
func (s *Sink) search(ctx context.Context, low, first, last uint64) (bridge.ID, *found, error) {
	var foreign *found
	seq := last
	for n := 0; seq >= first && seq > 0; n++ {
		if n == stepBack {
			break
		}
		m, err := s.message(ctx, map[string]any{"seq": seq})
		if err != nil {
			return bridge.ID{}, nil, err
		}
		seq--
		if m == nil {
			continue // deleted, or removed by retention since
		}
		id, own, other := s.identify(m.header)
		if own {
			return id, foreign, nil
		}
		if other {
			foreign = m
		}
	}
	if seq < first || seq == 0 {
		return bridge.ID{}, foreign, nil
	}
	// Long tails of others. The newest message on our subjects is most often ours.
	if id, ok, err := s.newest(ctx, low); err != nil || ok {
		return id, foreign, err
	}
	return s.haul(ctx, first, seq, foreign)
}

// newest looks at the last message of each of our subject patterns. It
// answers only when the newest of them is ours: otherwise an older one may be.
func (s *Sink) newest(ctx context.Context, low uint64) (bridge.ID, bool, error) {
	var best *found
	for _, p := range s.config.patterns() {
		m, err := s.message(ctx, map[string]any{"last_by_subj": p})
		if err != nil {
			return bridge.ID{}, false, err
		}
		if m != nil && (best == nil || m.Sequence > best.Sequence) {
			best = m
		}
	}
	if best == nil || best.Sequence < low {
		return bridge.ID{}, false, nil
	}
	id, own, _ := s.identify(best.header)
	return id, own, nil
}

// haul reads headers in pieces, from last back to first.
func (s *Sink) haul(ctx context.Context, first, last uint64, foreign *found) (bridge.ID, *found, error) {
	size := uint64(firstHaul)
	limit := uint64(0)
	if last > maxSearch {
		limit = last - maxSearch
	}
	for last >= first && last > limit {
		from := first
		if last-first >= size {
			from = last - size + 1
		}
		var id bridge.ID
		err := s.headers(ctx, from, last, func(m *found) {
			got, own, other := s.identify(m.header)
			if own {
				id = got
			} else if other {
				foreign = m
			}
		})
		if err != nil {
			if k := natsconn.Classify("", err).Kind; k == bridge.KindMisconfigured {
				s.log.Warn("stream cannot be read: at least once for what was under way",
					slog.String("sink", s.env.Name), slog.String("stream", s.stream), slog.String("error", err.Error()))
				return bridge.ID{}, foreign, nil
			}
			return bridge.ID{}, nil, natsconn.Classify("jetstream read stream", err)
		}
		if id.Offset > 0 {
			return id, foreign, nil
		}
		last = from - 1
		size = min(4*size, largeHaul)
	}
	return bridge.ID{}, foreign, nil
}

// headers calls fn for the messages from first to last, in order.
func (s *Sink) headers(ctx context.Context, first, last uint64, fn func(*found)) (err error) {
	cons, err := s.js.CreateConsumer(ctx, s.stream, jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: first,
		AckPolicy: jetstream.AckNonePolicy, HeadersOnly: true, MemoryStorage: true, Replicas: 1,
		InactiveThreshold: 30 * time.Second,
	})
	if err != nil {
		return err
	}
	defer func() {
		if e := s.js.DeleteConsumer(ctx, s.stream, cons.CachedInfo().Name); e != nil && err == nil && ctx.Err() == nil {
			s.log.Debug("consumer left to its own end", slog.String("stream", s.stream), slog.String("error", e.Error()))
		}
	}()
	for next := first; next <= last; {
		batch, err := cons.Fetch(int(min(last-next+1, 1024)), jetstream.FetchMaxWait(2*time.Second))
		if err != nil {
			return err
		}
		n := 0
		for m := range batch.Messages() {
			meta, err := m.Metadata()
			if err != nil {
				return err
			}
			n++
			next = meta.Sequence.Stream + 1
			if meta.Sequence.Stream > last {
				break
			}
			fn(&found{Subject: m.Subject(), Sequence: meta.Sequence.Stream, header: flatten(m.Headers())})
			if meta.NumPending == 0 {
				next = last + 1 // what follows was deleted
			}
		}
		if err := batch.Error(); err != nil {
			return err
		}
		if n == 0 {
			return ctx.Err() // nothing is left in this stretch
		}
	}
	return nil
}

// flatten writes headers as they go over the wire.
func flatten(h nats.Header) []byte {
	b := []byte("NATS/1.0\r\n")
	for name, values := range h {
		for _, v := range values {
			b = append(b, name+": "+v+"\r\n"...)
		}
	}
	return b
}

// message reads one message through the stream's leader: a direct get may be
// answered by a replica that lags. nil means that there is none.
func (s *Sink) message(ctx context.Context, request map[string]any) (*found, error) {
	const op = "jetstream read stream"
	body, err := json.Marshal(request)
	if err != nil {
		return nil, natsconn.Classify(op, err)
	}
	ctx, cancel := context.WithTimeout(ctx, answerWait)
	defer cancel()
	m, err := s.nc.RequestWithContext(ctx, s.config.API()+"STREAM.MSG.GET."+s.stream, body)
	if err != nil {
		return nil, natsconn.Classify(op, err)
	}
	var resp struct {
		Error   *jetstream.APIError `json:"error"`
		Message *struct {
			Subject string `json:"subject"`
			Seq     uint64 `json:"seq"`
			Header  []byte `json:"hdrs"`
		} `json:"message"`
	}
	if err := json.Unmarshal(m.Data, &resp); err != nil {
		return nil, bridge.Errorf(bridge.KindTransient, op, "answer is not JSON: %w", err)
	}
	if resp.Error != nil {
		if resp.Error.ErrorCode == natsconn.CodeMessageNotFound || resp.Error.ErrorCode == 10043 {
			return nil, nil
		}
		return nil, answer{err: resp.Error}.classify(op, s.stream)
	}
	if resp.Message == nil {
		return nil, nil
	}
	return &found{Subject: resp.Message.Subject, Sequence: resp.Message.Seq, header: resp.Message.Header}, nil
}

// identify tells whose message has the headers: own, a live event that this
// sink published; other, nothing of this journal; neither, a replay or another
// sink of the same bridge.
func (s *Sink) identify(header []byte) (id bridge.ID, own, other bool) {
	if value(header, bridge.HeaderJournalID) != s.env.JournalID {
		return bridge.ID{}, false, true
	}
	if slices.Contains(strings.Split(value(header, bridge.HeaderFlags), ","), "replay") {
		return bridge.ID{}, false, false
	}
	event := value(header, bridge.HeaderEventID)
	id, err := bridge.ParseID(event)
	if err != nil {
		return bridge.ID{}, false, false
	}
	var buf [128]byte
	if want := s.appendMsgID(buf[:0], &bridge.Event{ID: id}); value(header, jetstream.MsgIDHeader) != string(want) {
		return bridge.ID{}, false, false
	}
	return id, true, false
}

// value returns the value of a header in wire form.
func value(header []byte, name string) string {
	for line := range bytes.SplitSeq(header, []byte("\r\n")) {
		if k, v, ok := bytes.Cut(line, []byte(":")); ok && string(k) == name {
			return string(bytes.TrimSpace(v))
		}
	}
	return ""
}
