package plugin

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/term"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// interactive tells whether somebody is there to ask.
func interactive(streams genericiooptions.IOStreams) bool {
	in, inFile := streams.In.(*os.File)
	out, outFile := streams.ErrOut.(*os.File)
	return inFile && outFile && term.IsTerminal(int(in.Fd())) && term.IsTerminal(int(out.Fd()))
}

// confirm asks for a typed yes. The read can't be interrupted; after Ctrl-C it is
// left behind, and the process ends.
func confirm(ctx context.Context, streams genericiooptions.IOStreams, question string) error {
	fmt.Fprintf(streams.ErrOut, "%s Type yes: ", question)
	answer := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(streams.In).ReadString('\n')
		answer <- strings.TrimSpace(line)
	}()
	select {
	case <-ctx.Done():
		fmt.Fprintln(streams.ErrOut)
		return &ExitError{Code: ExitInterrupted, Err: errors.New("interrupted; nothing was changed")}
	case text := <-answer:
		if text != "yes" {
			return &ExitError{Code: ExitUsage, Err: errors.New("not confirmed; nothing was changed")}
		}
		return nil
	}
}
