package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// benchOptions say what is measured.
type benchOptions struct {
	sinks   []string
	brokers string
	nats    string
	events  uint64
	slow    uint64 // events of the latency run
	rate    float64
	rounds  int
	output  string
	dir     string
	profile string
	each    bool
}

var benchSinks = []string{"embedded", "jetstream", "kafka"}

const benchPartitions = 6

func (a *app) benchCommand() *cobra.Command {
	var o benchOptions
	c := &cobra.Command{
		Use:   "bench",
		Short: "Measure what this machine carries, hub to sink",
		Long: `Measure the whole path on this machine: a simulated hub, the bridge, the sink
and a consumer, each a process of its own, so that the CPU of the bridge is told apart.

For each sink: the rate at which numbered notifications of 400 bytes go from the
hub to the consumer; the same as a share of what the hub's socket gives when
it is read and thrown away, in the same run (machines differ, this figure less);
and at 1,000 a second the time from the hub to the consumer. The consumer checks that
nothing is missing, doubled or out of order for its object.

  cycle-bridge bench                               embedded NATS, and a NATS server of its own
  cycle-bridge bench --sinks kafka --brokers 127.0.0.1:9092`,
		RunE: func(c *cobra.Command, _ []string) error {
			for _, s := range o.sinks {
				if !slices.Contains(benchSinks, s) {
					return usage(fmt.Errorf("unknown sink %q: want %s", s, strings.Join(benchSinks, ", ")))
				}
				if s == "kafka" && o.brokers == "" {
					return usage(errors.New("the sink kafka needs --brokers"))
				}
			}
			if o.events < 1000 || o.slow < 100 || o.rounds < 1 {
				return usage(errors.New("want --events from 1000, --slow-events from 100, --rounds from 1"))
			}
			return a.bench(c.Context(), o)
		},
	}
	f := c.Flags()
	f.StringSliceVar(&o.sinks, "sinks", []string{"embedded", "jetstream"}, "sinks to measure: "+strings.Join(benchSinks, ", "))
	f.StringVar(&o.brokers, "brokers", "", "Kafka to use (a topic cycle-bridge-bench-… is made and left there)")
	f.StringVar(&o.nats, "nats", "", "NATS server with JetStream for the sink jetstream; default one of its own")
	f.Uint64Var(&o.events, "events", 1_000_000, "notifications of a throughput run")
	f.Uint64Var(&o.slow, "slow-events", 10_000, "notifications of a latency run")
	f.Float64Var(&o.rate, "rate", 1000, "notifications a second in a latency run")
	f.IntVar(&o.rounds, "rounds", 3, "throughput runs; the median is shown")
	f.StringVar(&o.dir, "dir", "", "where journals are written; default a temporary directory")
	f.BoolVar(&o.each, "write-each", true, "the hub writes every notification with a call of its own; false: those that wait together")
	f.StringVar(&o.profile, "profile", "", "write the bridge's profiles of the last throughput run into this directory")
	f.StringVarP(&o.output, "output", "o", "table", "table or json")
	c.AddCommand(a.benchPartCommand())
	return c
}

// benchRow is what was measured for one sink.
type benchRow struct {
	Sink       string        `json:"sink"`
	PerSecond  float64       `json:"events_per_second"`
	Socket     float64       `json:"socket_events_per_second"`
	Share      float64       `json:"share_of_socket"`
	CPU        float64       `json:"bridge_cpu_seconds_per_million"`
	SlowCPU    float64       `json:"bridge_cpu_seconds_per_million_at_rate"`
	RSS        float64       `json:"bridge_peak_rss_mib"`
	Throughput []benchResult `json:"throughput_runs"`
	Latency    benchResult   `json:"latency_run"`
}

func (a *app) bench(ctx context.Context, o benchOptions) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(o.dir, "cycle-bridge-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bencher{app: a, o: o, self: self, dir: dir}
	fmt.Fprintf(a.err, "%d cores, %s/%s, %s; journals in %s\n", runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, buildVersion(), dir)
	var rows []benchRow
	for _, sink := range o.sinks {
		row, err := b.measure(ctx, sink)
		if err != nil {
			return fmt.Errorf("%s: %w", sink, err)
		}
		rows = append(rows, row)
	}
	if o.output == "json" {
		enc := json.NewEncoder(a.out)
		enc.SetIndent("", "  ")
		return enc.Encode(rows)
	}
	b.print(rows)
	return nil
}

func (b *bencher) print(rows []benchRow) {
	w := b.out
	fmt.Fprintf(w, "%-10s %12s %12s %7s %12s %10s | %8s %8s %8s %12s  %s\n", "sink", "events/s", "socket/s", "share",
		"CPU-s/M", "RSS MiB", "p50 ms", "p99 ms", "max ms", "CPU-s/M", "missing/doubled/out of order")
	for _, r := range rows {
		var bad [3]uint64
		for _, t := range append(slices.Clone(r.Throughput), r.Latency) {
			bad[0], bad[1], bad[2] = bad[0]+t.Missing, bad[1]+t.Doubled, bad[2]+t.Disorder
		}
		fmt.Fprintf(w, "%-10s %12.0f %12.0f %7.2f %12.2f %10.0f | %8.2f %8.2f %8.2f %12.0f  %d/%d/%d\n", r.Sink, r.PerSecond, r.Socket, r.Share,
			r.CPU, r.RSS, r.Latency.P50, r.Latency.P99, r.Latency.Max, r.SlowCPU, bad[0], bad[1], bad[2])
	}
	how := "each with a write of its own"
	if !b.o.each {
		how = "many with a write"
	}
	fmt.Fprintf(w, "the hub sends notifications %s\n", how)
	fmt.Fprintf(w, "left of the bar as fast as it goes, median of %d runs of %d; right of it at %.0f/s, %d events\n",
		b.o.rounds, b.o.events, b.o.rate, b.o.slow)
}

// bencher starts the processes of a measurement.
type bencher struct {
	*app
	o    benchOptions
	self string
	dir  string
	runs int
}

func (b *bencher) measure(ctx context.Context, sink string) (benchRow, error) {
	row := benchRow{Sink: sink}
	var rates, sockets, cpus []float64
	for i := range b.o.rounds {
		socket, err := b.socket(ctx)
		if err != nil {
			return row, fmt.Errorf("socket alone: %w", err)
		}
		r, err := b.path(ctx, sink, b.o.events, 0)
		if err != nil {
			return row, err
		}
		row.Throughput = append(row.Throughput, r.benchResult)
		rates, sockets = append(rates, r.perSecond()), append(sockets, socket)
		cpus = append(cpus, r.cpu.Seconds()/float64(b.o.events)*1e6)
		row.RSS = max(row.RSS, r.rss)
		fmt.Fprintf(b.err, "%s run %d: %.0f events/s, socket alone %.0f/s; CPU-s a million: bridge %.2f, %s\n",
			sink, i+1, r.perSecond(), socket, cpus[i], r.others)
	}
	row.PerSecond, row.Socket, row.CPU = median(rates), median(sockets), median(cpus)
	row.Share = row.PerSecond / row.Socket
	slow, err := b.path(ctx, sink, b.o.slow, b.o.rate)
	if err != nil {
		return row, err
	}
	row.Latency = slow.benchResult
	row.SlowCPU = slow.cpu.Seconds() / float64(b.o.slow) * 1e6
	return row, nil
}

func median(v []float64) float64 {
	v = slices.Clone(v)
	slices.Sort(v)
	return v[len(v)/2]
}

// simulator starts a hub that waits for a line before it sends.
func (b *bencher) simulator(ctx context.Context, events uint64, rate float64) (*child, string, error) {
	c, err := b.start(ctx, "simulate", "--listen", "127.0.0.1:0", "--numbered", "--quiet", "--start-on-stdin", "--wait", "1",
		"--count", fmt.Sprint(events), "--rate", fmt.Sprint(rate), fmt.Sprintf("--write-each=%v", b.o.each))
	if err != nil {
		return nil, "", err
	}
	line, err := c.errLine(ctx, `"url":"`)
	if err != nil {
		c.stop()
		return nil, "", err
	}
	return c, string(text([]byte(line), `"url":"`)), nil
}

// socket measures the hub's socket alone.
func (b *bencher) socket(ctx context.Context) (float64, error) {
	sim, api, err := b.simulator(ctx, b.o.events, 0)
	if err != nil {
		return 0, err
	}
	defer sim.stop()
	reader, err := b.start(ctx, "bench", "part", "socket", "--url", api, "--events", fmt.Sprint(b.o.events))
	if err != nil {
		return 0, err
	}
	defer reader.stop()
	if _, err := reader.outLine(ctx); err != nil {
		return 0, err
	}
	r, err := b.goAndWait(ctx, sim, reader)
	return r.perSecond(), err
}

func (b *bencher) goAndWait(ctx context.Context, sim, reader *child) (benchResult, error) {
	var r benchResult
	if err := sim.send("go\n"); err != nil {
		return r, err
	}
	line, err := reader.outLine(ctx)
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal([]byte(line), &r)
}

type pathResult struct {
	benchResult
	cpu    time.Duration // of the bridge, from the first notification to the last
	rss    float64       // MiB
	others string        // CPU of the other processes, for people
}

// path measures hub to consumer through a bridge with one sink.
func (b *bencher) path(ctx context.Context, sink string, events uint64, rate float64) (r pathResult, err error) {
	b.runs++
	dir := filepath.Join(b.dir, fmt.Sprint(b.runs))
	sim, api, err := b.simulator(ctx, events, rate)
	if err != nil {
		return r, err
	}
	defer sim.stop()
	topic := fmt.Sprintf("cycle-bridge-bench-%d-%d", os.Getpid(), b.runs)
	cfg, reader := b.sinkConfig(sink, topic)
	natsURL := b.o.nats
	var server *child
	if sink == "jetstream" && natsURL == "" {
		args := []string{"bench", "part", "nats-server", "--dir", filepath.Join(dir, "server")}
		if b.o.profile != "" && rate == 0 {
			args = append(args, "--profile", filepath.Join(b.o.profile, "nats-server"))
		}
		server, err = b.start(ctx, args...)
		if err != nil {
			return r, err
		}
		defer server.stop()
		if natsURL, err = server.outLine(ctx); err != nil {
			return r, err
		}
	}
	bridge, addrs, err := b.bridge(ctx, dir, api, strings.ReplaceAll(cfg, "NATSURL", natsURL), rate)
	if err != nil {
		return r, err
	}
	defer bridge.stop()
	if natsURL == "" {
		natsURL = "nats://" + addrs.nats
	}
	args := append([]string{"bench", "part"}, reader...)
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], "NATSURL", natsURL)
	}
	consumer, err := b.start(ctx, append(args, "--events", fmt.Sprint(events))...)
	if err != nil {
		return r, err
	}
	defer consumer.stop()
	if _, err := consumer.outLine(ctx); err != nil {
		return r, err
	}
	before := bridge.cpu()
	r.benchResult, err = b.goAndWait(ctx, sim, consumer)
	r.cpu, r.rss = bridge.cpu()-before, bridge.rss()
	perMillion := func(c *child) float64 { return c.cpu().Seconds() / float64(events) * 1e6 }
	r.others = fmt.Sprintf("hub %.1f, consumer %.1f", perMillion(sim), perMillion(consumer))
	if server != nil {
		r.others += fmt.Sprintf(", NATS server %.1f", perMillion(server))
	}
	if err != nil {
		err = fmt.Errorf("%w\nthe bridge's log:\n%s", err, bridge.log())
	}
	return r, err
}

// sinkConfig returns the sink of the bridge and the consumer that reads it.
func (b *bencher) sinkConfig(sink, topic string) (yaml string, reader []string) {
	switch sink {
	case "kafka":
		return fmt.Sprintf("  - {name: s, type: kafka, brokers: [%q], topic: %s, partitions: %d}\n", b.o.brokers, topic, benchPartitions),
			[]string{"kafka", "--url", b.o.brokers, "--topic", topic, "--partitions", fmt.Sprint(benchPartitions)}
	case "jetstream":
		return fmt.Sprintf("  - {name: s, type: jetstream, url: NATSURL, stream: %s, create: missing, exclusive: true, subject: %q}\n",
				topic, topic+".{object}.{topic}"),
			[]string{"jetstream", "--url", "NATSURL", "--topic", topic, "--subject", topic + ".>"}
	}
	return "  - {name: s, type: jetstream, url: embedded}\n",
		[]string{"jetstream", "--url", "NATSURL", "--topic", "CYCLE", "--subject", "cycle.>"}
}

type bridgeAddrs struct{ nats, http string }

// bridge starts a bridge and waits until every part of it is ready.
func (b *bencher) bridge(ctx context.Context, dir, api, sink string, rate float64) (*child, bridgeAddrs, error) {
	addrs := bridgeAddrs{nats: freeAddr(), http: freeAddr()}
	cfg := fmt.Sprintf(`hubs:
  - {name: bench, id: 60d0fe4f5311236168a109ca, api_key: sim-key, api_url: %q, connections: 1}
journal: {dir: %q, max_bytes: 2GiB}
nats: {listen: %q, stream: {max_bytes: 2GiB}}
http: {listen: %q}
log: {format: json}
sinks:
%s`, api, filepath.Join(dir, "data"), addrs.nats, addrs.http, sink)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, addrs, err
	}
	file := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(file, []byte(cfg), 0o600); err != nil {
		return nil, addrs, err
	}
	args := []string{"run", "-c", file}
	if b.o.profile != "" && rate == 0 {
		args = append(args, "--profile", b.o.profile)
	}
	c, err := b.start(ctx, args...)
	if err != nil {
		return nil, addrs, err
	}
	if err := c.ready(ctx, url.URL{Scheme: "http", Host: addrs.http, Path: "/readyz"}); err != nil {
		c.stop()
		return nil, addrs, fmt.Errorf("the bridge does not get ready: %w\nits log:\n%s", err, c.log())
	}
	return c, addrs, nil
}
