package plugin

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/charmbracelet/lipgloss"
)

// textTable is a table's cells by row, and what was taken out of it to make
// it fit.
type textTable struct {
	titles []string
	rows   [][]string
	facts  [][2]string // label and text
}

const (
	columnGap = 2
	noValue   = "-"
)

// sum counts a column's values, the most frequent first.
func (t *textTable) sum(column int) string {
	counts := map[string]int{}
	for _, cell := range t.cells(column) {
		counts[cell]++
	}
	if len(counts) == 1 {
		return t.rows[0][column] + " on all"
	}
	delete(counts, noValue)
	var parts []string
	for _, value := range slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
	}) {
		parts = append(parts, fmt.Sprintf("%s on %d", value, counts[value]))
	}
	return strings.Join(parts, ", ") + "; -o wide shows where"
}

func allEqual(cells []string, value string) bool {
	return !slices.ContainsFunc(cells, func(c string) bool { return c != value })
}

func (t *textTable) cells(column int) []string {
	cells := make([]string, len(t.rows))
	for i, row := range t.rows {
		cells[i] = row[column]
	}
	return cells
}

func (t *textTable) drop(column int) {
	t.titles = slices.Delete(t.titles, column, column+1)
	for i := range t.rows {
		t.rows[i] = slices.Delete(t.rows[i], column, column+1)
	}
}

func (t *textTable) widths() []int {
	widths := make([]int, len(t.titles))
	for _, row := range append([][]string{t.titles}, t.rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], lipgloss.Width(cell))
		}
	}
	return widths
}

func (t *textTable) width() int {
	total := -columnGap
	for _, w := range t.widths() {
		total += w + columnGap
	}
	return total
}

// lines are the header and the rows, aligned.
func (t *textTable) lines() []string {
	widths := t.widths()
	var lines []string
	for _, row := range append([][]string{t.titles}, t.rows...) {
		var b strings.Builder
		for i, cell := range row {
			b.WriteString(cell + strings.Repeat(" ", widths[i]-lipgloss.Width(cell)+columnGap))
		}
		lines = append(lines, strings.TrimRight(b.String(), " "))
	}
	return lines
}
