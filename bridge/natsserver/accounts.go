package natsserver

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// The accounts. Only JOURNAL and CYCLE store anything. JetStream answers a
// request to any reply subject, and NATS has no permission on replies; so
// readers live in accounts of their own, and what the server sends them, to
// whatever subject they name, is published there, where nothing is stored
// and no API listens.
const (
	journalAccount = "JOURNAL"
	cycleAccount   = "CYCLE"
	readersAccount = "READERS"
)

// In the account CYCLE, requests that the gate must see arrive below
// gatePrefix, and what push consumers of readers deliver is published below
// pushPrefix, each with the name of the reader's account as the next token.
const (
	gatePrefix = "gate."
	pushPrefix = "push."
)

// advisories tell a consumer of messages that were given up on.
const advisories = "$JS.EVENT.ADVISORY.CONSUMER.>"

// answerFor is how long the way back for the answers to one request stays
// open after the last of them. A pull request that waits longer than this
// without a heartbeat gets nothing any more; what was sent to it comes again
// after the consumer's ack wait. Each open way costs about half a kilobyte.
const answerFor = 5 * time.Minute

// service is a part of JetStream's API that readers may call.
type service struct {
	subject string
	many    bool // several answers may come to one request
	gated   bool // goes through the gate
}

// readServices is what a reader may ask of JetStream: to see the stream and
// to create and use consumers (DESIGN 9). Nothing in it creates, changes,
// purges or deletes a stream or a message.
var readServices = []service{
	{subject: "$JS.API.INFO"},
	{subject: "$JS.API.STREAM.INFO.>"},
	{subject: "$JS.API.STREAM.NAMES"},
	{subject: "$JS.API.STREAM.LIST"},
	{subject: "$JS.API.STREAM.MSG.GET.>"},
	{subject: "$JS.API.DIRECT.GET.>", many: true},
	{subject: "$JS.API.CONSUMER.CREATE.>", gated: true},
	{subject: "$JS.API.CONSUMER.DURABLE.CREATE.>", gated: true},
	{subject: "$JS.API.CONSUMER.INFO.>", gated: true},
	{subject: "$JS.API.CONSUMER.NAMES.>"},
	{subject: "$JS.API.CONSUMER.LIST.>", gated: true},
	{subject: "$JS.API.CONSUMER.MSG.NEXT.>", many: true},
	{subject: "$JS.ACK.>", many: true},
	{subject: "$JS.FC.>"},
}

// readAPI lists the subjects of readServices, as a reader sends to them.
func readAPI() []string {
	out := make([]string, len(readServices))
	for i, s := range readServices {
		out[i] = s.subject
	}
	return out
}

// inCycle is the subject at which the account CYCLE takes what a reader of an
// account sends to the service.
func (s service) inCycle(account string) string {
	if !s.gated {
		return s.subject
	}
	return gatePrefix + account + strings.TrimPrefix(s.subject, "$JS.API")
}

// confined reports whether a user needs nothing but events below its own
// subjects. It then has an account of its own, so that nobody else's answers
// or push deliveries can be seen from it.
func (u User) confined() bool {
	if len(u.Subscribe) == 0 || len(u.Publish) > 0 {
		return false
	}
	for _, s := range u.Subscribe {
		if !strings.HasPrefix(s, "cycle.") {
			return false
		}
	}
	return true
}

// userAccount is the account of the user at index i.
func (c Config) userAccount(i int) string {
	if c.Users[i].confined() {
		return readersAccount + "_" + strconv.Itoa(i)
	}
	return readersAccount
}

// readerAccounts lists every account of readers.
func (c Config) readerAccounts() []string {
	out := []string{readersAccount}
	for i := range c.Users {
		if a := c.userAccount(i); a != readersAccount {
			out = append(out, a)
		}
	}
	return out
}

// exports is what the account CYCLE offers to readers, as configuration text.
func exports(accounts []string) string {
	var b strings.Builder
	to := strings.Join(accounts, ", ")
	offer := func(kind, subject, more string) {
		fmt.Fprintf(&b, "{ %s: %q, accounts: [%s]%s }\n", kind, subject, to, more)
	}
	many := fmt.Sprintf(", response_type: stream, response_threshold: %q", answerFor)
	offer("stream", CycleSubjects, "")
	offer("stream", advisories, "")
	offer("stream", pushPrefix+">", "")
	offer("service", gatePrefix+">", "")
	for _, s := range readServices {
		switch {
		case s.gated:
		case s.many:
			offer("service", s.subject, many)
		default:
			offer("service", s.subject, "")
		}
	}
	return b.String()
}

// imports is what an account of readers takes from CYCLE.
func imports(account string) string {
	var b strings.Builder
	take := func(kind, subject, to string) {
		fmt.Fprintf(&b, "{ %s: { account: %s, subject: %q }, to: %q }\n", kind, cycleAccount, subject, to)
	}
	take("stream", CycleSubjects, CycleSubjects)
	take("stream", advisories, advisories)
	take("stream", pushPrefix+account+".>", ">")
	for _, s := range readServices {
		take("service", s.inCycle(account), s.subject)
	}
	return b.String()
}
