package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/pkg/browser"
	"golang.org/x/term"

	"github.com/kubectl-triton/kubectl-triton/pkg/portforward"
)

// Run forwards until ctx is over, which is not an error once the target has
// answered.
func (o *ObserveOpenOptions) Run(ctx context.Context) error {
	opened := false
	err := o.run(ctx, &opened)
	if err != nil && ctx.Err() != nil && !opened {
		return &ExitError{Code: ExitInterrupted, Err: errors.New("interrupted before " + o.Target + " answered")}
	}
	return err
}

func (o *ObserveOpenOptions) run(ctx context.Context, opened *bool) error {
	c, err := connect(o.Config)
	if err != nil {
		return err
	}
	looking, cancel := context.WithTimeout(ctx, discoveryTimeout)
	defer cancel()
	target, err := o.find(looking, c)
	if err != nil {
		return err
	}
	dialer, err := portforward.New(portforward.Config{REST: c.rest, Client: c.client, Transport: portforward.Transport(o.Transport)})
	if err != nil {
		return err
	}
	defer dialer.Close()
	say := newOpenEvents(o.ErrOut)
	forwards, err := o.listen(dialer, target, say)
	if err != nil {
		return err
	}
	serving, stop := context.WithCancelCause(ctx)
	var listeners sync.WaitGroup
	for _, f := range forwards {
		listeners.Go(func() {
			if err := f.forwarder.Serve(serving); err != nil {
				stop(err)
			}
		})
	}
	err = o.serve(serving, c, target, forwards, say, opened)
	stop(nil)
	listeners.Wait()
	if broken := context.Cause(serving); ctx.Err() == nil && !errors.Is(broken, context.Canceled) {
		return fmt.Errorf("the forward to %s ended: %w", target.title, broken)
	}
	return err
}

// serve shows the target once it answers, and stays until ctx is over.
func (o *ObserveOpenOptions) serve(ctx context.Context, c *cluster, t *openTarget, forwards []*openForward, say *openEvents, opened *bool) error {
	first := forwards[0]
	pod, err := awaitAnswer(ctx, t, first, o.Timeout, say)
	if err != nil {
		return err
	}
	if err := o.show(ctx, c, t, forwards, pod, say); err != nil {
		return err
	}
	*opened = true
	watch(ctx, t, first, pod, say)
	say.end()
	return nil
}

// show prints the addresses and opens the browser.
func (o *ObserveOpenOptions) show(ctx context.Context, c *cluster, t *openTarget, forwards []*openForward, pod portforward.PodRef, say *openEvents) error {
	first := forwards[0]
	page, remark := first.url()+"/", ""
	var login grafanaLogin
	if o.Target == "grafana" {
		reading, cancel := context.WithTimeout(ctx, discoveryTimeout)
		login = readLogin(reading, c, t)
		cancel()
		var err error
		if page, remark, err = o.grafanaPage(ctx, first, login); err != nil {
			return err
		}
	}
	say.fact("service", "%s/%s answers", t.namespace, t.name)
	say.fact("pod", "%s on node %s", pod.Name, pod.Node)
	if t.page {
		fmt.Fprintln(o.Out, page)
	} else {
		o.printPorts(ctx, forwards, say)
	}
	if remark != "" {
		say.fact("note", "%s", remark)
	}
	if o.Target == "grafana" {
		o.printLogin(login, say)
	}
	say.fact("forward", "until Ctrl-C")
	if t.page && !o.NoBrowser && onTerminal(o.Out) {
		// Some browsers' openers end only with the browser.
		go func() {
			if err := o.openURL(page); err != nil {
				say.printf("no browser could be opened (%v); open the address yourself", err)
			}
		}()
	}
	return nil
}

// printPorts gives one address per line, and says which ports don't answer.
func (o *ObserveOpenOptions) printPorts(ctx context.Context, forwards []*openForward, say *openEvents) {
	errs := make([]error, len(forwards))
	var wg sync.WaitGroup
	for i, f := range forwards[1:] {
		wg.Go(func() { _, errs[i+1] = f.answers(ctx) })
	}
	wg.Wait()
	for i, f := range forwards {
		fmt.Fprintf(o.Out, "%-8s %s\n", f.title, f.url())
		if errs[i] != nil {
			say.fact("note", "the %s port does not answer: %v", f.title, errs[i])
		}
	}
}

func onTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// openInBrowser keeps what the opener prints away from the terminal.
func openInBrowser(url string) error {
	browser.Stdout, browser.Stderr = io.Discard, io.Discard
	return browser.OpenURL(url)
}
