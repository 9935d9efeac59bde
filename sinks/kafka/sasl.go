package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	segment "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol/saslauthenticate"
	"github.com/segmentio/kafka-go/protocol/saslhandshake"
	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
	"github.com/segmentio/kafka-go/sasl/scram"
)

// mechanism reads the password and returns how to sign in, or nil.
func (s SASL) mechanism() (sasl.Mechanism, error) {
	if !s.On() {
		return nil, nil
	}
	password, err := s.Password.Read()
	if err != nil {
		return nil, err
	}
	switch s.Mechanism {
	case mechanismPlain:
		return plain.Mechanism{Username: s.Username, Password: password}, nil
	case mechanismSHA256, mechanismSHA512:
		algo := scram.SHA256
		if s.Mechanism == mechanismSHA512 {
			algo = scram.SHA512
		}
		m, err := scram.Mechanism(algo, s.Username, password)
		if err != nil {
			// SASLprep's error may quote what it could not prepare.
			return nil, errors.New("the user name or the password has characters that SCRAM does not allow")
		}
		return m, nil
	}
	return nil, fmt.Errorf("sasl mechanism %q is not known", s.Mechanism)
}

// authenticate signs in. The broker's answer to a wrong password is a code,
// or that it hangs up.
func (c *conn) authenticate(ctx context.Context, m sasl.Mechanism) error {
	msg, err := c.roundTrip(ctx, &saslhandshake.Request{Mechanism: m.Name()})
	if err != nil {
		return err
	}
	if res := msg.(*saslhandshake.Response); res.ErrorCode != 0 {
		return fmt.Errorf("mechanism %s (the listener has %v): %w", m.Name(), res.Mechanisms, brokerError(res.ErrorCode))
	}
	session, state, err := m.Start(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", m.Name(), err)
	}
	for done := false; !done; {
		msg, err := c.roundTrip(ctx, &saslauthenticate.Request{AuthBytes: state})
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return brokerError(segment.SASLAuthenticationFailed)
		}
		if err != nil {
			return err
		}
		res := msg.(*saslauthenticate.Response)
		if res.ErrorCode != 0 {
			// The broker's message may name the user, never the password.
			return fmt.Errorf("%w: %s", brokerError(res.ErrorCode), res.ErrorMessage)
		}
		if res.SessionLifetimeMs > 0 {
			// A new connection well before the session ends: the broker
			// closes it then, perhaps with a batch under way (KIP-368).
			c.expires = time.Now().Add(time.Duration(res.SessionLifetimeMs) * time.Millisecond * 8 / 10)
		}
		done, state, err = session.Next(ctx, res.AuthBytes)
		if err != nil {
			return fmt.Errorf("%w: %s exchange", brokerError(segment.SASLAuthenticationFailed), m.Name())
		}
	}
	return nil
}
