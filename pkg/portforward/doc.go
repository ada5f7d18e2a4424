// Package portforward gives connections to pods through the Kubernetes API
// server, without a local listener and without one tunnel per connection.
//
// A Dialer keeps one tunnel per pod and shares it among all connections. An
// Endpoint names what to reach (a Service port or a pod port); its DialContext
// fits http.Transport and grpc.WithContextDialer. A Forwarder puts a local
// listener in front of an Endpoint.
//
// The tunnel speaks SPDY/3.1 as the kubelet's streaming server does, either
// directly on the upgraded connection or inside a WebSocket ("SPDY/3.1+"
// tunnelling, Kubernetes 1.31 and later). Each connection is a pair of
// streams: one for data and one on which the node reports errors. SPDY flow
// control is not used by Kubernetes, so a connection whose owner stops reading
// holds at most 1 MiB and then slows the other connections of the same pod.
//
// The protocol has no acknowledgement for "the pod accepted the connection":
// DialContext returns once the node has taken the streams. A refusal is a
// *RefusedError of DialContext or, most often, of the first Read or Write.
//
// The streaming library of the nodes hangs behind data that nobody takes in the
// pod, for one because the pod has closed the connection. A tunnel whose node
// takes no new connections for 10 s is therefore retired: it keeps the
// connections it has, and new ones get a new tunnel.
package portforward
