package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set by a release build: -ldflags "-X main.version=v1.2.3".
var version string

// buildVersion returns the release's version, else the module's or the commit's.
func buildVersion() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return "devel-" + s.Value[:12]
		}
	}
	return "devel"
}

func (a *app) versionCommand() *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		RunE: func(*cobra.Command, []string) error {
			v := map[string]string{
				"version": buildVersion(), "go": runtime.Version(), "os": runtime.GOOS, "arch": runtime.GOARCH,
			}
			switch output {
			case "json":
				return json.NewEncoder(a.out).Encode(v)
			case "text":
				fmt.Fprintf(a.out, "cycle-bridge %s (%s %s/%s)\n", v["version"], v["go"], v["os"], v["arch"])
				return nil
			}
			return usage(fmt.Errorf("unknown output %q: want text or json", output))
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	return c
}
