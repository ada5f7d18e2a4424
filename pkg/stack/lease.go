package stack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	leaseName     = "kubectl-triton-observe"
	leaseDuration = 15 * time.Second
	leaseRenewal  = 4 * time.Second
)

// BusyError says that somebody else is changing the stack at this moment.
type BusyError struct {
	Holder string
	Since  time.Time
}

func (e *BusyError) Error() string {
	return fmt.Sprintf("%s is changing the stack since %s; wait until that has ended and try again (a killed one's lock is free after %d s)", e.Holder, e.Since.Format(time.TimeOnly), leaseDuration/time.Second)
}

// Lock keeps others from changing the stack in a namespace at the same time. A
// lock whose holder was killed is free after 15 seconds; dead tells that this
// one was taken from such a holder. release gives it back.
func (c *Client) Lock(ctx context.Context, namespace string) (dead bool, release func(), err error) {
	leases := c.kubernetes.CoordinationV1().Leases(namespace)
	me := identity()
	lease, err := leases.Get(ctx, leaseName, metav1.GetOptions{})
	if err == nil {
		now, watchErr := c.watchLock(ctx, lease)
		if watchErr != nil {
			return false, nil, watchErr
		}
		switch now {
		case lockRenewed:
			return false, nil, &BusyError{Holder: holder(lease), Since: since(lease)}
		case lockReleased:
			lease, err = leases.Create(ctx, newLease(namespace, me), metav1.CreateOptions{})
		case lockDead:
			dead = true
			lease, err = leases.Update(ctx, held(lease, me), metav1.UpdateOptions{})
		}
	} else if apierrors.IsNotFound(err) {
		lease, err = leases.Create(ctx, newLease(namespace, me), metav1.CreateOptions{})
	}
	if apierrors.IsAlreadyExists(err) || apierrors.IsConflict(err) {
		return false, nil, &BusyError{Holder: "another process", Since: time.Now()}
	}
	if err != nil {
		return false, nil, fmt.Errorf("could not take the lock (Lease %s in namespace %s) that keeps two installations apart: %w", leaseName, namespace, err)
	}
	// The lock lives until it is released, also while an interrupted
	// installation winds up.
	renewing, stop := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(leaseRenewal)
		defer tick.Stop()
		for {
			select {
			case <-renewing.Done():
				return
			case <-tick.C:
			}
			now := metav1.NowMicro()
			lease.Spec.RenewTime = &now
			// One that fails is tried again before the lease is over.
			if renewed, err := leases.Update(renewing, lease, metav1.UpdateOptions{}); err == nil {
				lease = renewed
			} else if apierrors.IsConflict(err) {
				if current, err := leases.Get(renewing, leaseName, metav1.GetOptions{}); err == nil && holder(current) == me {
					lease = current
				}
			}
		}
	}()
	return dead, func() {
		stop()
		<-done
		// A kept lock frees itself, and one that was taken over since is another's.
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		_ = leases.Delete(last, leaseName, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &lease.UID, ResourceVersion: &lease.ResourceVersion}})
	}, nil
}

// lockState is what has become of a lock that somebody else took.
type lockState int

const (
	lockRenewed  lockState = iota // its holder lives
	lockReleased                  // its holder gave it back
	lockDead                      // its holder was killed
)

// watchLock says whether a lock's holder lives. The two clocks may differ, so a
// lock that looks expired, or valid for longer than any lock is, is watched for
// longer than its holder would wait.
func (c *Client) watchLock(ctx context.Context, l *coordinationv1.Lease) (lockState, error) {
	if left := time.Until(expiry(l)); left > 0 && left <= leaseDuration {
		return lockRenewed, nil
	}
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-time.After(leaseRenewal + 2*time.Second):
	}
	current, err := c.kubernetes.CoordinationV1().Leases(l.Namespace).Get(ctx, l.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return lockReleased, nil
	case err != nil:
		return 0, fmt.Errorf("could not read the lock again (Lease %s in namespace %s): %w", l.Name, l.Namespace, err)
	case current.ResourceVersion != l.ResourceVersion:
		return lockRenewed, nil
	}
	return lockDead, nil
}

func newLease(namespace, holder string) *coordinationv1.Lease {
	return held(&coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{
		Name: leaseName, Namespace: namespace, Labels: map[string]string{ManagedByLabel: ManagedBy, PartOfLabel: PartOf},
	}}, holder)
}

func held(l *coordinationv1.Lease, by string) *coordinationv1.Lease {
	now, seconds := metav1.NowMicro(), int32(leaseDuration/time.Second)
	l.Spec = coordinationv1.LeaseSpec{HolderIdentity: &by, LeaseDurationSeconds: &seconds, AcquireTime: &now, RenewTime: &now}
	return l
}

func expiry(l *coordinationv1.Lease) time.Time {
	if l.Spec.RenewTime == nil || l.Spec.LeaseDurationSeconds == nil {
		return time.Time{}
	}
	return l.Spec.RenewTime.Add(time.Duration(*l.Spec.LeaseDurationSeconds) * time.Second)
}

func holder(l *coordinationv1.Lease) string {
	if l.Spec.HolderIdentity == nil {
		return "somebody"
	}
	return *l.Spec.HolderIdentity
}

func since(l *coordinationv1.Lease) time.Time {
	if l.Spec.AcquireTime == nil {
		return time.Time{}
	}
	return l.Spec.AcquireTime.Time
}

// identity says to others who holds the lock.
func identity() string {
	name := "kubectl-triton"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	host, err := os.Hostname()
	if err != nil {
		host = "an unknown host"
	}
	return fmt.Sprintf("%s on %s (process %d)", name, host, os.Getpid())
}

// Busy says whether err is a BusyError.
func Busy(err error) bool {
	var busy *BusyError
	return errors.As(err, &busy)
}
