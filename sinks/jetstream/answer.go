package jetstream

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/cycle-bridge/cycle-bridge/bridge"
	"github.com/cycle-bridge/cycle-bridge/bridge/natsconn"
)

// answer is what the server says to one message.
type answer struct {
	stream    string
	seq       uint64
	duplicate bool
	batch     string
	count     int
	err       error
	in        bool // it has arrived
}

// replies are the answers to a run of messages, in the messages' order.
type replies struct {
	base    uint64 // token of the first
	got     []answer
	arrived int
}

// expect begins a run of up to n messages whose first token is base.
func (r *replies) expect(base uint64, n int) {
	r.base, r.arrived = base, 0
	r.got = append(r.got[:0], make([]answer, n)...)
}

// collect waits until so many answers have come, in any order (a cluster
// refuses at once and accepts later). Replies with other tokens are of calls
// that gave up, and are dropped. After an error some may be in.
func (p *publication) collect(want int) error {
	if p.timer == nil {
		p.timer = time.NewTimer(answerWait)
	} else {
		p.timer.Reset(answerWait)
	}
	defer p.timer.Stop()
	for p.arrived < want {
		select {
		case m := <-p.answers:
			token, err := strconv.ParseUint(strings.TrimPrefix(m.Subject, p.inbox), 36, 64)
			if err != nil || token < p.base || token >= p.base+uint64(len(p.got)) || p.got[token-p.base].in {
				continue
			}
			a := parseAnswer(m, p.stream)
			a.in = true
			p.got[token-p.base] = a
			p.arrived++
		case <-p.lost:
			return errBroken
		case err := <-p.refused:
			if e := natsconn.Classify(opPublish, err); e.Kind == bridge.KindMisconfigured {
				return e
			}
		case <-p.timer.C:
			return bridge.Errorf(bridge.KindTransient, opPublish, "no answer within %v", answerWait)
		case <-p.ctx.Done():
			return natsconn.Classify(opPublish, p.ctx.Err())
		}
	}
	return nil
}

// pubAck is the JSON of an answer.
type pubAck struct {
	Error     *jetstream.APIError `json:"error"`
	Stream    string              `json:"stream"`
	Seq       uint64              `json:"seq"`
	Duplicate bool                `json:"duplicate"`
	Batch     string              `json:"batch"`
	Count     int                 `json:"count"`
}

func parseAnswer(m *nats.Msg, stream string) answer {
	if len(m.Data) == 0 && m.Header.Get("Status") == "503" {
		return answer{err: nats.ErrNoResponders}
	}
	if seq, ok := plainAck(m.Data, stream); ok {
		return answer{stream: stream, seq: seq}
	}
	var a pubAck
	if err := json.Unmarshal(m.Data, &a); err != nil {
		return answer{err: fmt.Errorf("answer is not JSON: %w", err)}
	}
	if a.Error != nil {
		return answer{err: a.Error}
	}
	return answer{stream: a.Stream, seq: a.Seq, duplicate: a.Duplicate, batch: a.Batch, count: a.Count}
}

// plainAck reads {"stream":"NAME", ... "seq":N}, which is what nearly every
// answer looks like, without a JSON parser.
func plainAck(b []byte, stream string) (uint64, bool) {
	const open, seq = `{"stream":"`, `"seq":`
	if !bytes.HasPrefix(b, []byte(open)) || len(b) < len(open)+len(stream)+1 {
		return 0, false
	}
	b = b[len(open):]
	if string(b[:len(stream)]) != stream || b[len(stream)] != '"' {
		return 0, false
	}
	i := bytes.Index(b, []byte(seq))
	if i < 0 {
		return 0, false
	}
	num, ok := bytes.CutSuffix(b[i+len(seq):], []byte("}"))
	if !ok || len(num) == 0 || len(num) > 19 {
		return 0, false
	}
	var n uint64
	for _, c := range num {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + uint64(c-'0')
	}
	return n, n > 0
}

// classify returns the error of a refusal with the stream's name in its hint.
func (a answer) classify(op, stream string) *bridge.Error {
	e := natsconn.Classify(op, a.err)
	e.Hint = strings.ReplaceAll(e.Hint, "STREAM", stream)
	if e.Kind == bridge.KindUnknown {
		e.Kind = bridge.KindTransient
	}
	return e
}

// wrongAnswer is the error of an acknowledgement that is not ours.
func (p *publication) wrongAnswer(a answer) error {
	if a.stream != p.stream {
		return &bridge.Error{
			Op: opPublish, Kind: bridge.KindMisconfigured,
			Err:  fmt.Errorf("the subject belongs to stream %q, not %q", a.stream, p.stream),
			Hint: "check stream and subject: nats stream subjects " + a.stream,
		}
	}
	return bridge.Errorf(bridge.KindTransient, opPublish, "unexpected answer: sequence %d after %d", a.seq, p.last)
}
