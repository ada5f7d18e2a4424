package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

const (
	storageClass       = "sandbox-local"
	storageProvisioner = "kubectl-triton.github.io/sandbox"
	provisionedBy      = "pv.kubernetes.io/provisioned-by"
)

// provisioner gives claims of the class sandbox-local a directory each, as an
// external provisioner does: it makes the PersistentVolume, the controller
// manager binds it, and when the claim is gone it removes both.
type provisioner struct {
	client kubernetes.Interface
	dir    string
	log    *slog.Logger
}

// run provisions until ctx ends.
func (p *provisioner) run(ctx context.Context) error {
	factory := informers.NewSharedInformerFactory(p.client, 0)
	onClaim := func(o any) { p.report(p.provision(ctx, o.(*corev1.PersistentVolumeClaim))) }
	onVolume := func(o any) { p.report(p.reclaim(ctx, o.(*corev1.PersistentVolume))) }
	for informer, handle := range map[cache.SharedIndexInformer]func(any){
		factory.Core().V1().PersistentVolumeClaims().Informer(): onClaim,
		factory.Core().V1().PersistentVolumes().Informer():      onVolume,
	} {
		if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    handle,
			UpdateFunc: func(_, o any) { handle(o) },
		}); err != nil {
			return fmt.Errorf("cannot watch claims and volumes: %w", err)
		}
	}
	factory.StartWithContext(ctx)
	return nil
}

func (p *provisioner) report(err error) {
	if err != nil {
		p.log.Warn("a volume was not provisioned", "error", err)
	}
}

func (p *provisioner) provision(ctx context.Context, claim *corev1.PersistentVolumeClaim) error {
	if claim.Spec.StorageClassName == nil || *claim.Spec.StorageClassName != storageClass || claim.Spec.VolumeName != "" || claim.DeletionTimestamp != nil {
		return nil
	}
	name := "pvc-" + string(claim.UID)
	dir := filepath.Join(p.dir, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("cannot make a directory for the claim %s/%s: %w", claim.Namespace, claim.Name, err)
	}
	volume := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{provisionedBy: storageProvisioner}},
		Spec: corev1.PersistentVolumeSpec{
			StorageClassName:              storageClass,
			AccessModes:                   claim.Spec.AccessModes,
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: claim.Spec.Resources.Requests[corev1.ResourceStorage]},
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimDelete,
			PersistentVolumeSource:        corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: dir}},
			ClaimRef: &corev1.ObjectReference{
				APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID, ResourceVersion: claim.ResourceVersion,
			},
			// Every node is on this machine.
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelOSStable, Operator: corev1.NodeSelectorOpIn, Values: []string{"linux"}}},
			}}}},
		},
	}
	if _, err := p.client.CoreV1().PersistentVolumes().Create(ctx, volume, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("cannot create the volume of the claim %s/%s: %w", claim.Namespace, claim.Name, err)
	}
	return nil
}

func (p *provisioner) reclaim(ctx context.Context, volume *corev1.PersistentVolume) error {
	if volume.Annotations[provisionedBy] != storageProvisioner || volume.Status.Phase != corev1.VolumeReleased || volume.DeletionTimestamp != nil ||
		volume.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimDelete {
		return nil
	}
	if err := os.RemoveAll(filepath.Join(p.dir, volume.Name)); err != nil {
		return fmt.Errorf("cannot remove the directory of the volume %s: %w", volume.Name, err)
	}
	if err := p.client.CoreV1().PersistentVolumes().Delete(ctx, volume.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("cannot delete the volume %s: %w", volume.Name, err)
	}
	return nil
}
