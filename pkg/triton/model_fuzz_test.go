package triton

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

// FuzzModel: from what a server says of a model comes a request that fits it, the
// same each time, or a *RequestError.
func FuzzModel(f *testing.F) {
	for _, model := range []string{"identity_fp32", "identity_bytes", "identity_var", "optional_in", "reshape_in", "ens", "simple", "repeat_int32"} {
		meta, cfg := capturedModel(f, model, model)
		m, err := json.Marshal(meta)
		if err != nil {
			f.Fatal(err)
		}
		c, err := json.Marshal(cfg)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(m, c, 2)
	}
	f.Add([]byte(`{"name":"m","inputs":[{"name":"a","datatype":"FP32","shape":[-1,9223372036854775807,9223372036854775807]}]}`), []byte(`{"max_batch_size":8}`), 1)
	f.Fuzz(func(t *testing.T, metadata, config []byte, batch int) {
		var meta ModelMetadata
		var cfg ModelConfig
		if json.Unmarshal(metadata, &meta) != nil || json.Unmarshal(config, &cfg) != nil {
			return
		}
		spec, err := BuildRequest(meta, cfg, RequestOptions{BatchSize: batch, Seed: 1})
		if err != nil {
			var refused *RequestError
			if !errors.As(err, &refused) || strings.TrimSpace(err.Error()) == "" {
				t.Errorf("%T: %v", err, err)
			}
			return
		}
		bytes := spec.BytesPerRequest()
		if bytes < 0 || spec.Describe() == "" {
			t.Errorf("%d bytes of data, described as %q", bytes, spec.Describe())
		}
		if bytes > 1<<20 || spec.Sequential() {
			return // too large to be made again and again, or in need of a sequence
		}
		first := string(newHTTPRequest(spec, "triton", "", true).build(0, 0, nil))
		if second := string(newHTTPRequest(spec, "triton", "", true).build(0, 0, nil)); first != second || len(first) < bytes {
			t.Errorf("the same seed gives two requests, or one without its %d bytes of data:\n%q\n%q", bytes, first, second)
		}
	})
}
