package gpu

import (
	"context"
	"errors"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// pageSize bounds what is held of a kind at a time.
const pageSize = 500

// eachPage lists a kind page by page; a page can be collected as soon as visit
// returns. When the API server has compacted the list's revision away, it goes
// on from the same key at the present revision.
func eachPage[L metav1.ListInterface](ctx context.Context, options metav1.ListOptions, list func(context.Context, metav1.ListOptions) (L, error), visit func(L)) error {
	options.Limit = pageSize
	resumed := false
	for {
		page, err := list(ctx, options)
		if token := resumption(err); token != "" && !resumed {
			options.Continue, resumed = token, true
			continue
		}
		if err != nil {
			return err
		}
		resumed = false
		visit(page)
		if options.Continue = page.GetContinue(); options.Continue == "" {
			return nil
		}
	}
}

// resumption is the token that comes with 410 Gone in the middle of a list.
func resumption(err error) string {
	var status apierrors.APIStatus
	if apierrors.IsResourceExpired(err) && errors.As(err, &status) {
		return status.Status().Continue
	}
	return ""
}
