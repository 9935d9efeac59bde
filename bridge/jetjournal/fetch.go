package jetjournal

import (
	"context"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
)

// fetcher reads stretches of a stream by batched direct gets, which come
// straight from the store and skip what is missing. It is for one goroutine.
type fetcher struct {
	l     *link
	sub   *nats.Subscription
	inbox string
	asked uint64 // requests sent
	open  uint64 // the request whose messages come next
}

func (l *link) newFetcher() (*fetcher, error) {
	f := &fetcher{l: l, inbox: l.nc.NewInbox() + "."}
	var err error
	if f.sub, err = l.nc.SubscribeSync(f.inbox + "*"); err != nil {
		return nil, err
	}
	// What may be outstanding is bounded by what was asked for.
	if err := f.sub.SetPendingLimits(-1, -1); err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

// request asks for up to n messages from sequence seq on.
func (f *fetcher) request(stream string, seq uint64, n int) error {
	f.asked++
	body := append([]byte(`{"batch":`), strconv.Itoa(n)...)
	body = append(body, `,"seq":`...)
	body = strconv.AppendUint(body, seq, 10)
	body = append(body, '}')
	return f.l.nc.PublishRequest(f.l.api+"DIRECT.GET."+stream, f.inbox+strconv.FormatUint(f.asked, 36), body)
}

// next returns the next message; seq 0 is the end of the oldest request.
// The data belongs to the caller.
func (f *fetcher) next(ctx context.Context) (seq uint64, data []byte, err error) {
	for {
		m, err := f.sub.NextMsgWithContext(ctx)
		if err != nil {
			return 0, nil, err
		}
		n, err := strconv.ParseUint(m.Subject[len(f.inbox):], 36, 64)
		if err != nil || n <= f.open {
			continue // of a request that was given up
		}
		switch status := m.Header.Get("Status"); status {
		case "":
			seq, err := strconv.ParseUint(m.Header.Get("Nats-Sequence"), 10, 64)
			if err != nil {
				return 0, nil, fmt.Errorf("direct get: sequence: %w", err)
			}
			return seq, m.Data, nil
		case "204", "404":
			f.open = n
			return 0, nil, nil
		case "503":
			f.open = n
			return 0, nil, nats.ErrNoResponders
		default:
			f.open = n
			return 0, nil, fmt.Errorf("direct get: status %s %s", status, m.Header.Get("Description"))
		}
	}
}

// outstanding is the number of requests whose end has not come.
func (f *fetcher) outstanding() int { return int(f.asked - f.open) } //nolint:gosec // two at most

func (f *fetcher) close() {
	// Fails only on a connection that is closed, which ends it as well.
	_ = f.sub.Unsubscribe()
}
