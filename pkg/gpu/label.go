package gpu

// Label is one label that a node should have, and why.
type Label struct {
	Node, Key, Value string
	// Present is the value that the node has instead; such a label is somebody's
	// decision and not to be overwritten. "" when it has none.
	Present string
	Why     string
}

// MissingLabels proposes LabelPresent for the nodes that offer GPUs and lack it.
// Nodes with no more than a hardware label get none: what selects by it would
// only crash there.
func (c *Cluster) MissingLabels() []Label {
	var missing []Label
	for _, n := range c.Nodes {
		if !n.Has(EvidenceAllocatable, EvidenceDRA) || n.labels[LabelPresent] == "true" {
			continue
		}
		missing = append(missing, Label{Node: n.Name, Key: LabelPresent, Value: "true", Present: n.labels[LabelPresent], Why: "it offers " + n.Evidence[0].String()})
	}
	return missing
}
