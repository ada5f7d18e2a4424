package report

import (
	"fmt"
	"math"
	"strings"

	"github.com/charmbracelet/lipgloss"
)

func (s *screen) client(b *Bench) {
	c := b.Client
	s.section("Client", "in "+Seconds(c.ElapsedSeconds))
	counts := []string{Count(c.Succeeded) + " ok"}
	failed := Count(c.Failed) + " failed (" + Percent(c.ErrorRatio) + ")"
	if c.Failed > 0 {
		failed = s.bad.Render(failed)
	}
	counts = append(counts, failed)
	if c.Canceled > 0 {
		counts = append(counts, Count(c.Canceled)+" canceled")
	}
	if c.Unsent > 0 {
		counts = append(counts, s.warn.Render(Count(c.Unsent)+" due but not sent"))
	}
	s.fact("requests", strings.Join(counts, ", "))
	s.fact("throughput", fmt.Sprintf("%s req/s, %s infer/s", Significant(c.RequestRatePerSecond), Significant(c.InferenceRatePerSecond)))
	if u := c.CPU; u != nil {
		s.fact("own CPU", fmt.Sprintf("%s cores, %s per request, waited %s for a core", Significant(u.CoresUsed), Microseconds(u.PerRequestUS), Microseconds(u.DelayMeanUS)))
	}
	if st := c.Stability; st != nil {
		s.fact("stability", s.stability(st))
	}
	if st := c.Stream; st != nil {
		text := fmt.Sprintf("%s responses, %s per request (%s to %s), %s/s", Count(st.Responses), Significant(st.ResponsesPerRequest), Count(st.MinResponses), Count(st.MaxResponses), Significant(st.ResponseRatePerSecond))
		if st.Tokens > 0 {
			text += fmt.Sprintf("; %s tokens, %s tokens/s", Count(st.Tokens), Significant(st.TokenRatePerSecond))
		}
		s.fact("stream", text)
	}
	s.latencies(b)
	for _, e := range c.Errors {
		s.fact("error", fmt.Sprintf("%s × %s, first at %s: %s", s.bad.Render(Count(e.Count)), e.Class, Seconds(e.FirstAtSeconds), e.First))
	}
}

func (s *screen) stability(st *Stability) string {
	last := st.Windows[len(st.Windows)-st.ComparedWindows:]
	of := fmt.Sprintf("last %d of %d windows of %s", st.ComparedWindows, len(st.Windows), Seconds(math.Round(last[0].WidthSeconds)))
	if st.Steady {
		text := fmt.Sprintf("steady: %s within %s in throughput, %s in mean response", of, Percent(st.RateSpreadRatio), Percent(st.ResponseSpreadRatio))
		if st.SteadyFromSeconds > 0 {
			text += fmt.Sprintf("; only from %s on: lengthen the warm-up", Seconds(math.Round(st.SteadyFromSeconds)))
		}
		return text
	}
	var drifted []string
	for _, d := range []struct {
		spread, limit float64
		name          string
		value         func(Window) string
	}{
		{st.RateSpreadRatio, st.RateLimitRatio, "throughput", func(w Window) string { return Significant(w.RequestRatePerSecond) + " req/s" }},
		{st.ResponseSpreadRatio, st.ResponseLimitRatio, "mean response", func(w Window) string { return Microseconds(w.ResponseMeanUS) }},
	} {
		if d.spread <= d.limit {
			continue
		}
		var values []string
		for _, w := range last {
			values = append(values, d.value(w))
		}
		drifted = append(drifted, fmt.Sprintf("%s %s (over %s off their mean)", d.name, strings.Join(values, ", "), Percent(d.limit)))
	}
	return s.warn.Render("not steady: ") + strings.Join(drifted, "; ") + " in the " + of
}

func (s *screen) latencies(b *Bench) {
	c := b.Client
	type line struct {
		label string
		l     *Latency
	}
	rows := []line{{"response", c.Response}, {"service", c.Service}}
	if st := c.Stream; st != nil {
		first, gap := "first resp", "resp gap"
		if st.Tokens > 0 && st.Tokens == st.Responses {
			first, gap = "1st token", "token gap"
		}
		rows = append(rows, line{first, st.FirstResponse}, line{gap, st.Gap})
	}
	rows = append(rows, line{"send lag", c.SendLag}, line{"failed", c.FailedResponse})
	header := fmt.Sprintf("  %-*s", labelWidth-2, "latency")
	for _, h := range []string{"p50", "p90", "p95", "p99", "p99.9", "max"} {
		header += fmt.Sprintf("%11s", h)
	}
	printed := false
	for _, r := range rows {
		if r.l == nil || r.l.Count == 0 {
			continue
		}
		if !printed {
			s.line("%s", s.label.Render(header))
			printed = true
		}
		row := ""
		for _, us := range []float64{r.l.P50US, r.l.P90US, r.l.P95US, r.l.P99US, r.l.P999US, r.l.MaxUS} {
			row += padLeft(Microseconds(us), 11)
		}
		s.line("  %s%s", s.label.Render(fmt.Sprintf("%-*s", labelWidth-2, r.label)), row)
	}
	if !printed {
		s.fact("latency", "none: no request was answered")
	}
}

const barWidth = 30

func (s *screen) server(b *Bench) {
	v := b.Server
	if v == nil {
		return
	}
	of, outside := plural(len(v.Pods), "Triton pod"), "network, tunnel"
	if b.Path.Kind == PathDirect {
		of, outside = "the server at this address", "network"
	}
	s.section("Server", "from the statistics of "+of)
	text := fmt.Sprintf("%s ok, %s failed; %s inferences in %s executions", Count(v.Requests), Count(v.Failed), Count(v.Inferences), Count(v.Executions))
	if v.CacheHits > 0 {
		text += fmt.Sprintf("; %s cache hits", Count(v.CacheHits))
	}
	s.fact("requests", text)
	switch {
	case !v.Complete:
		s.fact("", s.warn.Render("incomplete: ")+"counters were lost or reset, see below")
	case v.ForeignRequests > 0:
		s.fact("", s.warn.Render(Count(uint64(v.ForeignRequests))+" of them from other clients"))
	}
	if len(v.Batches) > 0 {
		// Of those whose size is known: what failed may be missing in the sum of all.
		var sizes []string
		var known uint64
		for _, x := range v.Batches {
			known += x.Executions
		}
		for _, x := range v.Batches {
			sizes = append(sizes, strings.ReplaceAll(fmt.Sprintf("%d: %s", x.Size, Percent(float64(x.Executions)/float64(max(1, known)))), " ", hold))
		}
		s.fact("batch", fmt.Sprintf("average %s; share of executions by size: %s", Significant(v.AverageBatch), strings.Join(sizes, ", ")))
	}
	for _, p := range v.Pods {
		if p.Problem != "" {
			s.fact("pod", s.warn.Render(p.Name)+": "+p.Problem)
		}
	}
	if v.Requests == 0 {
		return
	}
	s.section("Where a request's time goes", "mean per successful request")
	parts := []struct {
		name string
		us   float64
	}{
		{"queue", v.QueueUS},
		{"compute input", v.ComputeInputUS},
		{"compute infer", v.ComputeInferUS},
		{"compute output", v.ComputeOutputUS},
		{"server overhead", v.OverheadUS},
	}
	if v.OutsideUS != nil {
		parts = append(parts, struct {
			name string
			us   float64
		}{outside, *v.OutsideUS})
	}
	total := 0.0
	for _, p := range parts {
		total += max(0, p.us)
	}
	for _, p := range parts {
		share := 0.0
		if total > 0 {
			share = max(0, p.us) / total
		}
		s.line("  %s%s%s  %s", s.label.Render(fmt.Sprintf("%-17s", p.name)), padLeft(Microseconds(p.us), 10), padLeft(Percent(share), 9), bar(share))
	}
}

func bar(share float64) string {
	eighths := int(share*barWidth*8 + 0.5)
	partial := []string{"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"}
	return strings.Repeat("█", eighths/8) + partial[eighths%8]
}

func (s *screen) gpu(b *Bench) {
	g := b.GPU
	if g == nil || len(g.Devices) == 0 && len(g.Gaps) == 0 {
		return
	}
	note := g.Source
	if note == "" {
		note = "no figures"
	} else if g.IntervalSeconds > 0 {
		note += ", every " + Seconds(g.IntervalSeconds)
	}
	s.section("GPU", note)
	for _, d := range g.Devices {
		name := d.Product
		if d.Index != "" {
			name = "GPU " + d.Index + " " + name
		}
		name = strings.TrimSpace(name + " " + d.UUID)
		if d.MIGInstance != "" {
			name += strings.TrimRight(" MIG "+d.MIGInstance+" "+d.MIGProfile, " ")
		}
		if d.Node != "" {
			name += " on " + d.Node
		}
		for _, l := range Fold(name, Width-2) {
			s.line("  %s", l)
		}
		if d.Insufficient {
			s.fact("", s.warn.Render(fmt.Sprintf("insufficient samples (n=%d, every %s)", d.Samples, Seconds(g.IntervalSeconds))))
			continue
		}
		s.fact("utilisation", fmt.Sprintf("average %s, peak %s  (n=%d)", known(d.UtilizationAverage, Percent), known(d.UtilizationPeak, Percent), d.Samples))
		s.fact("memory", fmt.Sprintf("%s of %s used", known(d.MemoryUsedBytes, Bytes), known(d.MemoryTotalBytes, Bytes)))
		s.fact("power", fmt.Sprintf("average %s, peak %s; temperature peak %s", known(d.PowerAverageW, unit("W")), known(d.PowerPeakW, unit("W")), known(d.TemperaturePeakC, unit("°C"))))
		s.fact("energy", fmt.Sprintf("%s, %s per inference", known(d.EnergyJ, unit("J")), known(d.EnergyPerInference, unit("J"))))
	}
	for _, gap := range g.Gaps {
		s.fact("gap", s.warn.Render(gap))
	}
}

func (s *screen) closing(b *Bench) {
	if g := b.Grafana; g != nil {
		s.section("Grafana", "")
		s.line("  %s", g.URL)
		if g.Reach != "" {
			s.line("  %s", s.label.Render("open it: ")+g.Reach)
		}
	}
	if len(b.Missing) > 0 {
		s.section("Missing from this report", "")
		for _, m := range b.Missing {
			s.bullet(s.warn.Render("!"), m.Part+": "+m.Why)
			if m.Fix != "" {
				s.bullet(" ", "mend it by: "+m.Fix)
			}
		}
	}
	if len(b.Notes) > 0 {
		s.section("Notes", "")
		for _, n := range b.Notes {
			s.bullet("·", n)
		}
	}
}

func known(v *float64, format func(float64) string) string {
	if v == nil {
		return "unknown"
	}
	return format(*v)
}

func unit(u string) func(float64) string {
	return func(v float64) string { return Significant(v) + " " + u }
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func padLeft(text string, width int) string {
	return strings.Repeat(" ", max(0, width-lipgloss.Width(text))) + text
}
