package stack

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	k8stesting "k8s.io/client-go/testing"
)

// leaseOf is a lock that was renewed some time ago; below 0, in the future.
func leaseOf(holder string, ago time.Duration) *coordinationv1.Lease {
	l := newLease("monitoring", holder)
	l.UID, l.ResourceVersion = "theirs", "1"
	renewed := metav1.NewMicroTime(time.Now().Add(-ago))
	l.Spec.RenewTime = &renewed
	return l
}

// locking is a client of nothing but Leases; made inside a bubble of synctest.
func locking(leases ...runtime.Object) (*Client, *fake.Clientset) {
	clients := fake.NewClientset(leases...)
	return &Client{kubernetes: clients}, clients
}

func currentLease(t *testing.T, c *fake.Clientset) *coordinationv1.Lease {
	t.Helper()
	l, err := c.CoordinationV1().Leases("monitoring").Get(t.Context(), leaseName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestLockFreeIsRenewedAndReleased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, clients := locking()
		ctx, cancel := context.WithCancel(t.Context())
		dead, release, err := c.Lock(ctx, "monitoring")
		if err != nil || dead {
			t.Fatalf("got %v, %v", dead, err)
		}
		first := currentLease(t, clients)
		if holder(first) != identity() || time.Until(expiry(first)) != leaseDuration || first.Labels[PartOfLabel] != PartOf {
			t.Errorf("the lease is %+v", first)
		}
		cancel() // an interrupted installation still winds up
		time.Sleep(3 * leaseDuration)
		if later := currentLease(t, clients); !expiry(later).After(time.Now()) {
			t.Errorf("not renewed: it was valid until %s, now is %s", expiry(later), time.Now())
		}
		if _, _, err := c.Lock(t.Context(), "monitoring"); !Busy(err) || !strings.Contains(err.Error(), identity()) {
			t.Errorf("a second lock gives %v", err)
		}
		release()
		if l := currentLease(t, clients); l != nil {
			t.Errorf("after its release there is %+v", l)
		}
	})
}

func TestLockHeldIsBusyAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := locking(leaseOf("ann on box (process 7)", 5*time.Second))
		begin := time.Now()
		_, _, err := c.Lock(t.Context(), "monitoring")
		if !Busy(err) || !strings.Contains(err.Error(), "ann on box (process 7) is changing the stack") || time.Since(begin) != 0 {
			t.Errorf("got %v after %s", err, time.Since(begin))
		}
	})
}

// TestLockExpired: what looks expired, or valid for longer than any lock is,
// is watched, since clocks differ.
func TestLockExpired(t *testing.T) {
	for name, test := range map[string]struct {
		ago    time.Duration
		during func(*testing.T, *fake.Clientset)
		dead   bool
		busy   bool
	}{
		"and dead":                 {time.Minute, nil, true, false},
		"dead, its clock ahead":    {-time.Hour, nil, true, false},
		"and renewed":              {time.Minute, renewLease, false, true},
		"renewed, its clock ahead": {-time.Hour, renewLease, false, true},
		"and released": {time.Minute, func(t *testing.T, c *fake.Clientset) {
			if err := c.CoordinationV1().Leases("monitoring").Delete(t.Context(), leaseName, metav1.DeleteOptions{}); err != nil {
				t.Error(err)
			}
		}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, clients := locking(leaseOf("ann", test.ago))
				if test.during != nil {
					time.AfterFunc(leaseRenewal, func() { test.during(t, clients) })
				}
				dead, release, err := c.Lock(t.Context(), "monitoring")
				if Busy(err) != test.busy || err != nil && !test.busy {
					t.Fatalf("got %v", err)
				}
				if err != nil {
					return
				}
				defer release()
				if dead != test.dead || holder(currentLease(t, clients)) != identity() {
					t.Errorf("dead %v, held by %s", dead, holder(currentLease(t, clients)))
				}
			})
		})
	}
}

func renewLease(t *testing.T, c *fake.Clientset) {
	l := leaseOf("ann", 0)
	l.ResourceVersion = "2"
	if err := c.Tracker().Update(coordinationv1.SchemeGroupVersion.WithResource("leases"), l, "monitoring"); err != nil {
		t.Error(err)
	}
}

func TestLockProblems(t *testing.T) {
	leases := schema.GroupResource{Group: "coordination.k8s.io", Resource: "leases"}
	for name, test := range map[string]struct {
		there *coordinationv1.Lease
		verb  string
		err   error
		busy  bool
	}{
		"another was faster to make it": {nil, "create", apierrors.NewAlreadyExists(leases, leaseName), true},
		"another was faster to take it": {leaseOf("ann", 24*time.Hour), "update", apierrors.NewConflict(leases, leaseName, errors.New("changed")), true},
		"not allowed":                   {nil, "create", apierrors.NewForbidden(leases, leaseName, errors.New("no")), false},
		"not allowed to read":           {nil, "get", apierrors.NewForbidden(leases, leaseName, errors.New("no")), false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var there []runtime.Object
				if test.there != nil {
					there = append(there, leaseOf("ann", 24*time.Hour))
				}
				c, clients := locking(there...)
				clients.PrependReactor(test.verb, "leases", func(k8stesting.Action) (bool, runtime.Object, error) { return true, nil, test.err })
				_, release, err := c.Lock(t.Context(), "monitoring")
				if err == nil {
					release()
					t.Fatal("it was taken")
				}
				if Busy(err) != test.busy {
					t.Errorf("busy: %v, %v", Busy(err), err)
				}
				if !test.busy && (!apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "Lease kubectl-triton-observe in namespace monitoring")) {
					t.Errorf("got %v", err)
				}
			})
		})
	}
}

func TestLockWatchEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := locking(leaseOf("ann", time.Hour))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, _, err := c.Lock(ctx, "monitoring"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

// TestLockTakenOverIsNotReleased: a holder that slept until another took its lock
// over doesn't free the other's.
func TestLockTakenOverIsNotReleased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, clients := locking()
		leases := schema.GroupVersionResource{Group: "coordination.k8s.io", Version: "v1", Resource: "leases"}
		// As the API server does, and the made-up one doesn't.
		clients.PrependReactor("delete", "leases", func(action k8stesting.Action) (bool, runtime.Object, error) {
			stored, err := clients.Tracker().Get(leases, "monitoring", leaseName)
			if err != nil {
				return true, nil, err
			}
			wanted, there := action.(k8stesting.DeleteActionImpl).DeleteOptions.Preconditions, stored.(*coordinationv1.Lease)
			if wanted.UID != nil && *wanted.UID != there.UID || wanted.ResourceVersion != nil && *wanted.ResourceVersion != there.ResourceVersion {
				return true, nil, apierrors.NewConflict(schema.GroupResource{Resource: "leases"}, leaseName, errors.New("the precondition does not hold"))
			}
			return false, nil, nil
		})
		_, release, err := c.Lock(t.Context(), "monitoring")
		if err != nil {
			t.Fatal(err)
		}
		theirs := held(currentLease(t, clients), "ann on box (process 7)")
		theirs.ResourceVersion = "77"
		if err := clients.Tracker().Update(leases, theirs, "monitoring"); err != nil {
			t.Fatal(err)
		}
		release()
		if l := currentLease(t, clients); l == nil || holder(l) != "ann on box (process 7)" {
			t.Errorf("after the release there is %+v", l)
		}
	})
}
