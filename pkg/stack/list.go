package stack

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/pager"
)

// eachObject reads the objects of a kind in the whole cluster page by page; no
// object when the API server does not have the kind.
func (c *Client) eachObject(ctx context.Context, kind schema.GroupVersionResource, options metav1.ListOptions, visit func(*unstructured.Unstructured)) error {
	err := eachItem(ctx, options, func(ctx context.Context, o metav1.ListOptions) (*unstructured.UnstructuredList, error) {
		return c.dynamic.Resource(kind).List(ctx, o)
	}, visit)
	if missing(err) {
		return nil
	}
	return err
}

// eachItem hands what list gives to visit, page by page.
func eachItem[L, T runtime.Object](ctx context.Context, options metav1.ListOptions, list func(context.Context, metav1.ListOptions) (L, error), visit func(T)) error {
	pages := pager.New(func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return list(ctx, o) })
	return pages.EachListItem(ctx, options, func(o runtime.Object) error {
		if item, ok := o.(T); ok {
			visit(item)
		}
		return nil
	})
}
