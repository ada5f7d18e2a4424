//go:build e2e

package direct

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// dims are kinds of dimensions of an input: as the model has them, and what a
// user sets them to.
var dims = []struct{ name, config, shape string }{
	{"fixed", "dims: [2, 3]", ""},
	{"variable", "dims: [-1, 2]", "5,2"},
	{"unset", "dims: [-1]", ""},
	{"empty", "dims: [-1]", "0"},
	{"scalar", "dims: [1], reshape: {shape: []}", ""},
}

// writeShapes writes one model per kind and largest batch, with an input of each
// datatype; JSON can't carry the half floats, and gets a model without.
func writeShapes(t *testing.T, repository string) {
	t.Helper()
	for _, d := range dims {
		for _, maxBatch := range []int{0, 4} {
			for _, form := range []string{"binary", "json"} {
				datatypes := []string{"BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP32", "FP64", "STRING"}
				if form == "binary" {
					datatypes = append(datatypes, "FP16", "BF16")
				}
				name := fmt.Sprintf("%s_%d_%s", d.name, maxBatch, form)
				text := fmt.Sprintf("name: %s\nbackend: identity\nmax_batch_size: %d\n", name, maxBatch)
				for _, side := range []string{"input", "output"} {
					text += side + ":\n"
					for i, datatype := range datatypes {
						text += fmt.Sprintf("  - {name: %sPUT%d, data_type: TYPE_%s, %s}\n", strings.ToUpper(strings.TrimSuffix(side, "put")), i, datatype, d.config)
					}
				}
				text += "instance_group:\n  - {kind: KIND_CPU, count: 1}\nsim:\n  behaviour: identity\n  service_time: {distribution: constant, base: 100us}\n"
				if err := os.WriteFile(filepath.Join(repository, name+".yaml"), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
}

// TestEveryDatatypeAndShape: the simulator checks datatype, batch, shape and size
// of each tensor as Triton does, and takes them all.
func TestEveryDatatypeAndShape(t *testing.T) {
	repository := t.TempDir()
	writeShapes(t, repository)
	s := serve(t, repository)
	for _, way := range []struct {
		form string
		args []string
	}{
		{"binary", []string{"--url", "http://" + s.http}},
		{"json", []string{"--url", "http://" + s.http, "--encoding", "json"}},
		{"binary", []string{"--url", "grpc://" + s.grpc}},
		{"binary", []string{"--url", "grpc://" + s.grpc, "--streaming"}},
	} {
		for _, d := range dims {
			for _, b := range []struct{ maxBatch, batch int }{{0, 0}, {4, 1}, {4, 4}} {
				args := append([]string{fmt.Sprintf("%s_%d_%s", d.name, b.maxBatch, way.form), "--requests", "3", "--warmup", "0", "--concurrency", "1"}, way.args...)
				if b.batch > 0 {
					args = append(args, "--batch-size", fmt.Sprint(b.batch))
				}
				for i := range 14 {
					if d.shape != "" && (i < 12 || way.form == "binary") {
						args = append(args, "--shape", fmt.Sprintf("INPUT%d:%s", i, d.shape))
					}
				}
				t.Run(strings.Join(args, " "), func(t *testing.T) {
					r := benchJSON(t, args...)
					if r.Client.Succeeded != 3 || r.Client.Inferences != uint64(3*max(1, b.batch)) || r.Server.Inferences != r.Client.Inferences {
						t.Errorf("%d of 3 requests succeeded, %d inferences, %d by the server: %+v", r.Client.Succeeded, r.Client.Inferences, r.Server.Inferences, r.Client.Errors)
					}
				})
			}
		}
	}
}
