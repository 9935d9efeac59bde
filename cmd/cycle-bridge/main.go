// Command cycle-bridge holds the notification WebSocket of a Cycle hub and
// publishes what comes to NATS, JetStream, Kafka and files.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := withSignals(context.Background(), func() { os.Exit(exitFailed) })
	code := execute(ctx, &streams{in: os.Stdin, out: os.Stdout, err: os.Stderr}, os.Environ(), os.Args[1:])
	stop()
	os.Exit(code)
}

// withSignals returns a context that the first SIGINT or SIGTERM ends; the
// second one calls quit.
func withSignals(ctx context.Context, quit func()) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		for n := 0; ; n++ {
			select {
			case <-signals:
				if n > 0 {
					quit()
				}
				cancel()
			case <-done:
				return
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		cancel()
	}
}
