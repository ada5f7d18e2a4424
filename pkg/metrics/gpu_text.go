package metrics

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// GPUReading is what an exporter said about one GPU at one moment. Figures
// that it did not publish, or published as blank, are nil.
type GPUReading struct {
	GPU
	Family Family

	Utilization      *float64 // 0–1
	UtilizationFrom  UtilizationKind
	MemoryUsedBytes  *float64
	MemoryTotalBytes *float64
	PowerW           *float64
	PowerLimitW      *float64
	TemperatureC     *float64
	EnergyJ          *float64 // counter
	LastXID          *int     // the last XID error's number; nil when none

	values values
	// pods are all that share the GPU, as the page tells; GPU has one of them.
	pods []NamespacedName
}

// values holds a reading's figures by meaning.
type values struct {
	v       [meaningCount]float64
	present [meaningCount]bool
}

func (r *values) get(m meaning) *float64 {
	if !r.present[m] {
		return nil
	}
	v := r.v[m]
	return &v
}

// maxExpositionBytes bounds one exposition page; Triton with every metric of
// hundreds of models stays far below.
const maxExpositionBytes = 64 << 20

// ParseGPUs reads the GPUs of a page in Prometheus' text format: dcgm-exporter
// of either generation of names, or Triton. The result is ordered by UUID and
// MIG instance. A page without GPUs gives none and no error.
func ParseGPUs(r io.Reader) ([]GPUReading, error) {
	families, err := parseExposition(r)
	if err != nil {
		return nil, err
	}
	return gpusOf(families), nil
}

func gpusOf(families map[string]*dto.MetricFamily) []GPUReading {
	type owner struct {
		device device
		family Family
	}
	byOwner := map[owner]*GPUReading{}
	for _, n := range metricNames() {
		family, ok := families[n.name]
		if !ok {
			continue
		}
		for _, m := range family.GetMetric() {
			gpu := gpuFromLabels(labelsOf(m))
			raw, ok := valueOf(m)
			if gpu.UUID == "" || !ok || !known(raw) {
				continue
			}
			key := owner{gpu.device(), n.family}
			reading := byOwner[key]
			if reading == nil {
				reading = &GPUReading{GPU: gpu, Family: n.family}
				byOwner[key] = reading
			}
			reading.fill(gpu)
			if pod := (NamespacedName{gpu.Namespace, gpu.Pod}); gpu.Pod != "" && !slices.Contains(reading.pods, pod) {
				reading.pods = append(reading.pods, pod)
			}
			// A GPU shared by several pods comes once per pod with the same value.
			if !reading.values.present[n.meaning] {
				reading.values.v[n.meaning] = raw * n.scale
				reading.values.present[n.meaning] = true
			}
		}
	}
	readings := make([]GPUReading, 0, len(byOwner))
	for _, reading := range byOwner {
		reading.resolve()
		readings = append(readings, *reading)
	}
	slices.SortStableFunc(readings, func(a, b GPUReading) int {
		return strings.Compare(a.UUID+"\x00"+a.MIGInstance+"\x00"+string(a.Family), b.UUID+"\x00"+b.MIGInstance+"\x00"+string(b.Family))
	})
	return readings
}

// resolve fills the exported figures from the values by meaning.
func (r *GPUReading) resolve() {
	get := func(m meaning) *float64 {
		v := r.values.get(m)
		if v != nil && !inRange(m, *v) {
			return nil
		}
		return v
	}
	if r.Utilization = get(utilization); r.Utilization != nil {
		r.UtilizationFrom = UtilizationKernels
	} else if r.Utilization = get(engineActive); r.Utilization != nil {
		r.UtilizationFrom = UtilizationEngine
	}
	r.MemoryUsedBytes = get(memoryUsed)
	r.MemoryTotalBytes = memorySum(get(memoryTotal), get(memoryUsed), get(memoryFree), get(memoryReserved))
	r.PowerW, r.PowerLimitW = get(power), get(powerLimit)
	r.TemperatureC = get(temperature)
	r.EnergyJ = get(energy)
	if xid := get(lastXID); xid != nil && *xid > 0 {
		n := int(*xid)
		r.LastXID = &n
	}
}

// memorySum is the GPU's memory: as published, else the sum of its parts.
func memorySum(total, used, free, reserved *float64) *float64 {
	if total != nil || used == nil || free == nil {
		return total
	}
	sum := *used + *free
	if reserved != nil {
		sum += *reserved
	}
	return &sum
}

// parseExposition reads a whole page of Prometheus' text format. What Prometheus
// itself puts up with, as a family described twice, is no reason to refuse it.
func parseExposition(r io.Reader) (map[string]*dto.MetricFamily, error) {
	page, err := io.ReadAll(io.LimitReader(r, maxExpositionBytes+1))
	if len(page) > maxExpositionBytes {
		return nil, fmt.Errorf("the metrics page is larger than %d MiB: is this a metrics endpoint?", maxExpositionBytes/mebibyte)
	}
	if err != nil {
		return nil, fmt.Errorf("could not read the metrics page to its end: %w", err)
	}
	families, err := parsePage(page)
	if err == nil {
		return families, nil
	}
	if bytes.HasSuffix(page, []byte("\n")) { // else a part of its last number may be missing
		if families, again := parsePage(samplesOf(page)); again == nil {
			return families, nil
		}
	}
	return nil, fmt.Errorf("this is not a page in Prometheus' text format (is the port the metrics port?): %w", err)
}

func parsePage(page []byte) (map[string]*dto.MetricFamily, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	return parser.TextToMetricFamilies(bytes.NewReader(page))
}

// samplesOf is a page without its comments, which describe the families, and with
// plain ends of lines.
func samplesOf(page []byte) []byte {
	samples := make([]byte, 0, len(page)+1)
	for line := range bytes.Lines(page) {
		if line = bytes.TrimSpace(line); len(line) > 0 && line[0] != '#' {
			samples = append(append(samples, line...), '\n')
		}
	}
	return samples
}

func labelsOf(m *dto.Metric) func(string) string {
	return func(name string) string {
		for _, l := range m.GetLabel() {
			if l.GetName() == name {
				return l.GetValue()
			}
		}
		return ""
	}
}

// valueOf is the value of a counter, a gauge or an untyped series: which of
// them an exporter declares depends on its configuration.
func valueOf(m *dto.Metric) (float64, bool) {
	switch {
	case m.Gauge != nil:
		return m.GetGauge().GetValue(), true
	case m.Counter != nil:
		return m.GetCounter().GetValue(), true
	case m.Untyped != nil:
		return m.GetUntyped().GetValue(), true
	}
	return 0, false
}
