package hub

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// grant is what the API gives for one connection. Both members are secrets.
type grant struct {
	token   string
	address string // where to connect, if the API says so
}

// parseGrant reads the answer {"data":{"token":…,"address":…}}. It is strict
// where leniency could make two readers disagree: names in their exact case,
// no name twice, nothing after the object. Errors quote nothing of the body.
func parseGrant(body []byte) (grant, error) {
	var g grant
	trimmed := bytes.TrimSpace(body)
	if len(trimmed) == 0 {
		return g, errors.New("the answer is empty")
	}
	if trimmed[0] == '<' {
		return g, errors.New("the answer is a web page, not JSON: is api_url the API's address?")
	}
	data, err := members(trimmed, "data")
	if err != nil {
		return g, err
	}
	if data["data"] == nil {
		return g, errors.New(`the answer has no member "data"`)
	}
	inner, err := members(data["data"], "token", "address")
	if err != nil {
		return g, err
	}
	if g.token, err = text(inner, "token"); err != nil {
		return grant{}, err
	}
	if g.address, err = text(inner, "address"); err != nil {
		return grant{}, err
	}
	if g.token == "" && g.address == "" {
		return grant{}, errors.New("the answer holds no token")
	}
	return g, nil
}

// members returns the named members of a JSON object.
func members(object []byte, names ...string) (map[string]json.RawMessage, error) {
	d := json.NewDecoder(bytes.NewReader(object))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("the answer is not the JSON object it should be")
	}
	out := map[string]json.RawMessage{}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, errors.New("the answer is not JSON")
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, errors.New("the answer is not JSON")
		}
		for _, n := range names {
			if key != n {
				continue
			}
			if _, twice := out[n]; twice {
				return nil, fmt.Errorf("the answer has the member %q twice", n)
			}
			out[n] = value
		}
	}
	if _, err := d.Token(); err != nil {
		return nil, errors.New("the answer is not JSON")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("the answer goes on after its JSON object")
	}
	return out, nil
}

// text returns a member that is a string; "" when it is absent or null.
func text(m map[string]json.RawMessage, name string) (string, error) {
	raw := m[name]
	if raw == nil || string(raw) == "null" {
		return "", nil
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return "", fmt.Errorf("the answer's %s is not a string", name)
	}
	return s, nil
}
