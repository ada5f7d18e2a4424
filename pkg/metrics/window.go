package metrics

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// MinSamples is the number of samples below which a figure is not given.
const MinSamples = 3

// UtilizationKind says what a utilisation measures.
type UtilizationKind string

const (
	// UtilizationKernels is the share of time in which at least one kernel ran.
	UtilizationKernels UtilizationKind = "kernels running"
	// UtilizationEngine is the share of time in which the graphics and compute
	// engine was active, all that is known of a MIG instance.
	UtilizationEngine UtilizationKind = "engine active"
)

// EnergyMethod says how an energy was found.
type EnergyMethod string

const (
	EnergyCounter  EnergyMethod = "energy counter"
	EnergyIntegral EnergyMethod = "power over time" // when there is no energy counter
)

// GPUWindow is what the GPUs did between Start and End.
type GPUWindow struct {
	// Source is "Prometheus (DCGM)", "Prometheus (Triton nv_gpu_*)", "sampled
	// from dcgm-exporter" or "sampled from Triton"; "" without GPUs.
	Source string

	// Start and End are on the source's clock: the asked window moved by
	// ClockSkew if the clocks are known to differ.
	Start, End time.Time
	// ClockSkew is the source's clock minus the local one, known to within
	// ClockUncertainty.
	ClockSkew, ClockUncertainty time.Duration

	// Interval is the time between samples: as configured in Prometheus, else
	// as observed; 0 when unknown.
	Interval time.Duration
	// SelectedBy says what tied the GPUs to the selector: "UUID", "pod",
	// "pod, through Triton's own GPU metrics", "node" or "all".
	SelectedBy string

	GPUs []GPUSummary
	// Gaps are sentences on what is missing from these figures or doubtful
	// about them.
	Gaps []string
}

// GPUSummary is one GPU's window. Figures that are unknown are nil; with
// Insufficient set, all but the memory's size are.
type GPUSummary struct {
	GPU
	Family Family

	// Samples is the number of samples inside the window.
	Samples int
	// Readings is how many different readings these samples hold: an exporter
	// that refreshes every 30 s and is scraped every second gives 30 samples of
	// one reading. 0 when it can't be told.
	Readings int
	// Refresh is the exporter's own refresh interval as observed; 0 when it
	// can't be told or is no longer than the sampling interval.
	Refresh time.Duration
	// Insufficient says that there are fewer than MinSamples samples or readings.
	Insufficient bool

	UtilizationAvg, UtilizationPeak   *float64 // 0–1
	UtilizationFrom                   UtilizationKind
	MemoryUsedPeakBytes               *float64
	MemoryUsedAvgBytes                *float64
	MemoryTotalBytes                  *float64
	PowerAvgW, PowerPeakW             *float64
	PowerLimitW                       *float64
	TemperatureAvgC, TemperaturePeakC *float64

	// EnergyJ was used during EnergyCovered, the time from the first to the
	// last sample inside the window, which is shorter than the window. See
	// EnergyOver.
	EnergyJ       *float64
	EnergyCovered time.Duration
	EnergyFrom    EnergyMethod

	// NewXID is the XID error that the driver reported during the window.
	NewXID *int
}

// EnergyOver scales the measured energy to a span of time, in joules: the mean
// power of the covered time, times d. It is nil when the energy is unknown.
func (s GPUSummary) EnergyOver(d time.Duration) *float64 {
	if s.EnergyJ == nil || s.EnergyCovered <= 0 {
		return nil
	}
	joules := *s.EnergyJ * (d.Seconds() / s.EnergyCovered.Seconds())
	return &joules
}

// summarise turns one GPU's tracks into its summary and sentences on what is
// doubtful about it.
func summarise(gpu GPU, family Family, t *tracks) (GPUSummary, []string) {
	s := GPUSummary{GPU: gpu, Family: family}
	var doubts []string
	_, _, s.Samples = t.bounds()
	s.MemoryTotalBytes = memorySum(last(t, memoryTotal), last(t, memoryUsed), last(t, memoryFree), last(t, memoryReserved))
	s.Readings, s.Refresh = readings(t)

	if s.Samples < MinSamples || (s.Readings > 0 && s.Readings < MinSamples) {
		s.Insufficient = true
		if s.Samples >= MinSamples {
			doubts = append(doubts, fmt.Sprintf("the %d samples of %s hold %s: its exporter refreshes too slowly for this window; set a shorter --collect-interval on dcgm-exporter or run longer", s.Samples, gpu, count(s.Readings, "reading")))
		}
		return s, doubts
	}

	for _, candidate := range []struct {
		m    meaning
		kind UtilizationKind
	}{{utilization, UtilizationKernels}, {engineActive, UtilizationEngine}} {
		u := t[candidate.m]
		if u.outOfRange > 0 {
			doubts = append(doubts, fmt.Sprintf("the utilisation of %s is left out: its exporter publishes values above 100 %% under this name", gpu))
			continue
		}
		if u.n >= MinSamples {
			s.UtilizationAvg, s.UtilizationPeak, s.UtilizationFrom = mean(u), peak(u), candidate.kind
			break
		}
	}
	s.MemoryUsedAvgBytes, s.MemoryUsedPeakBytes = mean(t[memoryUsed]), peak(t[memoryUsed])
	s.PowerAvgW, s.PowerPeakW = mean(t[power]), peak(t[power])
	s.PowerLimitW = last(t, powerLimit)
	s.TemperatureAvgC, s.TemperaturePeakC = mean(t[temperature]), peak(t[temperature])

	// A counter that stands at zero is one that the GPU doesn't have.
	if e := t[energy]; e.n >= MinSamples && e.max > 0 {
		s.EnergyJ, s.EnergyCovered, s.EnergyFrom = &e.increase, e.span(), EnergyCounter
		if e.resets > 0 {
			doubts = append(doubts, fmt.Sprintf("the energy counter of %s restarted during the window (driver reload?): its energy is a lower bound", gpu))
		}
	} else if p := t[power]; p.n >= MinSamples {
		s.EnergyJ, s.EnergyCovered, s.EnergyFrom = &p.integral, p.span(), EnergyIntegral
	}
	if gpu.MIGInstance != "" && (s.EnergyJ != nil || s.PowerAvgW != nil) {
		doubts = append(doubts, fmt.Sprintf("power and energy of %s are those of the whole GPU, which other MIG instances share", gpu))
	}
	if x := t[lastXID]; x.n > 0 && x.last > 0 && x.changes > 0 {
		n := int(x.last)
		s.NewXID = &n
		doubts = append(doubts, fmt.Sprintf("the driver reported XID error %d on %s during the window", n, gpu))
	}
	return s, doubts
}

// readings counts the different readings among the samples. The energy
// counter of a powered GPU rises between any two readings, so samples without
// any change repeat one. Without that counter, steady values and repeated
// ones look the same.
func readings(t *tracks) (n int, refresh time.Duration) {
	e := t[energy]
	if e.n == 0 || e.max == 0 {
		return 0, 0
	}
	for m := range t {
		n = max(n, t[m].changes)
	}
	n++
	// Two samples in phase with the refresh may well fall on one reading.
	if e.changes > 0 && n*3 < e.n*2 {
		refresh = e.span() / time.Duration(e.changes)
	}
	return n, refresh
}

func mean(t track) *float64 {
	if t.n < MinSamples {
		return nil
	}
	v := t.sum / float64(t.n)
	return &v
}

func peak(t track) *float64 {
	if t.n < MinSamples {
		return nil
	}
	return &t.max
}

func last(t *tracks, m meaning) *float64 {
	if t[m].n == 0 {
		return nil
	}
	v := t[m].last
	return &v
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func sortGPUs(gpus []GPUSummary) {
	slices.SortStableFunc(gpus, func(a, b GPUSummary) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(len(a.Index), len(b.Index)), cmp.Compare(a.Index, b.Index),
			cmp.Compare(a.UUID, b.UUID), cmp.Compare(a.MIGInstance, b.MIGInstance))
	})
}

// refreshDoubt is one sentence for all GPUs whose exporter is slower than its
// readers.
func refreshDoubt(gpus []GPUSummary, interval time.Duration) []string {
	var slowest time.Duration
	for _, g := range gpus {
		slowest = max(slowest, g.Refresh)
	}
	if slowest == 0 || interval == 0 {
		return nil
	}
	return []string{fmt.Sprintf("the exporter refreshes its values about every %s although it is read every %s: consecutive samples repeat each other", rounded(slowest), rounded(interval))}
}

// rounded prints a duration with the precision that a person wants.
func rounded(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 10*time.Second && d%time.Second != 0:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < 10*time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	}
	return d.Round(time.Second).String()
}
