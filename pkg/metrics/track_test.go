package metrics

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const second = int64(time.Second)

func trackOf(values ...float64) track {
	var t track
	for i, v := range values {
		t = t.then(sampleTrack(int64(i)*second, v, true))
	}
	return t
}

func TestTrack(t *testing.T) {
	for name, test := range map[string]struct {
		values []float64
		want   track
	}{
		"nothing":      {nil, track{}},
		"one":          {[]float64{5}, track{n: 1, sum: 5, max: 5, first: 5, last: 5}},
		"gauge":        {[]float64{1, 3, 2}, track{n: 3, changes: 2, resets: 1, sum: 6, max: 3, first: 1, last: 2, lastAt: 2 * second, increase: 4, integral: 4.5}},
		"counter":      {[]float64{100, 100, 130, 170}, track{n: 4, changes: 2, sum: 500, max: 170, first: 100, last: 170, lastAt: 3 * second, increase: 70, integral: 365}},
		"reset":        {[]float64{1000, 1100, 50, 80}, track{n: 4, changes: 3, resets: 1, sum: 2230, max: 1100, first: 1000, last: 80, lastAt: 3 * second, increase: 180, integral: 1690}},
		"reset across": {[]float64{10, 4}, track{n: 2, changes: 1, resets: 1, sum: 14, max: 10, first: 10, last: 4, lastAt: second, increase: 4, integral: 7}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, trackOf(test.values...), cmp.AllowUnexported(track{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// However samples are grouped, the whole is the same.
func TestTrackGroupsFreely(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		values := make([]float64, 1+random.IntN(40))
		for i := range values {
			values[i] = float64(random.IntN(1000)) // whole numbers add exactly
		}
		whole := trackOf(values...)
		var groups []track
		for i := 0; i < len(values); {
			var group track
			for size := 1 + random.IntN(6); size > 0 && i < len(values); size, i = size-1, i+1 {
				group = group.then(sampleTrack(int64(i)*second, values[i], true))
			}
			groups = append(groups, group)
		}
		for len(groups) > 1 {
			i := random.IntN(len(groups) - 1)
			groups[i] = groups[i].then(groups[i+1])
			groups = append(groups[:i+1], groups[i+2:]...)
		}
		if diff := cmp.Diff(whole, groups[0], cmp.AllowUnexported(track{})); diff != "" {
			t.Fatalf("%v (-one by one +in groups):\n%s", values, diff)
		}
	}
}

func summaryOf(t *testing.T, gpu GPU, samples map[meaning][]float64) (GPUSummary, []string) {
	t.Helper()
	var all tracks
	for m, values := range samples {
		for i, v := range values {
			if !math.IsNaN(v) {
				all[m] = all[m].then(sampleTrack(int64(i)*second, v, inRange(m, v)))
			}
		}
	}
	return summarise(gpu, FamilyDCGM, &all)
}

func TestSummarise(t *testing.T) {
	gpu := GPU{UUID: uuidA, Index: "0", Node: "n1"}
	mig := GPU{UUID: uuidA, Index: "0", Node: "n1", MIGInstance: "7", MIGProfile: "1g.5gb"}
	for name, test := range map[string]struct {
		gpu     GPU
		samples map[meaning][]float64
		want    GPUSummary
		doubts  []string
	}{
		"everything": {gpu, map[meaning][]float64{
			utilization: {0.2, 0.9, 0.4}, engineActive: {0.1, 0.1, 0.1}, memoryUsed: {10, 30, 20}, memoryFree: {90, 70, 80}, memoryReserved: {5, 5, 5},
			power: {100, 300, 200}, temperature: {50, 52, 54}, energy: {1000, 1150, 1400}, lastXID: {0, 0, 0},
		}, GPUSummary{GPU: gpu, Samples: 3, Readings: 3, UtilizationAvg: f(0.5), UtilizationPeak: f(0.9), UtilizationFrom: UtilizationKernels,
			MemoryUsedAvgBytes: f(20), MemoryUsedPeakBytes: f(30), MemoryTotalBytes: f(105), PowerAvgW: f(200), PowerPeakW: f(300),
			TemperatureAvgC: f(52), TemperaturePeakC: f(54), EnergyJ: f(400), EnergyCovered: 2 * time.Second, EnergyFrom: EnergyCounter}, nil},
		"two samples are no figure": {gpu, map[meaning][]float64{utilization: {0.2, 0.9}, memoryTotal: {100, 100}, energy: {1, 2}},
			GPUSummary{GPU: gpu, Samples: 2, Readings: 2, Insufficient: true, MemoryTotalBytes: f(100)}, nil},
		"nothing": {gpu, nil, GPUSummary{GPU: gpu, Insufficient: true}, nil},
		"a figure with too few samples among others": {gpu, map[meaning][]float64{utilization: {0.2, 0.2, 0.2, 0.2}, temperature: {40}},
			GPUSummary{GPU: gpu, Samples: 4, UtilizationAvg: f(0.2), UtilizationPeak: f(0.2), UtilizationFrom: UtilizationKernels}, nil},
		"one reading scraped often": {gpu, map[meaning][]float64{utilization: {0.2, 0.2, 0.2, 0.2}, energy: {500, 500, 500, 500}},
			GPUSummary{GPU: gpu, Samples: 4, Readings: 1, Insufficient: true},
			[]string{"the 4 samples of GPU 0 on n1 hold 1 reading: its exporter refreshes too slowly for this window; set a shorter --collect-interval on dcgm-exporter or run longer"}},
		"slow refresh": {gpu, map[meaning][]float64{energy: {1, 1, 5, 5, 5, 9, 9}},
			GPUSummary{GPU: gpu, Samples: 7, Readings: 3, Refresh: 3 * time.Second, EnergyJ: f(8), EnergyCovered: 6 * time.Second, EnergyFrom: EnergyCounter}, nil},
		"energy from power": {gpu, map[meaning][]float64{power: {100, 200, 100}, energy: {0, 0, 0}},
			GPUSummary{GPU: gpu, Samples: 3, PowerAvgW: f(400.0 / 3), PowerPeakW: f(200), EnergyJ: f(300), EnergyCovered: 2 * time.Second, EnergyFrom: EnergyIntegral}, nil},
		"driver reload": {gpu, map[meaning][]float64{energy: {1000, 1100, 30, 60}},
			GPUSummary{GPU: gpu, Samples: 4, Readings: 4, EnergyJ: f(160), EnergyCovered: 3 * time.Second, EnergyFrom: EnergyCounter},
			[]string{"the energy counter of GPU 0 on n1 restarted during the window (driver reload?): its energy is a lower bound"}},
		"MIG": {mig, map[meaning][]float64{engineActive: {0.1, 0.5, 0.3}, power: {300, 300, 300}},
			GPUSummary{GPU: mig, Samples: 3, UtilizationAvg: f(0.3), UtilizationPeak: f(0.5), UtilizationFrom: UtilizationEngine,
				PowerAvgW: f(300), PowerPeakW: f(300), EnergyJ: f(600), EnergyCovered: 2 * time.Second, EnergyFrom: EnergyIntegral},
			[]string{"power and energy of GPU 0 MIG 7 on n1 are those of the whole GPU, which other MIG instances share"}},
		"a percentage under the name of a ratio": {gpu, map[meaning][]float64{utilization: {1, 40, 1}, temperature: {40, 40, 40}},
			GPUSummary{GPU: gpu, Samples: 3, TemperatureAvgC: f(40), TemperaturePeakC: f(40)},
			[]string{"the utilisation of GPU 0 on n1 is left out: its exporter publishes values above 100 % under this name"}},
		"a new XID": {gpu, map[meaning][]float64{lastXID: {0, 0, 79}},
			GPUSummary{GPU: gpu, Samples: 3, NewXID: n(79)}, []string{"the driver reported XID error 79 on GPU 0 on n1 during the window"}},
		"an old XID": {gpu, map[meaning][]float64{lastXID: {13, 13, 13}}, GPUSummary{GPU: gpu, Samples: 3}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			test.want.Family = FamilyDCGM
			got, doubts := summaryOf(t, test.gpu, test.samples)
			if diff := cmp.Diff(test.want, got, equal); diff != "" {
				t.Errorf("summary (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.doubts, doubts); diff != "" {
				t.Errorf("doubts (-want +got):\n%s", diff)
			}
		})
	}
}

func TestEnergyOver(t *testing.T) {
	s := GPUSummary{EnergyJ: f(900), EnergyCovered: 9 * time.Second}
	if got := s.EnergyOver(10 * time.Second); got == nil || *got != 1000 {
		t.Errorf("got %v, want 1000 J", got)
	}
	if got := (GPUSummary{}).EnergyOver(time.Second); got != nil {
		t.Errorf("unknown energy: got %v", *got)
	}
}

func TestFindGaps(t *testing.T) {
	at := func(seconds ...int64) []int64 {
		for i := range seconds {
			seconds[i] *= second
		}
		return seconds
	}
	for name, test := range map[string]struct {
		times []int64
		want  []gap
	}{
		"regular":   {at(1, 2, 3, 4, 5, 6, 7, 8, 9), nil},
		"one lost":  {at(1, 2, 4, 5, 6, 7, 8, 9), nil},
		"start":     {at(4, 5, 6, 7, 8, 9), []gap{{0, 4 * second}}},
		"middle":    {at(1, 2, 6, 7, 8, 9), []gap{{2 * second, 6 * second}}},
		"end":       {at(1, 2, 3, 4, 5), []gap{{5 * second, 10 * second}}},
		"no sample": {nil, []gap{{0, 10 * second}}},
	} {
		if diff := cmp.Diff(test.want, findGaps(test.times, 0, 10*second, time.Second), cmp.AllowUnexported(gap{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if got := (gap{2 * second, 6 * second}).describe(0); got != "for 4 s, from 2 s after the start" {
		t.Error(got)
	}
	if got := findGaps(nil, 0, second, 0); got != nil {
		t.Errorf("unknown interval: %v", got)
	}
}

func TestSelector(t *testing.T) {
	mine, other := NamespacedName{"triton", "a"}, NamespacedName{"triton", "b"}
	dcgm := func(uuid, node string, pods ...NamespacedName) sighting {
		return sighting{gpu: GPU{UUID: uuid}, family: FamilyDCGM, nodes: []string{node}, pods: pods}
	}
	mig := func(instance string, pods ...NamespacedName) sighting {
		return sighting{gpu: GPU{UUID: "1", MIGInstance: instance}, family: FamilyDCGM, pods: pods}
	}
	triton := sighting{gpu: GPU{UUID: "1"}, family: FamilyTriton, pods: []NamespacedName{mine}}
	for name, test := range map[string]struct {
		sel  GPUSelector
		seen []sighting
		want []string
		by   string
	}{
		"all":                      {GPUSelector{}, []sighting{dcgm("1", "n"), dcgm("2", "n")}, []string{"1", "2"}, byAll},
		"uuid":                     {GPUSelector{UUIDs: []string{"2"}, Nodes: []string{"n"}}, []sighting{dcgm("1", "n"), dcgm("2", "n")}, []string{"2"}, byUUID},
		"pod":                      {GPUSelector{Pods: []NamespacedName{mine}, Nodes: []string{"n"}}, []sighting{dcgm("1", "n", other), dcgm("2", "n", mine)}, []string{"2"}, byPod},
		"MIG, by pod":              {GPUSelector{UUIDs: []string{"1"}, Pods: []NamespacedName{mine}}, []sighting{mig("7", mine), mig("9", other)}, []string{"1/7"}, byUUID},
		"MIG, by UUID":             {GPUSelector{UUIDs: []string{"1"}}, []sighting{mig("7", mine), mig("9", other)}, []string{"1/7", "1/9"}, byUUID},
		"pod of another space":     {GPUSelector{Pods: []NamespacedName{{"prod", "a"}}}, []sighting{dcgm("1", "n", mine)}, nil, byNode},
		"pod known to Triton":      {GPUSelector{Pods: []NamespacedName{mine}, Nodes: []string{"n"}}, []sighting{dcgm("1", "n"), dcgm("2", "n"), triton}, []string{"1"}, byTritonPod},
		"node, for want of better": {GPUSelector{Pods: []NamespacedName{mine}, Nodes: []string{"n"}}, []sighting{dcgm("1", "n"), dcgm("2", "m")}, []string{"1"}, byNode},
	} {
		chosen, by := test.sel.choose(test.seen)
		var got []string
		for d := range chosen {
			got = append(got, strings.TrimSuffix(d.uuid+"/"+d.migInstance, "/"))
		}
		slices.Sort(got)
		if diff := cmp.Diff(test.want, got); diff != "" || by != test.by {
			t.Errorf("%s: by %q, want %q (-want +got):\n%s", name, by, test.by, diff)
		}
	}
}
