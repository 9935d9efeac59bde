package jetjournal

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/cycle-bridge/cycle-bridge/bridge"
	"github.com/cycle-bridge/cycle-bridge/bridge/natsserver"
	"github.com/cycle-bridge/cycle-bridge/bridge/setting"
)

// Options are what Open needs.
type Options struct {
	Config Config
	// Server is the embedded server, whose data directory it has locked. Nil:
	// Config.URL names a server elsewhere. It stays the caller's.
	Server *natsserver.Server
	Log    *slog.Logger

	timing timing
	faults faults
}

const openTimeout = 30 * time.Second

// Keys of the stream's metadata.
const (
	metaJournal = "cycle_bridge_journal_id"
	metaFormat  = "cycle_bridge_format"
)

// Open opens the journal for writing: it makes what is missing, reads the
// stream's end and the state record, draws a new epoch, and reports in Lost
// what is missing at the end. Errors are *bridge.Error.
func Open(ctx context.Context, o Options) (*Journal, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.timing == (timing{}) {
		o.timing = defaultTiming
	}
	o.Config.Name = o.Config.StreamName()
	j := &Journal{
		cfg: o.Config, timing: o.timing, faults: o.faults, log: o.Log, server: o.Server,
		link: &link{stream: o.Config.Name}, subject: o.Config.Name + ".g",
		epoch: draw(), writerID: draw(),
		turn: make(chan struct{}, 1), tail: newTail(tailBytes),
		cursors: cursors{slots: map[string]*slot{}},
		closing: make(chan struct{}), closeDone: make(chan struct{}),
		health: health{since: time.Now()},
	}
	j.forced, j.force = context.WithCancel(context.WithoutCancel(ctx))
	j.work, j.stopWork = context.WithCancel(context.WithoutCancel(ctx))
	octx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	if err := j.open(octx); err != nil {
		j.abandon()
		return nil, explainOpen(err, o)
	}
	j.wg.Go(func() { j.state.run(j.work) })
	j.wg.Go(func() { j.canary(j.work) })
	return j, nil
}

// draw returns ten random characters of [0-9a-z].
func draw() string {
	const alphabet = "0123456789abcdefghijklmnopqrstuvwxyz"
	out := make([]byte, 0, epochSize)
	var b [32]byte
	for len(out) < epochSize {
		rand.Read(b[:])
		for _, c := range b {
			// 252 is the largest multiple of 36: no character is more likely.
			if c < 252 && len(out) < epochSize {
				out = append(out, alphabet[c%36])
			}
		}
	}
	return string(out)
}

func explainOpen(err error, o Options) error {
	if _, ok := errors.AsType[*bridge.Error](err); ok {
		return err
	}
	e := &bridge.Error{Op: "open journal", Kind: bridge.KindUnavailable, Err: err}
	if o.Server == nil {
		e.Hint = "look at journal.url, its credentials, and whether JetStream is enabled for the account"
	} else {
		e.Hint = "look at the free space and the permissions of " + o.Server.Dir()
	}
	return e
}

// abandon releases what an unfinished open holds.
func (j *Journal) abandon() {
	j.stopWork()
	j.force()
	if j.state != nil {
		_ = j.state.store.close() // the first error is the one to tell
	}
	if j.link.nc != nil {
		j.link.close()
	}
}

func (j *Journal) open(ctx context.Context) error {
	if err := j.connect(ctx); err != nil {
		return err
	}
	var err error
	if j.kv, err = j.ensureBucket(ctx); err != nil {
		return fmt.Errorf("bucket %s: %w", j.cfg.Name, err)
	}
	var st store = kvStore{j.kv}
	write := max(j.timing.write, j.timing.sync) // a remote write is a sync
	if j.server != nil {
		path := filepath.Join(j.server.Dir(), "journal.state")
		if st, err = openFileStore(path); err != nil {
			return fmt.Errorf("state record: %w", err)
		}
		write = j.timing.write
	}
	j.state = &keeper{store: st, log: j.log, write: write, sync: j.timing.sync, kick: make(chan struct{}, 1)}
	rec, _, err := st.load(ctx)
	if err != nil {
		return err
	}
	if j.id, err = j.ensureStream(ctx, rec.Seq+1); err != nil {
		return err
	}
	if rec.Journal != "" && rec.Journal != j.id {
		// The state record is of another journal: it says nothing about this one.
		j.warnings = append(j.warnings, fmt.Sprintf("the state record belongs to journal %s, not to %s, and is not used", rec.Journal, j.id))
		rec = record{}
	}
	rec.Journal = j.id
	if err := j.recover(ctx, rec); err != nil {
		return err
	}
	j.observe(ctx)
	return nil
}

func (j *Journal) connect(ctx context.Context) error {
	watch := j.link.watch()
	var nc *nats.Conn
	var err error
	if j.server != nil {
		j.where = j.server.Dir()
		j.link.api = "$JS.API."
		if nc, err = natsserver.Connect(j.server.Journal(), "cycle-bridge journal", watch); err != nil {
			return err
		}
	} else {
		j.where = j.cfg.Where()
		j.link.api = j.cfg.API()
		nc, err = j.cfg.Connect(ctx, "cycle-bridge journal", watch, nats.MaxReconnects(-1), nats.ReconnectBufSize(-1))
		if err != nil {
			return err
		}
	}
	j.link.nc = nc
	js, err := jetstream.New(nc)
	if j.server == nil {
		js, err = j.cfg.JetStream(nc)
	}
	if err != nil {
		return err
	}
	if j.server == nil {
		if err := j.checkDurability(ctx); err != nil {
			return err
		}
	}
	return j.link.start(nc, js)
}

func (j *Journal) ensureBucket(ctx context.Context) (jetstream.KeyValue, error) {
	n, err := j.copies(ctx)
	if err != nil {
		return nil, err
	}
	j.replicas = n
	return j.link.js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket: j.cfg.Name, Description: "cursors and state of the cycle-bridge journal " + j.cfg.Name,
		History: 1, Storage: jetstream.FileStorage, Replicas: n,
	})
}

// maxBytes is the stream's limit.
func (j *Journal) maxBytes() int64 {
	if j.cfg.MaxBytes != setting.SizeAuto {
		return int64(j.cfg.MaxBytes)
	}
	if j.server == nil {
		// The disk of another machine cannot be seen.
		return 10 << 30
	}
	n, err := natsserver.MaxBytes(j.server.Dir(), setting.SizeAuto)
	if err != nil {
		return 10 << 30
	}
	return n
}

// ensureStream makes the stream or brings it to the configuration, and
// returns the journal's id. A new stream begins at sequence first.
func (j *Journal) ensureStream(ctx context.Context, first uint64) (string, error) {
	want := jetstream.StreamConfig{
		Name:        j.cfg.Name,
		Description: "journal of cycle-bridge; written by it alone",
		Subjects:    []string{j.subject},
		Storage:     jetstream.FileStorage,
		Retention:   jetstream.LimitsPolicy,
		Discard:     jetstream.DiscardOld,
		MaxAge:      j.cfg.MaxAge,
		MaxBytes:    j.maxBytes(),
		Replicas:    j.replicas,
		// The sequence check does what ids would; the window costs memory.
		Duplicates:  100 * time.Millisecond,
		AllowDirect: true,
		// Nothing but the limits removes a group: a hole is then damage.
		DenyDelete: true,
	}
	if j.cfg.MaxAge > 0 && j.cfg.MaxAge < want.Duplicates {
		want.Duplicates = j.cfg.MaxAge
	}
	j.limit.Store(want.MaxBytes)
	s, err := j.link.js.Stream(ctx, j.cfg.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		id := j.id
		if id == "" {
			id = draw()
			if rec, ok, err := j.state.store.load(ctx); err == nil && ok && rec.Journal != "" {
				id = rec.Journal
				j.remade = true
			} else {
				j.isNew = true
			}
		}
		want.Metadata = map[string]string{metaJournal: id, metaFormat: fmt.Sprint(formatVersion)}
		if first > 1 {
			want.FirstSeq = first
		}
		if _, err := j.link.js.CreateStream(ctx, want); err != nil {
			return "", fmt.Errorf("make stream %s: %w", j.cfg.Name, err)
		}
		return id, nil
	}
	if err != nil {
		return "", fmt.Errorf("stream %s: %w", j.cfg.Name, err)
	}
	cfg := s.CachedInfo().Config
	id := cfg.Metadata[metaJournal]
	if len(id) != epochSize {
		return "", &bridge.Error{
			Op: "open journal", Kind: bridge.KindMisconfigured,
			Err:  fmt.Errorf("the stream %s is not a journal of cycle-bridge", j.cfg.Name),
			Hint: "set journal.name to a name that is free",
		}
	}
	if f := cfg.Metadata[metaFormat]; f != fmt.Sprint(formatVersion) {
		return "", bridge.Errorf(bridge.KindMisconfigured, "open journal", "the stream %s has format %q, this program reads %d", j.cfg.Name, f, formatVersion)
	}
	want.Metadata, want.FirstSeq = cfg.Metadata, cfg.FirstSeq
	want.DenyDelete = cfg.DenyDelete // cannot be changed
	if j.cfg.MaxBytes == setting.SizeAuto {
		// A disk that others fill must not make us remove what is kept.
		want.MaxBytes = max(want.MaxBytes, cfg.MaxBytes)
	}
	j.limit.Store(want.MaxBytes)
	if j.cfg.Replicas == 0 {
		want.Replicas = cfg.Replicas // auto never takes copies away
	}
	if _, err := j.link.js.UpdateStream(ctx, want); err != nil {
		return "", fmt.Errorf("update stream %s: %w", j.cfg.Name, err)
	}
	return id, nil
}

// recover finds the end of the journal and where this term begins.
func (j *Journal) recover(ctx context.Context, rec record) error {
	st, err := j.link.state(ctx, j.timing.deadline)
	if err != nil {
		return err
	}
	w := &j.w
	w.last, w.next = st.LastSeq, 1
	var epoch string       // of the last group that can be read
	var bad, beyond uint64 // groups that cannot be read, and those the state record has not seen
	for seq := st.LastSeq; st.Msgs > 0 && seq >= st.FirstSeq; seq-- {
		_, data, err := j.link.read(ctx, j.timing.deadline, getRequest{Seq: seq})
		if err != nil && !errors.Is(err, errNoMessage) {
			return err
		}
		if err == nil {
			h, herr := decodeHeader(data)
			if herr == nil {
				w.next, epoch = h.next(), h.Epoch
				if bad == 0 {
					w.prev, w.prevTime, w.prevSize = h.CRC, h.Time, uint64(len(data))
				}
				break
			}
			j.log.LogAttrs(ctx, slog.LevelError, "journal group cannot be read", slog.Uint64("sequence", seq), slog.Any("error", herr))
		}
		bad++
		if seq > rec.Seq {
			beyond++
		}
	}
	end := w.next
	// The state record covers what it has seen. Behind that, what cannot be read
	// may have held full groups, and no offset may be given again.
	w.next = max(w.next, rec.Offset+1) + beyond*bridge.MaxGroupEvents
	furthest, err := j.furthest(ctx)
	if err != nil {
		return fmt.Errorf("read cursors: %w", err)
	}
	w.next = max(w.next, furthest+1)
	if w.next > end {
		s := bridge.Skip{First: max(end, rec.Oldest, 1), Last: w.next - 1, OldEpoch: rec.Epoch}
		switch {
		case bad > 0:
			s.Cause = fmt.Sprintf("the last %d groups of the journal cannot be read", bad)
		case j.remade:
			s.Cause = "the journal's stream was gone"
		case st.LastSeq < rec.Seq || st.Msgs == 0:
			s.Cause = fmt.Sprintf("the journal ends at sequence %d, the state record says %d", st.LastSeq, rec.Seq)
		default:
			s.Cause = "the end of the journal is missing"
		}
		if st.Msgs == 0 && !j.remade && j.cfg.MaxAge > 0 && time.Since(rec.At) >= j.cfg.MaxAge-min(retentionSlack, j.cfg.MaxAge/10) {
			// Nothing is kept because everything is too old: no loss.
			s = bridge.Skip{}
		}
		if s.Last != 0 {
			if s.OldEpoch == "" {
				s.OldEpoch = epoch
			}
			j.lost = append(j.lost, s)
			j.log.LogAttrs(ctx, slog.LevelError, "journal lost events", slog.Uint64("first_offset", s.First),
				slog.Uint64("last_offset", s.Last), slog.String("cause", s.Cause))
		}
	}
	j.first = w.next
	j.tail.reset(w.last+1, w.next)
	rec.Seq = max(rec.Seq, w.last)
	rec.Offset = max(rec.Offset, w.next-1)
	if st.LastSeq < rec.Seq {
		rec.Seq = st.LastSeq // the numbers went back; a higher one would report the loss again
	}
	rec.Epoch = j.epoch
	j.state.rec = rec
	j.state.change(func(*record) {})
	// At once: the loss must not be reported again, nor an offset given again.
	return j.state.save(ctx, true)
}
