package natsserver

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/cycle-bridge/cycle-bridge/bridge"
)

const (
	gateInbox   = "_GATE"
	gateQueue   = 256 // waiting requests; what comes on top is dropped, and its sender times out
	gateWorkers = 8
	gateTimeout = 5 * time.Second
)

// gate stands between readers and the part of JetStream's API in which a
// reader names a subject for the server to publish to. JetStream would let a
// push consumer deliver to any subject of the account CYCLE, its own API
// among them: an idle heartbeat to the subject of STREAM.DELETE is a valid
// request to delete. So the gate moves every deliver subject below
// pushPrefix, from where it is imported into the reader's account under the
// name that the reader chose, and shows it under that name in answers.
type gate struct {
	nc    *nats.Conn
	log   *slog.Logger
	queue chan *nats.Msg
	stop  context.CancelFunc
	wg    sync.WaitGroup
}

// openGate connects to the server and begins to answer.
func openGate(e bridge.Embedded, log *slog.Logger) (*gate, error) {
	// Readers that come back after a restart find nobody until the gate has
	// come back as well, so it does not wait long.
	nc, err := Connect(e, "cycle-bridge gate", nats.CustomInboxPrefix(gateInbox), nats.ReconnectWait(5*time.Millisecond))
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	g := &gate{nc: nc, log: log, queue: make(chan *nats.Msg, gateQueue), stop: stop}
	if _, err = nc.ChanSubscribe(gatePrefix+">", g.queue); err == nil {
		err = nc.FlushTimeout(gateTimeout)
	}
	if err != nil {
		stop()
		nc.Close()
		return nil, bridge.Errorf(bridge.KindUnavailable, "open the gate for readers", "%w", err)
	}
	for range gateWorkers {
		g.wg.Go(func() { g.serve(ctx) })
	}
	return g, nil
}

// close ends the gate and waits for it.
func (g *gate) close() {
	g.stop()
	g.nc.Close()
	g.wg.Wait()
}

func (g *gate) serve(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case m := <-g.queue:
			if err := g.handle(ctx, m); err != nil {
				// The reader times out, as with a server that does not answer.
				g.log.LogAttrs(ctx, slog.LevelDebug, "request of a reader failed",
					slog.String("subject", m.Subject), slog.Any("error", err))
			}
		}
	}
}

func (g *gate) handle(ctx context.Context, m *nats.Msg) error {
	account, call, ok := strings.Cut(strings.TrimPrefix(m.Subject, gatePrefix), ".")
	if !ok {
		return fmt.Errorf("%q is not a request", m.Subject)
	}
	body := m.Data
	if strings.HasPrefix(call, "CONSUMER.CREATE.") || strings.HasPrefix(call, "CONSUMER.DURABLE.CREATE.") {
		var refused *server.ApiError
		if body, refused = admit(account, m.Data); refused != nil {
			b, err := json.Marshal(server.JSApiConsumerCreateResponse{
				ApiResponse: server.ApiResponse{Type: server.JSApiConsumerCreateResponseType, Error: refused},
			})
			if err != nil {
				return err
			}
			return m.Respond(b)
		}
	}
	ask := &nats.Msg{Subject: "$JS.API." + call, Data: body}
	if level := m.Header.Get(server.JSRequiredApiLevel); level != "" {
		ask.Header = nats.Header{server.JSRequiredApiLevel: {level}}
	}
	ctx, cancel := context.WithTimeout(ctx, gateTimeout)
	defer cancel()
	answer, err := g.nc.RequestMsgWithContext(ctx, ask)
	if err != nil {
		return err
	}
	return m.Respond(showDeliver(account, answer.Data))
}

// admit returns the request as it may reach JetStream, or why it may not. It
// is decoded and encoded anew by the server's own type, so that what was
// checked is what the server reads, whatever spelling of a key or order of
// doubled ones a reader tries.
func admit(account string, body []byte) ([]byte, *server.ApiError) {
	var req server.CreateConsumerRequest
	if err := json.Unmarshal(body, &req); err != nil {
		return nil, server.NewJSInvalidJSONError(err)
	}
	c := &req.Config
	if c.Direct || c.Sourcing {
		e := *server.NewJSBadRequestError()
		e.Description += ": consumers for mirrors and sources are not for readers"
		return nil, &e
	}
	if d := c.DeliverSubject; d != "" {
		for _, reserved := range []string{CycleSubjects, "$JS.>", "$SYS.>", "_R_.>"} {
			if overlaps(d, reserved) {
				e := *server.NewJSConsumerInvalidDeliverSubjectError()
				e.Description += fmt.Sprintf(": %s is not for readers to deliver to", reserved)
				return nil, &e
			}
		}
		c.DeliverSubject = pushPrefix + account + "." + d
	}
	out, err := json.Marshal(req)
	if err != nil {
		return nil, server.NewJSInvalidJSONError(err)
	}
	return out, nil
}

// showDeliver gives the deliver subjects in an answer of the server back the
// names that the readers of the account chose. A quotation mark inside of a
// JSON string is escaped, so the pattern matches members only.
func showDeliver(account string, answer []byte) []byte {
	const member = `"deliver_subject":"`
	return bytes.ReplaceAll(answer, []byte(member+pushPrefix+account+"."), []byte(member))
}
