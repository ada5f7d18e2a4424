package portforward

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	constants "k8s.io/apimachinery/pkg/util/portforward"
	"k8s.io/client-go/rest"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
)

const maxStatusBytes = 64 << 10

// connect opens a tunnel to a pod.
func (d *Dialer) connect(ctx context.Context, ref PodRef, onNodeError func()) (*session, error) {
	target := d.server.JoinPath("api/v1/namespaces", ref.Namespace, "pods", ref.Name, "portforward")
	var transport net.Conn
	var reader *bufio.Reader
	var err error
	if d.config.Transport == TransportWebSocket {
		transport, err = d.upgradeWebSocket(ctx, target)
		if err == nil {
			reader = bufio.NewReaderSize(transport, readBufferBytes)
		} else if httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err) {
			d.config.Logf("no WebSocket to pod %s (%v); using SPDY", ref, err)
			transport, reader, err = d.upgradeSPDY(ctx, target)
		}
	} else {
		transport, reader, err = d.upgradeSPDY(ctx, target)
	}
	if err != nil {
		return nil, d.tunnelError(ctx, ref, err)
	}
	s, err := newSession(ref, transport, reader, d.config.PingInterval, d.replyTimeout, onNodeError)
	if err != nil {
		transport.Close()
		return nil, &TunnelError{Pod: ref, Err: err}
	}
	return s, nil
}

// upgradeSPDY asks the API server to speak SPDY on the connection. The library
// dials (TLS, proxies); the exchange is ours because the library's own cannot
// be cancelled and hands out no connection.
func (d *Dialer) upgradeSPDY(ctx context.Context, target *url.URL) (net.Conn, *bufio.Reader, error) {
	tlsConfig, err := rest.TLSConfigFor(d.rest)
	if err != nil {
		return nil, nil, err
	}
	dialer, err := spdy.NewRoundTripperWithConfig(spdy.RoundTripperConfig{TLS: tlsConfig, Proxier: d.rest.Proxy})
	if err != nil {
		return nil, nil, err
	}
	upgrade := &spdyUpgrade{dial: dialer.Dial}
	roundTripper, err := rest.HTTPWrappersForConfig(d.rest, upgrade)
	if err != nil {
		return nil, nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), nil)
	if err != nil {
		return nil, nil, err
	}
	request.Header.Set(httpstream.HeaderConnection, httpstream.HeaderUpgrade)
	request.Header.Set(httpstream.HeaderUpgrade, spdy.HeaderSpdy31)
	request.Header.Set(httpstream.HeaderProtocolVersion, constants.PortForwardV1Name)
	response, err := roundTripper.RoundTrip(request)
	if err != nil {
		return nil, nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusSwitchingProtocols {
		return nil, nil, statusError(response)
	}
	if !strings.EqualFold(response.Header.Get(httpstream.HeaderUpgrade), spdy.HeaderSpdy31) {
		upgrade.conn.Close()
		return nil, nil, fmt.Errorf("the server switched to %q instead of SPDY/3.1", response.Header.Get(httpstream.HeaderUpgrade))
	}
	return upgrade.conn, upgrade.reader, nil
}

// spdyUpgrade is one upgrade request; after a 101 it holds the connection.
type spdyUpgrade struct {
	dial   func(*http.Request) (net.Conn, error)
	conn   net.Conn
	reader *bufio.Reader
}

func (u *spdyUpgrade) RoundTrip(request *http.Request) (*http.Response, error) {
	ctx := request.Context()
	conn, err := u.dial(request)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	reader := bufio.NewReaderSize(conn, readBufferBytes)
	response, err := http.ReadResponse(reader, request)
	if err == nil && response.StatusCode == http.StatusSwitchingProtocols {
		if stop() {
			u.conn, u.reader = conn, reader
			return response, nil
		}
		err = ctx.Err()
	}
	defer conn.Close()
	if err == nil {
		var body []byte
		if body, err = io.ReadAll(io.LimitReader(response.Body, maxStatusBytes)); err == nil {
			response.Body = io.NopCloser(bytes.NewReader(body))
			return response, nil
		}
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return nil, err
}

// statusError reads why an upgrade was denied; intermediaries answer in plain
// text, the API server with a Status.
func statusError(response *http.Response) error {
	body, err := io.ReadAll(io.LimitReader(response.Body, maxStatusBytes))
	if err != nil {
		return err
	}
	var status metav1.Status
	if json.Unmarshal(body, &status) == nil && status.Kind == "Status" {
		if status.Code == 0 {
			status.Code = int32(response.StatusCode)
		}
		return &apierrors.StatusError{ErrStatus: status}
	}
	text := strings.TrimSpace(string(body))
	if text == "" {
		text = response.Status
	}
	plain := apierrors.NewGenericServerResponse(response.StatusCode, "create", schema.GroupResource{Resource: "pods/portforward"}, "", text, 0, true)
	plain.ErrStatus.Message = text
	return plain
}

// tunnelError says what kept a tunnel from being opened.
func (d *Dialer) tunnelError(ctx context.Context, ref PodRef, err error) error {
	if ctx.Err() != nil {
		return err
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		if neverAnswered(err) {
			return &UnreachableError{Host: d.rest.Host, Err: err}
		}
		return &TunnelError{Pod: ref, Err: err}
	}
	denied := d.apiError(err, request{verb: "create", resource: "pods/portforward", kind: "pod", namespace: ref.Namespace, name: ref.Name})
	var other *apiFailure
	if errors.As(denied, &other) {
		return &TunnelError{Pod: ref, Err: err}
	}
	return denied
}
