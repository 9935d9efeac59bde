package admin

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"net/http"
	"time"
)

//go:embed page.html
var pageText string

// newPage parses the page. Its text is part of the program.
func newPage() *template.Template {
	return template.Must(template.New("page").Funcs(template.FuncMap{
		"ago": func(now, t time.Time) string {
			if t.IsZero() {
				return "-"
			}
			return now.Sub(t).Round(time.Second).String() + " ago"
		},
		"bytes": func(n uint64) string {
			unit, v := "B", float64(n)
			for _, u := range []string{"KiB", "MiB", "GiB", "TiB"} {
				if v < 1024 {
					break
				}
				unit, v = u, v/1024
			}
			return fmt.Sprintf("%.4g %s", v, unit)
		},
		"seconds": func(s float64) string {
			return time.Duration(s * float64(time.Second)).Round(time.Millisecond).String()
		},
	}).Parse(pageText))
}

// pageCSP allows what the page holds: its own styles, and nothing else.
const pageCSP = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"

func (s *Server) page(w http.ResponseWriter, _ *http.Request) {
	now := time.Now()
	var b bytes.Buffer
	data := struct {
		View
		Now time.Time
	}{NewView(s.opts.Status(), now), now}
	if err := s.pageTemplate.Execute(&b, data); err != nil {
		s.log.Error("status page failed", "error", err)
		fail(w, http.StatusInternalServerError, "the page cannot be shown: see the log")
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Security-Policy", pageCSP)
	w.Header().Set("Referrer-Policy", "no-referrer")
	_, _ = b.WriteTo(w) // fails when the client is gone
}
