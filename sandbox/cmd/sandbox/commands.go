package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/kubectl-triton/kubectl-triton/sandbox/cluster"
)

func newCommand(stdout, stderr io.Writer) *cobra.Command {
	root := &cobra.Command{
		Use:           "sandbox",
		Short:         "A Kubernetes cluster with simulated GPUs and Triton servers, on this machine alone",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.AddCommand(newUpCommand(), newDownCommand(), newStatusCommand(), newKubeconfigCommand(), newAuditLogCommand(),
		newChartsCommand(), newRestartAPIServerCommand(), newServeCommand())
	return root
}

func newUpCommand() *cobra.Command {
	options := cluster.DefaultOptions()
	c := &cobra.Command{
		Use:   "up",
		Short: "Start an instance and wait until all of its pods are ready",
		Long: `Start an instance and wait until all of its pods are ready.

Progress goes to standard error. Standard output gets one line for the shell:

  eval "$(sandbox up)"`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			executable, err := executablePath()
			if err != nil {
				return err
			}
			begin := time.Now()
			step := func(text string) {
				fmt.Fprintf(c.ErrOrStderr(), "[%5.1fs] %s\n", time.Since(begin).Seconds(), text)
			}
			step(fmt.Sprintf("starting the sandbox %s", options.Name))
			instance, err := cluster.Up(c.Context(), executable, options, step)
			if err != nil {
				return err
			}
			step(fmt.Sprintf("the sandbox %s is ready; end it with `sandbox down --name %s`", instance.Name, instance.Name))
			_, err = fmt.Fprintf(c.OutOrStdout(), "export KUBECONFIG=%s\n", instance.Kubeconfig())
			return err
		},
	}
	f := c.Flags()
	f.StringVar(&options.Name, "name", options.Name, "name of the instance")
	f.IntVar(&options.CPUNodes, "nodes", options.CPUNodes, "number of CPU nodes")
	f.IntVar(&options.GPUNodes, "gpu-nodes", options.GPUNodes, "number of GPU nodes")
	f.IntVar(&options.GPUsPerNode, "gpus-per-node", options.GPUsPerNode, "number of GPUs of a GPU node")
	f.StringToStringVar(&options.GPUNodeLabels, "gpu-node-labels", nil, "labels of the GPU nodes beside the usual ones, key=value; repeatable")
	f.StringArrayVar(&options.GPUNodeTaints, "gpu-node-taints", nil, "taint of the GPU nodes instead of the device plugin's, key=value:effect; repeatable")
	f.StringVar(&options.Models, "models", options.Models, "file or directory of model descriptions that Triton serves (default: built-in models)")
	f.BoolVar(&options.Stack, "stack", options.Stack, "run Prometheus, Grafana and dcgm-exporter")
	f.IntVar(&options.TritonReplicas, "triton-replicas", options.TritonReplicas, "number of Triton pods, one GPU each")
	f.DurationVar(&options.ScrapeInterval, "scrape-interval", options.ScrapeInterval, "how often Prometheus scrapes and dcgm-exporter collects")
	f.BoolVar(&options.Audit, "audit", options.Audit, "record the requests of the API server's clients; see sandbox audit-log")
	f.DurationVar(&options.Timeout, "timeout", options.Timeout, "how long the whole bring-up may take")
	return c
}

func newDownCommand() *cobra.Command {
	name, all := cluster.DefaultName, false
	c := &cobra.Command{
		Use:   "down",
		Short: "End an instance and remove everything that belongs to it",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			instances, err := chosen(name, all)
			if err != nil {
				return err
			}
			var errs []error
			for _, instance := range instances {
				existed, err := instance.Down(c.Context())
				errs = append(errs, err)
				switch {
				case err != nil:
				case existed:
					fmt.Fprintf(c.ErrOrStderr(), "the sandbox %s has ended\n", instance.Name)
				default:
					fmt.Fprintf(c.ErrOrStderr(), "there is no sandbox %s\n", instance.Name)
				}
			}
			return errors.Join(errs...)
		},
	}
	c.Flags().StringVar(&name, "name", name, "name of the instance")
	c.Flags().BoolVar(&all, "all", all, "end all instances of this user")
	c.MarkFlagsMutuallyExclusive("name", "all")
	return c
}

func newStatusCommand() *cobra.Command {
	name, output := "", "table"
	c := &cobra.Command{
		Use:   "status",
		Short: "Show instances: components, nodes, pods and the kubeconfig's path",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if output != "table" && output != "json" {
				return fmt.Errorf("the output format %q is unknown; use table or json", output)
			}
			instances, err := chosen(name, name == "")
			if err != nil {
				return err
			}
			statuses := []*cluster.Status{}
			for _, instance := range instances {
				status, err := instance.Status(c.Context())
				if err != nil {
					return err
				}
				if status != nil {
					statuses = append(statuses, status)
				}
			}
			if name != "" && len(statuses) == 0 {
				return fmt.Errorf("there is no sandbox %s; start it with `sandbox up --name %s`", name, name)
			}
			if output == "json" {
				return cluster.WriteJSON(c.OutOrStdout(), statuses)
			}
			if len(statuses) == 0 {
				fmt.Fprintln(c.ErrOrStderr(), "no sandbox is running; start one with `sandbox up`")
				return nil
			}
			return cluster.WriteTable(c.OutOrStdout(), statuses, time.Now())
		},
	}
	c.Flags().StringVar(&name, "name", name, "name of the instance (default: all instances)")
	c.Flags().StringVarP(&output, "output", "o", output, "output format: table or json")
	return c
}

func newKubeconfigCommand() *cobra.Command {
	name := cluster.DefaultName
	c := &cobra.Command{
		Use:   "kubeconfig",
		Short: "Print the path of an instance's kubeconfig",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			instance, err := cluster.Named(name)
			if err != nil {
				return err
			}
			if _, err := os.Stat(instance.Kubeconfig()); err != nil {
				return fmt.Errorf("there is no sandbox %s; start it with `sandbox up --name %s`", name, name)
			}
			_, err = fmt.Fprintln(c.OutOrStdout(), instance.Kubeconfig())
			return err
		},
	}
	c.Flags().StringVar(&name, "name", name, "name of the instance")
	return c
}

func newAuditLogCommand() *cobra.Command {
	name := cluster.DefaultName
	c := &cobra.Command{
		Use:   "audit-log",
		Short: "Print the path of the audit log of an instance that was started with --audit",
		Long: `Print the path of the audit log of an instance that was started with --audit.

It has one JSON event a line for each request that a client sent to the API
server, written before the request is handled. Requests of the cluster's own
components, nodes and pods are not in it.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			instance, err := cluster.Named(name)
			if err != nil {
				return err
			}
			if _, err := os.Stat(instance.AuditLog()); err != nil {
				return fmt.Errorf("the sandbox %s has no audit log; start it with `sandbox up --audit --name %s`", name, name)
			}
			_, err = fmt.Fprintln(c.OutOrStdout(), instance.AuditLog())
			return err
		},
	}
	c.Flags().StringVar(&name, "name", name, "name of the instance")
	return c
}

// newServeCommand is the daemon, which only `up` starts.
func newServeCommand() *cobra.Command {
	dir := ""
	c := &cobra.Command{
		Use:    "serve",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			executable, err := executablePath()
			if err != nil {
				return err
			}
			return cluster.Serve(c.Context(), executable, dir)
		},
	}
	c.Flags().StringVar(&dir, "dir", dir, "directory of the instance")
	return c
}

func chosen(name string, all bool) ([]cluster.Instance, error) {
	if all {
		return cluster.All()
	}
	instance, err := cluster.Named(name)
	if err != nil {
		return nil, err
	}
	return []cluster.Instance{instance}, nil
}

func executablePath() (string, error) {
	path, err := os.Executable()
	if err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	if err != nil {
		return "", fmt.Errorf("cannot find the sandbox's own program: %w", err)
	}
	return path, nil
}
