package hub

import (
	"context"
	"errors"
	"time"

	"github.com/cycle-bridge/cycle-bridge/bridge"
)

// ProbeStep is one thing that a probe tried.
type ProbeStep struct {
	Name   string // token, upgrade, ping, close
	Took   time.Duration
	Detail string // for people; no secrets
	Err    error  // nil when it worked
}

// Probe tries what a Feed does: it gets a token, upgrades, waits for the pong
// to a ping, and closes. What arrives meanwhile is dropped; nothing is
// written anywhere. It returns the steps up to the first that failed, and
// its error. It takes the sum of the timings at most.
func Probe(ctx context.Context, cfg Config, o Options) ([]ProbeStep, error) {
	f, err := New(cfg, o)
	if err != nil {
		return nil, err
	}
	defer f.dialer.close()
	var steps []ProbeStep
	begin := time.Now()
	step := func(name, detail string, err error) error {
		steps = append(steps, ProbeStep{Name: name, Took: time.Since(begin), Detail: detail, Err: err})
		begin = time.Now()
		return err
	}

	g, key, err := f.dialer.grant(ctx)
	if step("token", "from "+f.dialer.ep.host(), err) != nil {
		return steps, err
	}
	p := &probe{pong: make(chan struct{})}
	c := newConn(f, 1, p)
	ws, w, err := f.dialer.connect(ctx, g, key, false, c)
	detail := "with the token alone"
	if _, ok := errors.AsType[refused](err); ok {
		if g, key, err = f.dialer.grant(ctx); err == nil {
			ws, w, err = f.dialer.connect(ctx, g, key, true, c)
			detail = "with the headers of the older documentation"
		}
	}
	if step("upgrade", detail, err) != nil {
		return steps, err
	}
	c.attach(ws, w)

	// The connection runs until it is stopped; its keeper pings at once.
	run, stop := context.WithCancel(ctx)
	ended := make(chan *ending, 1)
	go func() {
		end, _ := c.run(run, context.WithoutCancel(ctx))
		ended <- end
	}()
	limit := time.NewTimer(f.timings.Pong)
	defer limit.Stop()
	var end *ending
	select {
	case <-p.pong:
	case end = <-ended:
		err = &bridge.Error{Op: "hub ping", Kind: bridge.KindTransient, Err: end.err}
	case <-limit.C:
		err = bridge.Errorf(bridge.KindTransient, "hub ping", "no pong within %s", f.timings.Pong)
	case <-ctx.Done():
		err = ctx.Err()
	}
	_ = step("ping", "", err)
	stop()
	if end == nil {
		end = <-ended
	}
	if err != nil {
		return steps, err
	}
	if end.code != 1000 {
		err = &bridge.Error{Op: "hub close", Kind: bridge.KindTransient, Err: end.err}
	}
	return steps, step("close", "", err)
}

// probe is the handler of a connection whose frames nobody wants.
type probe struct {
	pong chan struct{}
	seen bool
}

func (p *probe) frame(context.Context, *bridge.Event) error { return nil }

func (p *probe) mark(_ context.Context, m mark) {
	if m.kind == alive && !p.seen {
		p.seen = true
		close(p.pong)
	}
}
