package node

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	crilogs "k8s.io/cri-client/pkg/logs"
	"k8s.io/utils/ptr"
)

func TestContainerLogFormat(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0.log")
	var seen []string
	log, err := createContainerLog(path, func(line []byte) { seen = append(seen, string(line)) })
	if err != nil {
		t.Fatal(err)
	}
	log.now = func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC) }
	stdout, stderr := log.stream("stdout"), log.stream("stderr")
	long := strings.Repeat("x", maxLogLineBytes)
	for _, chunk := range []string{"one\ntw", "o\n\n", long + "y\n", long + "\n", "no end"} {
		if n, err := stdout.Write([]byte(chunk)); err != nil || n != len(chunk) {
			t.Fatalf("Write = %d, %v; want %d", n, err, len(chunk))
		}
	}
	if _, err := stderr.Write([]byte("warning\n")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []interface{ Close() error }{stdout, stderr} {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.close(); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const at = "2026-01-02T03:04:05.000000006Z "
	want := at + "stdout F one\n" + at + "stdout F two\n" + at + "stdout F \n" +
		at + "stdout P " + long + "\n" + at + "stdout F y\n" + at + "stdout F " + long + "\n" +
		at + "stderr F warning\n" + at + "stdout F no end\n"
	if string(got) != want {
		t.Errorf("log is %q\nwant %q", shorten(got), shorten([]byte(want)))
	}
	if want := "one|two||y|" + long + "|warning|no end"; strings.Join(seen, "|") != want {
		t.Errorf("lines seen: %d, want those of the log", len(seen))
	}
}

func shorten(b []byte) []byte {
	return bytes.ReplaceAll(b, bytes.Repeat([]byte("x"), 100), []byte("~"))
}

// FuzzContainerLog checks that the kubelet's log library reads back whatever
// a container writes, however it is cut into writes.
func FuzzContainerLog(f *testing.F) {
	f.Add([]byte("one\ntwo"), 3)
	f.Add([]byte("\n\n"), 1)
	f.Add([]byte(strings.Repeat("x", 2*maxLogLineBytes)), 1000)
	f.Fuzz(func(t *testing.T, output []byte, size int) {
		if size < 1 {
			size = 1
		}
		path := filepath.Join(t.TempDir(), "0.log")
		log, err := createContainerLog(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		w := log.stream("stdout")
		for rest := output; len(rest) > 0; rest = rest[min(size, len(rest)):] {
			if _, err := w.Write(rest[:min(size, len(rest))]); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if err := log.close(); err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		if err := crilogs.ReadLogs(context.Background(), path, "", &crilogs.LogOptions{}, nil, &got, &got); err != nil {
			t.Fatal(err)
		}
		want := output
		if len(want) > 0 && want[len(want)-1] != '\n' {
			want = append(bytes.Clone(want), '\n') // the end of the log ends the last line
		}
		// A container that ends in the middle of a line exactly where it is split leaves the line unended.
		if !bytes.Equal(got.Bytes(), want) && !bytes.Equal(got.Bytes(), output) {
			t.Errorf("read back %q, want %q", shorten(got.Bytes()), shorten(want))
		}
	})
}

func TestCRILogOptions(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	since := metav1.NewTime(now.Add(-time.Hour))
	tests := []struct {
		name    string
		options corev1.PodLogOptions
		want    crilogs.LogOptions
	}{
		{"nothing", corev1.PodLogOptions{}, crilogs.LogOptions{}},
		{"follow with timestamps", corev1.PodLogOptions{Follow: true, Timestamps: true}, crilogs.LogOptions{Follow: true, Timestamp: true}},
		{"since seconds", corev1.PodLogOptions{SinceSeconds: ptr.To(int64(30))}, crilogs.LogOptions{Since: now.Add(-30 * time.Second)}},
		{"since time wins", corev1.PodLogOptions{SinceSeconds: ptr.To(int64(30)), SinceTime: &since}, crilogs.LogOptions{Since: since.Time}},
	}
	for _, tt := range tests {
		if got := criLogOptions(&tt.options, now); *got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.name, *got, tt.want)
		}
	}
}
