package metrics

import (
	"strings"
	"testing"
)

// TestParseOddPages: what Prometheus itself puts up with is read, if it
// is whole.
func TestParseOddPages(t *testing.T) {
	const line = `nv_gpu_utilization{gpu_uuid="GPU-1"} 0.5`
	for name, page := range map[string]string{
		"not: cut off":        line,
		"carriage returns":    "# HELP nv_gpu_utilization x\r\n" + line + "\r\n",
		"EOF mark":            line + "\n# EOF\n",
		"timestamps":          line + " 1700000000000\n",
		"type after samples":  line + "\n# TYPE nv_gpu_utilization gauge\n",
		"two types":           "# TYPE nv_gpu_utilization gauge\n# TYPE nv_gpu_utilization gauge\n" + line + "\n",
		"two helps":           "# HELP nv_gpu_utilization a\n# HELP nv_gpu_utilization b\n" + line + "\n",
		"a line twice":        line + "\n" + line + "\n",
		"unknown type":        "# TYPE nv_gpu_utilization unknown\n" + line + "\n",
		"family in two parts": line + "\nother 1\n" + line + "\n",
		"trailing comma":      `nv_gpu_utilization{gpu_uuid="GPU-1",} 0.5` + "\n",
		"spaces":              "nv_gpu_utilization { gpu_uuid = \"GPU-1\" }   0.5 \n",
		"not: HTML":           "<html>\n<body>\n" + line + "\n",
		"tabs":                "\tnv_gpu_utilization{gpu_uuid=\"GPU-1\"}\t0.5\n",
	} {
		readings, err := ParseGPUs(strings.NewReader(page))
		if want := !strings.HasPrefix(name, "not: "); (err == nil) != want || (len(readings) == 1) != want {
			t.Errorf("%s: %+v, %v", name, readings, err)
		}
	}
}
