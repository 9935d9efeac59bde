package jetstream

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/cycle-bridge/cycle-bridge/bridge"
	"github.com/cycle-bridge/cycle-bridge/bridge/setting"
	"github.com/cycle-bridge/cycle-bridge/sinks/sinktest"
)

func TestConformance(t *testing.T) {
	for _, v := range []struct {
		name      string
		exclusive bool
		measured  bool // pace decides; else batches wherever they are possible
		stream    jetstream.StreamConfig
	}{
		{"exclusive, batches", true, false, jetstream.StreamConfig{AllowAtomicPublish: true, Duplicates: 100 * time.Millisecond}},
		{"exclusive, singles", true, false, jetstream.StreamConfig{Duplicates: 100 * time.Millisecond}},
		{"shared, batches", false, false, jetstream.StreamConfig{AllowAtomicPublish: true}},
		{"shared, singles", false, false, jetstream.StreamConfig{}},
		{"exclusive, as measured", true, true, jetstream.StreamConfig{AllowAtomicPublish: true, Duplicates: 100 * time.Millisecond}},
	} {
		t.Run(v.name, func(t *testing.T) {
			sinktest.Run(t, sinktest.Harness{
				Features: sinktest.Features{Headers: true, Once: true, MaxBytes: 3 << 20},
				Start: func(t *testing.T) sinktest.Destination {
					n := startNode(t, "")
					v.stream.MaxMsgSize = 2 << 20
					n.makeStream(v.stream)
					conf := n.config()
					conf.Exclusive = v.exclusive
					return sinktest.Destination{
						Open: func(t *testing.T) bridge.Sink {
							s, err := open(conf, sinktest.Env(t, "sink"))
							if err != nil {
								t.Fatal(err)
							}
							s.pace.always = !v.measured
							return s
						},
						Unauthorized: func(t *testing.T) bridge.Sink {
							bad := conf
							bad.Password = setting.NewSecret("wr0ng-s3cr3t")
							s, err := Open(t.Context(), bad, sinktest.Env(t, "sink"))
							if err != nil {
								t.Fatal(err)
							}
							return s
						},
						Received: func(*testing.T) []sinktest.Delivered { return n.received("EVENTS") },
						Down:     func(*testing.T) { n.stop(); n.proxy.cut() },
						Up:       func(*testing.T) { n.start() },
						LoseAnswers: func(_ *testing.T, on bool) {
							n.proxy.deaf.Store(on)
							if !on {
								n.proxy.cut()
							}
						},
						Secrets: []string{password, "wr0ng-s3cr3t"},
					}
				},
			})
		})
	}
}
