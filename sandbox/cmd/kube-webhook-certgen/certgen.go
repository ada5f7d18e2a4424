package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

const validity = 100 * 365 * 24 * time.Hour

type options struct {
	hosts, namespace, secret  string
	caName, certName, keyName string
	webhook, failurePolicy    string
	mutating, validating      bool
}

// create makes the Secret unless it exists.
func (o options) create(ctx context.Context, client kubernetes.Interface, hosts []string) error {
	secrets := client.CoreV1().Secrets(o.namespace)
	_, err := secrets.Get(ctx, o.secret, metav1.GetOptions{})
	if err == nil {
		return nil
	}
	if !apierrors.IsNotFound(err) {
		return fmt.Errorf("cannot look for the Secret %s/%s: %w", o.namespace, o.secret, err)
	}
	data, err := o.issue(hosts)
	if err != nil {
		return err
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: o.secret}, Data: data}
	if _, err := secrets.Create(ctx, secret, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("cannot create the Secret %s/%s: %w", o.namespace, o.secret, err)
	}
	return nil
}

// issue returns a new authority, and a certificate and key signed by it.
func (o options) issue(hosts []string) (map[string][]byte, error) {
	now := time.Now()
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("cannot make a key: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("cannot make a key: %w", err)
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{Organization: []string{"sandbox webhook authority"}},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(validity),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{Organization: []string{"sandbox webhook"}},
		NotBefore: ca.NotBefore, NotAfter: ca.NotAfter, DNSNames: hosts,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		return nil, fmt.Errorf("cannot make the authority: %w", err)
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), caKey)
	if err != nil {
		return nil, fmt.Errorf("cannot make the certificate: %w", err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("cannot encode the key: %w", err)
	}
	encode := func(kind string, der []byte) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	}
	return map[string][]byte{
		o.caName: encode("CERTIFICATE", caDER), o.certName: encode("CERTIFICATE", leafDER), o.keyName: encode("EC PRIVATE KEY", keyDER),
	}, nil
}

// patch gives the webhooks the authority and, if set, the failure policy.
func (o options) patch(ctx context.Context, client kubernetes.Interface) error {
	secret, err := client.CoreV1().Secrets(o.namespace).Get(ctx, o.secret, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("cannot read the Secret %s/%s: %w", o.namespace, o.secret, err)
	}
	authority, ok := secret.Data[o.caName]
	if !ok {
		return fmt.Errorf("the Secret %s/%s has no key %s", o.namespace, o.secret, o.caName)
	}
	var policy *admissionv1.FailurePolicyType
	if o.failurePolicy != "" {
		p := admissionv1.FailurePolicyType(o.failurePolicy)
		policy = &p
	}
	update := func(config *admissionv1.WebhookClientConfig, failure **admissionv1.FailurePolicyType) {
		config.CABundle = authority
		if policy != nil {
			*failure = policy
		}
	}
	registration := client.AdmissionregistrationV1()
	if o.mutating {
		webhooks, err := registration.MutatingWebhookConfigurations().Get(ctx, o.webhook, metav1.GetOptions{})
		if err != nil {
			return fmt.Errorf("cannot read the MutatingWebhookConfiguration: %w", err)
		}
		for i := range webhooks.Webhooks {
			update(&webhooks.Webhooks[i].ClientConfig, &webhooks.Webhooks[i].FailurePolicy)
		}
		if _, err := registration.MutatingWebhookConfigurations().Update(ctx, webhooks, metav1.UpdateOptions{}); err != nil {
			return fmt.Errorf("cannot patch the MutatingWebhookConfiguration: %w", err)
		}
	}
	if o.validating {
		webhooks, err := registration.ValidatingWebhookConfigurations().Get(ctx, o.webhook, metav1.GetOptions{})
		if err != nil {
			return fmt.Errorf("cannot read the ValidatingWebhookConfiguration: %w", err)
		}
		for i := range webhooks.Webhooks {
			update(&webhooks.Webhooks[i].ClientConfig, &webhooks.Webhooks[i].FailurePolicy)
		}
		if _, err := registration.ValidatingWebhookConfigurations().Update(ctx, webhooks, metav1.UpdateOptions{}); err != nil {
			return fmt.Errorf("cannot patch the ValidatingWebhookConfiguration: %w", err)
		}
	}
	return nil
}
