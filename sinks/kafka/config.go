package kafka

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/cycle-bridge/cycle-bridge/bridge"
	"github.com/cycle-bridge/cycle-bridge/bridge/setting"
	"github.com/cycle-bridge/cycle-bridge/sinks/plan"
)

// Config is a sink of type kafka.
type Config struct {
	Brokers         []string      `yaml:"brokers" doc:"host:port of one or more brokers to begin with; required"`
	Delivery        string        `yaml:"delivery" doc:"idempotent: every message once while the process lives"`
	Topic           string        `yaml:"topic" doc:"template of the Kafka topic; the default of every route"`
	Key             string        `yaml:"key" doc:"template of the key that order is kept for; the default of every route"`
	Format          string        `yaml:"format" doc:"raw: the notification byte for byte; envelope: in a JSON envelope"`
	From            string        `yaml:"from" doc:"where a new sink begins: start or now; empty: start at the journal's first run, else now"`
	Route           []Route       `yaml:"route" doc:"rules, the first match wins; none: everything matches"`
	Create          string        `yaml:"create" doc:"Kafka topics that do not exist: missing creates them, never refuses to run without them"`
	Partitions      int           `yaml:"partitions" doc:"partitions of created Kafka topics; 0: the brokers' default"`
	Replication     int           `yaml:"replication" doc:"replication of created Kafka topics; 0: the brokers' default"`
	Compression     string        `yaml:"compression" doc:"none, gzip, snappy, lz4 or zstd"`
	ClientID        string        `yaml:"client_id" doc:"name that brokers know this client by, for quotas and logs"`
	TransactionalID string        `yaml:"transactional_id" doc:"transactional id of exactly-once; empty: cycle-bridge.<journal id>.<sink>"`
	Timeout         time.Duration `yaml:"timeout" doc:"how long a broker may take to get a batch acknowledged by its replicas"`
	MaxBatchBytes   setting.Size  `yaml:"max_batch_bytes" doc:"largest record batch; a Kafka topic's own limit less 10 % holds where it is smaller"`
	TLS             setting.TLS   `yaml:"tls" doc:"TLS to the brokers"`
	SASL            SASL          `yaml:"sasl" doc:"user and password"`
	Insecure        bool          `yaml:"insecure" doc:"allow sasl PLAIN without TLS: whoever sees the traffic has the password"`
}

// Route is one rule of a Kafka sink.
type Route struct {
	Match  string `yaml:"match" doc:"pattern over the topic: * one segment, > the rest"`
	When   string `yaml:"when" doc:"condition in CEL; not available in this version"`
	Topic  string `yaml:"topic" doc:"template of the Kafka topic; empty: the sink's"`
	Key    string `yaml:"key" doc:"template of the key; empty: the sink's"`
	Format string `yaml:"format" doc:"raw or envelope; empty: the sink's"`
}

// SASL is how the sink signs in at the brokers.
type SASL struct {
	Mechanism string         `yaml:"mechanism" doc:"PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512; empty: no SASL"`
	Username  string         `yaml:"username" doc:"user name"`
	Password  setting.Secret `yaml:"password" doc:"password"`
}

// On reports whether SASL is to be used.
func (s SASL) On() bool { return s.Mechanism != "" || s.Username != "" || !s.Password.IsZero() }

// Values of Config.Delivery.
const (
	deliveryIdempotent  = "idempotent"
	deliveryExactlyOnce = "exactly-once"
)

// Values of Config.Create.
const (
	createMissing = "missing"
	createNever   = "never"
)

// Values of SASL.Mechanism.
const (
	mechanismPlain    = "PLAIN"
	mechanismSHA256   = "SCRAM-SHA-256"
	mechanismSHA512   = "SCRAM-SHA-512"
	defaultClientID   = "cycle-bridge"
	defaultTopic      = "cycle.{family}"
	defaultKey        = "{object|topic}"
	defaultBatchBytes = 900_000
	minBatchBytes     = 1 << 10
	maxPartitions     = 100_000
)

// Defaults returns a Config with every default.
func Defaults() Config {
	return Config{
		Delivery: deliveryIdempotent, Topic: defaultTopic, Key: defaultKey, Format: "raw",
		Create: createMissing, Compression: "none", ClientID: defaultClientID,
		Timeout: 10 * time.Second, MaxBatchBytes: defaultBatchBytes,
	}
}

// Plan returns what the configuration says about routing and encoding.
func (c Config) Plan() bridge.Plan {
	p := bridge.Plan{
		Kind: bridge.DestinationKafka, From: c.From, Format: c.Format, Destination: c.Topic, Key: c.Key,
	}
	for _, r := range c.Route {
		p.Rules = append(p.Rules, bridge.Rule{
			Match: r.Match, When: r.When, Destination: r.Topic, Key: r.Key, Format: r.Format,
		})
	}
	return p
}

// Validate returns everything that is wrong with the configuration and can be
// told without asking a broker. Templates, patterns and conditions are checked
// by the router.
func (c Config) Validate() []setting.Mistake {
	var ms []setting.Mistake
	add := func(key, format string, args ...any) {
		ms = append(ms, setting.Mistake{Key: key, Text: fmt.Sprintf(format, args...)})
	}
	oneOf := func(key, value string, allowed ...string) {
		ms = append(ms, setting.OneOf(key, value, allowed...)...)
	}
	if len(c.Brokers) == 0 {
		add("brokers", "required: host:port of at least one broker")
	}
	for i, b := range c.Brokers {
		if err := checkAddress(b); err != "" {
			add(fmt.Sprintf("brokers[%d]", i), "%s", err)
		}
	}
	switch c.Delivery {
	case deliveryIdempotent:
	case deliveryExactlyOnce:
		add("delivery", "exactly-once comes in a later version; use idempotent")
	default:
		oneOf("delivery", c.Delivery, deliveryIdempotent)
	}
	oneOf("create", c.Create, createMissing, createNever)
	if _, err := parseCompression(c.Compression); err != nil {
		add("compression", "%v", err)
	}
	if c.Partitions < 0 || c.Partitions > maxPartitions {
		add("partitions", "%d is not a number of partitions: want 1 to %d, or 0 for the brokers' default", c.Partitions, maxPartitions)
	}
	if c.Replication < 0 || c.Replication > 100 {
		add("replication", "%d is not a replication factor: want 1 or more, or 0 for the brokers' default", c.Replication)
	}
	if c.Timeout < time.Second || c.Timeout > 5*time.Minute {
		add("timeout", "%v is out of range: want 1s to 5m", c.Timeout)
	}
	if c.MaxBatchBytes < minBatchBytes || c.MaxBatchBytes > 64<<20 {
		add("max_batch_bytes", "%s is out of range: want 1KiB to 64MiB", c.MaxBatchBytes)
	}
	if strings.ContainsFunc(c.ClientID, func(r rune) bool { return r < ' ' || r > '~' }) || len(c.ClientID) > 255 {
		add("client_id", "want at most 255 printable ASCII characters")
	}
	ms = append(ms, c.validateSASL()...)
	return append(ms, plan.Mistakes(c.Plan(), "topic")...)
}

func (c Config) validateSASL() []setting.Mistake {
	if !c.SASL.On() {
		return nil
	}
	var ms []setting.Mistake
	add := func(key, text string) { ms = append(ms, setting.Mistake{Key: key, Text: text}) }
	switch c.SASL.Mechanism {
	case mechanismPlain:
		if !c.TLS.On() && !c.Insecure {
			add("sasl.mechanism", "PLAIN without TLS sends the password in clear text; set tls, use SCRAM-SHA-512, or set insecure: true")
		}
	case mechanismSHA256, mechanismSHA512:
	default:
		add("sasl.mechanism", fmt.Sprintf("%q is not one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512", c.SASL.Mechanism))
	}
	if c.SASL.Username == "" {
		add("sasl.username", "required with sasl")
	}
	if c.SASL.Password.IsZero() {
		add("sasl.password", "required with sasl (or sasl.password_file)")
	}
	return ms
}

// checkAddress returns what is wrong with a broker's address, or "". It never
// repeats the address where that could hold a password.
func checkAddress(addr string) string {
	if strings.Contains(addr, "@") || strings.Contains(addr, "://") {
		return "want host:port only; user and password belong under sasl"
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil || host == "" {
		return fmt.Sprintf("%q is not host:port, for example kafka-1:9092", addr)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Sprintf("%q has no valid port, for example kafka-1:9092", addr)
	}
	return ""
}
