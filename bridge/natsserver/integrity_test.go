package natsserver

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// forge is a subject that the stream CYCLE takes and no test publishes to.
const forge = "cycle.forged.by.reader"

// request is one thing that a reader may send, aimed at what it may not change.
type request struct {
	name, subject, reply, body string
	deliver                    string // of a push consumer
	header                     nats.Header
}

func createBody(name, more string) string {
	return fmt.Sprintf(`{"stream_name":"CYCLE","config":{"name":%q,"deliver_policy":"all",%s}}`, name, more)
}

// attacks is every request that a reader may send, with a reply subject that
// the stream takes, and every push consumer whose deliver subject is not the
// reader's own.
func attacks() []request {
	const info = "$JS.API.STREAM.INFO.CYCLE"
	out := []request{
		{name: "account info", subject: "$JS.API.INFO"},
		{name: "stream info", subject: info},
		{name: "stream names", subject: "$JS.API.STREAM.NAMES"},
		{name: "stream list", subject: "$JS.API.STREAM.LIST"},
		{name: "message get", subject: "$JS.API.STREAM.MSG.GET.CYCLE", body: `{"seq":1}`},
		{name: "direct get", subject: "$JS.API.DIRECT.GET.CYCLE", body: `{"seq":1}`},
		{name: "direct get last", subject: "$JS.API.DIRECT.GET.CYCLE.cycle.h.o.t"},
		{name: "direct get batch", subject: "$JS.API.DIRECT.GET.CYCLE", body: `{"seq":1,"batch":3}`},
		{name: "consumer create", subject: "$JS.API.CONSUMER.CREATE.CYCLE.a", body: createBody("a", `"ack_policy":"none"`)},
		{name: "consumer create, filter", subject: "$JS.API.CONSUMER.CREATE.CYCLE.b.cycle.h.>", body: createBody("b", `"ack_policy":"none","filter_subject":"cycle.h.>"`)},
		{name: "consumer create, old", subject: "$JS.API.CONSUMER.CREATE.CYCLE", body: `{"stream_name":"CYCLE","config":{"ack_policy":"none"}}`},
		{name: "durable create", subject: "$JS.API.CONSUMER.DURABLE.CREATE.CYCLE.c", body: `{"stream_name":"CYCLE","config":{"durable_name":"c","ack_policy":"explicit"}}`},
		{name: "consumer info", subject: "$JS.API.CONSUMER.INFO.CYCLE.pull"},
		{name: "consumer names", subject: "$JS.API.CONSUMER.NAMES.CYCLE"},
		{name: "consumer list", subject: "$JS.API.CONSUMER.LIST.CYCLE"},
		{name: "next", subject: "$JS.API.CONSUMER.MSG.NEXT.CYCLE.pull"},
		{name: "next, batch", subject: "$JS.API.CONSUMER.MSG.NEXT.CYCLE.pull", body: `{"batch":10,"expires":300000000,"idle_heartbeat":100000000}`},
		{name: "next, no wait", subject: "$JS.API.CONSUMER.MSG.NEXT.CYCLE.pull", body: `{"batch":10,"no_wait":true}`},
		{name: "ack", subject: "$JS.ACK.CYCLE.pull.1.1.1.1.0", body: "+ACK"},
		{name: "ack and next", subject: "$JS.ACK.CYCLE.pull.1.1.1.1.0", body: "+NXT"},
		{name: "flow control", subject: "$JS.FC.CYCLE.pull.x"},
		{name: "rollup", subject: info, header: nats.Header{"Nats-Rollup": {"all"}}},
		{name: "expected", subject: info, header: nats.Header{"Nats-Msg-Id": {"x"}, "Nats-Expected-Last-Sequence": {"3"}}},
		{name: "trace", subject: info, header: nats.Header{"Nats-Trace-Dest": {forge}}},
		{name: "sourced", subject: info, header: nats.Header{"Nats-Stream-Source": {"A 1 > >"}}},
		{name: "schedule", subject: info, header: nats.Header{"Nats-Schedule": {"@every 1s"}, "Nats-Schedule-Target": {forge}}},
		{name: "to the API", subject: info, reply: "$JS.API.STREAM.DELETE.CYCLE"},
		{name: "to a response", subject: info, reply: "_R_.abcdefgh.x"},
		{name: "direct get to the API", subject: "$JS.API.DIRECT.GET.CYCLE", body: `{"seq":1}`, reply: "$JS.API.STREAM.DELETE.CYCLE"},
		{name: "next to the API", subject: "$JS.API.CONSUMER.MSG.NEXT.CYCLE.pull", body: `{"batch":5,"expires":300000000,"idle_heartbeat":100000000}`, reply: "$JS.API.STREAM.DELETE.CYCLE"},
	}
	for i := range out {
		if out[i].reply == "" {
			out[i].reply = forge
		}
	}
	for i, target := range []string{
		forge, "cycle.h.o.t", "$JS.API.STREAM.DELETE.CYCLE", "$JS.API.STREAM.PURGE.CYCLE", "$JS.API.CONSUMER.DELETE.CYCLE.pull",
		"$JS.API.ACCOUNT.PURGE.CYCLE", "$JS.API.STREAM.MSG.DELETE.CYCLE", "$SYS.REQ.SERVER.PING", "_R_.abcdefgh.x",
		"$JSC.CI.CYCLE.CYCLE.pull", "gate.API.CONSUMER.CREATE.CYCLE.z",
	} {
		for j, more := range []string{
			`"ack_policy":"none"`,
			// Both make the server publish without a body, which is a whole request to much of the API.
			`"ack_policy":"none","headers_only":true`,
			`"ack_policy":"none","headers_only":true,"flow_control":true,"idle_heartbeat":100000000`,
			`"ack_policy":"none","deliver_group":"g","idle_heartbeat":100000000`,
		} {
			name := fmt.Sprintf("p%d-%d", i, j)
			out = append(out, request{
				name: "push " + name + " to " + target, subject: "$JS.API.CONSUMER.CREATE.CYCLE." + name, reply: "_INBOX.x." + name,
				deliver: target, body: createBody(name, more+fmt.Sprintf(`,"deliver_subject":%q`, target)),
			})
		}
	}
	return out
}

// TestReaderWritesNothing is the promise that only the bridge publishes: no
// answer of the server to a reader may be stored, or reach the API.
func TestReaderWritesNothing(t *testing.T) {
	s := start(t, t.TempDir(), testConfig())
	publish(t, s, "cycle.h.o.t", 3)
	nc, js := dial(t, s, nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if _, err := js.CreateConsumer(t.Context(), CycleStream, jetstream.ConsumerConfig{Durable: "pull", AckPolicy: jetstream.AckExplicitPolicy}); err != nil {
		t.Fatal(err)
	}
	own := bridgeSide(t, s)
	for _, r := range attacks() {
		t.Run(r.name, func(t *testing.T) {
			st, err := own.Stream(t.Context(), CycleStream)
			if err != nil {
				t.Fatalf("the stream is gone: %v", err)
			}
			before := st.CachedInfo().State.LastSeq // an attack before this one may have worked
			// Interest in the very subject is what makes a push consumer send.
			for _, subject := range []string{r.deliver, r.reply} {
				if subject == "" {
					continue
				}
				sub, err := nc.SubscribeSync(subject)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = sub.Unsubscribe() }()
			}
			if err := nc.PublishMsg(&nats.Msg{Subject: r.subject, Reply: r.reply, Header: r.header, Data: []byte(r.body)}); err != nil {
				t.Fatal(err)
			}
			if err := nc.Flush(); err != nil {
				t.Fatal(err)
			}
			for end := time.Now().Add(40 * time.Millisecond); ; {
				untouched(t, own, before)
				if t.Failed() || time.Now().After(end) {
					return
				}
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	// Heartbeats come later than the requests.
	for end := time.Now().Add(500 * time.Millisecond); !t.Failed() && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		untouched(t, own, 3)
	}
}

// untouched reports whether the stream holds the first n events and nothing
// else, and the consumer that the attacks name is still there.
func untouched(t *testing.T, js jetstream.JetStream, n uint64) {
	t.Helper()
	st, err := js.Stream(t.Context(), CycleStream)
	if err != nil {
		t.Fatalf("the stream is gone: %v", err)
	}
	if got := st.CachedInfo().State; got.Msgs != n || got.LastSeq != n || got.NumDeleted != 0 || got.FirstSeq != 1 {
		t.Errorf("stream has %d messages up to %d, %d deleted; want %d untouched", got.Msgs, got.LastSeq, got.NumDeleted, n)
	}
	if _, err := js.Consumer(t.Context(), CycleStream, "pull"); err != nil {
		t.Errorf("the consumer is gone: %v", err)
	}
}

// bridgeSide is JetStream as the bridge's own publisher sees it.
func bridgeSide(t *testing.T, s *Server) jetstream.JetStream {
	t.Helper()
	nc, err := Connect(s.Cycle(), "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}
