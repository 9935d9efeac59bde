package natsserver

import (
	"crypto/rand"
	"slices"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	reservedPrefix = "cycle-bridge-"
	journalUser    = reservedPrefix + "journal"
	publisherUser  = reservedPrefix + "publisher"
	gateUser       = reservedPrefix + "gate"
	anonymousUser  = reservedPrefix + "anonymous"
)

// narrowAPI is readAPI for a user that may see only part of the stream: it
// reads by consumers whose one filter lies within its subjects, because only
// those carry the filter where a permission can see it.
func narrowAPI(subjects []string) []string {
	allow := []string{
		"$JS.API.INFO",
		"$JS.API.STREAM.INFO." + CycleStream,
		"$JS.API.STREAM.NAMES",
		"$JS.API.CONSUMER.INFO." + CycleStream + ".*",
		"$JS.API.CONSUMER.MSG.NEXT." + CycleStream + ".*",
		"$JS.ACK." + CycleStream + ".>",
		"$JS.FC." + CycleStream + ".>",
	}
	for _, s := range subjects {
		allow = append(allow, "$JS.API.CONSUMER.CREATE."+CycleStream+".*."+s)
	}
	return allow
}

func anonymousPermissions() *server.Permissions {
	return &server.Permissions{
		Publish: &server.SubjectPermission{Allow: readAPI()},
		// The account holds nothing else than what everybody in it may read.
		Subscribe: &server.SubjectPermission{Allow: []string{">"}},
	}
}

func userPermissions(u User) *server.Permissions {
	p := anonymousPermissions()
	if len(u.Subscribe) > 0 {
		p.Publish = &server.SubjectPermission{Allow: narrowAPI(u.Subscribe)}
		p.Subscribe = &server.SubjectPermission{Allow: append([]string{"_INBOX.>"}, u.Subscribe...)}
	}
	p.Publish.Allow = slices.Concat(p.Publish.Allow, u.Publish)
	return p
}

// gatePermissions is what the gate needs; "_R_" is where answers to requests
// from other accounts go.
func gatePermissions() *server.Permissions {
	allow := []string{"_R_.>"}
	for _, s := range readServices {
		if s.gated {
			allow = append(allow, s.subject)
		}
	}
	return &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: allow},
		Subscribe: &server.SubjectPermission{Allow: []string{gatePrefix + ">", gateInbox + ".>"}},
	}
}

// drawn holds the passwords of the bridge's own users for one start.
type drawn struct{ journal, publisher, gate, anonymous string }

func drawPasswords() drawn {
	return drawn{journal: rand.Text(), publisher: rand.Text(), gate: rand.Text(), anonymous: rand.Text()}
}
