package portforward

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"

	"github.com/gorilla/websocket"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	constants "k8s.io/apimachinery/pkg/util/portforward"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/klog/v2"
	"k8s.io/streaming/pkg/httpstream"
)

// upgradeWebSocket opens a WebSocket that carries the SPDY frames. The
// exchange is ours because client-go's waits for the answer uncancellably.
func (d *Dialer) upgradeWebSocket(ctx context.Context, target *url.URL) (net.Conn, error) {
	tlsConfig, err := rest.TLSConfigFor(d.rest)
	if err != nil {
		return nil, err
	}
	proxy := d.rest.Proxy
	if proxy == nil {
		proxy = utilnet.NewProxierWithNoProxyCIDR(http.ProxyFromEnvironment)
	}
	upgrade := &webSocketUpgrade{dialer: websocket.Dialer{
		Proxy:           proxy,
		TLSClientConfig: tlsConfig,
		Subprotocols:    []string{constants.WebsocketsSPDYTunnelingPortForwardV1},
		ReadBufferSize:  readBufferBytes,
		WriteBufferSize: readBufferBytes,
	}}
	roundTripper, err := rest.HTTPWrappersForConfig(d.rest, upgrade)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return nil, err
	}
	response, err := roundTripper.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	response.Body.Close()
	return portforward.NewTunnelingConnectionWithLogger(klog.Logger{}, upgrade.conn), nil
}

// webSocketUpgrade is one upgrade request; when it succeeds it holds the
// connection.
type webSocketUpgrade struct {
	dialer websocket.Dialer
	conn   *websocket.Conn
}

func (u *webSocketUpgrade) RoundTrip(request *http.Request) (*http.Response, error) {
	ctx := request.Context()
	stop := func() bool { return true }
	u.dialer.NetDialContext = func(dialCtx context.Context, network, address string) (net.Conn, error) {
		var dialer net.Dialer
		conn, err := dialer.DialContext(dialCtx, network, address)
		if err == nil {
			stop = context.AfterFunc(ctx, func() { conn.Close() })
		}
		return conn, err
	}
	target := *request.URL
	target.Scheme = "wss"
	if request.URL.Scheme == "http" {
		target.Scheme = "ws"
	}
	conn, response, err := u.dialer.DialContext(ctx, target.String(), request.Header)
	if !stop() || ctx.Err() != nil {
		if err == nil {
			_ = conn.Close()
		}
		return nil, ctx.Err()
	}
	if errors.Is(err, websocket.ErrBadHandshake) && response != nil {
		return nil, &httpstream.UpgradeFailureError{Cause: statusError(response)}
	}
	if err != nil {
		return nil, err
	}
	if conn.Subprotocol() != constants.WebsocketsSPDYTunnelingPortForwardV1 {
		_ = conn.Close()
		return nil, &httpstream.UpgradeFailureError{Cause: fmt.Errorf("the server does not tunnel port-forwards in WebSockets; it chose the protocol %q", conn.Subprotocol())}
	}
	u.conn = conn
	return response, nil
}
