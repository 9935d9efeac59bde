package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"

	segment "github.com/segmentio/kafka-go"

	"github.com/cycle-bridge/cycle-bridge/bridge"
)

// fate is what an error code says about a batch that was sent.
type fate uint8

const (
	// fateUnknown: it may be stored. The batch stays frozen and goes again.
	fateUnknown fate = iota
	// fateRefused: it is not stored, and its sequence was not used.
	fateRefused
	// fateTooLarge: refused for its size.
	fateTooLarge
	// fateRecords: refused for some of its records.
	fateRecords
	// fateSequence: the broker's idea of the sequence differs; the
	// partition's end tells, then the epoch goes up.
	fateSequence
	// fateProducer: the producer id or epoch is not valid any more; the
	// partition's end tells, then a new producer id.
	fateProducer
)

// codeClass is what a Kafka error code means to the sink.
type codeClass struct {
	kind  bridge.Kind
	fate  fate
	stale bool // what is known of the cluster is out of date
	hint  string
}

const (
	hintTopicACL   = "allow this user WRITE, DESCRIBE and READ on the Kafka topic: kafka-acls.sh --add --allow-principal User:<user> --operation Write --operation Describe --operation Read --topic <topic>"
	hintClusterACL = "allow this user WRITE on the Kafka topics, or IDEMPOTENT_WRITE on the cluster (Kafka before 2.8), and CREATE to make topics: kafka-acls.sh --add --allow-principal User:<user> --operation Write --topic <topic>"
	hintHungUp     = "the broker hung up or did not answer: check that tls and sasl are what this listener expects"
	hintSASL       = "check sasl.mechanism, sasl.username and sasl.password against the broker's listener"
	hintDown       = "check that the broker runs and that the brokers key and its advertised.listeners can be reached from here"
	hintCreate     = "check the keys partitions and replication against the cluster, or create the Kafka topic by hand"
	hintOld        = "the broker is older than Kafka 2.1"
)

// classify returns what a code means. Codes that are not in the table are
// KindUnknown with an unknown fate: nothing is lost by sending again.
func classify(code int16) codeClass {
	switch e := segment.Error(code); e {
	case segment.UnknownTopicOrPartition, segment.LeaderNotAvailable, segment.NotLeaderForPartition,
		segment.ReplicaNotAvailable, segment.ListenerNotFound, segment.FencedLeaderEpoch, segment.UnknownLeaderEpoch,
		segment.KafkaStorageError, segment.PreferredLeaderNotAvailable, segment.EligibleLeadersNotAvailable,
		segment.UnknownTopicID, segment.InconsistentTopicID, segment.FetchSessionTopicIDError, segment.LogDirNotFound:
		return codeClass{kind: bridge.KindTransient, stale: true}
	case segment.NotController, segment.GroupCoordinatorNotAvailable, segment.NotCoordinatorForGroup:
		return codeClass{kind: bridge.KindTransient, stale: true}
	case segment.InvalidMessage, segment.RequestTimedOut, segment.NetworkException, segment.GroupLoadInProgress,
		segment.ConcurrentTransactions, segment.OffsetNotAvailable, segment.StaleBrokerEpoch, segment.StaleControllerEpoch,
		segment.FetchSessionIDNotFound, segment.InvalidFetchSessionEpoch, segment.UnstableOffsetCommit,
		segment.RebalanceInProgress, segment.ReassignmentInProgress, segment.NoReassignmentInProgress,
		segment.ElectionNotNeeded, segment.TopicAlreadyExists, segment.OffsetOutOfRange, segment.Unknown,
		segment.PositionOutOfRange, segment.SnapshotNotFound:
		return codeClass{kind: bridge.KindTransient}
	case segment.BrokerNotAvailable:
		return codeClass{kind: bridge.KindUnavailable, stale: true, hint: hintDown}
	case segment.NotEnoughReplicas, segment.NotEnoughReplicasAfterAppend:
		return codeClass{kind: bridge.KindUnavailable, hint: "fewer in-sync replicas than min.insync.replicas: check the cluster's brokers"}
	case segment.ThrottlingQuotaExceeded:
		return codeClass{kind: bridge.KindThrottled, hint: "a Kafka quota for this client_id or user is used up"}
	case segment.MessageSizeTooLarge, segment.RecordListTooLarge, segment.InvalidMessageSize:
		return codeClass{kind: bridge.KindRejected, fate: fateTooLarge, hint: "raise max.message.bytes of the Kafka topic to take it"}
	case segment.InvalidRecord, segment.InvalidTimestamp:
		return codeClass{kind: bridge.KindRejected, fate: fateRecords, hint: "the Kafka topic refuses such records (compacted without key, or message.timestamp.before.max.ms)"}
	case segment.OutOfOrderSequenceNumber, segment.UnknownProducerId, segment.DuplicateSequenceNumber:
		return codeClass{kind: bridge.KindTransient, fate: fateSequence}
	case segment.InvalidProducerEpoch, segment.ProducerFenced, segment.InvalidProducerIDMapping:
		return codeClass{kind: bridge.KindTransient, fate: fateProducer}
	case segment.TopicAuthorizationFailed:
		return codeClass{kind: bridge.KindMisconfigured, fate: fateRefused, hint: hintTopicACL}
	case segment.ClusterAuthorizationFailed:
		return codeClass{kind: bridge.KindMisconfigured, fate: fateRefused, hint: hintClusterACL}
	case segment.TransactionalIDAuthorizationFailed, segment.GroupAuthorizationFailed,
		segment.DelegationTokenAuthorizationFailed, segment.BrokerAuthorizationFailed:
		return codeClass{kind: bridge.KindMisconfigured, fate: fateRefused, hint: "check the ACLs of this user"}
	case segment.UnsupportedSASLMechanism, segment.IllegalSASLState, segment.SASLAuthenticationFailed,
		segment.UnacceptableCredential, segment.DelegationTokenAuthDisabled, segment.DelegationTokenNotFound,
		segment.DelegationTokenOwnerMismatch, segment.DelegationTokenRequestNotAllowed, segment.DelegationTokenExpired,
		segment.InvalidPrincipalType, segment.PrincipalDeserializationFailure, segment.SecurityDisabled:
		return codeClass{kind: bridge.KindMisconfigured, fate: fateRefused, hint: hintSASL}
	case segment.InvalidTopic:
		return codeClass{kind: bridge.KindMisconfigured, fate: fateRefused, hint: "check the topic template: the name is internal or not legal"}
	case segment.InvalidPartitionNumber, segment.InvalidReplicationFactor, segment.InvalidReplicaAssignment,
		segment.InvalidConfiguration, segment.PolicyViolation:
		return codeClass{kind: bridge.KindMisconfigured, fate: fateRefused, hint: hintCreate}
	case segment.UnsupportedCompressionType:
		return codeClass{kind: bridge.KindMisconfigured, fate: fateRefused, hint: "the broker or the Kafka topic does not take this compression: change the key compression"}
	case segment.UnsupportedVersion, segment.UnsupportedForMessageFormat:
		return codeClass{kind: bridge.KindMisconfigured, fate: fateRefused, hint: hintOld}
	case segment.InvalidRequest, segment.InvalidRequiredAcks, segment.InvalidTransactionState,
		segment.InvalidTransactionTimeout, segment.TransactionCoordinatorFenced, segment.TransactionalIDNotFound,
		segment.TopicDeletionDisabled, segment.InconsistentClusterID:
		return codeClass{kind: bridge.KindMisconfigured, hint: "the broker does not accept this use: check its version and its configuration"}
	case segment.OffsetMetadataTooLarge, segment.IllegalGeneration, segment.InconsistentGroupProtocol,
		segment.InvalidGroupId, segment.UnknownMemberId, segment.InvalidSessionTimeout, segment.InvalidCommitOffsetSize,
		segment.NonEmptyGroup, segment.GroupIdNotFound, segment.MemberIDRequired, segment.GroupMaxSizeReached,
		segment.FencedInstanceID, segment.GroupSubscribedToTopic, segment.ResourceNotFound, segment.DuplicateResource,
		segment.InconsistentVoterSet, segment.InvalidUpdateVersion, segment.FeatureUpdateFailed,
		segment.DuplicateBrokerRegistration, segment.BrokerIDNotRegistered:
		// Answers to requests that a producer never makes.
		return codeClass{kind: bridge.KindTransient}
	}
	return codeClass{kind: bridge.KindUnknown}
}

// brokerError is a code with its name; kafka-go's own text adds a description
// as long as a paragraph.
type brokerError int16

func (e brokerError) Error() string {
	title := strings.ToLower(segment.Error(e).Title())
	if title == "" {
		title = "not known to this version"
	}
	return fmt.Sprintf("broker error %d, %s", int16(e), title)
}

// Unwrap lets errors.Is find kafka-go's error.
func (e brokerError) Unwrap() error { return segment.Error(e) }

// codeError makes the error for a code that a broker answered with. detail is
// the broker's own message, or "".
func codeError(op string, code int16, detail string) *bridge.Error {
	c := classify(code)
	err := error(brokerError(code))
	if detail != "" {
		err = fmt.Errorf("%w: %s", err, detail)
	}
	return &bridge.Error{Op: op, Kind: c.kind, Hint: c.hint, Err: err}
}

// netError classifies an error of dialling, of TLS or SASL, or of a request
// that got no answer. wrapped errors that are classed already stay as they are.
func netError(ctx context.Context, op string, err error) error {
	if _, ok := errors.AsType[*bridge.Error](err); ok {
		return err
	}
	if cause := ctx.Err(); errors.Is(cause, context.Canceled) {
		return &bridge.Error{Op: op, Kind: bridge.KindCanceled, Err: cause}
	}
	e := &bridge.Error{Op: op, Kind: bridge.KindTransient, Err: err}
	if code, ok := errors.AsType[segment.Error](err); ok {
		c := classify(int16(code))
		e.Kind, e.Hint = c.kind, c.hint
		return e
	}
	opErr, isOp := errors.AsType[*net.OpError](err)
	_, unknownCA := errors.AsType[x509.UnknownAuthorityError](err)
	_, wrongHost := errors.AsType[x509.HostnameError](err)
	_, badCert := errors.AsType[*tls.CertificateVerificationError](err)
	_, noTLS := errors.AsType[tls.RecordHeaderError](err)
	dns, isDNS := errors.AsType[*net.DNSError](err)
	switch {
	case unknownCA:
		e.Kind, e.Hint = bridge.KindMisconfigured, "set tls.ca_file to the CA that signed the broker's certificate"
	case wrongHost:
		e.Kind, e.Hint = bridge.KindMisconfigured, "dial the broker by a name in its certificate, or set tls.server_name"
	case badCert:
		e.Kind, e.Hint = bridge.KindMisconfigured, "check the broker's certificate and tls.ca_file"
	case noTLS:
		e.Kind, e.Hint = bridge.KindMisconfigured, "this listener does not speak TLS: check the port and the key tls"
	case isOp && opErr.Op == "remote error":
		e.Kind, e.Hint = bridge.KindMisconfigured, "the broker refused our side of TLS: check tls.cert_file and tls.key_file"
	case isDNS && dns.IsNotFound:
		e.Kind, e.Hint = bridge.KindUnavailable, "the broker's name is not known here: check the brokers key and advertised.listeners"
	case isOp && opErr.Op == "dial", errors.Is(err, syscall.ECONNREFUSED), isDNS:
		e.Kind, e.Hint = bridge.KindUnavailable, hintDown
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		e.Err = errors.New("no answer in time")
	}
	return e
}
