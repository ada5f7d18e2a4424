package stack

// The values of a release that was taken over are kept under this key, which no
// template reads: once the release is this plugin's own, nothing else tells
// them from the plugin's.
const (
	pluginKey  = "kubectlTriton"
	adoptedKey = "adoptedValues"
)

// adoptedValues are those that somebody else gave the release, before or until
// it was taken over; nil when there are none.
func (r *Release) adoptedValues() Values {
	switch {
	case r == nil:
		return nil
	case !r.Own:
		return r.Values()
	}
	plugin, _ := r.record.Config[pluginKey].(map[string]any)
	adopted, ok := plugin[adoptedKey].(map[string]any)
	if !ok {
		return nil
	}
	return Merge(adopted)
}

// remember adds the values of a release that is taken over to those to install.
func remember(values, adopted Values) Values {
	if len(adopted) > 0 {
		values[pluginKey] = map[string]any{adoptedKey: clone(adopted)}
	}
	return values
}

// keptByGitOps says whether Argo CD or Flux runs the release: it would undo
// what is done to it by hand.
func (r *Release) keptByGitOps() bool {
	if r == nil {
		return false
	}
	objects, err := decodeObjects([]byte(r.record.Manifest))
	if err != nil {
		return false // planning on it says why it can't be read
	}
	for _, o := range objects {
		if gitOpsOf(o).Tool != "" {
			return true
		}
	}
	return false
}
