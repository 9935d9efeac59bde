package natsserver

import (
	"fmt"
	"strings"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/cycle-bridge/cycle-bridge/bridge/setting"
)

// options builds the server's options. Accounts come from text because
// accounts that are made in code have no JetStream until after the start;
// users are added in code, so that no password needs quoting.
func (s *Server) options() (*server.Options, error) {
	readers := s.config.readerAccounts()
	var readerText strings.Builder
	for _, a := range readers {
		fmt.Fprintf(&readerText, "  %s {\n    imports [\n%s    ]\n  }\n", a, imports(a))
	}
	text := fmt.Sprintf(`
server_name: "cycle-bridge"
max_payload: %d
max_pending: %d
jetstream {
  store_dir: %q
  sync_interval: always
  max_memory_store: %d
  max_file_store: %d
}
accounts {
  %s { jetstream { max_memory: %d, max_store: %d } }
  %s {
    jetstream { max_memory: %d, max_store: %d }
    exports [
%s    ]
  }
%s}
`, maxPayload, maxPending, s.store, 2*maxMemory, s.limits.Journal+s.limits.Cycle+2*slackBytes,
		journalAccount, maxMemory, s.limits.Journal+slackBytes,
		cycleAccount, maxMemory, s.limits.Cycle+slackBytes,
		exports(readers), readerText.String())
	o := &server.Options{NoSigs: true, NoLog: false}
	if err := o.ProcessConfigString(text); err != nil {
		return nil, fmt.Errorf("server configuration: %w", err)
	}
	byName := map[string]*server.Account{}
	for _, a := range o.Accounts {
		byName[a.Name] = a
	}
	o.Users = []*server.User{
		{Username: journalUser, Password: s.passwords.journal, Account: byName[journalAccount]},
		{Username: publisherUser, Password: s.passwords.publisher, Account: byName[cycleAccount]},
		{Username: gateUser, Password: s.passwords.gate, Account: byName[cycleAccount], Permissions: gatePermissions()},
	}
	for i, u := range s.config.Users {
		pw, err := u.Password.Read()
		if err != nil {
			return nil, fmt.Errorf("nats user %s: %w", u.Name, err)
		}
		o.Users = append(o.Users, &server.User{
			Username: u.Name, Password: pw, Account: byName[s.config.userAccount(i)], Permissions: userPermissions(u),
		})
	}
	if len(s.config.Users) == 0 {
		o.Users = append(o.Users, &server.User{
			Username: anonymousUser, Password: s.passwords.anonymous,
			Account: byName[readersAccount], Permissions: anonymousPermissions(),
		})
		o.NoAuthUser = anonymousUser
	}
	if err := s.listenOptions(o); err != nil {
		return nil, err
	}
	if err := encryption(o, s.key); err != nil {
		return nil, err
	}
	return o, nil
}

func encryption(o *server.Options, key setting.Secret) error {
	if key.IsZero() {
		return nil
	}
	k, err := key.Read()
	if err != nil {
		return fmt.Errorf("journal.encryption_key: %w", err)
	}
	o.JetStreamKey = k
	o.JetStreamCipher = server.ChaCha
	return nil
}
