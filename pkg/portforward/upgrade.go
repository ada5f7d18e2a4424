package portforward

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
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
	utilnet "k8s.io/apimachinery/pkg/util/net"
	constants "k8s.io/apimachinery/pkg/util/portforward"
	"k8s.io/client-go/rest"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
)

const maxStatusBytes = 64 << 10

// connect opens a tunnel to a pod.
func (d *Dialer) connect(ctx context.Context, ref PodRef, onNodeError func()) (*session, error) {
	target := d.server.JoinPath("api/v1/namespaces", ref.Namespace, "pods", ref.Name, "portforward")
	var up upgraded
	var err error
	if d.config.Transport == TransportWebSocket {
		up, err = d.upgradeWebSocket(ctx, target)
		if httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err) {
			d.config.Logf("no WebSocket to pod %s (%v); using SPDY", ref, err)
			up, err = d.upgradeSPDY(ctx, target)
		}
	} else {
		up, err = d.upgradeSPDY(ctx, target)
	}
	if err != nil {
		return nil, d.tunnelError(ctx, ref, err)
	}
	s, err := newSession(ref, up, d.config.PingInterval, d.replyTimeout, onNodeError)
	if err != nil {
		up.transport.Close()
		return nil, &TunnelError{Pod: ref, Err: err}
	}
	return s, nil
}

// upgraded is a connection that carries SPDY from now on.
type upgraded struct {
	transport io.ReadWriteCloser
	wire      *wire         // at the bottom of transport
	reader    *bufio.Reader // of transport
}

// upgradeSPDY asks the API server to speak SPDY on the connection. The exchange
// is ours because the library's own cannot be cancelled and hands out no
// connection.
func (d *Dialer) upgradeSPDY(ctx context.Context, target *url.URL) (upgraded, error) {
	tlsConfig, err := rest.TLSConfigFor(d.rest)
	if err != nil {
		return upgraded{}, err
	}
	upgrade := &spdyUpgrade{tls: tlsConfig, proxy: d.proxy()}
	roundTripper, err := rest.HTTPWrappersForConfig(d.rest, upgrade)
	if err != nil {
		return upgraded{}, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), nil)
	if err != nil {
		return upgraded{}, err
	}
	request.Header.Set(httpstream.HeaderConnection, httpstream.HeaderUpgrade)
	request.Header.Set(httpstream.HeaderUpgrade, spdy.HeaderSpdy31)
	request.Header.Set(httpstream.HeaderProtocolVersion, constants.PortForwardV1Name)
	response, err := roundTripper.RoundTrip(request)
	if err != nil {
		return upgraded{}, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusSwitchingProtocols {
		return upgraded{}, statusError(response)
	}
	if !strings.EqualFold(response.Header.Get(httpstream.HeaderUpgrade), spdy.HeaderSpdy31) {
		upgrade.done.transport.Close()
		return upgraded{}, fmt.Errorf("the server switched to %q instead of SPDY/3.1", response.Header.Get(httpstream.HeaderUpgrade))
	}
	return upgrade.done, nil
}

// proxy finds the proxy of a request, as client-go does.
func (d *Dialer) proxy() func(*http.Request) (*url.URL, error) {
	if d.rest.Proxy != nil {
		return d.rest.Proxy
	}
	return utilnet.NewProxierWithNoProxyCIDR(http.ProxyFromEnvironment)
}

// spdyUpgrade is one upgrade request; after a 101 it holds the connection.
type spdyUpgrade struct {
	tls   *tls.Config
	proxy func(*http.Request) (*url.URL, error)
	done  upgraded
}

func (u *spdyUpgrade) RoundTrip(request *http.Request) (*http.Response, error) {
	ctx := request.Context()
	conn, wire, err := u.dial(request)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	reader := bufio.NewReaderSize(conn, readBufferBytes)
	response, err := http.ReadResponse(reader, request)
	if err == nil && response.StatusCode == http.StatusSwitchingProtocols {
		if stop() {
			u.done = upgraded{conn, wire, reader}
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

// dial connects to the API server and sends the request. Through a proxy the
// library does; the wire is then what it has made.
func (u *spdyUpgrade) dial(request *http.Request) (net.Conn, *wire, error) {
	proxy, err := u.proxy(request)
	if err != nil {
		return nil, nil, err
	}
	if proxy != nil {
		dialer, err := spdy.NewRoundTripperWithConfig(spdy.RoundTripperConfig{TLS: u.tls, Proxier: http.ProxyURL(proxy)})
		if err != nil {
			return nil, nil, err
		}
		conn, err := dialer.Dial(request)
		if err != nil {
			return nil, nil, err
		}
		w := newWire(conn)
		return w, w, nil
	}
	var dialer net.Dialer
	tcp, err := dialer.DialContext(request.Context(), "tcp", dialAddress(request.URL))
	if err != nil {
		return nil, nil, err
	}
	w := newWire(tcp)
	var conn net.Conn = w
	if request.URL.Scheme == "https" {
		secured := tls.Client(w, serverNamed(u.tls, request.URL.Hostname()))
		err = secured.HandshakeContext(request.Context())
		conn = secured
	}
	if err == nil {
		err = request.Write(conn)
	}
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	return conn, w, nil
}

func dialAddress(u *url.URL) string {
	port := u.Port()
	switch {
	case port != "":
	case u.Scheme == "https":
		port = "443"
	default:
		port = "80"
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// serverNamed is config for a server whose certificate names host, unless
// config says otherwise.
func serverNamed(config *tls.Config, host string) *tls.Config {
	if config == nil {
		return &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
	}
	config = config.Clone()
	if config.ServerName == "" {
		config.ServerName = host
	}
	return config
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
