package triton

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	httpPort    = 8000
	grpcPort    = 8001
	metricsPort = 8002
)

// captureDir holds what a real server answered; see its family names in
// httpGroups.
const captureDir = "testdata/captures"

// start serves testdata/models without the named ones.
func start(t *testing.T, without []string, args ...string) *Server {
	t.Helper()
	repository := t.TempDir()
	files, err := filepath.Glob("testdata/models/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no model files: %v", err)
	}
	for _, file := range files {
		if name := strings.TrimSuffix(filepath.Base(file), ".json"); slices.Contains(without, name) {
			continue
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(repository, filepath.Base(file)), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return startWith(t, repository, append([]string{"--model-control-mode=explicit"}, args...)...)
}

func startWith(t *testing.T, repository string, args ...string) *Server {
	t.Helper()
	s, err := Start(Config{Args: append([]string{"--model-repository=" + repository}, args...), Log: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

func load(models ...string) []string {
	args := make([]string, len(models))
	for i, m := range models {
		args[i] = "--load-model=" + m
	}
	return args
}

// until waits for a condition that must come true.
func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still waiting until %s", what)
		}
	}
}

func readCapture(t *testing.T, name string) (request, response []byte) {
	t.Helper()
	request, err := os.ReadFile(filepath.Join(captureDir, "http", name+".request"))
	if err != nil {
		t.Fatal(err)
	}
	response, err = os.ReadFile(filepath.Join(captureDir, "http", name+".response"))
	if err != nil {
		t.Fatal(err)
	}
	return request, response
}

// exchange sends bytes on a new connection and returns the bytes of one response.
func exchange(address string, request []byte) ([]byte, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return nil, err
	}
	if _, err := conn.Write(request); err != nil {
		return nil, err
	}
	return readResponse(bufio.NewReader(conn))
}

func readResponse(r *bufio.Reader) ([]byte, error) {
	var raw bytes.Buffer
	for {
		head, err := readHead(r)
		raw.Write(head)
		if err != nil {
			return raw.Bytes(), err
		}
		if bytes.HasPrefix(head, []byte("HTTP/1.1 100")) {
			continue
		}
		if bytes.Contains(head, []byte("Transfer-Encoding: chunked")) {
			for !bytes.HasSuffix(raw.Bytes(), []byte("\r\n0\r\n\r\n")) {
				b, err := r.ReadByte()
				if err != nil {
					return raw.Bytes(), err
				}
				raw.WriteByte(b)
			}
			return raw.Bytes(), nil
		}
		length := regexp.MustCompile(`\nContent-Length: (\d+)`).FindSubmatch(head)
		if length == nil {
			return raw.Bytes(), errors.New("a response without length")
		}
		n, err := strconv.Atoi(string(length[1]))
		if err != nil {
			return raw.Bytes(), err
		}
		_, err = io.CopyN(&raw, r, int64(n))
		return raw.Bytes(), err
	}
}

func readHead(r *bufio.Reader) ([]byte, error) {
	var head []byte
	for !bytes.HasSuffix(head, []byte("\r\n\r\n")) {
		line, err := r.ReadBytes('\n')
		head = append(head, line...)
		if err != nil {
			return head, err
		}
	}
	return head, nil
}

// A rule brings what can't be equal into a form that must be.
type rule func(response []byte) ([]byte, error)

// rules says which captures aren't compared byte for byte, and how they are.
func rules() map[string]rule {
	list := map[string]rule{
		// The shortest digits of this number are not unique, and RapidJSON's
		// algorithm doesn't choose those closest to it.
		"infer_dtype_fp32_nan_json_out": singlePrecision,
		// These came late in a long session; their counts are its history's.
		"accept_enc_gzip_on_stats":  statsShape,
		"stats_after_identity_fp32": statsShape,
		"stats_all_after":           statsShape,
	}
	for _, name := range []string{
		"stats_after_client_disconnect", "stats_after_ens", "stats_after_identity_count4", "stats_after_repeat_int32",
		"stats_after_square_int32", "stats_all_before", "stats_before_fp32", "stats_cached", "stats_py_error", "stats_py_llm",
		"stats_queue_small_after_reject", "stats_queue_timeout_after_reject", "stats_two_versions_all",
	} {
		list[name] = timeless
	}
	for _, name := range []string{
		"accept_enc_deflate", "accept_enc_deflate__gzip", "accept_enc_deflate_big", "accept_enc_gzip", "accept_enc_gzip__deflate",
		"accept_enc_gzip__identity_q_0", "accept_enc_gzip_big", "accept_enc_gzip_binary_out", "accept_enc_gzip_q_0_5__deflate_q_0_9",
	} {
		list[name] = decompressed
	}
	return list
}

var (
	lengthLine = regexp.MustCompile(`\nContent-Length: \d+\r`)
	nsValue    = regexp.MustCompile(`"ns":\d+`)
	lastValue  = regexp.MustCompile(`"last_inference":\d+`)
)

// timeless drops every duration and timestamp; the counts must be equal.
func timeless(response []byte) ([]byte, error) {
	response = lengthLine.ReplaceAll(response, nil)
	response = nsValue.ReplaceAll(response, []byte(`"ns":0`))
	return lastValue.ReplaceAll(response, []byte(`"last_inference":0`)), nil
}

// statsShape keeps the headers and, for every model, the names of all members.
func statsShape(response []byte) ([]byte, error) {
	head, body, _ := bytes.Cut(lengthLine.ReplaceAll(response, nil), []byte("\r\n\r\n"))
	var stats struct {
		ModelStats []map[string]any `json:"model_stats"`
	}
	if err := json.Unmarshal(body, &stats); err != nil {
		return nil, err
	}
	shape := string(head)
	for _, m := range stats.ModelStats {
		inference, ok := m["inference_stats"].(map[string]any)
		if !ok {
			return nil, errors.New("no inference_stats")
		}
		shape += fmt.Sprintln(m["name"], m["version"], slices.Sorted(maps.Keys(m)), slices.Sorted(maps.Keys(inference)))
	}
	return []byte(shape), nil
}

// decompressed replaces a body by what it holds: two compressors needn't agree.
func decompressed(response []byte) ([]byte, error) {
	head, body, _ := bytes.Cut(lengthLine.ReplaceAll(response, nil), []byte("\r\n\r\n"))
	var (
		r   io.Reader
		err error
	)
	if bytes.Contains(head, []byte("Content-Encoding: gzip")) {
		r, err = gzip.NewReader(bytes.NewReader(body))
	} else {
		r, err = zlib.NewReader(bytes.NewReader(body))
	}
	if err != nil {
		return nil, err
	}
	plain, err := io.ReadAll(r)
	return append(append(head, "\r\n\r\n"...), plain...), err
}

// singlePrecision writes every number with an exponent as the FP32 that it stands for.
func singlePrecision(response []byte) ([]byte, error) {
	return regexp.MustCompile(`\d\.\d+e\d+`).ReplaceAllFunc(response, func(text []byte) []byte {
		f, err := strconv.ParseFloat(string(text), 64)
		if err != nil || f > math.MaxFloat32 {
			return text
		}
		return strconv.AppendFloat(nil, f, 'g', -1, 32)
	}), nil
}

// differ compares a response with its capture; it returns "" if they agree.
func differ(name string, want, got []byte) string {
	if bytes.Equal(want, got) {
		return ""
	}
	if normalise, ok := rules()[name]; ok {
		wantForm, wantErr := normalise(want)
		gotForm, gotErr := normalise(got)
		if wantErr != nil || gotErr != nil {
			return fmt.Sprintf("can't be compared: capture: %v, answer: %v", wantErr, gotErr)
		}
		if bytes.Equal(wantForm, gotForm) {
			return ""
		}
		want, got = wantForm, gotForm
	}
	return fmt.Sprintf("\n want %q\n got  %q", want, got)
}

func TestConformanceHTTP(t *testing.T) {
	covered := map[string]bool{}
	for _, group := range httpGroups(t) {
		t.Run(group.name, func(t *testing.T) {
			r := &replay{t: t, server: start(t, group.without, group.args...), covered: covered}
			group.run(r)
			r.wait()
		})
	}
	for _, name := range httpCaptures(t) {
		reason, excluded := notReplayed()[name]
		if covered[name] == excluded {
			t.Errorf("capture %s: replayed %v, excluded %v %s", name, covered[name], excluded, reason)
		}
	}
	t.Logf("%d captures replayed, %d excluded", len(covered), len(notReplayed()))
}

func httpCaptures(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(captureDir, "http", "*.request"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no captures: %v", err)
	}
	names := make([]string, len(files))
	for i, f := range files {
		names[i] = strings.TrimSuffix(filepath.Base(f), ".request")
	}
	return names
}

// The comparison itself must be able to fail.
func TestConformanceNoticesDifferences(t *testing.T) {
	_, want := readCapture(t, "infer_json_ok")
	for _, change := range [][2]string{
		{"200 OK", "201 OK"}, {"application/json", "text/plain"}, {"2.5", "2.50"}, {"Content-Length: 268", "Content-Length: 269"},
	} {
		if differ("infer_json_ok", want, bytes.Replace(want, []byte(change[0]), []byte(change[1]), 1)) == "" {
			t.Errorf("a response with %q instead of %q passes", change[1], change[0])
		}
	}
	for name, change := range map[string][2]string{
		"stats_py_error":                {`"execution_count":9`, `"execution_count":8`},
		"stats_all_after":               {`"cache_miss"`, `"cache_mist"`},
		"stats_two_versions_all":        {`"version":"3"`, `"version":"2"`},
		"accept_enc_gzip":               {"Content-Encoding: gzip", "Content-Encoding: deflate"},
		"infer_dtype_fp32_nan_json_out": {"3.3999999521443644e38", "3.38e38"},
	} {
		_, want := readCapture(t, name)
		changed := bytes.Replace(want, []byte(change[0]), []byte(change[1]), 1)
		if bytes.Equal(changed, want) {
			t.Errorf("capture %s has no %q to change", name, change[0])
		}
		if differ(name, want, changed) == "" {
			t.Errorf("%s with %q instead of %q passes", name, change[1], change[0])
		}
	}
}
