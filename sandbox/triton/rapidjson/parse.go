package rapidjson

import "fmt"

// SyntaxError says what is wrong and at which byte, in RapidJSON's words.
type SyntaxError struct {
	Reason string
	Offset int
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("%s at %d", e.Reason, e.Offset) }

// maxDepth bounds nesting so that hostile input can't exhaust the stack.
const maxDepth = 512

// Parse checks a whole document and returns its root. The document must not
// change while its values are in use.
func Parse(doc []byte) (Value, error) {
	c := checker{doc: doc}
	c.space()
	if c.pos >= len(doc) {
		return Value{}, &SyntaxError{Reason: "The document is empty.", Offset: c.pos}
	}
	start := c.pos
	if err := c.value(0); err != nil {
		return Value{}, err
	}
	end := c.pos
	c.space()
	if c.pos < len(doc) {
		return Value{}, c.fail("The document root must not be followed by other values.")
	}
	return Value{text: doc[start:end]}, nil
}

type checker struct {
	doc []byte
	pos int
}

func (c *checker) fail(reason string) error { return &SyntaxError{Reason: reason, Offset: c.pos} }

func (c *checker) peek() byte {
	if c.pos < len(c.doc) {
		return c.doc[c.pos]
	}
	return 0
}

func (c *checker) space() {
	for c.pos < len(c.doc) {
		switch c.doc[c.pos] {
		case ' ', '\t', '\n', '\r':
			c.pos++
		default:
			return
		}
	}
}

func (c *checker) value(depth int) error {
	if depth > maxDepth {
		return c.fail("Terminate parsing due to Handler error.")
	}
	switch c.peek() {
	case '{':
		return c.object(depth)
	case '[':
		return c.array(depth)
	case '"':
		return c.string()
	case 't':
		return c.literal("true")
	case 'f':
		return c.literal("false")
	case 'n':
		return c.literal("null")
	default:
		return c.number()
	}
}

func (c *checker) literal(word string) error {
	if len(c.doc)-c.pos >= len(word) && string(c.doc[c.pos:c.pos+len(word)]) == word {
		c.pos += len(word)
		return nil
	}
	return c.fail("Invalid value.")
}

func (c *checker) object(depth int) error {
	c.pos++
	c.space()
	if c.peek() == '}' {
		c.pos++
		return nil
	}
	for {
		if c.peek() != '"' {
			return c.fail("Missing a name for object member.")
		}
		if err := c.string(); err != nil {
			return err
		}
		c.space()
		if c.peek() != ':' {
			return c.fail("Missing a colon after a name of object member.")
		}
		c.pos++
		c.space()
		if err := c.value(depth + 1); err != nil {
			return err
		}
		c.space()
		switch c.peek() {
		case ',':
			c.pos++
			c.space()
		case '}':
			c.pos++
			return nil
		default:
			return c.fail("Missing a comma or } after an object member.")
		}
	}
}

func (c *checker) array(depth int) error {
	c.pos++
	c.space()
	if c.peek() == ']' {
		c.pos++
		return nil
	}
	for {
		if err := c.value(depth + 1); err != nil {
			return err
		}
		c.space()
		switch c.peek() {
		case ',':
			c.pos++
			c.space()
		case ']':
			c.pos++
			return nil
		default:
			return c.fail("Missing a comma or ] after an array element.")
		}
	}
}

func (c *checker) string() error {
	start := c.pos
	c.pos++
	for c.pos < len(c.doc) {
		switch b := c.doc[c.pos]; {
		case b == '"':
			c.pos++
			return nil
		case b == '\\':
			if err := c.escape(); err != nil {
				return err
			}
		case b < 0x20:
			return c.fail("Invalid encoding in string.")
		default:
			c.pos++
		}
	}
	return &SyntaxError{Reason: "Missing a closing quotation mark in string.", Offset: start}
}

func (c *checker) escape() error {
	start := c.pos
	c.pos++
	switch c.peek() {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		c.pos++
		return nil
	case 'u':
		c.pos++
		for range 4 {
			if !isHex(c.peek()) {
				return &SyntaxError{Reason: "Incorrect hex digit after \\u escape in string.", Offset: start}
			}
			c.pos++
		}
		return nil
	}
	return &SyntaxError{Reason: "Invalid escape character in string.", Offset: start}
}

func isHex(b byte) bool {
	return b >= '0' && b <= '9' || b >= 'a' && b <= 'f' || b >= 'A' && b <= 'F'
}

func isDigit(b byte) bool { return b >= '0' && b <= '9' }

func (c *checker) digits() int {
	n := 0
	for isDigit(c.peek()) {
		c.pos++
		n++
	}
	return n
}

func (c *checker) number() error {
	start := c.pos
	if c.peek() == '-' {
		c.pos++
	}
	switch b := c.peek(); {
	case b == '0':
		c.pos++
	case isDigit(b):
		c.digits()
	case b == 'N':
		return c.special(start, "NaN")
	case b == 'I':
		if err := c.special(start, "Infinity"); err == nil {
			return nil
		}
		return c.special(start, "Inf")
	default:
		return &SyntaxError{Reason: "Invalid value.", Offset: c.pos}
	}
	if c.peek() == '.' {
		c.pos++
		if c.digits() == 0 {
			return c.fail("Miss fraction part in number.")
		}
	}
	if b := c.peek(); b == 'e' || b == 'E' {
		c.pos++
		if b := c.peek(); b == '+' || b == '-' {
			c.pos++
		}
		if c.digits() == 0 {
			return c.fail("Miss exponent in number.")
		}
	}
	return nil
}

func (c *checker) special(start int, word string) error {
	if err := c.literal(word); err != nil {
		return &SyntaxError{Reason: "Invalid value.", Offset: start}
	}
	return nil
}
