package main

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
)

type label struct{ name, value string }

// render writes the metrics in the order and with the label order of the real
// exporter: fixed labels, fields that are labels, then all others by name.
func render(buf *bytes.Buffer, cfg config, counters []field, readings []reading, holders map[string]holder) {
	for _, c := range counters {
		if c.metricType == labelField || len(readings) == 0 {
			continue
		}
		buf.WriteString("# HELP " + c.name + " " + c.help + "\n# TYPE " + c.name + " " + c.metricType + "\n")
		for _, r := range readings {
			labels := identity(cfg, r)
			labels = append(labels, fieldLabels(counters, r)...)
			labels = append(labels, attributes(c, holders[r.Device.UUID])...)
			buf.WriteString(c.name)
			writeLabels(buf, labels)
			buf.WriteString(" " + c.value(r) + "\n")
		}
	}
}

func identity(cfg config, r reading) []label {
	index := strconv.Itoa(r.Device.Index)
	labels := []label{
		{"gpu", index},
		{"UUID", r.Device.UUID},
		{"pci_bus_id", r.Device.PCIBusID},
		{"device", "nvidia" + index},
		{"modelName", r.modelName(cfg.replaceBlanksInModel)},
	}
	if cfg.hostname != "" {
		name := "Hostname"
		if cfg.generation == names49 {
			name = "hostname"
		}
		labels = append(labels, label{name, cfg.hostname})
	}
	return labels
}

func fieldLabels(counters []field, r reading) []label {
	var labels []label
	for _, c := range counters {
		if c.metricType == labelField {
			labels = append(labels, label{c.name, c.value(r)})
		}
	}
	sortLabels(labels)
	return labels
}

func attributes(c field, h holder) []label {
	labels := slices.Clone(c.attributes)
	if h.Pod != "" {
		labels = append(labels, label{"container", h.Container}, label{"namespace", h.Namespace}, label{"pod", h.Pod})
	}
	sortLabels(labels)
	return labels
}

func sortLabels(labels []label) {
	slices.SortFunc(labels, func(a, b label) int { return strings.Compare(a.name, b.name) })
}

func writeLabels(buf *bytes.Buffer, labels []label) {
	escape := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)
	separator := byte('{')
	for _, l := range labels {
		buf.WriteByte(separator)
		buf.WriteString(l.name + `="` + escape.Replace(l.value) + `"`)
		separator = ','
	}
	buf.WriteByte('}')
}
