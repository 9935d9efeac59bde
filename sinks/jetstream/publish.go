package jetstream

import (
	"context"
	"strconv"
	"time"
	"unsafe"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/cycle-bridge/cycle-bridge/bridge"
	"github.com/cycle-bridge/cycle-bridge/bridge/natsconn"
)

const opPublish = "jetstream publish"

// Headers of atomic batches (NATS ADR-50). No release of nats.go names them.
const (
	headerBatchID     = "Nats-Batch-Id"
	headerBatchSeq    = "Nats-Batch-Sequence"
	headerBatchCommit = "Nats-Batch-Commit"
)

// Publish implements bridge.Sink. Messages are stored in order: when one is
// not settled, none after it is stored.
func (s *Sink) Publish(ctx context.Context, msgs []bridge.Message, results []error) {
	if len(msgs) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p := publication{Sink: s, ctx: ctx, msgs: msgs, results: results}
	if err := s.connected(ctx); err != nil {
		p.fail(0, err)
		return
	}
	s.forget()
	p.run()
}

// publication is one call of Publish.
type publication struct {
	*Sink
	ctx     context.Context
	msgs    []bridge.Message
	results []error
	next    int // messages before it have their result
	reads   int
	single  bool // no atomic batches any more, to learn what is wrong with which message
}

// fail gives err to all messages from i on that have no result.
func (p *publication) fail(i int, err error) {
	for ; i < len(p.results); i++ {
		if p.results[i] == nil {
			p.results[i] = err
		}
	}
}

// run publishes run after run until every message has its result.
func (p *publication) run() {
	for p.next < len(p.msgs) {
		if err := p.read(); err != nil {
			p.fail(p.next, err)
			return
		}
		n := min(len(p.msgs)-p.next, maxChain)
		whole, chain := false, n
		if p.atomic && !p.single {
			whole, chain = p.pace.batch(n)
		}
		if whole {
			n = min(n, p.limit)
		}
		end := p.choose(n)
		if len(p.send) == 0 {
			p.next = end
			continue
		}
		var done int
		var err error
		n = len(p.send)
		start := time.Now()
		if whole {
			if done, err = p.batch(); done == n {
				p.pace.tookBatch(n, time.Since(start))
			}
		} else {
			done, err = p.chain(min(chain, n))
			p.pace.tookChain(done, time.Since(start))
		}
		for _, i := range p.send[:done] {
			p.markStored(p.msgs[i].Event)
		}
		if done == len(p.send) {
			p.next = end
		} else {
			p.next = p.send[done]
		}
		if err != nil {
			p.fail(p.next, err)
			return
		}
	}
}

// read makes sure that the fate of everything sent before is known.
func (p *publication) read() error {
	if p.synced {
		return nil
	}
	if p.reads++; p.reads > maxReads {
		return bridge.Errorf(bridge.KindTransient, opPublish, "stream %s changes while it is read", p.stream)
	}
	return p.sync(p.ctx)
}

// choose settles what is stored or will never be, and collects the next
// messages to send, at most n. It returns the end of the stretch.
func (p *publication) choose(n int) int {
	p.send = p.send[:0]
	for i := p.next; i < len(p.msgs); i++ {
		if len(p.send) == n {
			return i
		}
		m := &p.msgs[i]
		if p.stored(m.Event) {
			continue
		}
		// Building is the price of an exact size: only where it may matter.
		if p.suspicious(m) {
			p.build(m, "")
			if err := p.check(m); err != nil {
				p.results[i] = err
				continue
			}
		}
		p.send = append(p.send, i)
	}
	return len(p.msgs)
}

// suspicious reports whether m could fail check.
func (p *publication) suspicious(m *bridge.Message) bool {
	const roomy = 8 << 10 // more than the headers take
	size := int64(len(m.Payload) + roomy)
	if limit := int64(p.info.Config.MaxMsgSize); limit > 0 && size > limit || size > p.nc.MaxPayload() {
		return true
	}
	headers := 0
	for i := range m.Headers {
		headers += len(m.Headers[i].Value)
	}
	return headers > roomy/2 || natsconn.CheckSubject(opPublish, m.Destination) != nil
}

// batch sends everything chosen as one atomic batch: the server stores all
// of it or nothing.
func (p *publication) batch() (done int, err error) {
	n := len(p.send)
	p.batches++
	id := p.batchPrefix + strconv.FormatUint(p.batches, 36)
	p.expect(p.token+1, 1)
	var reply string
	first := p.last
	var num [2][20]byte
	for k, i := range p.send {
		if k == n-1 {
			reply = p.reply()
		}
		p.build(&p.msgs[i], reply)
		p.msg.Set(headerBatchID, id)
		p.msg.SetBytes(headerBatchSeq, strconv.AppendInt(num[0][:0], int64(k+1), 10))
		if k == 0 && p.exclusive {
			p.msg.SetBytes(jetstream.ExpectedLastSeqHeader, strconv.AppendUint(num[1][:0], first, 10))
		}
		if k == n-1 {
			p.msg.Set(headerBatchCommit, "1")
		}
		if err := p.nc.PublishMsg(p.msg.Build()); err != nil {
			// Without its commit the server drops the batch. But is it
			// certain that the commit did not leave?
			p.synced = k < n-1 && p.synced
			return 0, natsconn.Classify(opPublish, err)
		}
	}
	if err := p.collect(1); err != nil {
		p.synced = false
		return 0, err
	}
	a := p.got[0]
	switch {
	case a.err != nil:
		return p.batchRefused(a)
	case a.batch != id || a.count != n || a.stream != p.stream || p.exclusive && a.seq != first+uint64(n):
		p.synced = false
		return 0, p.wrongAnswer(a)
	}
	p.last = a.seq
	return n, nil
}

// batchRefused decides what a refusal of a whole batch means. A nil error
// means: go on with the next run.
func (p *publication) batchRefused(a answer) (int, error) {
	e := a.classify(opPublish, p.stream)
	switch natsconn.Code(a.err) {
	case natsconn.CodeWrongLastSequence, natsconn.CodeWrongLastConstant:
		p.synced = false
		return 0, nil
	case natsconn.CodeAtomicDuplicate, natsconn.CodeAtomicIncomplete:
		// Something of it is stored already, or it was refused for a reason
		// that only single messages tell.
		p.synced, p.single = false, true
		return 0, nil
	case natsconn.CodeAtomicDisabled:
		p.atomic = false
		return 0, nil
	case natsconn.CodeAtomicTooLarge:
		if p.limit /= 2; p.limit < minAtomic {
			p.limit, p.single = maxBatch, true
		}
		return 0, nil
	}
	// A store that fails in the middle of a commit may have stored a part.
	p.synced = false
	if e.Kind == bridge.KindRejected {
		p.single = true
		return 0, nil
	}
	return 0, p.explain(a, e)
}

// chain sends the chosen messages one by one, many in flight, so that one
// that fails takes all after it with it. Each names the id of the one before
// it as the stream's last. Sequences would not do: after a foreign message the
// first of a chain is refused, and the second finds just the sequence it
// expects. On a shared stream fewer are in flight the more others write; the
// first of a chain always gets through.
func (p *publication) chain(limit int) (done int, err error) {
	n := limit
	if !p.exclusive {
		n = min(n, p.window)
	}
	p.expect(p.token+1, n)
	first := p.last
	sent := 0
	var sendErr error
	var num [20]byte
	for k, i := range p.send[:n] {
		p.build(&p.msgs[i], p.reply())
		id := p.msg.Get(jetstream.MsgIDHeader)
		switch {
		case k > 0:
			p.msg.SetBytes(jetstream.ExpectedLastMsgIDHeader, p.prev)
		case p.exclusive:
			p.msg.SetBytes(jetstream.ExpectedLastSeqHeader, strconv.AppendUint(num[:0], first, 10))
		}
		if sendErr = p.nc.PublishMsg(p.msg.Build()); sendErr != nil {
			break
		}
		p.prev = append(p.prev[:0], id...)
		sent++
	}
	if sendErr != nil && sent == 0 {
		return 0, natsconn.Classify(opPublish, sendErr)
	}
	waitErr := p.collect(sent)
	for ; done < sent; done++ {
		a := p.got[done]
		if !a.in || a.err != nil || a.stream != p.stream {
			break
		}
		if a.duplicate {
			// It is in the stream since a try that nobody answered. Where, a
			// read tells.
			p.synced = p.synced && !p.exclusive
			continue
		}
		if p.exclusive && p.synced && a.seq != p.last+1 {
			break
		}
		p.last = a.seq
	}
	switch {
	case waitErr != nil:
		p.synced = false
		return done, waitErr
	case done < sent:
		// Those behind it are refusals as well, as they expect to follow it.
		for _, a := range p.got[done+1 : sent] {
			if a.err == nil {
				p.synced = false
			}
		}
		return p.chainRefused(done, p.got[done])
	case sendErr != nil:
		p.synced = false
		return done, natsconn.Classify(opPublish, sendErr)
	}
	if !p.exclusive {
		p.window = min(2*p.window, maxChain)
	}
	return done, nil
}

// chainRefused decides what the first refusal in a chain means.
func (p *publication) chainRefused(done int, a answer) (int, error) {
	if a.err == nil {
		p.synced = false
		return done, p.wrongAnswer(a)
	}
	e := a.classify(opPublish, p.stream)
	switch natsconn.Code(a.err) {
	case natsconn.CodeWrongLastSequence, natsconn.CodeWrongLastConstant, natsconn.CodeWrongLastMsgID:
		if p.exclusive {
			p.synced = false // whose is it?
		} else {
			// Somebody else was faster: a definite answer.
			p.window = max(1, p.window/2)
		}
		return done, nil
	}
	if e.Kind == bridge.KindRejected {
		p.results[p.send[done]] = e
		// It has its result: the next run begins after it.
		p.send = append(p.send[:done], p.send[done+1:]...)
		return done, nil
	}
	return done, p.explain(a, e)
}

// reply returns the subject of the next answer.
func (p *publication) reply() string {
	p.token++
	b := make([]byte, 0, len(p.inbox)+13)
	b = strconv.AppendUint(append(b, p.inbox...), p.token, 36)
	return unsafe.String(unsafe.SliceData(b), len(b))
}
