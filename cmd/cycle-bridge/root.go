package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// Exit codes (DESIGN §12).
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// streams are the process's standard streams, so that tests run commands in-process.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

// app is what every command shares.
type app struct {
	*streams
	env        []string
	configFile string
}

// usageError is a mistake on the command line or in the configuration.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usage(err error) error {
	if err == nil {
		return nil
	}
	return &usageError{err}
}

// silentError ends a command with a code after it has said everything itself.
type silentError struct{ code int }

func (e *silentError) Error() string { return fmt.Sprintf("exit %d", e.code) }

// execute runs one command line and returns its exit code.
func execute(ctx context.Context, s *streams, env, args []string) int {
	a := &app{streams: s, env: env}
	root := a.rootCommand()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	if silent, ok := errors.AsType[*silentError](err); ok {
		return silent.code
	}
	fmt.Fprintf(s.err, "cycle-bridge: %v\n", err)
	_, mistaken := errors.AsType[*usageError](err)
	// cobra has no type for an unknown command.
	if mistaken || strings.HasPrefix(err.Error(), "unknown command") {
		return exitUsage
	}
	return exitFailed
}

func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "cycle-bridge",
		Short: "Cycle's hub notifications, durably and in order, in the broker you already use",
		Long: `cycle-bridge holds the notification WebSocket of a Cycle hub, stores every
notification in a journal, and publishes it to NATS, JetStream, Kafka or files.

  cycle-bridge demo                 see it work: no account, no file
  CYCLE_API_KEY=... CYCLE_HUB_ID=... cycle-bridge run`,
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usage(fmt.Errorf("%w\nsee %s --help", err, c.CommandPath()))
	})
	root.PersistentFlags().StringVarP(&a.configFile, "config", "c", "", "configuration file")
	root.AddCommand(
		a.runCommand(), a.demoCommand(), a.checkCommand(), a.routeCommand(), a.topicsCommand(),
		a.simulateCommand(), a.benchCommand(), a.versionCommand(),
	)
	for _, c := range root.Commands() {
		c.Args = wrapArgs(c.Args)
	}
	return root
}

// wrapArgs makes a wrong number of arguments a usage error.
func wrapArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	if check == nil {
		check = cobra.NoArgs
	}
	return func(c *cobra.Command, args []string) error {
		if err := check(c, args); err != nil {
			return usage(fmt.Errorf("%w\nsee %s --help", err, c.CommandPath()))
		}
		return nil
	}
}
