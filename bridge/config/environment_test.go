package config

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cycle-bridge/cycle-bridge/bridge/setting"
)

func TestOverrides(t *testing.T) {
	key := writeFile(t, "key", "from a file\n")
	env := []string{
		"CYCLE_BRIDGE_NATS_LISTEN=", // closes the listener: an empty value counts
		"CYCLE_BRIDGE_NATS_STREAM_MAX_AGE=1h",
		"CYCLE_BRIDGE_NATS_STREAM_MAX_BYTES=1GiB",
		"CYCLE_BRIDGE_HTTP_INSECURE=true",
		"CYCLE_BRIDGE_JOURNAL_REPLICAS=1",
		"CYCLE_BRIDGE_JOURNAL_DIR=$HOME/${not expanded}",
		"CYCLE_BRIDGE_JOURNAL_ENCRYPTION_KEY_FILE=" + key,
		"CYCLE_BRIDGE_SHUTDOWN_TIMEOUT=7s",
		"CYCLE_BRIDGE_LOG_FORMAT=json",
		"CYCLE_BRIDGE_HUBS_FILE=", // its default
		"CYCLE_BRIDGE_TOKEN=known to the caller",
		"CYCLE_OTHER=none of ours",
		// The variable of a key that the file has as well, wrong there: it wins.
		"CYCLE_BRIDGE_LOG_LEVEL=debug",
		// Kubernetes, Services cycle-bridge and cycle-bridge-nats.
		"CYCLE_BRIDGE_SERVICE_HOST=10.0.0.1",
		"CYCLE_BRIDGE_SERVICE_PORT=4222",
		"CYCLE_BRIDGE_SERVICE_PORT_HTTP_ADMIN=8080",
		"CYCLE_BRIDGE_PORT=tcp://10.0.0.1:4222",
		"CYCLE_BRIDGE_PORT_4222_TCP=tcp://10.0.0.1:4222",
		"CYCLE_BRIDGE_PORT_4222_TCP_PROTO=tcp",
		"CYCLE_BRIDGE_PORT_4222_TCP_PORT=4222",
		"CYCLE_BRIDGE_PORT_4222_TCP_ADDR=10.0.0.1",
		"CYCLE_BRIDGE_NATS_SERVICE_HOST=10.0.0.2",
		"CYCLE_BRIDGE_NATS_PORT=tcp://10.0.0.2:4222",
	}
	o := testOptions(t, env...)
	o.KnownEnv = []string{"CYCLE_BRIDGE_TOKEN"}
	o.Flags = []Flag{{Name: "--data", Key: "journal.name", Value: "by-flag"}}
	o.Path = writeFile(t, "test.yaml", hubYAML+`
nats: {listen: "127.0.0.1:1", stream: {max_age: 2h}}
journal: {name: x, encryption_key: inline}
log: {level: "${UNSET}"}
`)
	c, err := Load(o)
	if err != nil {
		t.Fatal(err)
	}
	encryption, _ := c.Journal.EncryptionKey.Read()
	for _, tc := range []struct {
		name      string
		got, want any
	}{
		{"empty", c.NATS.Listen, ""},
		{"nested", c.NATS.Stream.MaxAge, time.Hour},
		{"size", c.NATS.Stream.MaxBytes, setting.Size(1 << 30)},
		{"bool", c.HTTP.Insecure, true},
		{"own type", int(c.Journal.Replicas), 1},
		{"not expanded", c.Journal.Dir, "$HOME/${not expanded}"},
		{"secret file over an inline secret", encryption, "from a file"},
		{"duration", c.ShutdownTimeout, 7 * time.Second},
		{"format", c.Log.Format, "json"},
		{"over a broken value", c.Log.Level, "debug"},
		{"flag", c.Journal.Name, "by-flag"},
	} {
		if diff := cmp.Diff(tc.want, tc.got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, diff)
		}
	}
}

func TestOverrideMistakes(t *testing.T) {
	key := writeFile(t, "key", "k")
	for _, tc := range []struct {
		env  []string
		want []string
	}{
		{[]string{"CYCLE_BRIDGE_NATS_LISTN=x"}, []string{"CYCLE_BRIDGE_NATS_LISTN : no such key; did you mean CYCLE_BRIDGE_NATS_LISTEN?"}},
		{[]string{"CYCLE_BRIDGE_PORT=8080"}, []string{"CYCLE_BRIDGE_PORT : no such key"}},
		{[]string{"CYCLE_BRIDGE_SINKS=x"}, []string{"CYCLE_BRIDGE_SINKS sinks: a list cannot be set"}},
		{[]string{"CYCLE_BRIDGE_HTTP_INSECURE=1"}, []string{`CYCLE_BRIDGE_HTTP_INSECURE http.insecure: "1" is neither`}},
		{[]string{"CYCLE_BRIDGE_SHUTDOWN_TIMEOUT="}, []string{`CYCLE_BRIDGE_SHUTDOWN_TIMEOUT shutdown_timeout: "" is not a duration`}},
		{[]string{"CYCLE_BRIDGE_SHUTDOWN_TIMEOUT=0s"}, []string{"CYCLE_BRIDGE_SHUTDOWN_TIMEOUT shutdown_timeout: must be longer"}},
		{[]string{"CYCLE_BRIDGE_HEARTBEAT=30s"}, []string{"CYCLE_BRIDGE_HEARTBEAT heartbeat: not available"}},
		{
			[]string{"CYCLE_BRIDGE_JOURNAL_ENCRYPTION_KEY=" + canary, "CYCLE_BRIDGE_JOURNAL_ENCRYPTION_KEY_FILE=" + key},
			[]string{"CYCLE_BRIDGE_JOURNAL_ENCRYPTION_KEY_FILE journal.encryption_key_file: CYCLE_BRIDGE_JOURNAL_ENCRYPTION_KEY is set as well"},
		},
		{[]string{"CYCLE_BRIDGE_JOURNAL_ENCRYPTION_KEY_FILE=/none"}, []string{"CYCLE_BRIDGE_JOURNAL_ENCRYPTION_KEY_FILE journal.encryption_key_file: the secret file /none does not exist"}},
	} {
		t.Run(tc.env[0], func(t *testing.T) {
			_, err := loadText(t, hubYAML, tc.env...)
			checkProblems(t, problemsOf(t, err), tc.want)
		})
	}
}

// TestVariablesAreUnambiguous proves that no two keys have one variable.
func TestVariablesAreUnambiguous(t *testing.T) {
	c := Defaults()
	seen := map[string]string{}
	for _, k := range scalarKeys(reflect.ValueOf(c), "") {
		v := variableOf(k.path)
		if other, dup := seen[v]; dup {
			t.Errorf("%s: got both %s and %s", v, other, k.path)
		}
		if v == fileVariable || ofKubernetes(v, "tcp://1.2.3.4:5") {
			t.Errorf("%s of %s is taken", v, k.path)
		}
		seen[v] = k.path
	}
	if len(seen) < 30 {
		t.Errorf("got %d keys, want at least 30", len(seen))
	}
}

// TestEveryKeyHasADoc covers the structs of all packages that the tree holds.
func TestEveryKeyHasADoc(t *testing.T) {
	for _, k := range scalarKeys(reflect.ValueOf(Defaults()), "") {
		if k.doc == "" {
			t.Errorf("%s has no doc", k.path)
		}
	}
}

func TestNoFile(t *testing.T) {
	t.Chdir(t.TempDir())
	key := writeFile(t, "key", "Bearer "+canary+"\n")
	c, err := Load(testOptions(t,
		"CYCLE_API_KEY= Bearer "+canary+"\n", "CYCLE_HUB_ID="+hubID, "CYCLE_API_URL=api.example.com",
		"CYCLE_CONNECTIONS=1", "CYCLE_FILTER_CONTAINERS=5f1e0c0ffee0c0ffee0c0ff1, 5f1e0c0ffee0c0ffee0c0ff2,",
		"CYCLE_FILTER_CLUSTERS=a", "CYCLE_FILTER_TOPIC=container.created", "CYCLE_FILTER_ENVIRONMENTS=",
		"CYCLE_BRIDGE_LOG_LEVEL=debug"))
	if err != nil {
		t.Fatal(err)
	}
	h := c.Hubs[0]
	got, _ := h.APIKey.Read()
	if got != canary {
		t.Errorf("api_key: got %q, want it without Bearer", got)
	}
	if diff := cmp.Diff([]any{
		hubID, hubID, "api.example.com", 1, []string{"5f1e0c0ffee0c0ffee0c0ff1", "5f1e0c0ffee0c0ffee0c0ff2"}, []string{"a"}, 0, "container.created", "", "debug", "nats",
	}, []any{
		h.ID, h.Name, h.APIURL, int(h.Connections), h.Filter.Containers, h.Filter.Clusters, len(h.Filter.Environments), h.Filter.Topic, c.File, c.Log.Level, c.Sinks[0].Name,
	}); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := Load(testOptions(t, "CYCLE_API_KEY_FILE="+key, "CYCLE_HUB_ID="+hubID)); err != nil {
		t.Errorf("key from a file: %v", err)
	}
}

func TestNoFileMistakes(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, tc := range []struct {
		name string
		env  []string
		want []string
	}{
		{"nothing", nil, []string{
			"0:0 : there is no configuration: name a file with -c or CYCLE_BRIDGE_CONFIG",
			"CYCLE_API_KEY hubs[0].api_key: is not set, nor is CYCLE_API_KEY_FILE",
			"CYCLE_HUB_ID hubs[0].id: is not set",
		}},
		{"no key", []string{"CYCLE_HUB_ID=" + hubID}, []string{"CYCLE_API_KEY hubs[0].api_key: is not set"}},
		{"both", []string{"CYCLE_HUB_ID=" + hubID, "CYCLE_API_KEY=a", "CYCLE_API_KEY_FILE=b"}, []string{"CYCLE_API_KEY_FILE hubs[0].api_key_file: api_key is set as well"}},
		{"id and key swapped", []string{"CYCLE_HUB_ID=" + canary, "CYCLE_API_KEY=" + hubID}, []string{"CYCLE_HUB_ID hubs[0].id: "}},
		{"values", []string{"CYCLE_HUB_ID=" + hubID, "CYCLE_API_KEY=a", "CYCLE_CONNECTIONS=many", "CYCLE_API_URL=http://example.com", "CYCLE_BRIDGE_X=1"}, []string{
			"CYCLE_API_URL hubs[0].api_url: ",
			"CYCLE_BRIDGE_X : no such key",
			`CYCLE_CONNECTIONS hubs[0].connections: "many" is not a number`,
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := Load(testOptions(t, tc.env...))
			if err == nil {
				t.Fatal("accepted")
			}
			checkProblems(t, problemsOf(t, err), tc.want)
			if strings.Contains(err.Error(), canary) {
				t.Errorf("the message shows a secret: %v", err)
			}
		})
	}
}

func TestExpand(t *testing.T) {
	env := environment{"A": "1", "EMPTY": "", "NEST": "${A}", "NL": "a\nb: c"}
	for _, tc := range []struct{ in, want, err string }{
		{"plain", "plain", ""},
		{"${A}", "1", ""},
		{"x${A}y${A}", "x1y1", ""},
		{"$A $ $1", "$A $ $1", ""},
		{"$${A} $$$${A}", "${A} $${A}", ""},
		{"$$$${A}$${A}$$", "$${A}${A}$", ""},
		{"${EMPTY}", "", ""},
		{"${EMPTY:-d}", "d", ""},
		{"${X:-}", "", ""},
		{"${X:-a:-b?c}", "a:-b?c", ""},
		{"${NEST}", "${A}", ""},
		{"${NL}", "a\nb: c", ""},
		{"${X}", "", "X is not set"},
		{"${X:?no x}", "", "X is not set: no x"},
		{"${EMPTY:?no x}", "", "EMPTY is not set: no x"},
		{"${A:?}", "1", ""},
		{"${A:=x}", "", "want ${A}"},
		{"${A:}", "", "want ${A}"},
		{"${A-x}", "", "without the name"},
		{"${1}", "", "without the name"},
		{"${}", "", "without the name"},
		{"${A", "", "closing brace"},
		{"end$", "end$", ""},
	} {
		got, err := expand(tc.in, env.lookup)
		switch {
		case tc.err != "":
			if err == nil || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("expand(%q): got %q, %v; want error %q", tc.in, got, err, tc.err)
			}
		case err != nil || got != tc.want:
			t.Errorf("expand(%q): got %q, %v; want %q", tc.in, got, err, tc.want)
		}
	}
}
