package kafkatest

import (
	"context"
	"testing"
	"time"
)

// TestLifecycle: a broker that is killed comes back on its ports.
func TestLifecycle(t *testing.T) {
	begin := time.Now()
	c := Start(t, Options{})
	t.Logf("started in %v", time.Since(begin))
	c.Kill(0)
	if n, err := countBrokers(t.Context(), c.Brokers()[0]); err == nil {
		t.Fatalf("a killed broker answers: %d brokers", n)
	}
	if err := c.Restart(0); err != nil {
		t.Fatal(err)
	}
	if n, err := countBrokers(context.Background(), c.Brokers()[0]); err != nil || n != 1 {
		t.Errorf("got %d brokers, %v; want 1", n, err)
	}
}
