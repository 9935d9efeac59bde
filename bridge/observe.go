package bridge

import "time"

// Observer is told what happens, once a batch. Any func may be nil. They are
// called from the working goroutines and must not block.
type Observer struct {
	// Appended: a group of so many events and bytes was stored in d.
	Appended func(d time.Duration, events, bytes int)
	// Published: an attempt with so many messages ended after d.
	Published func(sink string, d time.Duration, messages int, kind Kind, failed int)
	// Delivered: the time from arrival to acceptance of the batch's first message.
	Delivered func(sink string, d time.Duration)
}
