package natsserver

import (
	"context"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/cycle-bridge/cycle-bridge/bridge"
	"github.com/cycle-bridge/cycle-bridge/bridge/setting"
)

// The stream that consumers read, and its subjects.
const (
	CycleStream   = "CYCLE"
	CycleSubjects = "cycle.>"
)

// duplicateWindow is the shortest that JetStream has. The publisher is alone
// and checks sequences; an id costs 108 bytes for as long as the window
// lasts (DESIGN 9).
const duplicateWindow = 100 * time.Millisecond

// ensureCycle makes the stream or brings it to the configuration.
func (s *Server) ensureCycle(ctx context.Context) error {
	const op = "make stream " + CycleStream
	nc, err := Connect(s.Cycle(), "cycle-bridge stream setup")
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return bridge.Errorf(bridge.KindUnknown, op, "%w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	limit := s.cycleMax
	if old, err := js.Stream(ctx, CycleStream); err == nil && s.config.Stream.MaxBytes == setting.SizeAuto {
		// A disk that others fill must not make us remove what is kept.
		limit = max(limit, old.CachedInfo().Config.MaxBytes)
	}
	st, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name:               CycleStream,
		Description:        "events of Cycle hubs; written by cycle-bridge alone",
		Subjects:           []string{CycleSubjects},
		Storage:            jetstream.FileStorage,
		Retention:          jetstream.LimitsPolicy,
		Discard:            jetstream.DiscardOld,
		MaxAge:             s.config.Stream.MaxAge,
		MaxBytes:           limit,
		Duplicates:         duplicateWindow,
		AllowAtomicPublish: true,
		AllowDirect:        true,
		// Nothing but the limits removes an event: a hole is then damage.
		DenyDelete: true,
		DenyPurge:  true,
	})
	if err != nil {
		return &bridge.Error{
			Op: op, Kind: bridge.KindUnavailable, Err: err,
			Hint: "look at the free space and the permissions of " + s.store,
		}
	}
	s.log.LogAttrs(ctx, slog.LevelDebug, "stream ready", slog.String("stream", CycleStream),
		slog.Int64("max_bytes", st.CachedInfo().Config.MaxBytes))
	return nil
}
