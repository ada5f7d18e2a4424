package portforward

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	constants "k8s.io/apimachinery/pkg/util/portforward"
	"k8s.io/client-go/rest"
	"k8s.io/streaming/pkg/httpstream"
)

// upgradeWebSocket opens a WebSocket that carries the SPDY frames. The
// exchange is ours because client-go's waits for the answer uncancellably.
func (d *Dialer) upgradeWebSocket(ctx context.Context, target *url.URL) (upgraded, error) {
	tlsConfig, err := rest.TLSConfigFor(d.rest)
	if err != nil {
		return upgraded{}, err
	}
	upgrade := &webSocketUpgrade{dialer: websocket.Dialer{
		Proxy:           d.proxy(),
		TLSClientConfig: tlsConfig,
		Subprotocols:    []string{constants.WebsocketsSPDYTunnelingPortForwardV1},
		ReadBufferSize:  readBufferBytes,
		WriteBufferSize: readBufferBytes,
	}}
	roundTripper, err := rest.HTTPWrappersForConfig(d.rest, upgrade)
	if err != nil {
		return upgraded{}, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return upgraded{}, err
	}
	response, err := roundTripper.RoundTrip(request)
	if err != nil {
		return upgraded{}, err
	}
	response.Body.Close()
	transport := &webSocket{conn: upgrade.conn}
	return upgraded{transport, upgrade.wire, bufio.NewReaderSize(transport, readBufferBytes)}, nil
}

// webSocketUpgrade is one upgrade request; when it succeeds it holds the
// connection.
type webSocketUpgrade struct {
	dialer websocket.Dialer
	conn   *websocket.Conn
	wire   *wire
}

func (u *webSocketUpgrade) RoundTrip(request *http.Request) (*http.Response, error) {
	ctx := request.Context()
	stop := func() bool { return true }
	u.dialer.NetDialContext = func(dialCtx context.Context, network, address string) (net.Conn, error) {
		var dialer net.Dialer
		conn, err := dialer.DialContext(dialCtx, network, address)
		if err != nil {
			return nil, err
		}
		stop = context.AfterFunc(ctx, func() { conn.Close() })
		u.wire = newWire(conn)
		return u.wire, nil
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

// webSocket is the stream of bytes in the binary messages of a WebSocket.
type webSocket struct {
	conn    *websocket.Conn
	message io.Reader // being read; nil between two
	closing sync.Once
}

func (w *webSocket) Read(p []byte) (int, error) {
	for {
		if w.message == nil {
			kind, message, err := w.conn.NextReader()
			switch {
			case websocket.IsCloseError(err, websocket.CloseNormalClosure):
				return 0, io.EOF
			case err != nil:
				return 0, err
			case kind != websocket.BinaryMessage:
				return 0, errors.New("the WebSocket carries text instead of a tunnel")
			}
			w.message = message
		}
		n, err := w.message.Read(p)
		if errors.Is(err, io.EOF) {
			w.message, err = nil, nil
		}
		if n > 0 || err != nil || len(p) == 0 {
			return n, err
		}
	}
}

func (w *webSocket) Write(p []byte) (int, error) {
	if err := w.conn.WriteMessage(websocket.BinaryMessage, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Close says goodbye to the other end of the WebSocket if that can be done at
// once.
func (w *webSocket) Close() (err error) {
	w.closing.Do(func() {
		goodbye := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
		_ = w.conn.WriteControl(websocket.CloseMessage, goodbye, time.Now().Add(time.Second))
		err = w.conn.Close()
	})
	return err
}
