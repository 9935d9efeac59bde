package kafka

import (
	"os"
	"sync"
	"testing"

	"github.com/cycle-bridge/cycle-bridge/sinks/kafka/kafkatest"
)

// shared is the real broker of all tests that do not harm it.
type shared struct {
	once    sync.Once
	cluster *kafkatest.Cluster
	err     error
}

var realKafka shared

// realBroker returns the shared broker, started on first use.
func realBroker(t testing.TB) *kafkatest.Cluster {
	t.Helper()
	realKafka.once.Do(func() { realKafka.cluster, realKafka.err = kafkatest.Launch(kafkatest.Options{}) })
	kafkatest.Need(t, realKafka.err)
	return realKafka.cluster
}

func TestMain(m *testing.M) {
	code := m.Run()
	if realKafka.cluster != nil {
		realKafka.cluster.Stop()
	}
	os.Exit(code)
}
