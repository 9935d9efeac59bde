package sinktest

import (
	"context"
	"errors"
	"testing"

	"github.com/cycle-bridge/cycle-bridge/bridge"
)

func memoryHarness(once bool, limit int) Harness {
	return Harness{
		Features: Features{Headers: true, Keys: true, Time: true, Once: once, MaxBytes: limit},
		Start: func(t *testing.T) Destination {
			store := NewStore()
			set := func(kind bridge.Kind, applied bool) func(*testing.T) {
				return func(*testing.T) {
					if kind == bridge.KindUnknown {
						store.SetFault(nil)
						return
					}
					store.SetFault(func(int, *bridge.Message) Fault {
						return Fault{Err: bridge.Errorf(kind, "memory publish", "%v", kind), Applied: applied}
					})
				}
			}
			lost := false
			d := Destination{
				Open: func(*testing.T) bridge.Sink {
					if once {
						return NewOnceMemory(store, limit)
					}
					return NewMemory(store, limit)
				},
				Received: func(*testing.T) []Delivered { return store.Received() },
				Down:     set(bridge.KindUnavailable, false),
				Up:       set(bridge.KindUnknown, false),
				LoseAnswers: func(t *testing.T, on bool) {
					lost = on
					store.SetFault(func(int, *bridge.Message) Fault {
						if lost {
							return Fault{Err: errors.New("no answer"), Applied: true}
						}
						return Fault{}
					})
				},
				Secrets: []string{"s3cr3t"},
			}
			d.Unauthorized = func(t *testing.T) bridge.Sink {
				set(bridge.KindMisconfigured, false)(t)
				return d.Open(t)
			}
			return d
		},
	}
}

func TestMemory(t *testing.T)     { Run(t, memoryHarness(false, 1<<21)) }
func TestOnceMemory(t *testing.T) { Run(t, memoryHarness(true, 4096)) }

func TestStoreScript(t *testing.T) {
	store := NewStore()
	sink := NewMemory(store, 0)
	msgs := Messages(1, 3, 1, func(int) string { return "d" })
	results := make([]error, 3)

	store.FailNext(1, bridge.Errorf(bridge.KindThrottled, "x", "slow down"))
	sink.Publish(t.Context(), msgs, results)
	for i, err := range results {
		if bridge.KindOf(err) != bridge.KindThrottled {
			t.Errorf("result %d: got %v, want throttled", i, err)
		}
	}
	clear(results)
	store.SetFault(func(_ int, m *bridge.Message) Fault {
		if m.Event.ID.Offset == 2 {
			return Fault{Err: bridge.Errorf(bridge.KindRejected, "x", "never")}
		}
		return Fault{}
	})
	sink.Publish(t.Context(), msgs, results)
	if results[0] != nil || bridge.KindOf(results[1]) != bridge.KindRejected || results[2] != nil {
		t.Errorf("results: got %v, want only the second rejected", results)
	}
	if got := store.Len(); got != 2 {
		t.Errorf("stored %d, want 2", got)
	}
	if err := store.Wait(t.Context(), 2); err != nil {
		t.Errorf("Wait: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := store.Wait(ctx, 3); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait: got %v, want canceled", err)
	}
	if got := store.Calls(); got != 2 {
		t.Errorf("calls: got %d, want 2", got)
	}
}
