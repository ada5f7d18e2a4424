package triton

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
)

// ErrModelControl is the cause of a load or unload that the server refuses
// because it decides itself which models it has loaded: its
// --model-control-mode is not explicit.
var ErrModelControl = errors.New("the server's --model-control-mode is not explicit")

// controlRefused is what the server answers then, with status 503, also when it
// doesn't poll its repository (Triton core, ModelRepositoryManager).
const controlRefused = "explicit model load / unload is not allowed"

// LoadModel loads a model from the server's repository, or loads it anew, and
// returns when it is ready; a large model takes minutes. A model that can't be
// loaded gives the server's reason. The transport of the Client must not bound
// the wait for an answer.
func (c *Client) LoadModel(ctx context.Context, name string) error {
	return c.change(ctx, "load", name)
}

// UnloadModel begins to unload a model. The server answers at once, and well for
// a model that it doesn't know too; the requests in flight are still served.
// RepositoryIndex tells when it is done.
func (c *Client) UnloadModel(ctx context.Context, name string) error {
	return c.change(ctx, "unload", name)
}

func (c *Client) change(ctx context.Context, action, name string) error {
	_, err := c.call(ctx, action+" model "+name, http.MethodPost, "/v2/repository/models/"+url.PathEscape(name)+"/"+action)
	var answer *Error
	if errors.As(err, &answer) && strings.HasPrefix(answer.Message, controlRefused) {
		answer.cause = ErrModelControl
	}
	return err
}
