package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	neturl "net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/segmentio/kafka-go"
	"github.com/spf13/cobra"

	"github.com/cycle-bridge/cycle-bridge/bridge/hub/hubsim"
)

// benchResult is what a reading part of the bench has seen. It is printed as
// one line of JSON when everything has come, or nothing more comes.
type benchResult struct {
	Count     uint64  `json:"count"`
	Missing   uint64  `json:"missing"`
	Doubled   uint64  `json:"doubled"`
	Disorder  uint64  `json:"out_of_order"` // within an object
	FirstSent int64   `json:"first_sent"`   // unix nanoseconds
	LastSeen  int64   `json:"last_seen"`
	P50       float64 `json:"p50_ms"`
	P99       float64 `json:"p99_ms"`
	Max       float64 `json:"max_ms"`
}

// perSecond is the rate from the first notification sent to the last received.
func (r benchResult) perSecond() float64 {
	if r.LastSeen <= r.FirstSent {
		return 0
	}
	return float64(r.Count) / (float64(r.LastSeen-r.FirstSent) / 1e9)
}

// benchQuiet ends a part that waits for events that do not come.
const benchQuiet = 20 * time.Second

// tally checks numbered notifications: every one once, in order per object.
// It is safe for concurrent use.
type tally struct {
	mu     sync.Mutex // guards all below
	want   uint64
	seen   []bool // by number
	last   map[string]uint64
	delays []int64
	result benchResult
	done   chan struct{} // closed when all have come
	moved  time.Time
}

func newTally(want uint64) *tally {
	return &tally{
		want: want, seen: make([]bool, want+1), last: make(map[string]uint64),
		delays: make([]int64, 0, want), done: make(chan struct{}), moved: time.Now(),
	}
}

// add takes one notification. Its number and time stand where the simulator puts them.
func (t *tally) add(raw []byte) {
	now := time.Now().UnixNano()
	seq, ok := number(raw, `"sim_seq":`)
	if !ok {
		return // the bridge's own
	}
	at, _ := number(raw, `"sim_at":`)
	object := text(raw, `"object":{"id":"`)
	t.mu.Lock()
	defer t.mu.Unlock()
	if seq >= uint64(len(t.seen)) {
		return
	}
	if t.seen[seq] {
		t.result.Doubled++
		return
	}
	t.seen[seq] = true
	if t.last[string(object)] > seq {
		t.result.Disorder++
	}
	t.last[string(object)] = seq
	if t.result.FirstSent == 0 || int64(at) < t.result.FirstSent {
		t.result.FirstSent = int64(at)
	}
	t.result.Count++
	t.result.LastSeen, t.moved = now, time.Unix(0, now)
	t.delays = append(t.delays, now-int64(at))
	if t.result.Count == t.want {
		close(t.done)
	}
}

// wait returns when everything has come, or nothing more comes.
func (t *tally) wait(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-t.done:
			return
		case <-ctx.Done():
			return
		case <-tick.C:
			t.mu.Lock()
			quiet := t.result.Count > 0 && time.Since(t.moved) > benchQuiet
			t.mu.Unlock()
			if quiet {
				return
			}
		}
	}
}

func (t *tally) print(w io.Writer) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.result
	r.Missing = t.want - r.Count
	slices.Sort(t.delays)
	if n := len(t.delays); n > 0 {
		ms := func(p float64) float64 { return float64(t.delays[int(p*float64(n-1))]) / 1e6 }
		r.P50, r.P99, r.Max = ms(0.5), ms(0.99), ms(1)
	}
	return json.NewEncoder(w).Encode(r)
}

// number returns the digits after a name in raw.
func number(raw []byte, name string) (uint64, bool) {
	i := bytes.Index(raw, []byte(name))
	if i < 0 {
		return 0, false
	}
	raw = raw[i+len(name):]
	end := 0
	for end < len(raw) && raw[end] >= '0' && raw[end] <= '9' {
		end++
	}
	n, err := strconv.ParseUint(string(raw[:end]), 10, 64)
	return n, err == nil
}

// text returns what stands between a prefix and the next quote.
func text(raw []byte, prefix string) []byte {
	_, after, ok := bytes.Cut(raw, []byte(prefix))
	if !ok {
		return nil
	}
	value, _, _ := bytes.Cut(after, []byte{'"'})
	return value
}

// benchPartCommand is a process of the bench: a reader, a consumer or a server.
func (a *app) benchPartCommand() *cobra.Command {
	var (
		events                   uint64
		url, topic, subject, dir string
		profiles                 string
		partitions               int
	)
	c := &cobra.Command{
		Use: "part socket|kafka|jetstream|nats-server", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if args[0] == "nats-server" {
				if profiles == "" {
					return a.serveNATS(c.Context(), dir)
				}
				stop, err := profile(profiles)
				if err != nil {
					return err
				}
				return errors.Join(a.serveNATS(c.Context(), dir), stop())
			}
			t := newTally(events)
			ctx, cancel := context.WithCancel(c.Context())
			defer cancel()
			var read func(context.Context, *tally) error
			switch args[0] {
			case "socket":
				read = func(ctx context.Context, t *tally) error { return a.readSocket(ctx, url, t) }
			case "kafka":
				read = func(ctx context.Context, t *tally) error { return a.readKafka(ctx, url, topic, partitions, t) }
			case "jetstream":
				read = func(ctx context.Context, t *tally) error { return a.readJetStream(ctx, url, topic, subject, t) }
			default:
				return usage(fmt.Errorf("unknown part %q", args[0]))
			}
			failed := make(chan error, 1)
			go func() { failed <- read(ctx, t) }()
			waited := make(chan struct{})
			go func() { defer close(waited); t.wait(ctx) }()
			select {
			case err := <-failed:
				return err
			case <-waited:
			}
			cancel()
			_ = <-failed // it was told to end
			return t.print(a.out)
		},
	}
	f := c.Flags()
	f.Uint64Var(&events, "events", 0, "notifications to wait for")
	f.StringVar(&url, "url", "", "server")
	f.StringVar(&topic, "topic", "", "Kafka topic or stream")
	f.StringVar(&subject, "subject", ">", "filter")
	f.StringVar(&dir, "dir", "", "data directory")
	f.StringVar(&profiles, "profile", "", "directory for the profiles of nats-server")
	f.IntVar(&partitions, "partitions", 1, "partitions of the topic")
	return c
}

// readSocket reads the hub's socket and does nothing else with what comes: the
// ceiling of everything that is measured behind it. It counts without parsing.
func (a *app) readSocket(ctx context.Context, api string, t *tally) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, api+hubsim.Path, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer sim-key")
	req.Header.Set("X-Hub-Id", hubsim.DefaultHubID)
	client := &http.Client{Timeout: 10 * time.Second}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var body struct{ Data struct{ Token string } }
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
		return err
	}
	ws, answer, err := websocket.Dial(ctx, "ws"+strings.TrimPrefix(api, "http")+hubsim.Path+"?token="+neturl.QueryEscape(body.Data.Token), nil)
	if err != nil {
		return err
	}
	if answer.Body != nil {
		defer answer.Body.Close()
	}
	defer ws.CloseNow()
	ws.SetReadLimit(-1)
	fmt.Fprintln(a.out, "ready")
	buf := make([]byte, 1<<20)
	for n := uint64(1); ; n++ {
		_, r, err := ws.Reader(ctx)
		if err != nil {
			return err
		}
		size := 0
		for {
			k, err := r.Read(buf[size:])
			size += k
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return err
			}
		}
		// The first and the last carry the times; what is between counts.
		if n == 1 || n == t.want {
			t.add(buf[:size])
		}
		if n == t.want {
			t.mu.Lock()
			t.result.Count = n
			t.mu.Unlock()
			close(t.done)
			<-ctx.Done()
			return nil
		}
	}
}

// readKafka consumes every partition of a topic.
func (a *app) readKafka(ctx context.Context, brokers, topic string, partitions int, t *tally) error {
	client := &kafka.Client{Addr: kafka.TCP(strings.Split(brokers, ",")...), Transport: &kafka.Transport{MetadataTTL: time.Second}}
	fmt.Fprintln(a.out, "ready")
	errs := make(chan error, partitions)
	for p := range partitions {
		go func() { errs <- readPartition(ctx, client, topic, p, t) }()
	}
	var all []error
	for range partitions {
		all = append(all, <-errs)
	}
	return errors.Join(all...)
}

func readPartition(ctx context.Context, client *kafka.Client, topic string, partition int, t *tally) error {
	var value []byte
	for offset := int64(0); ctx.Err() == nil; {
		f, err := client.Fetch(ctx, &kafka.FetchRequest{
			Topic: topic, Partition: partition, Offset: offset, MinBytes: 1, MaxBytes: 4 << 20, MaxWait: 200 * time.Millisecond,
		})
		if err == nil {
			err = f.Error
		}
		if err != nil { // the topic is made by the bridge at its start
			select {
			case <-time.After(50 * time.Millisecond):
			case <-ctx.Done():
			}
			continue
		}
		for {
			rec, err := f.Records.ReadRecord()
			if err != nil {
				break // the end of the answer, or a record cut by its limit
			}
			if rec.Offset < offset {
				continue
			}
			if value, err = appendAll(value[:0], rec.Value); err != nil {
				return err
			}
			t.add(value)
			offset = rec.Offset + 1
		}
	}
	return nil
}

func appendAll(dst []byte, r io.Reader) ([]byte, error) {
	b := bytes.NewBuffer(dst)
	_, err := b.ReadFrom(r)
	return b.Bytes(), err
}

// readJetStream consumes a stream in order, as a client of its own.
func (a *app) readJetStream(ctx context.Context, url, stream, subject string, t *tally) error {
	nc, err := nats.Connect(url, nats.MaxReconnects(-1))
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	c, err := js.OrderedConsumer(ctx, stream, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{subject}, DeliverPolicy: jetstream.DeliverAllPolicy,
	})
	if err != nil {
		return err
	}
	run, err := c.Consume(func(m jetstream.Msg) { t.add(m.Data()) }, jetstream.PullMaxMessages(5000))
	if err != nil {
		return err
	}
	fmt.Fprintln(a.out, "ready")
	<-ctx.Done()
	run.Stop()
	<-run.Closed()
	return nil
}

// serveNATS is a NATS server as it comes: JetStream, its own sync policy.
func (a *app) serveNATS(ctx context.Context, dir string) error {
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: -1, JetStream: true, StoreDir: dir, NoSigs: true, NoLog: true,
	})
	if err != nil {
		return err
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		return errors.New("the NATS server does not start")
	}
	fmt.Fprintln(a.out, s.ClientURL())
	<-ctx.Done()
	s.Shutdown()
	s.WaitForShutdown()
	return os.RemoveAll(dir)
}
