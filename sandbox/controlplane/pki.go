package controlplane

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

const certificateLifetime = 365 * 24 * time.Hour

// Identity is the subject of a client or server certificate.
type Identity struct {
	CommonName    string
	Organizations []string
	DNSNames      []string
	IPs           []net.IP
}

// Credential is a PEM-encoded certificate and its private key.
type Credential struct {
	Certificate []byte
	Key         []byte
}

// Authority signs every certificate of one cluster.
type Authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	pem         []byte
}

// NewAuthority makes a certificate authority whose key lives in memory only.
func NewAuthority() (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("cannot make the cluster's CA key: %w", err)
	}
	template, err := certificateTemplate(Identity{CommonName: "sandbox-ca"})
	if err != nil {
		return nil, err
	}
	template.IsCA = true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("cannot make the cluster's CA certificate: %w", err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("cannot read back the cluster's CA certificate: %w", err)
	}
	return &Authority{certificate: certificate, key: key, pem: encodePEM("CERTIFICATE", der)}, nil
}

// PEM returns the CA certificate.
func (a *Authority) PEM() []byte { return a.pem }

// Pool returns a pool that trusts this authority alone.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.certificate)
	return pool
}

// Issue makes a certificate for id that serves for client and server use.
func (a *Authority) Issue(id Identity) (Credential, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Credential{}, fmt.Errorf("cannot make a key for %s: %w", id.CommonName, err)
	}
	template, err := certificateTemplate(id)
	if err != nil {
		return Credential{}, err
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	if err != nil {
		return Credential{}, fmt.Errorf("cannot sign a certificate for %s: %w", id.CommonName, err)
	}
	keyPEM, err := encodeKey(key)
	if err != nil {
		return Credential{}, err
	}
	return Credential{Certificate: encodePEM("CERTIFICATE", der), Key: keyPEM}, nil
}

// TLS returns the credential in the form that crypto/tls takes.
func (c Credential) TLS() (tls.Certificate, error) {
	pair, err := tls.X509KeyPair(c.Certificate, c.Key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("cannot use a certificate just issued: %w", err)
	}
	return pair, nil
}

func (c Credential) write(dir, name string) error {
	if err := os.WriteFile(filepath.Join(dir, name+".crt"), c.Certificate, 0o600); err != nil {
		return fmt.Errorf("cannot store the certificate %s: %w", name, err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".key"), c.Key, 0o600); err != nil {
		return fmt.Errorf("cannot store the key %s: %w", name, err)
	}
	return nil
}

// writeServiceAccountKeys stores the key pair that signs ServiceAccount tokens.
func writeServiceAccountKeys(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("cannot make the key for ServiceAccount tokens: %w", err)
	}
	private, err := encodeKey(key)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return fmt.Errorf("cannot encode the key for ServiceAccount tokens: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "sa.key"), private, 0o600); err != nil {
		return fmt.Errorf("cannot store the key for ServiceAccount tokens: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "sa.pub"), encodePEM("PUBLIC KEY", public), 0o600); err != nil {
		return fmt.Errorf("cannot store the key for ServiceAccount tokens: %w", err)
	}
	return nil
}

func certificateTemplate(id Identity) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("cannot draw a certificate serial number: %w", err)
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: id.CommonName, Organization: id.Organizations},
		DNSNames:              id.DNSNames,
		IPAddresses:           id.IPs,
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.Add(certificateLifetime),
		BasicConstraintsValid: true,
	}, nil
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("cannot encode a private key: %w", err)
	}
	return encodePEM("EC PRIVATE KEY", der), nil
}

func encodePEM(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
