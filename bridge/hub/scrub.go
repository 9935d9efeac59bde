package hub

import (
	"errors"
	"net/url"
	"regexp"
	"strings"
)

const redacted = "[redacted]"

// tokenParam is a token in a URL, also one that stands quoted in a text.
var tokenParam = regexp.MustCompile(`(?i)(token=)[^&\s"'<>]+`)

// scrubText takes the secrets out of a text, also where they are
// percent-encoded.
func scrubText(s string, secrets ...string) string {
	for _, x := range secrets {
		if x == "" {
			continue
		}
		for _, form := range []string{x, url.QueryEscape(x), url.PathEscape(x)} {
			s = strings.ReplaceAll(s, form, redacted)
		}
	}
	return tokenParam.ReplaceAllString(s, "${1}"+redacted)
}

// scrubbed is an error whose text was cleaned. It does not unwrap: what it
// hides must not come out by unwrapping.
type scrubbed struct{ text string }

func (e scrubbed) Error() string { return e.text }

// scrub returns err without the URL that net/http adds, and without secrets.
// The cause stays in the chain only where its own text is clean.
func scrub(err error, secrets ...string) error {
	if err == nil {
		return nil
	}
	if ue, ok := errors.AsType[*url.Error](err); ok {
		err = ue.Err
	}
	if s := err.Error(); scrubText(s, secrets...) != s {
		return scrubbed{scrubText(s, secrets...)}
	}
	return err
}
