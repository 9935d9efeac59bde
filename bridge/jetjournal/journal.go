package jetjournal

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/cycle-bridge/cycle-bridge/bridge"
	"github.com/cycle-bridge/cycle-bridge/bridge/natsserver"
)

var _ bridge.Journal = (*Journal)(nil)

// Journal is a bridge.Journal on JetStream.
type Journal struct {
	cfg      Config
	timing   timing
	faults   faults
	log      *slog.Logger
	server   *natsserver.Server // nil for a server elsewhere
	link     *link
	kv       jetstream.KeyValue
	subject  string
	replicas int
	limit    atomic.Int64 // the stream's max_bytes
	where    string
	isNew    bool
	remade   bool // the stream was gone, and a state record says that there was one
	warnings []string
	lost     []bridge.Skip

	id       string
	epoch    string
	writerID string
	first    uint64 // offset of this term

	turn      chan struct{} // holds one token while somebody appends
	w         writer        // owned by who holds turn
	fenced    bool          // owned by who holds turn
	restarted time.Time     // owned by who holds turn

	lastAppend atomic.Int64 // writer's clock of the last group
	tail       *tail
	health     health
	state      *keeper
	cursors    cursors
	deadReady  atomic.Bool
	breaks     atomic.Uint64 // chain breaks and holes that readers saw

	mu  sync.Mutex // guards obs
	obs observed

	closing   chan struct{}   // closed when Close begins
	forced    context.Context // ends when Close waits no longer
	force     context.CancelFunc
	work      context.Context // of the goroutines below
	stopWork  context.CancelFunc
	wg        sync.WaitGroup
	closeOnce sync.Once
	closeDone chan struct{} // closed when Close has released everything
	closeErr  error
}

// timing holds the intervals that tests shorten.
type timing struct {
	deadline time.Duration // of one attempt; also of a read
	patience time.Duration // failing for so long is unhealthy
	canary   time.Duration // silence before an empty group
	grace    time.Duration // an append goes on after its context has ended
	restart  time.Duration // between restarts of the embedded server
	write    time.Duration // between state records
	sync     time.Duration // between syncs of the state record
}

// The values of DESIGN 5.
var defaultTiming = timing{
	deadline: 5 * time.Second, patience: time.Second, canary: 5 * time.Second, grace: 5 * time.Second,
	restart: 10 * time.Second, write: 100 * time.Millisecond, sync: time.Second,
}

// faults are hooks for tests; nil in production.
type faults struct {
	beforePublish func(number uint64) error // an error: not sent
	afterPublish  func(number uint64) error // an error: the answer is lost
}

// observed is what the last look at the stream showed.
type observed struct {
	firstSeq uint64
	oldest   uint64
	oldestAt time.Time
	bytes    uint64
	added    uint64 // bytes appended since that look
}

// appended books a group for Info.
func (j *Journal) appended(h *header, seq, bytes uint64) {
	j.lastAppend.Store(h.Time)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.obs.added += bytes
	if j.obs.oldest == 0 {
		j.obs.firstSeq, j.obs.oldest, j.obs.oldestAt = seq, h.First, wallTime(h.Time)
	}
}

// observe looks at the stream's beginning and size.
func (j *Journal) observe(ctx context.Context) {
	st, err := j.link.state(ctx, j.timing.deadline)
	if err != nil {
		return // appends and canaries tell what is wrong
	}
	j.mu.Lock()
	o := j.obs
	j.mu.Unlock()
	o.bytes, o.added = st.Bytes, 0
	switch {
	case st.Msgs == 0:
		o.firstSeq, o.oldest, o.oldestAt = st.FirstSeq, 0, time.Time{}
	case st.FirstSeq != o.firstSeq || o.oldest == 0:
		seq, h, err := j.headerFrom(ctx, st.FirstSeq)
		if err != nil {
			return
		}
		if why := j.explain(st, seq, &h, time.Now()); why != "" {
			j.state.change(func(r *record) { r.Floor, r.Oldest = max(r.Floor, seq), max(r.Oldest, h.First) })
		}
		o.firstSeq, o.oldest, o.oldestAt = st.FirstSeq, h.First, wallTime(h.Time)
	}
	j.mu.Lock()
	j.obs = o
	j.mu.Unlock()
}

// headerFrom returns the first readable header at or after seq.
func (j *Journal) headerFrom(ctx context.Context, seq uint64) (uint64, header, error) {
	for {
		got, data, err := j.link.firstFrom(ctx, j.timing.deadline, seq)
		if err != nil {
			return 0, header{}, err
		}
		if h, err := decodeHeader(data); err == nil {
			return got, h, nil
		}
		seq = got + 1
	}
}

// retentionSlack allows for the server's clock and for the time it takes to
// remove what is due.
const retentionSlack = 2 * time.Minute

// explain says why the stream may begin at seq, whose header is h; "" when no
// limit explains it.
func (j *Journal) explain(st streamState, seq uint64, h *header, now time.Time) string {
	if seq <= j.state.snapshot().Floor {
		return "removed by the limits earlier"
	}
	if age := j.cfg.MaxAge; age > 0 {
		// The header tells when the group before it was written, so this is
		// exact also after a long silence.
		before := h.PrevTime
		if before == 0 {
			before = h.Time
		}
		if now.Sub(wallTime(before)) >= age-min(retentionSlack, age/10) {
			return "older than journal.max_age"
		}
	}
	limit := uint64(max(j.limit.Load(), 0)) //nolint:gosec // not negative
	// One more group like the one that was removed, and the store's own few
	// bytes a message, did not fit.
	if limit > 0 && st.Bytes+h.PrevSize+limit/20+4096 >= limit {
		return "over journal.max_bytes"
	}
	return ""
}

// Proof implements bridge.Journal.
func (j *Journal) Proof(source string, at time.Time) {
	j.state.change(func(r *record) {
		if r.Alive == nil {
			r.Alive = map[string]time.Time{}
		}
		if at.After(r.Alive[source]) {
			r.Alive[source] = at
		}
	})
}

// Proofs returns the last proof of life of every source, of this run and
// of earlier ones.
func (j *Journal) Proofs() map[string]time.Time { return j.state.snapshot().Alive }

// Known returns the sinks that ever ran, with their last known cursors. It is a
// lower bound, for sinks whose cursor was lost.
func (j *Journal) Known() map[string]bridge.Position { return j.state.snapshot().Sinks }

// Lost returns what Open found missing at the end of the journal.
func (j *Journal) Lost() []bridge.Skip { return j.lost }

// Warnings returns what Open has to say to the operator, a sentence each.
func (j *Journal) Warnings() []string { return j.warnings }

// Breaks returns how often readers met a hole, a group that cannot be read,
// or a group that does not follow from the one before it.
func (j *Journal) Breaks() uint64 { return j.breaks.Load() }

// Info implements bridge.Journal.
func (j *Journal) Info() bridge.JournalInfo {
	v := j.tail.at(0)
	j.mu.Lock()
	o := j.obs
	j.mu.Unlock()
	i := bridge.JournalInfo{
		ID: j.id, Name: j.cfg.Name, Where: j.where, New: j.isNew, Epoch: j.epoch, FirstOffset: j.first,
		Oldest: o.oldest, Last: v.offset - 1, OldestAt: o.oldestAt, Bytes: o.bytes + o.added,
	}
	if i.Oldest == 0 {
		i.Oldest = v.offset
	}
	i.Healthy, i.Problem, i.Since = j.health.get()
	return i
}

// Close implements bridge.Journal. An append under way is waited for until ctx
// ends or the grace is over; one that is not settled by then is settled by
// the next start.
func (j *Journal) Close(ctx context.Context) error {
	j.closeOnce.Do(func() {
		close(j.closing)
		go func() { // ends within the grace and the deadlines below
			defer close(j.closeDone)
			j.closeErr = j.shut(ctx)
		}()
	})
	select {
	case <-j.closeDone:
		return j.closeErr
	case <-ctx.Done():
		j.force()
		<-j.closeDone
		return j.closeErr
	}
}

func (j *Journal) shut(ctx context.Context) error {
	timer := time.AfterFunc(j.timing.grace, j.force)
	defer timer.Stop()
	stop := context.AfterFunc(ctx, j.force)
	defer stop()
	j.turn <- struct{}{} // never given back
	j.stopWork()
	j.tail.close()
	j.wg.Wait()
	j.force()
	// The record is worth a second even when ctx has ended.
	wctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	var err error
	if !j.fenced { // else the record is the new writer's
		err = j.state.save(wctx, true)
	}
	err = errors.Join(err, j.state.store.close())
	j.link.close()
	if err != nil {
		return bridge.Errorf(bridge.KindTransient, "close journal", "%w", err)
	}
	return nil
}
