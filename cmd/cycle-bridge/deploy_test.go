package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// Every configuration that the README and deploy show is valid.
func TestShownConfigurationsAreValid(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("a-secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	yamls := readmeBlocks(t, "yaml")
	configs := map[string]string{
		"README":             yamls[0],
		"README with routes": yamls[0] + yamls[1],
		"compose.yaml":       composeConfig(t),
		"cycle/stack.json":   stackConfig(t),
	}
	for name, text := range configs {
		t.Run(name, func(t *testing.T) {
			for _, path := range []string{"bridge-api-key", "bridge-reader-password"} {
				text = strings.ReplaceAll(text, "/var/run/cycle/variables/"+path, secret)
			}
			env := []string{"CYCLE_HUB_ID=60d0fe4f5311236168a109ca", "CYCLE_API_KEY=k"}
			r := command(t, env, "", "check", "-q", "-c", writeFile(t, "c.yaml", text))
			if r.code != exitDone || strings.Contains(r.err, "warning") {
				t.Errorf("got exit code %d: %s\n%s", r.code, r.err, text)
			}
		})
	}
}

func composeConfig(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("../../deploy/compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var c struct {
		Configs map[string]struct{ Content string }
	}
	if err := yaml.Unmarshal(data, &c); err != nil {
		t.Fatal(err)
	}
	return c.Configs["bridge"].Content
}

func stackConfig(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("../../deploy/cycle/stack.json")
	if err != nil {
		t.Fatal(err)
	}
	var stack struct {
		Variables []struct {
			Identifier string
			Source     struct{ Details struct{ Value string } }
		} `json:"scoped_variables"`
	}
	if err := json.Unmarshal(data, &stack); err != nil {
		t.Fatal(err)
	}
	for _, v := range stack.Variables {
		if v.Identifier == "bridge-config" {
			return v.Source.Details.Value
		}
	}
	t.Fatal("the stack has no configuration")
	return ""
}
