package triton

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"sigs.k8s.io/yaml"

	"github.com/kubectl-triton/kubectl-triton/sandbox/triton/core"
)

// controlAPI is for tests: what really happened, and changes at run time. It
// is no part of Triton.
//
//	GET    /requests?since=SEQ  finished requests after SEQ as JSON lines
//	DELETE /requests            forget them
//	GET    /behaviour/MODEL     the model's sim section
//	PUT    /behaviour/MODEL     replace the fields that the body (YAML or JSON) sets
//	POST   /crash               die at once, as by a segmentation fault
type controlAPI struct {
	core  *core.Server
	crash func()
}

func (c *controlAPI) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /requests", c.requests)
	mux.HandleFunc("DELETE /requests", func(w http.ResponseWriter, _ *http.Request) {
		c.core.Log.Clear()
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("GET /behaviour/{model}", c.showBehaviour)
	mux.HandleFunc("PUT /behaviour/{model}", c.changeBehaviour)
	mux.HandleFunc("POST /crash", func(http.ResponseWriter, *http.Request) { c.crash() })
	return mux
}

func (c *controlAPI) requests(w http.ResponseWriter, r *http.Request) {
	since := uint64(0)
	if text := r.URL.Query().Get("since"); text != "" {
		var err error
		if since, err = strconv.ParseUint(text, 10, 64); err != nil {
			http.Error(w, fmt.Sprintf("since is %q; it must be a sequence number", text), http.StatusBadRequest)
			return
		}
	}
	w.Header().Set("Content-Type", "application/jsonl")
	out := bufio.NewWriterSize(w, 64<<10)
	records := make([]core.Record, 4096)
	var line []byte
	for {
		n := c.core.Log.Since(since, records)
		if n == 0 {
			break
		}
		for i := range records[:n] {
			line = append(records[i].AppendJSON(line[:0]), '\n')
			if _, err := out.Write(line); err != nil {
				return // the reader has gone
			}
		}
		since = records[n-1].Seq
	}
	_ = out.Flush()
}

func (c *controlAPI) showBehaviour(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("model")
	sim, ok := c.core.Sim(name)
	if !ok {
		http.Error(w, fmt.Sprintf("model %s is not loaded", name), http.StatusNotFound)
		return
	}
	writeJSON(w, sim)
}

func (c *controlAPI) changeBehaviour(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	change, err := yaml.YAMLToJSONStrict(body)
	if err != nil {
		http.Error(w, "the body is neither YAML nor JSON: "+err.Error(), http.StatusBadRequest)
		return
	}
	sim, err := c.core.SetSim(r.PathValue("model"), change)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	writeJSON(w, sim)
}

func writeJSON(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value) // the client may have gone
}
