package hub

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/cycle-bridge/cycle-bridge/bridge"
)

// capability is what a key's role needs to listen.
const capability = "apionly-notifications-listen"

const maxRetryAfter = time.Hour

// refusal makes the error of an answer that is not the wanted one. body may
// be cut. secrets are taken out of what the server wrote.
func refusal(op string, status int, h http.Header, body []byte, secrets ...string) *bridge.Error {
	a := readAnswer(body)
	what := strconv.Itoa(status)
	if t := http.StatusText(status); t != "" {
		what += " " + t
	}
	if a.text != "" {
		what += ": " + scrubText(a.text, secrets...)
	}
	e := bridge.Errorf(bridge.KindTransient, op, "%s", what)
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound:
		e.Kind = bridge.KindMisconfigured
		e.Hint = a.hint(status)
	case http.StatusTooManyRequests:
		e.Kind = bridge.KindThrottled
	case http.StatusServiceUnavailable:
		e.Kind = bridge.KindUnavailable
	}
	e.RetryAfter = parseRetryAfter(h.Get("Retry-After"), time.Now())
	return e
}

// answer is what an error body says.
type answer struct {
	code       string // of the platform's envelope, for example 403.permissions
	capability string // that the key lacks
	text       string // all of it in one line, for people
}

// readAnswer understands the platform's envelope, bare or under "error", and
// the OAuth form of authentication errors. Anything else says nothing.
func readAnswer(body []byte) answer {
	var b struct {
		Error       json.RawMessage `json:"error"`
		Description string          `json:"error_description"`
	}
	if json.Unmarshal(body, &b) != nil {
		return answer{}
	}
	var oauth string
	if b.Error != nil && json.Unmarshal(b.Error, &oauth) == nil {
		return answer{text: oneLine(oauth, b.Description)}
	}
	inner := b.Error
	if inner == nil {
		inner = body
	}
	var env struct {
		Code   string `json:"code"`
		Title  string `json:"title"`
		Detail string `json:"detail"`
		Extra  struct {
			Capability string `json:"capability"`
		} `json:"extra"`
	}
	// A member of a wrong type leaves the others readable.
	_ = json.Unmarshal(inner, &env)
	a := answer{code: oneLine(env.Code), capability: oneLine(env.Extra.Capability)}
	a.text = oneLine(env.Code, env.Title, env.Detail)
	if a.capability != "" {
		a.text += " (missing capability: " + a.capability + ")"
	}
	return a
}

// oneLine joins what is not empty, without control characters, each cut.
func oneLine(parts ...string) string {
	var out []string
	for _, p := range parts {
		p = strings.Join(strings.FieldsFunc(p, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }), " ")
		if r := []rune(p); len(r) > 200 {
			p = string(r[:200]) + "..."
		}
		if p != "" {
			out = append(out, p)
		}
	}
	return strings.Join(out, ": ")
}

// hint says what to do about an answer that keeps us out.
func (a answer) hint(status int) string {
	switch {
	case a.capability != "":
		return "give the API key's role the capability " + a.capability
	case a.code == "403.invalid-ip":
		return "the API key's list of addresses does not hold this machine's: add it, or remove the list"
	case a.code == "403.wrong-hub" || a.code == "404.hub":
		return "the API key does not belong to the hub that id names: check id, or make a key in that hub"
	case a.code == "403.permissions":
		return "give the API key's role the capability " + capability
	case status == http.StatusNotFound && a.code == "" && a.text == "":
		return "check api_url, which may not be an API of Cycle, and id, which must be the hub's"
	}
	return "three causes are usual: the key is not the secret itself as shown once when it was made, " +
		"its role lacks the capability " + capability + ", or id is not the hub the key was made in"
}

// parseRetryAfter reads seconds or a date, at most an hour; 0 for everything
// else.
func parseRetryAfter(v string, now time.Time) time.Duration {
	v = strings.TrimSpace(v)
	if v == "" {
		return 0
	}
	if n, err := strconv.ParseInt(v, 10, 64); err == nil {
		if n <= 0 {
			return 0
		}
		return min(time.Duration(min(n, int64(maxRetryAfter/time.Second)))*time.Second, maxRetryAfter)
	} else if strings.Trim(v, "0123456789") == "" {
		return maxRetryAfter // more digits than a number has
	}
	t, err := http.ParseTime(v)
	if err != nil {
		return 0
	}
	return min(max(t.Sub(now), 0), maxRetryAfter)
}
