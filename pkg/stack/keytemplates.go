package stack

import (
	"maps"
	"slices"
	"text/template/parse"

	helmchart "helm.sh/helm/v3/pkg/chart"
)

// learnTemplates adds the keys that templates read (.Values.a.b.c), and opens
// those whose value they hand on whole: what it holds is then for Kubernetes to
// know. A template that can't be parsed teaches nothing; Helm will say what is
// wrong with it.
func learnTemplates(known *keyTree, templates []*helmchart.File) {
	r := &templateReader{known: known, named: map[string]*parse.Tree{}, followed: map[string]bool{}}
	for _, f := range templates {
		trees := map[string]*parse.Tree{}
		t := parse.New(f.Name)
		t.Mode = parse.SkipFuncCheck
		if _, err := t.Parse(string(f.Data), "", "", trees); err == nil {
			maps.Copy(r.named, trees)
		}
	}
	for _, t := range r.named {
		r.tree(t, reading{context: true})
	}
}

// reading is what an expression stands for.
type reading struct {
	context bool     // the context that templates get: .Values is in it
	values  bool     // the values, at path
	path    []string // below .Values
}

// handsOn are the functions that take a value whole.
func handsOn(function string) bool {
	return slices.Contains([]string{
		"toYaml", "mustToYaml", "toYamlPretty", "toJson", "mustToJson", "toPrettyJson", "toRawJson", "toToml", "tpl", "include", "template",
		"dict", "list", "tuple", "merge", "mustMerge", "mergeOverwrite", "mustMergeOverwrite", "deepCopy", "mustDeepCopy",
		"set", "unset", "pick", "omit", "keys", "values", "pluck", "dig", "concat",
	}, function)
}

type templateReader struct {
	known     *keyTree
	named     map[string]*parse.Tree
	followed  map[string]bool    // named templates by the value they were given
	depth     int                // of named templates that call others
	variables map[string]reading // of the template being read
}

func (r *templateReader) tree(t *parse.Tree, dot reading) {
	outer := r.variables
	r.variables = map[string]reading{"$": dot}
	r.list(t.Root, dot)
	r.variables = outer
}

// A template that calls itself with less and less of a value ends by itself when
// it is run, but not when it is only read.
const (
	maxTemplateDepth = 8
	maxFollowed      = 10_000
)

// follow reads a named template for the value that it is given.
func (r *templateReader) follow(name string, dot reading) {
	if !dot.values {
		return
	}
	t := r.named[name]
	if t == nil || r.depth == maxTemplateDepth || len(r.followed) == maxFollowed {
		r.open(dot)
		return
	}
	if visit := name + " " + joinKeys(dot.path); !r.followed[visit] {
		r.followed[visit] = true
		r.depth++
		r.tree(t, dot)
		r.depth--
	}
}

func (r *templateReader) list(l *parse.ListNode, dot reading) {
	if l == nil {
		return
	}
	for _, n := range l.Nodes {
		switch n := n.(type) {
		case *parse.ActionNode:
			r.pipe(n.Pipe, dot)
		case *parse.IfNode:
			r.pipe(n.Pipe, dot)
			r.list(n.List, dot)
			r.list(n.ElseList, dot)
		case *parse.WithNode:
			r.list(n.List, r.pipe(n.Pipe, dot))
			r.list(n.ElseList, dot)
		case *parse.RangeNode:
			r.open(r.pipe(n.Pipe, dot))
			for _, v := range n.Pipe.Decl {
				r.variables[v.Ident[0]] = reading{}
			}
			r.list(n.List, reading{})
			r.list(n.ElseList, dot)
		case *parse.TemplateNode:
			if n.Pipe != nil {
				r.follow(n.Name, r.pipe(n.Pipe, dot))
			}
		}
	}
}

// pipe reads a pipeline and gives what it stands for, as far as that is one
// value of the chart.
func (r *templateReader) pipe(p *parse.PipeNode, dot reading) reading {
	var all []reading
	for _, c := range p.Cmds {
		if f, ok := c.Args[0].(*parse.IdentifierNode); ok && handsOn(f.Ident) {
			r.open(all...)
		}
		all = append(all, r.command(c, dot)...)
	}
	result := reading{}
	if len(all) == 1 {
		result = all[0]
	}
	for _, v := range p.Decl {
		r.variables[v.Ident[0]] = result
	}
	return result
}

// command gives the values that a command reads.
func (r *templateReader) command(c *parse.CommandNode, dot reading) []reading {
	var all []reading
	for _, arg := range c.Args {
		switch arg := arg.(type) {
		case *parse.DotNode:
			all = append(all, dot)
		case *parse.FieldNode:
			all = append(all, r.field(dot, arg.Ident))
		case *parse.VariableNode:
			all = append(all, r.field(r.variables[arg.Ident[0]], arg.Ident[1:]))
		case *parse.ChainNode:
			if p, ok := arg.Node.(*parse.PipeNode); ok {
				all = append(all, r.field(r.pipe(p, dot), arg.Field))
			}
		case *parse.PipeNode:
			all = append(all, r.pipe(arg, dot))
		}
	}
	f, ok := c.Args[0].(*parse.IdentifierNode)
	switch {
	case !ok:
	case f.Ident == "include" && len(c.Args) == 3:
		if name, ok := c.Args[1].(*parse.StringNode); ok && len(all) == 1 {
			r.follow(name.Text, all[0])
			return nil
		}
		r.open(all...)
	case handsOn(f.Ident):
		r.open(all...)
	case (f.Ident == "index" || f.Ident == "get" || f.Ident == "hasKey") && len(all) > 0:
		return []reading{r.index(all[0], c.Args[2:])}
	}
	return slices.DeleteFunc(all, func(x reading) bool { return !x.values && !x.context })
}

// index follows constant keys, and opens what is indexed by others.
func (r *templateReader) index(x reading, keys []parse.Node) reading {
	for _, k := range keys {
		s, ok := k.(*parse.StringNode)
		if !ok {
			r.open(x)
			return reading{}
		}
		x = r.field(x, []string{s.Text})
	}
	return x
}

// field follows names from a reading and notes the key that they lead to.
func (r *templateReader) field(from reading, names []string) reading {
	if len(names) == 0 {
		return from
	}
	// A named template's "." is nearly always the context.
	if !from.values && names[0] == "Values" {
		from, names = reading{values: true}, names[1:]
	}
	if !from.values {
		return reading{}
	}
	to := reading{values: true, path: slices.Concat(from.path, names)}
	if len(to.path) > 0 {
		r.known.at(to.path...)
	}
	return to
}

func (r *templateReader) open(all ...reading) {
	for _, x := range all {
		// All of the values go to named templates, which is no news.
		if x.values && len(x.path) > 0 {
			r.known.at(x.path...).open = true
		}
	}
}
