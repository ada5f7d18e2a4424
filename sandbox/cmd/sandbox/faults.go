package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/kubectl-triton/kubectl-triton/sandbox/cluster"
)

func newChartsCommand() *cobra.Command {
	name := cluster.DefaultName
	fault := cluster.ChartFault{}
	c := &cobra.Command{
		Use:   "charts",
		Short: "Print the URL of an instance's chart repository, or have it work badly",
		Long: `Print the URL of an instance's chart repository, which holds what make charts
has packaged. With --fault or --delay, have it work badly from now on.`,
		Example: `  helm repo add sandbox "$(sandbox charts)"
  sandbox charts --fault corrupt
  sandbox charts --fault none`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			instance, err := cluster.Named(name)
			if err != nil {
				return err
			}
			if c.Flags().Changed("fault") || c.Flags().Changed("delay") {
				return instance.SetChartFault(c.Context(), fault)
			}
			url, err := instance.ChartsURL()
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(c.OutOrStdout(), url)
			return err
		},
	}
	c.Flags().StringVar(&name, "name", name, "name of the instance")
	c.Flags().StringVar(&fault.Kind, "fault", "none", "none, corrupt, missing or unavailable")
	c.Flags().DurationVar(&fault.Delay, "delay", 0, "time before each answer")
	return c
}

func newRestartAPIServerCommand() *cobra.Command {
	name, away := cluster.DefaultName, 5*time.Second
	c := &cobra.Command{
		Use:   "restart-apiserver",
		Short: "Make an instance's API server unreachable for a while",
		Long: `Make an instance's API server unreachable for a while: every connection to it is
cut and new ones are refused, for nodes, controllers and clients alike. Its
process and its state stay.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			instance, err := cluster.Named(name)
			if err != nil {
				return err
			}
			return instance.RestartAPIServer(c.Context(), away)
		},
	}
	c.Flags().StringVar(&name, "name", name, "name of the instance")
	c.Flags().DurationVar(&away, "for", away, "how long it is away")
	return c
}
