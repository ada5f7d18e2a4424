package grafana

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"net/http"
	"strings"
)

// Role is a basic role in the organisation. Each has the permissions of those
// before it.
type Role int

// The basic roles.
const (
	Viewer Role = iota + 1
	Editor
	Admin
)

// ParseRole reads a role's name.
func ParseRole(name string) (Role, error) {
	switch name {
	case "Viewer":
		return Viewer, nil
	case "Editor":
		return Editor, nil
	case "Admin":
		return Admin, nil
	}
	return 0, fmt.Errorf("%q is not a role; use Viewer, Editor or Admin", name)
}

func (r Role) String() string {
	switch r {
	case Viewer:
		return "Viewer"
	case Editor:
		return "Editor"
	case Admin:
		return "Admin"
	}
	return fmt.Sprintf("Role(%d)", int(r))
}

// identity is who makes a request.
type identity struct {
	id    int64
	login string
	email string
	role  Role
}

const (
	readAnnotations   = "annotations:read"
	createAnnotations = "annotations:create"
	writeAnnotations  = "annotations:write"
	deleteAnnotations = "annotations:delete"
	readDashboards    = "dashboards:read"
	saveDashboards    = "any of dashboards:create, dashboards:write"
	deleteDashboards  = "dashboards:delete"
	readFolders       = "folders:read"
	createFolders     = "folders:create"
	deleteFolders     = "folders:delete"
	readDataSources   = "datasources:read"
	readOrganisation  = "orgs:read"

	reloadProvisioning = "provisioning:reload"

	signedIn = "" // any identity will do
)

// leastRole is Grafana's default assignment of permissions to basic roles.
func leastRole(permission string) Role {
	switch permission {
	case readAnnotations, readDashboards, readFolders, readOrganisation, signedIn:
		return Viewer
	case readDataSources, reloadProvisioning:
		return Admin
	}
	return Editor
}

func authorise(by identity, permission string) *apiError {
	if by.role >= leastRole(permission) {
		return nil
	}
	hash := fnv.New64a()
	_, _ = hash.Write([]byte(by.login + permission))
	return &apiError{http.StatusForbidden, map[string]any{
		"accessErrorId": fmt.Sprintf("ACE%010d", hash.Sum64()%1e10),
		"message":       "You'll need additional permissions to perform this action. Permissions needed: " + permission,
		"title":         "Access denied",
	}}
}

func (s *Server) authenticate(r *http.Request) (identity, *apiError) {
	header := r.Header.Get("Authorization")
	if user, password, ok := r.BasicAuth(); ok {
		if user == s.cfg.AdminUser && s.store.passwordIs(password) {
			return identity{1, user, "admin@localhost", Admin}, nil
		}
		return identity{}, publicError(http.StatusUnauthorized, "password-auth.failed", "Invalid username or password")
	}
	if scheme, token, _ := strings.Cut(header, " "); strings.EqualFold(scheme, "Bearer") {
		for known, role := range s.cfg.Tokens {
			if subtle.ConstantTimeCompare([]byte(known), []byte(token)) == 1 {
				return identity{2, "sa-1-" + strings.ToLower(role.String()), "", role}, nil
			}
		}
		return identity{}, publicError(http.StatusUnauthorized, "api-key.invalid", "Invalid API key")
	}
	return identity{}, publicError(http.StatusUnauthorized, "auth.unauthorized", "Unauthorized")
}

func hashPassword(password string) string {
	sum := sha256.Sum256([]byte(password))
	return hex.EncodeToString(sum[:])
}
