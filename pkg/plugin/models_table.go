package plugin

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kubectl-triton/kubectl-triton/pkg/report"
)

// modelColumn is one column of the models' table.
type modelColumn struct {
	title string
	wide  bool // in the wide form only
	cell  func(*modelReport) string
}

func modelColumns(pods int) []modelColumn {
	configured := func(cell func(*modelReport) string) func(*modelReport) string {
		return func(m *modelReport) string {
			if !m.Configured {
				return ""
			}
			return cell(m)
		}
	}
	return []modelColumn{
		{title: "MODEL", cell: func(m *modelReport) string { return m.Name }},
		{title: "VERSION", cell: func(m *modelReport) string { return m.Version }},
		{title: "STATE", cell: func(m *modelReport) string { return m.State }},
		{title: "BACKEND", cell: func(m *modelReport) string { return cmp.Or(m.Backend, m.Platform) }},
		{title: "INSTANCES", cell: func(m *modelReport) string { return instancesText(m.Instances) }},
		{title: "BATCH", cell: configured(batchText)},
		{title: "PREFERRED", wide: true, cell: func(m *modelReport) string {
			if m.Batching == nil {
				return ""
			}
			return joined(m.Batching.PreferredBatchSizes, ",")
		}},
		{title: "DELAY", wide: true, cell: func(m *modelReport) string {
			if m.Batching == nil {
				return ""
			}
			return report.Microseconds(float64(m.Batching.MaxQueueDelayUS))
		}},
		{title: "QUEUE", wide: true, cell: func(m *modelReport) string {
			switch {
			case m.Batching == nil:
				return ""
			case m.Batching.MaxQueueSize == 0:
				return "unbounded"
			default:
				return fmt.Sprintf("≤%d", m.Batching.MaxQueueSize)
			}
		}},
		{title: "INPUTS", wide: true, cell: func(m *modelReport) string { return strings.Join(tensorTexts(m.Inputs), "; ") }},
		{title: "OUTPUTS", wide: true, cell: func(m *modelReport) string { return strings.Join(tensorTexts(m.Outputs), "; ") }},
		{title: "DECOUPLED", wide: true, cell: configured(func(m *modelReport) string { return yesNo(m.Decoupled) })},
		{title: "CACHE", wide: true, cell: configured(func(m *modelReport) string { return yesNo(m.ResponseCache) })},
		{title: "LOAD TIME", wide: true, cell: func(m *modelReport) string {
			if m.LoadSeconds == nil {
				return ""
			}
			return report.Seconds(*m.LoadSeconds)
		}},
		{title: "SERVED", cell: func(m *modelReport) string {
			if m.Served == nil {
				return ""
			}
			return report.Count(m.Served.Succeeded)
		}},
		{title: "FAILED", wide: true, cell: func(m *modelReport) string {
			if m.Served == nil {
				return ""
			}
			return report.Count(m.Served.Failed)
		}},
		{title: "LAST", wide: true, cell: func(m *modelReport) string {
			if m.Served == nil || m.Served.LastInference == nil {
				return ""
			}
			return m.Served.LastInference.Format(time.RFC3339)
		}},
		{title: "PODS", cell: func(m *modelReport) string { return fmt.Sprintf("%d/%d", len(m.Pods), pods) }},
		{title: "ON", wide: true, cell: func(m *modelReport) string { return strings.Join(m.Pods, ",") }},
	}
}

// newModelsTable leaves out what tells nothing, and while the rest is too wide
// for a terminal the columns that matter least; dropped names those.
func newModelsTable(r *modelsReport, wide bool) (t *textTable, dropped []string) {
	t = &textTable{rows: make([][]string, len(r.Models))}
	for _, column := range modelColumns(len(r.Pods)) {
		if column.wide && !wide || column.title == "PODS" && len(r.Pods) == 1 && !wide {
			continue
		}
		t.titles = append(t.titles, column.title)
		for i := range r.Models {
			t.rows[i] = append(t.rows[i], cmp.Or(column.cell(&r.Models[i]), noValue))
		}
	}
	for _, title := range []string{"SERVED", "BACKEND", "INSTANCES"} {
		if column := slices.Index(t.titles, title); !wide && t.width() > report.Width {
			t.drop(column)
			dropped = append(dropped, title)
		}
	}
	return t, dropped
}

// instancesText is the instances of all groups, such as "2×GPU 0,1; 1×CPU": two
// on each of the GPUs 0 and 1.
func instancesText(groups []modelInstances) string {
	var parts []string
	for _, g := range groups {
		kind := g.Kind
		if kind == "gpu" || kind == "cpu" {
			kind = strings.ToUpper(kind)
		}
		text := fmt.Sprintf("%d×%s", g.Count, kind)
		if len(g.GPUs) > 0 {
			text += " " + joined(g.GPUs, ",")
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, "; ")
}

// batchText is how large a batch may be, and who makes batches of requests.
func batchText(m *modelReport) string {
	var parts []string
	if m.MaxBatchSize > 0 {
		parts = append(parts, fmt.Sprintf("≤%d", m.MaxBatchSize))
	}
	switch {
	case m.Batching != nil:
		parts = append(parts, "dynamic")
	case m.Sequence:
		parts = append(parts, "sequence")
	}
	return cmp.Or(strings.Join(parts, " "), "none")
}

func tensorTexts(tensors []modelTensor) []string {
	var parts []string
	for _, t := range tensors {
		text := fmt.Sprintf("%s %s [%s]", t.Name, t.Type, joined(t.Dims, ","))
		if t.Optional {
			text += " optional"
		}
		parts = append(parts, text)
	}
	return parts
}

func joined[T int | int64](numbers []T, separator string) string {
	var parts []string
	for _, n := range numbers {
		parts = append(parts, strconv.FormatInt(int64(n), 10))
	}
	return strings.Join(parts, separator)
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
