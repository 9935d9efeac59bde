package jetjournal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Codes of JetStream's API errors.
const (
	codeWrongLast      = 10071
	codeNoMessage      = 10037
	codeStreamNotFound = 10059
)

var (
	errWrongLast = errors.New("the stream's end is not where this writer left it")
	errNoMessage = errors.New("no message found")
	errNoAnswer  = errors.New("no answer in time")
	errDown      = errors.New("the connection was lost")
)

// apiError is an error that JetStream answered.
type apiError struct {
	Code        int    `json:"err_code"`
	Description string `json:"description"`
}

func (e *apiError) Error() string {
	return e.Description + " (" + strconv.Itoa(e.Code) + ")"
}

func (e *apiError) Is(target error) bool {
	switch target {
	case errWrongLast:
		return e.Code == codeWrongLast
	case errNoMessage:
		return e.Code == codeNoMessage
	case jetstream.ErrStreamNotFound:
		return e.Code == codeStreamNotFound
	}
	return false
}

// link is the journal's connection with the calls whose every step must be
// known: no retries, no buffers, one deadline each.
type link struct {
	nc     *nats.Conn
	js     jetstream.JetStream
	api    string // prefix of the JetStream API, with the last dot
	stream string

	inbox   string
	answers chan *nats.Msg // of appends
	sub     *nats.Subscription
	count   uint64 // of appends; owned by the appender

	mu   sync.Mutex    // guards down
	down chan struct{} // closed and replaced when the connection is lost
}

// watch returns options that tell l when its connection is lost.
func (l *link) watch() nats.Option {
	l.down = make(chan struct{})
	return nats.DisconnectErrHandler(func(*nats.Conn, error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		close(l.down)
		l.down = make(chan struct{})
	})
}

func (l *link) lost() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.down
}

func (l *link) start(nc *nats.Conn, js jetstream.JetStream) error {
	l.nc, l.js = nc, js
	l.inbox = nc.NewInbox() + "."
	// One append is under way at a time; the room is for answers that come
	// after their deadline.
	l.answers = make(chan *nats.Msg, 64)
	sub, err := nc.ChanSubscribe(l.inbox+"*", l.answers)
	l.sub = sub
	return err
}

// pubAck is JetStream's answer to a publish.
type pubAck struct {
	Stream string    `json:"stream"`
	Seq    uint64    `json:"seq"`
	Error  *apiError `json:"error"`
}

// append publishes data as the message after sequence last and waits for the
// answer. Every error but *apiError leaves the message's fate open.
func (l *link) append(ctx context.Context, subject string, data []byte, last uint64, limit time.Duration) (uint64, error) {
	for len(l.answers) > 0 {
		<-l.answers
	}
	l.count++
	reply := l.inbox + strconv.FormatUint(l.count, 36)
	down := l.lost()
	if err := l.nc.PublishMsg(&nats.Msg{
		Subject: subject, Reply: reply, Data: data,
		Header: nats.Header{
			jetstream.ExpectedLastSeqHeader: []string{strconv.FormatUint(last, 10)},
			jetstream.ExpectedStreamHeader:  []string{l.stream},
		},
	}); err != nil {
		return 0, err
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for {
		select {
		case m := <-l.answers:
			if m.Subject != reply {
				continue
			}
			if len(m.Data) == 0 && m.Header.Get("Status") == "503" {
				return 0, nats.ErrNoResponders
			}
			var ack pubAck
			if err := json.Unmarshal(m.Data, &ack); err != nil {
				return 0, fmt.Errorf("answer: %w", err)
			}
			if ack.Error != nil {
				return 0, ack.Error
			}
			if ack.Stream != l.stream || ack.Seq == 0 {
				return 0, fmt.Errorf("answer of stream %q with sequence %d", ack.Stream, ack.Seq)
			}
			return ack.Seq, nil
		case <-timer.C:
			return 0, errNoAnswer
		case <-down:
			return 0, errDown
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// call makes one API request. out gets the answer's members.
func (l *link) call(ctx context.Context, limit time.Duration, method string, in, out any) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return err
		}
	}
	tctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	m, err := l.nc.RequestWithContext(tctx, l.api+method, body)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			return errNoAnswer
		}
		return err
	}
	var fail struct {
		Error *apiError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &fail); err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	if fail.Error != nil {
		return fail.Error
	}
	return json.Unmarshal(m.Data, out)
}

// streamState is what is known of a stream's messages.
type streamState struct {
	Msgs     uint64    `json:"messages"`
	Bytes    uint64    `json:"bytes"`
	FirstSeq uint64    `json:"first_seq"`
	LastSeq  uint64    `json:"last_seq"`
	LastTime time.Time `json:"last_ts"`
}

func (l *link) state(ctx context.Context, limit time.Duration) (streamState, error) {
	var out struct {
		State streamState `json:"state"`
	}
	err := l.call(ctx, limit, "STREAM.INFO."+l.stream, nil, &out)
	return out.State, err
}

// getRequest asks for one message: that at Seq, or with Next the first of
// that subject at or after it.
type getRequest struct {
	Seq  uint64 `json:"seq"`
	Next string `json:"next_by_subj,omitempty"`
}

// read returns one message as the stream's leader has it.
func (l *link) read(ctx context.Context, limit time.Duration, in getRequest) (uint64, []byte, error) {
	var out struct {
		Message struct {
			Seq  uint64 `json:"seq"`
			Data []byte `json:"data"`
		} `json:"message"`
	}
	err := l.call(ctx, limit, "STREAM.MSG.GET."+l.stream, in, &out)
	return out.Message.Seq, out.Message.Data, err
}

// firstFrom returns the first message at or after seq.
func (l *link) firstFrom(ctx context.Context, limit time.Duration, seq uint64) (uint64, []byte, error) {
	f, err := l.newFetcher()
	if err != nil {
		return 0, nil, err
	}
	defer f.close()
	if err := f.request(l.stream, max(seq, 1), 1); err != nil {
		return 0, nil, err
	}
	tctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	got, data, err := f.next(tctx)
	switch {
	case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
		return 0, nil, errNoAnswer
	case err != nil:
		return 0, nil, err
	case got == 0:
		return 0, nil, errNoMessage
	}
	return got, data, nil
}

func (l *link) close() { l.nc.Close() }
