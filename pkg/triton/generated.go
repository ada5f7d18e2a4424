package triton

// generated is one answer of the generate extension: a flat JSON object whose
// members are the model's name and version, its response parameters and the
// outputs by name.
// https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_generate.md
type generated struct {
	model   string
	failure string
	failed  bool
	// empty tells that the text is: a stream may end with such an event.
	empty  bool
	tokens int
}

const (
	// textOutput holds the text in models that follow the extension's example.
	textOutput = "text_output"
	// tokenCountOutput of the vLLM backend is the number of tokens that an
	// answer adds, if the request asked for it.
	tokenCountOutput = "num_output_tokens"
)

// parseGenerated reads an answer. Its tokens are what the model counts, else 1
// if it holds any text.
func (s *RequestSpec) parseGenerated(text []byte) (generated, error) {
	g := generated{empty: true}
	counted := -1
	_, hasText := s.outputs[textOutput]
	scanner := &jsonScanner{text: text}
	err := scanner.object(func(name string) error {
		switch first := scanner.peek(); {
		case name == "model_name" && first == '"':
			var err error
			g.model, err = scanner.string()
			return err
		case name == "error" && first == '"':
			var err error
			g.failed = true
			g.failure, err = scanner.string()
			return err
		case name == tokenCountOutput && first >= '0' && first <= '9':
			n, err := scanner.integer()
			counted = int(min(max(n, 0), 1<<30))
			return err
		}
		from := scanner.at
		leaves, err := scanner.skip()
		if _, output := s.outputs[name]; output && (name == textOutput || !hasText) && leaves > 0 && string(text[from:scanner.at]) != `""` {
			g.empty = false
		}
		return err
	})
	if err == nil {
		err = scanner.end()
	}
	switch {
	case counted >= 0:
		g.tokens = counted
	case !g.empty:
		g.tokens = 1
	}
	return g, err
}

// checkGenerated is parseGenerated that refuses errors and other models' answers.
func (s *RequestSpec) checkGenerated(text []byte) (generated, error) {
	g, err := s.parseGenerated(text)
	switch {
	case err != nil:
		return g, wrongAnswer("%v", err)
	case g.failed:
		return g, &Error{Class: ClassStreamError, Message: shorten(g.failure)}
	case g.model != s.model:
		return g, wrongAnswer("it is of model %q, not %q", shorten(g.model), s.model)
	}
	return g, nil
}
