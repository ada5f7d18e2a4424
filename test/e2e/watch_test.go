//go:build e2e

package e2e

import (
	"context"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestStatusWatch: on a terminal each look takes the place of the last, until
// Ctrl-C, which is no failure.
func TestStatusWatch(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := command(ctx, "kubectl-triton", nil, "observe", "status", "--watch")
	master, screen := terminal(t, cmd, 80, darkBackground)
	looked := regexp.MustCompile(`Looked at (\d\d:\d\d:\d\d), again every 2s; Ctrl-C ends\.`)
	eventually(t, 50*time.Second, "a second look", func() bool {
		all := looked.FindAllStringSubmatch(screen.String(), -1)
		return len(all) > 1 && all[0][1] != all[len(all)-1][1]
	})
	if _, err := master.WriteString("\x03"); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("Ctrl-C: %v", err)
	}
	eventually(t, 10*time.Second, "one screen for each look", func() bool {
		text := screen.String()
		return strings.Count(text, "\x1b[H") == strings.Count(text, "Observability stack:") && !strings.Contains(text, "\x1b[H\x1b[J")
	})
}
