package plugin

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/charmbracelet/lipgloss"
)

// TestScreen: each show takes the place of the last; on a short terminal the
// beginning stays.
func TestScreen(t *testing.T) {
	var text strings.Builder
	for i := range 30 {
		fmt.Fprintf(&text, "line %d\n", i)
	}
	for _, c := range []struct {
		columns, rows int
		lines         int
		footer        string
	}{
		{80, 40, 30, "again soon"},
		{80, 24, 22, "8 more lines have no place. again soon"},
		{20, 24, 22, "8 more lines have …"},
		{80, 32, 30, "again soon"},
		{80, 1, 0, "30 more lines have no place. again soon"},
		{0, 0, 30, "again soon"}, // nobody knows
	} {
		var out bytes.Buffer
		s := &screen{w: &out, renderer: lipgloss.NewRenderer(&out), size: func() (int, int) { return c.columns, c.rows }}
		if err := s.show(text.String(), "again soon"); err != nil {
			t.Fatal(err)
		}
		got := out.String()
		if !strings.HasPrefix(got, toHome) || strings.Contains(got, toHome+clearScreen) || !strings.HasSuffix(got, c.footer+clearLine+clearScreen) {
			t.Errorf("%d × %d: %q", c.columns, c.rows, got)
		}
		if n := strings.Count(got, "line "); n != c.lines {
			t.Errorf("%d × %d: %d lines, want %d", c.columns, c.rows, n, c.lines)
		}
		if c.rows > 2 && strings.Count(got, "\r\n")+1 > c.rows {
			t.Errorf("%d × %d: it scrolls: %q", c.columns, c.rows, got)
		}
	}
	if newScreen(&bytes.Buffer{}) != nil || (*screen)(nil).home() != "" {
		t.Error("a buffer is no terminal")
	}
}
