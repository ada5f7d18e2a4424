package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// loadCounters reads which fields are collected, in the exporter's CSV format.
// The image's own default file needs not exist.
func loadCounters(path string, g generation) ([]field, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) && path == defaultCollectorsFile {
		return defaultCounters(g), nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the metrics file: %w", err)
	}
	defer file.Close()
	counters, err := parseCounters(file, g)
	if err != nil {
		return nil, fmt.Errorf("metrics file %s: %w", path, err)
	}
	return counters, nil
}

func defaultCounters(g generation) []field {
	return slices.DeleteFunc(fieldsOf(g), func(f field) bool { return !f.byDefault })
}

func parseCounters(r io.Reader, g generation) ([]field, error) {
	lines := csv.NewReader(r)
	lines.Comment = '#'
	lines.FieldsPerRecord = -1
	wanted := map[string][]string{}
	for {
		record, err := lines.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("malformed CSV: %w", err)
		}
		line, _ := lines.FieldPos(0)
		for i := range record {
			record[i] = strings.Trim(record[i], " ")
		}
		if len(record) != 3 {
			return nil, fmt.Errorf("line %d has %d fields; expected field name, metric type, help message", line, len(record))
		}
		if _, twice := wanted[record[0]]; twice {
			return nil, fmt.Errorf("line %d names %s a second time", line, record[0])
		}
		switch record[1] {
		case gauge, counter, "histogram", "summary", labelField:
		default:
			return nil, fmt.Errorf("line %d: %q is not a Prometheus metric type", line, record[1])
		}
		wanted[record[0]] = record
	}
	var counters []field
	for _, f := range fieldsOf(g) {
		if record, ok := wanted[f.name]; ok {
			f.metricType, f.help = record[1], record[2]
			counters = append(counters, f)
			delete(wanted, f.name)
		}
	}
	for name := range wanted {
		return nil, fmt.Errorf("could not find DCGM field %q among the simulated fields of release %s", name, g)
	}
	return counters, nil
}
