package main

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/cycle-bridge/cycle-bridge/bridge/hub/hubsim"
	"github.com/cycle-bridge/cycle-bridge/sinks/kafka/kafkatest"
)

func kafkaConfig(t *testing.T, sim *hubsim.Server, api, dir string, brokers []string) string {
	t.Helper()
	return writeFile(t, "c.yaml", fmt.Sprintf(`
hubs: [{name: h, id: %s, api_key: %s, api_url: %q}]
journal: {dir: %q, max_bytes: 512MiB}
nats: {listen: ""}
http: {listen: "127.0.0.1:0"}
sinks: [{name: kafka, type: kafka, brokers: [%q], partitions: 6}]
`, sim.HubID(), sim.APIKey(), api, dir, strings.Join(brokers, `", "`)))
}

// kafkaReader reads the Kafka topics of the bridge with a client that is not kafka-go.
func kafkaReader(t *testing.T, brokers []string) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(
		kgo.SeedBrokers(brokers...), kgo.ConsumeRegex(), kgo.ConsumeTopics(`cycle\..*`),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(200*time.Millisecond), kgo.MetadataMinAge(100*time.Millisecond),
		kgo.MetadataMaxAge(time.Second),
	)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// seenInKafka checks every record that comes: no number twice (unless it is
// the same event), and in order for its object within a partition.
type seenInKafka struct {
	t       *testing.T
	numbers map[uint64]string // event id by number
	doubled int
	last    map[string]uint64 // highest number by object, first deliveries only
	total   int
}

func (s *seenInKafka) add(r *kgo.Record) {
	n, ok := sequence(r.Value)
	if !ok {
		return
	}
	headers := make(map[string]string)
	for _, h := range r.Headers {
		headers[h.Key] = string(h.Value)
	}
	id, object := headers["Cycle-Event-Id"], headers["Cycle-Object-Id"]
	if string(r.Key) != object || r.Topic != "cycle."+strings.SplitN(headers["Cycle-Topic"], ".", 2)[0] {
		s.t.Fatalf("number %d: key %q, Kafka topic %s, headers %v", n, r.Key, r.Topic, headers)
	}
	s.total++
	if before, seen := s.numbers[n]; seen {
		if before != id {
			s.t.Fatalf("number %d came as %s and as %s", n, before, id)
		}
		s.doubled++
		return
	}
	s.numbers[n] = id
	if where := r.Topic + "/" + object; s.last[where] > n {
		s.t.Fatalf("%s: number %d came after %d", where, n, s.last[where])
	} else {
		s.last[where] = n
	}
}

// upTo reads until so many different numbers have come.
func (s *seenInKafka) upTo(c *kgo.Client, want int) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 60*time.Second)
	defer cancel()
	for len(s.numbers) < want {
		f := c.PollFetches(ctx)
		if ctx.Err() != nil {
			s.t.Fatalf("got %d of %d notifications from Kafka", len(s.numbers), want)
		}
		f.EachRecord(s.add)
	}
}

func newSeenInKafka(t *testing.T) *seenInKafka {
	return &seenInKafka{t: t, numbers: make(map[uint64]string), last: make(map[string]uint64)}
}

func TestKafkaEndToEnd(t *testing.T) {
	cluster := kafkatest.Start(t, kafkatest.Options{})
	brokers := cluster.Brokers()
	sim, api := simulator(t, hubsim.Options{Numbered: true})
	p := startProcess(t, nil, "run", "-c", kafkaConfig(t, sim, api, t.TempDir(), brokers))
	waitReady(t, p)

	const n = 30_000
	sim.Burst(n)
	seen := newSeenInKafka(t)
	seen.upTo(kafkaReader(t, brokers), n)
	if seen.doubled != 0 || seen.total != n {
		t.Errorf("got %d records, %d doubled; want %d and none", seen.total, seen.doubled, n)
	}
	p.signal(syscall.SIGTERM)
	if code := p.wait(); code != exitDone {
		t.Errorf("got exit code %d after SIGTERM", code)
	}

	t.Run("README's kcat", func(t *testing.T) {
		kcat := need(t, "kcat", onPath("kcat"))
		var line string
		for _, block := range readmeBlocks(t, "sh") {
			for l := range strings.Lines(block) {
				if strings.HasPrefix(l, "kcat ") {
					line = strings.TrimSpace(l)
				}
			}
		}
		line = strings.ReplaceAll(strings.Replace(line, "kcat ", kcat+" -q -e ", 1), "127.0.0.1:9092", brokers[0])
		out, err := exec.CommandContext(t.Context(), "sh", "-c", line).Output()
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		want := 0
		for range strings.Lines(string(out)) {
			want++
		}
		if want == 0 || !strings.Contains(string(out), "Cycle-Event-Id=") {
			t.Errorf("%s: got %d lines: %.300s", line, want, out)
		}
	})
}

// Bridge and broker are killed under load: nothing is missing, what the
// bridge repeats has the same id, and the order of each object holds.
func TestKafkaSurvivesKills(t *testing.T) {
	if testing.Short() {
		t.Skip("half a minute of kills; not with -short")
	}
	cluster := kafkatest.Start(t, kafkatest.Options{})
	brokers := cluster.Brokers()
	sim, api := simulator(t, hubsim.Options{Numbered: true})
	dir := t.TempDir()
	cfg := kafkaConfig(t, sim, api, dir, brokers)
	p := startProcess(t, nil, "run", "-c", cfg)
	waitReady(t, p)

	// What is sent while nobody listens is not in the account: the
	// simulator sends only while the bridge is connected, and the bridge is
	// killed only when its journal has everything.
	sent := uint64(0)
	send := func(base string, n int) {
		t.Helper()
		sim.Burst(n)
		sent += uint64(n)
		deadline := time.Now().Add(30 * time.Second)
		for lastOffset(t, base) < sent {
			if time.Now().After(deadline) {
				t.Fatalf("the journal has %d of %d", lastOffset(t, base), sent)
			}
			time.Sleep(time.Millisecond)
		}
	}
	base := p.attr("status page", "url")
	for round := range 4 {
		send(base, 20_000)
		if round%2 == 0 {
			p.signal(syscall.SIGKILL)
			p.wait()
			p = startProcess(t, nil, "run", "-c", cfg)
			base = waitConnected(t, p)
			continue
		}
		cluster.Kill(0)
		send(base, 5_000)
		if err := cluster.Restart(0); err != nil {
			t.Fatal(err)
		}
	}
	send(base, 1000)
	seen := newSeenInKafka(t)
	seen.upTo(kafkaReader(t, brokers), int(sent))
	t.Logf("%d notifications, %d repeated after 2 kills of the bridge and 2 of the broker", sent, seen.doubled)
}

func waitConnected(t *testing.T, p *proc) string {
	t.Helper()
	base := p.attr("status page", "url")
	p.line("hub connected")
	return base
}

// SIGTERM under load settles what is on its way and leaves exact cursors: the
// next start doubles nothing and misses nothing that was stored.
func TestKafkaTermUnderLoad(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a Kafka of its own; not with -short")
	}
	cluster := kafkatest.Start(t, kafkatest.Options{})
	brokers := cluster.Brokers()
	sim, api := simulator(t, hubsim.Options{Numbered: true, Rate: 10_000, MinConnections: 1})
	cfg := kafkaConfig(t, sim, api, t.TempDir(), brokers)
	sim.Start()
	for range 4 {
		p := startProcess(t, nil, "run", "-c", cfg)
		p.line("sink started")
		time.Sleep(700 * time.Millisecond)
		p.signal(syscall.SIGTERM)
		if code := p.wait(); code != exitDone {
			t.Fatalf("got exit code %d after SIGTERM", code)
		}
	}
	sim.Stop()
	p := startProcess(t, nil, "run", "-c", cfg)
	waitReady(t, p)
	stored := lastOffset(t, p.attr("status page", "url"))
	seen := newSeenInKafka(t)
	seen.upTo(kafkaReader(t, brokers), int(stored))
	if seen.doubled != 0 || uint64(seen.total) != stored || stored < 1000 {
		t.Errorf("got %d records, %d doubled, of %d stored", seen.total, seen.doubled, stored)
	}
	t.Logf("%d events through 4 stops", stored)
}
