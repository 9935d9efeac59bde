package hub

import "time"

// Timings are the durations of a Feed. Zero members get their default.
type Timings struct {
	Token     time.Duration // for the token's request, body included; 10 s
	Dial      time.Duration // for the upgrade, TLS included; 10 s
	Ping      time.Duration // between pings; 20 s
	Pong      time.Duration // for a pong, and for silence to be death; 20 s
	Message   time.Duration // for a message that began to end; 30 s
	RetryBase time.Duration // first wait of the backoff with full jitter; 250 ms
	RetryMax  time.Duration // its largest; 30 s
	Settled   time.Duration // a connection that lived so long resets the backoff; 60 s
	Slow      time.Duration // between dials while key, capability or hub are wrong, 20 % more or less; 60 s
	Repeat    time.Duration // between log lines about the same trouble; 1 min
	Goodbye   time.Duration // at the end, for the hub to answer the close frame; 2 s
	HandOver  time.Duration // at the end, for the inlet to take the last frames; 10 s
}

func (t Timings) withDefaults() Timings {
	for _, d := range []struct {
		to   *time.Duration
		want time.Duration
	}{
		{&t.Token, 10 * time.Second},
		{&t.Dial, 10 * time.Second},
		{&t.Ping, 20 * time.Second},
		{&t.Pong, 20 * time.Second},
		{&t.Message, 30 * time.Second},
		{&t.RetryBase, 250 * time.Millisecond},
		{&t.RetryMax, 30 * time.Second},
		{&t.Settled, 60 * time.Second},
		{&t.Slow, 60 * time.Second},
		{&t.Repeat, time.Minute},
		{&t.Goodbye, 2 * time.Second},
		{&t.HandOver, 10 * time.Second},
	} {
		if *d.to <= 0 {
			*d.to = d.want
		}
	}
	return t
}
