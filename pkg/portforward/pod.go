package portforward

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
)

const (
	// unwatchedAge is how long a reading of a pod counts that is not watched.
	unwatchedAge = 2 * time.Second
	watchRetry   = time.Second
)

var errPodDeleted = errors.New("the pod was deleted")

// pod is one pod that connections go to: its state, kept current by a watch,
// and its tunnel.
type pod struct {
	dialer  *Dialer
	uid     types.UID
	ref     PodRef
	flight  flight[*session]
	backoff backoff

	mu        sync.Mutex
	ready     bool
	over      bool // terminating or ended: takes no new connections, ever
	closed    bool // its tunnel was closed for good
	watched   bool
	suspect   bool      // something went wrong: read it again before the next dial
	readAt    time.Time // when its state was last read or confirmed
	keepUntil time.Time // may be used until then although it is not ready
	session   *session  // the one that new connections use
	sessions  map[*session]struct{}
}

func newPod(d *Dialer, object *corev1.Pod) *pod {
	return &pod{dialer: d, uid: object.UID, ref: refOf(object), sessions: map[*session]struct{}{}}
}

func refOf(object *corev1.Pod) PodRef {
	return PodRef{Namespace: object.Namespace, Name: object.Name, UID: string(object.UID), Node: object.Spec.NodeName}
}

// update takes over a reading of the pod.
func (p *pod) update(object *corev1.Pod) {
	ready, reason := readiness(object)
	p.mu.Lock()
	wasOver, wasReady := p.over, p.ready
	p.over = p.over || object.DeletionTimestamp != nil || ended(object)
	p.ready = ready && !p.over
	p.suspect = false
	p.readAt = time.Now()
	used := len(p.sessions) > 0
	over := p.over
	p.mu.Unlock()
	switch {
	case !used:
	case over && !wasOver:
		p.dialer.config.Logf("pod %s takes no new connections: %s", p.ref, reason)
	case wasReady && !ready && !over:
		p.dialer.config.Logf("pod %s is no longer ready: %s", p.ref, reason)
	}
	if ended(object) {
		p.end(errors.New("the pod ended: " + reason))
	}
}

// end gives the pod up: it is gone.
func (p *pod) end(reason error) {
	p.mu.Lock()
	p.over = true
	p.mu.Unlock()
	p.dialer.forget(p)
	p.closeTunnel(reason)
}

// usable says whether a new connection may go to the pod without reading its
// state again.
func (p *pod) usable(needReady bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if p.over || p.closed || p.suspect {
		return false
	}
	if needReady && !p.ready && now.After(p.keepUntil) {
		return false
	}
	return p.watched || now.Sub(p.readAt) < unwatchedAge
}

// keep allows a pod that is no longer ready, but runs and still has its
// tunnel, to be used for a while, for want of a better one.
func (p *pod) keep() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over || p.closed || p.session == nil || !p.session.usable() {
		return false
	}
	p.suspect = false
	p.keepUntil = time.Now().Add(unwatchedAge)
	p.readAt = time.Now()
	return true
}

func (p *pod) doubt() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.suspect = true
}

// nodeError is called when the node reported a failed connection: the pod may
// be gone, which only matters where no watch would tell.
func (p *pod) nodeError() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.suspect = p.suspect || !p.watched
}

func (p *pod) hasTunnel() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.session != nil && p.session.usable()
}

// dial opens a connection to a port of the pod. retry is true when another
// attempt, perhaps at another pod, may succeed at once.
func (p *pod) dial(ctx context.Context, port int32) (c net.Conn, retry bool, err error) {
	s, err := p.tunnel(ctx)
	if err != nil {
		var tunnel *TunnelError
		var missing *NotFoundError
		return nil, errors.As(err, &tunnel) || errors.As(err, &missing) || errors.Is(err, errSessionOver), err
	}
	c, err = s.open(ctx, port)
	if err != nil {
		usable := s.usable()
		if !usable && !isDone(s.done) {
			p.dialer.config.Logf("the tunnel to pod %s takes no new connections (%v); opening another", p.ref, err)
		}
		return nil, !usable, err
	}
	return c, false, nil
}

// tunnel returns the pod's tunnel and opens it if need be.
func (p *pod) tunnel(ctx context.Context) (*session, error) {
	p.mu.Lock()
	s := p.session
	p.mu.Unlock()
	if s != nil && s.usable() {
		return s, nil
	}
	s, err := p.flight.do(ctx, p.dialer.ctx, p.dialer.spawn, p.establish)
	switch {
	case err == nil:
		return s, nil
	case ctx.Err() != nil:
		return nil, p.backoff.gaveUp(ctx.Err(), func(err error) error { return &TunnelError{Pod: p.ref, Err: err} })
	case p.dialer.ctx.Err() != nil:
		return nil, errDialerClosed
	}
	return nil, err
}

func (p *pod) establish(ctx context.Context) (*session, error) {
	p.mu.Lock()
	s := p.session
	p.mu.Unlock()
	if s != nil && s.usable() {
		return s, nil
	}
	if err := p.backoff.wait(ctx); err != nil {
		return nil, err
	}
	s, err := p.dialer.connect(ctx, p.ref, p.nodeError)
	if err != nil {
		if ctx.Err() == nil {
			p.backoff.failed(err)
			p.doubt()
		}
		return nil, err
	}
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		s.close(errDialerClosed)
		return nil, errSessionOver
	}
	p.session = s
	p.sessions[s] = struct{}{}
	p.mu.Unlock()
	if err := p.dialer.spawn(func() { p.attend(s) }); err != nil {
		return nil, err
	}
	return s, nil
}

// attend waits for a tunnel's end and draws the consequences.
func (p *pod) attend(s *session) {
	began := time.Now()
	s.wg.Wait()
	switch {
	case errors.Is(s.err, errRetired):
	case time.Since(began) >= goodRun:
		p.backoff.reset()
	default:
		p.backoff.failed(s.err)
	}
	p.mu.Lock()
	delete(p.sessions, s)
	if p.session == s {
		p.session = nil
	}
	p.suspect = p.suspect || !errors.Is(s.err, errRetired)
	closed := p.closed
	p.mu.Unlock()
	if !closed && !errors.Is(s.err, errRetired) {
		p.dialer.config.Logf("the tunnel to pod %s is gone (%v); the next connection opens a new one", p.ref, s.err)
	}
}

// closeTunnel ends all connections to the pod for good.
func (p *pod) closeTunnel(reason error) {
	p.mu.Lock()
	p.closed = true
	sessions := make([]*session, 0, len(p.sessions))
	for s := range p.sessions {
		sessions = append(sessions, s)
	}
	p.mu.Unlock()
	for _, s := range sessions {
		s.close(reason)
	}
}

// watch keeps the pod's state current until the pod is gone or ctx over.
// Without permission to watch, the state is read anew before each dial.
func (p *pod) watch(ctx context.Context, version string) {
	pods := p.dialer.client.CoreV1().Pods(p.ref.Namespace)
	selector := fields.OneTermEqualSelector(metav1.ObjectNameField, p.ref.Name).String()
	for ; ctx.Err() == nil; sleep(ctx, watchRetry) {
		if version == "" {
			list, err := pods.List(ctx, metav1.ListOptions{FieldSelector: selector})
			if err != nil {
				continue
			}
			if len(list.Items) == 0 || list.Items[0].UID != p.uid {
				p.end(errPodDeleted)
				return
			}
			version = list.ResourceVersion
			p.update(&list.Items[0])
		}
		// The watch is ended by its Stop, which waits for the request's end; a
		// cancelled context would leave that to the background.
		watchCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		starting := context.AfterFunc(ctx, cancel)
		w, err := pods.Watch(watchCtx, metav1.ListOptions{FieldSelector: selector, ResourceVersion: version})
		starting()
		var gone bool
		if err == nil {
			p.setWatched(true)
			version, gone = p.follow(ctx, w, version)
			p.setWatched(false)
		}
		cancel()
		switch {
		case gone:
			p.end(errPodDeleted)
			return
		case apierrors.IsForbidden(err) || apierrors.IsMethodNotSupported(err):
			return
		case err != nil:
			version = ""
		}
	}
}

// follow applies the events of one watch. It returns the last version seen,
// empty when the pod must be listed anew, and whether the pod is gone.
func (p *pod) follow(ctx context.Context, w watch.Interface, version string) (string, bool) {
	defer w.Stop()
	for {
		var event watch.Event
		var open bool
		select {
		case <-ctx.Done():
			return version, false
		case event, open = <-w.ResultChan():
		}
		if !open {
			return version, false
		}
		object, isPod := event.Object.(*corev1.Pod)
		if !isPod {
			return "", false // an error, such as a version too old
		}
		if event.Type == watch.Deleted || object.UID != p.uid {
			return "", true
		}
		version = object.ResourceVersion
		p.update(object)
	}
}

func (p *pod) setWatched(watched bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.watched = watched
	p.readAt = time.Now()
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
