package natsserver

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
)

// TestAdmit shows that what the gate lets through names no subject outside
// of the place for push consumers, however it is spelled.
func TestAdmit(t *testing.T) {
	tests := []struct{ name, body, want string }{ // want: deliver subject as JetStream sees it; "!": refused
		{"pull", `{"config":{"durable_name":"a"}}`, ""},
		{"push", `{"config":{"deliver_subject":"_INBOX.a"}}`, "push.READERS._INBOX.a"},
		{"twice", `{"config":{"deliver_subject":"a","deliver_subject":"b"}}`, "push.READERS.b"},
		{"other spelling", `{"config":{"Deliver_Subject":"a"}}`, "push.READERS.a"},
		{"other spelling of config", `{"CONFIG":{"DELIVER_SUBJECT":"$JS.API.STREAM.DELETE.CYCLE"}}`, "!"},
		{"two configs", `{"config":{"deliver_subject":"a"},"Config":{"deliver_subject":"cycle.a"}}`, "!"},
		{"escaped", `{"config":{"deliver_subject":"\u0063ycle.a"}}`, "!"},
		{"the API", `{"config":{"deliver_subject":"$JS.API.STREAM.DELETE.CYCLE"}}`, "!"},
		{"the system", `{"config":{"deliver_subject":"$SYS.REQ.SERVER.PING"}}`, "!"},
		{"a response", `{"config":{"deliver_subject":"_R_.a.b"}}`, "!"},
		{"wildcard", `{"config":{"deliver_subject":"*.a"}}`, "!"},
		{"the stream", `{"config":{"deliver_subject":"cycle.a"}}`, "!"},
		{"the gate", `{"config":{"deliver_subject":"gate.READERS.CONSUMER.CREATE.CYCLE.a"}}`, "push.READERS.gate.READERS.CONSUMER.CREATE.CYCLE.a"},
		{"a mirror's", `{"config":{"deliver_subject":"a","direct":true}}`, "!"},
		{"a source's", `{"config":{"deliver_subject":"a","sourcing":true}}`, "!"},
		{"two values", `{"config":{}} {"config":{"deliver_subject":"cycle.a"}}`, "!"},
		{"no JSON", `x`, "!"},
		{"empty", ``, "!"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out, refused := admit(readersAccount, []byte(tt.body))
			if refused != nil {
				if tt.want != "!" {
					t.Errorf("refused: %v, want %q", refused, tt.want)
				}
				return
			}
			var got server.CreateConsumerRequest
			if err := json.Unmarshal(out, &got); err != nil {
				t.Fatal(err)
			}
			if got.Config.DeliverSubject != tt.want {
				t.Errorf("deliver subject = %q, want %q", got.Config.DeliverSubject, tt.want)
			}
		})
	}
}

func FuzzAdmit(f *testing.F) {
	f.Add([]byte(`{"stream_name":"CYCLE","config":{"deliver_subject":"a","name":"b"},"action":"create"}`))
	f.Add([]byte(`{"config":{"deliver_subject":"a.b","DELIVER_subject":"cycle.x"}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		out, refused := admit(readersAccount, body)
		if refused != nil {
			return
		}
		var got, orig server.CreateConsumerRequest
		if err := json.Unmarshal(out, &got); err != nil {
			t.Fatalf("%s became %s: %v", body, out, err)
		}
		if d := got.Config.DeliverSubject; d != "" && !strings.HasPrefix(d, pushPrefix+readersAccount+".") {
			t.Errorf("%s delivers to %q", body, d)
		}
		if err := json.Unmarshal(body, &orig); err != nil {
			t.Errorf("%s is no request and was let through", body)
		}
		if got.Config.Name != orig.Config.Name || got.Config.FilterSubject != orig.Config.FilterSubject || got.Action != orig.Action {
			t.Errorf("%s became %s", body, out)
		}
	})
}

// TestManyCreateAtOnce checks the gate under more requests than it has workers.
func TestManyCreateAtOnce(t *testing.T) {
	s := start(t, t.TempDir(), testConfig())
	publish(t, s, "cycle.h.o.t", 1)
	_, js := dial(t, s, quiet())
	errs := make(chan error, 100)
	for i := range cap(errs) {
		go func() {
			_, err := js.CreateConsumer(t.Context(), CycleStream, jetstream.ConsumerConfig{Name: fmt.Sprintf("c%d", i), AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true})
			errs <- err
		}()
	}
	for range cap(errs) {
		if err := <-errs; err != nil {
			t.Errorf("create: %v", err)
		}
	}
}

// TestPushGoesThroughTheGate sends every form of a consumer's creation.
func TestPushGoesThroughTheGate(t *testing.T) {
	s := start(t, t.TempDir(), testConfig())
	publish(t, s, "cycle.h.o.t", 1)
	nc, _ := dial(t, s, quiet())
	own := bridgeSide(t, s)
	forms := map[string]string{
		"$JS.API.CONSUMER.CREATE.CYCLE":             `"ack_policy":"none"`,
		"$JS.API.CONSUMER.CREATE.CYCLE.a":           `"name":"a","ack_policy":"none"`,
		"$JS.API.CONSUMER.CREATE.CYCLE.b.cycle.h.>": `"name":"b","ack_policy":"none","filter_subject":"cycle.h.>"`,
		"$JS.API.CONSUMER.DURABLE.CREATE.CYCLE.c":   `"durable_name":"c","ack_policy":"none"`,
	}
	for subject, config := range forms {
		for target, refused := range map[string]bool{"$JS.API.STREAM.DELETE.CYCLE": true, "cycle.h.o.t": true, "mine": false} {
			body := fmt.Sprintf(`{"stream_name":"CYCLE","config":{%s,"deliver_subject":%q}}`, config, target)
			m, err := nc.Request(subject, []byte(body), 5*time.Second)
			if err != nil {
				t.Fatalf("%s: %v", subject, err)
			}
			var answer server.JSApiConsumerCreateResponse
			if err := json.Unmarshal(m.Data, &answer); err != nil {
				t.Fatal(err)
			}
			if (answer.Error != nil) != refused {
				t.Errorf("%s to %s: answer %s, want refused = %v", subject, target, m.Data, refused)
			}
			if !refused && answer.Error == nil && answer.Config.DeliverSubject != target {
				t.Errorf("%s to %s: the answer names %s", subject, target, answer.Config.DeliverSubject)
			}
		}
	}
	st, err := own.Stream(t.Context(), CycleStream)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for ci := range st.ListConsumers(t.Context()).Info() {
		n++
		if got, want := ci.Config.DeliverSubject, pushPrefix+readersAccount+".mine"; got != want {
			t.Errorf("consumer %s delivers to %q, want %q", ci.Name, got, want)
		}
	}
	if n != len(forms) {
		t.Errorf("%d consumers, want %d", n, len(forms))
	}
}
