package apnhttp

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A page of the dashboard is drawn for a GET. A POST to the same place carries
// out one of its actions and leads back to a page.
type page struct {
	path    string
	access  access
	query   string
	draw    func(*call) error
	actions []action
}

// An action is a form or a button of a page. A route of the API carries it out,
// with that route's own checks, so that nobody can do here what the API refuses.
type action struct {
	do     string // names it in the form
	api    string // pattern of the route
	query  string // for the route
	title  string // of the form
	ask    string // of the plan: "Remove {server}?"
	intro  string
	submit string
	done   string // said afterwards; {x} is a value of the form
	danger bool
	fields []field
	plan   func(*call, url.Values) bool                // whether to show what would change, and ask; nil: no
	then   func(*call, url.Values) string              // where it leads; nil: back to its page
	answer func(c *call, out *buffer, err error) error // in place of that
	repeat bool                                        // may not be told from its own repetition
}

// A field is an input of a form and a member of the route's JSON body or path.
type field struct {
	name, label, hint string
	kind              fieldKind
	options           func(*call) []option
	required          bool
	more              bool // rarely needed
	empty             bool // sent even if it is empty
	operators         bool // not for members
	example           string
}

type option struct{ Value, Label string }

type fieldKind string

const (
	textField   fieldKind = "text"
	listField   fieldKind = "list" // separated by spaces or commas
	numberField fieldKind = "number"
	checkField  fieldKind = "checkbox"
	choiceField fieldKind = "select"
	boolField   fieldKind = "bool"     // a choice of true and false
	secretField fieldKind = "password" // not shown again
	hiddenField fieldKind = "hidden"
)

// always asks whatever the form says.
func always(*call, url.Values) bool { return true }

// routes returns the routes of a page.
func (p *page) routes() []route {
	list := []route{{pattern: "GET " + p.path, access: p.access, handle: p.draw, query: p.query, flags: web, page: p}}
	if len(p.actions) > 0 {
		list = append(list, route{pattern: "POST " + p.path, access: max(p.access, signedIn), handle: (*call).act, flags: web, page: p})
	}
	return list
}

func (p *page) action(do string) *action {
	i := slices.IndexFunc(p.actions, func(a action) bool { return a.do == do })
	if i < 0 {
		return nil
	}
	return &p.actions[i]
}

// sent is a form that was refused.
type sent struct {
	do      string
	values  url.Values
	problem problem
}

// buffer is a response that stays here.
type buffer struct {
	head http.Header
	bytes.Buffer
}

func (b *buffer) Header() http.Header { return b.head }

func (b *buffer) WriteHeader(int) {}

// act carries out the action that a form names.
func (c *call) act() error {
	if err := c.readForm(); err != nil {
		return err
	}
	form := c.r.PostForm
	a := c.route.page.action(form.Get("do"))
	if a == nil {
		return malformed("", "the form is unknown here")
	}
	if a.plan != nil && a.plan(c, form) {
		plan, err := c.dryRun(a, form)
		if err != nil {
			return c.refused(a, err)
		}
		if stamp := plan.stamp(); form.Get("confirm") != stamp {
			return c.confirmPage(a, plan, stamp)
		}
	}
	sub, out, err := c.sub(a, form, false)
	if err == nil {
		err = sub.carryOut()
	}
	switch {
	case a.answer != nil:
		return a.answer(c, out, err)
	case err != nil:
		return c.refused(a, err)
	}
	c.say(a, form)
	path := c.here()
	if a.then != nil {
		path = a.then(c, form)
	}
	return c.seeOther(path)
}

// refused draws the page again, with the form as it was sent and what is wrong.
func (c *call) refused(a *action, err error) error {
	p := c.problemOf(err)
	if p.Status == http.StatusUnauthorized || p.Status == http.StatusForbidden || p.Status >= http.StatusInternalServerError {
		return err
	}
	c.failed = &sent{do: a.do, values: c.r.PostForm, problem: p}
	if c.route.page.draw(c) != nil {
		return err // the page is gone, too
	}
	return nil
}

// dryRun returns what an action would change.
func (c *call) dryRun(a *action, form url.Values) (plan, error) {
	sub, _, err := c.sub(a, form, true)
	if err != nil {
		return plan{}, err
	}
	if err := sub.carryOut(); err != nil {
		return plan{}, err
	}
	return planOf(*sub.opts.DryRun), nil
}

// sub returns the call of the API that carries out an action, in the name of who
// sent the form.
func (c *call) sub(a *action, form url.Values, dry bool) (*call, *buffer, error) {
	rt := c.h.byPattern[a.api]
	body, err := a.body(rt, form)
	if err != nil {
		return nil, nil, err
	}
	_, path, _ := strings.Cut(rt.pattern, " ")
	values := map[string]string{}
	for _, name := range rt.params {
		if values[name] = c.r.PathValue(name); values[name] == "" {
			values[name] = form.Get(name)
		}
		path = strings.Replace(path, "{"+name+"}", url.PathEscape(values[name]), 1)
	}
	r, err := http.NewRequestWithContext(c.ctx(), rt.method, path, bytes.NewReader(body))
	if err != nil {
		return nil, nil, errRoute
	}
	for name, value := range values {
		r.SetPathValue(name, value)
	}
	query, _ := url.ParseQuery(a.query) // a constant
	for name := range strings.FieldsSeq(rt.query) {
		if v := form.Get(name); v != "" {
			query.Set(name, v)
		}
	}
	if dry {
		query.Set("dry_run", "true")
	}
	r.URL.RawQuery = query.Encode()
	// Answers tell where this handler is.
	r.Host, r.TLS, r.RemoteAddr = c.r.Host, c.r.TLS, c.r.RemoteAddr
	r.Header.Set("X-Forwarded-Proto", c.r.Header.Get("X-Forwarded-Proto"))
	r.Header.Set("Content-Type", "application/json")
	if once := form.Get("once"); once != "" {
		r.Header.Set("Idempotency-Key", once)
	}
	out := &buffer{head: http.Header{}}
	sub := &call{h: c.h, route: rt, w: &response{ResponseWriter: out}, r: r, id: c.id, who: c.who, from: c.from, fromErr: c.fromErr}
	return sub, out, sub.checkPath()
}

// body returns what the route wants to read, nil for nothing.
func (a *action) body(rt *route, form url.Values) ([]byte, error) {
	if !rt.is(changes | asks) {
		return nil, nil
	}
	in := map[string]any{}
	var f fields
	for _, field := range a.fields {
		if !form.Has(field.name) && field.kind != checkField {
			continue
		}
		if slices.Contains(rt.params, field.name) || slices.Contains(strings.Fields(rt.query), field.name) {
			continue
		}
		text := strings.TrimSpace(form.Get(field.name))
		switch field.kind {
		case listField:
			if list := splitList(text); len(list) > 0 {
				in[field.name] = list
			}
		case checkField:
			in[field.name] = form.Has(field.name)
		case boolField:
			in[field.name] = text == "true"
		case numberField:
			n, err := strconv.Atoi(text)
			if text != "" && (err != nil || n < 0 || n > 1<<16-1) {
				f.add(field.name, "must be a number from 0 to 65535")
			}
			in[field.name] = n
		default:
			if text != "" || field.empty {
				in[field.name] = text
			}
		}
	}
	if err := f.err(); err != nil {
		return nil, err
	}
	if len(in) == 0 {
		return nil, nil
	}
	return json.Marshal(in)
}

// splitList reads what people type into one input.
func splitList(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune(", \t\r\n;", r) })
}

// may reports whether the principal may use a route of the API, with the values
// of this page's path and those given.
func (c *call) may(pattern string, values ...string) bool {
	probe := &call{h: c.h, route: c.h.byPattern[pattern], r: new(http.Request), who: c.who, net: c.net}
	for _, name := range probe.route.params {
		probe.r.SetPathValue(name, c.r.PathValue(name))
	}
	for i := 0; i+1 < len(values); i += 2 {
		probe.r.SetPathValue(values[i], values[i+1])
	}
	return probe.allowed()
}

// here returns the path of the page that a form belongs to.
func (c *call) here() string { return (&url.URL{Path: c.r.URL.Path}).EscapedPath() }

// at returns the path of a page.
func (c *call) at(parts ...string) string {
	escaped := make([]string, len(parts))
	for i, part := range parts {
		escaped[i] = url.PathEscape(part)
	}
	return c.h.prefix + "/" + strings.Join(escaped, "/")
}

// saidCookie tells the next page what was done.
const (
	saidCookie = "apn_said"
	saidAge    = time.Minute
)

func (c *call) say(a *action, form url.Values) {
	if a.done != "" {
		c.setCookie(saidCookie, a.do+":"+url.QueryEscape(c.valueOf(named(a.done), form)), saidAge)
	}
}

// said returns what was done before this page, once.
func (c *call) said() string {
	cookie, err := c.r.Cookie(saidCookie)
	if err != nil || c.r.Method != http.MethodGet {
		return ""
	}
	c.setCookie(saidCookie, "", -1)
	do, value, _ := strings.Cut(cookie.Value, ":")
	if value, err = url.QueryUnescape(value); err != nil || len(value) > 256 {
		return ""
	}
	for i := range c.h.routes {
		if p := c.h.routes[i].page; p != nil && p.action(do) != nil {
			return fill(p.action(do).done, value)
		}
	}
	return ""
}

// valueOf returns a value of a form, or of the path that it was sent to.
func (c *call) valueOf(name string, form url.Values) string {
	return cmp.Or(form.Get(name), c.r.PathValue(name))
}

// fill puts a value in place of the braces of a text.
func fill(text, value string) string {
	before, rest, ok := strings.Cut(text, "{")
	if !ok {
		return text
	}
	_, after, _ := strings.Cut(rest, "}")
	return before + value + after
}

// fillFrom fills a text with the value of the form that it names.
func (c *call) fillFrom(text string, form url.Values) string {
	return fill(text, c.valueOf(named(text), form))
}

// named returns what stands between the braces of a text.
func named(text string) string {
	_, rest, _ := strings.Cut(text, "{")
	name, _, _ := strings.Cut(rest, "}")
	return name
}

// formView is a form or a button as templates see it.
type formView struct {
	Do, Path, Title, Intro, Submit, Once string
	Danger, Open                         bool
	Problem                              string
	Hidden                               []option
	Fields, More                         []fieldView
	MoreOpen                             bool
}

type fieldView struct {
	Name, ID, Label, Hint, Value, Example, Error string
	Kind                                         fieldKind
	Required                                     bool
	Focus                                        bool // what is wrong is here: the browser shows it
	Options                                      []option
}

// form returns a form with values by name, or nil if it is not for the
// principal. Values that no field asks for are hidden ones, as is one whose name
// begins with "=": it is settled.
func (c *call) form(do string, values ...string) *formView {
	a := c.route.page.action(do)
	given, settled := map[string]string{}, map[string]bool{}
	for i := 0; i+1 < len(values); i += 2 {
		name, fixed := strings.CutPrefix(values[i], "=")
		values[i], given[name], settled[name] = name, values[i+1], fixed
	}
	if a == nil || !c.may(a.api, values...) {
		return nil
	}
	for _, f := range a.fields {
		settled[f.name] = settled[f.name] || f.kind == hiddenField
	}
	v := &formView{Do: do, Path: c.here(), Title: a.title, Intro: a.intro, Submit: a.submit, Danger: a.danger}
	failed := c.failed
	if failed != nil && (failed.do != do || !a.sameItem(failed.values, given, settled)) {
		failed = nil
	}
	if failed != nil {
		v.Open = true
		v.Problem = failed.problem.sentence()
	}
	marked := false
	for _, f := range a.fields {
		if settled[f.name] || f.operators && !c.who.Operator {
			continue
		}
		view := fieldView{
			Name: f.name, ID: do + "-" + f.name, Label: f.label, Hint: f.hint, Kind: f.kind, Required: f.required,
			Example: f.example, Value: given[f.name],
		}
		if f.options != nil {
			view.Options = f.options(c)
		}
		delete(given, f.name)
		if failed != nil {
			if f.kind != secretField {
				view.Value = failed.values.Get(f.name)
			}
			if view.Error = failed.problem.about(f.name); view.Error != "" {
				v.Problem = "Nothing was changed. Please look at what is marked."
				v.MoreOpen = v.MoreOpen || f.more
				view.Focus, marked = !marked, true
			}
		}
		if f.more {
			v.More = append(v.More, view)
		} else {
			v.Fields = append(v.Fields, view)
		}
	}
	if failed != nil && !marked && len(v.Fields) > 0 {
		v.Fields[0].Focus = true
	}
	for i := 0; i+1 < len(values); i += 2 {
		if value, ok := given[values[i]]; ok {
			v.Hidden = append(v.Hidden, option{values[i], value})
		}
	}
	if len(a.fields) > 0 && !a.repeat && strings.HasPrefix(a.api, "POST ") {
		v.Once = rand.Text()
	}
	return v
}

// sameItem reports whether a form that was sent is the one with these values.
func (a *action) sameItem(sent url.Values, given map[string]string, settled map[string]bool) bool {
	for name, value := range given {
		asked := slices.ContainsFunc(a.fields, func(f field) bool { return f.name == name }) && !settled[name]
		if !asked && sent.Get(name) != value {
			return false
		}
	}
	return true
}

// about returns what a problem says of an input.
func (p *problem) about(name string) string {
	list := p.Errors
	if len(list) == 0 && p.Field != "" {
		list = []fieldProblem{{p.Field, strings.TrimPrefix(p.Detail, p.Field+": ")}}
	}
	for _, e := range list {
		if field, _, _ := strings.Cut(e.Field, "["); field == name {
			return upper(e.Detail) + "."
		}
	}
	if name == "name" && p.Type == problemType+"exists" {
		return "There is one of this name already."
	}
	return ""
}

// sentence says what a problem is that no input shows.
func (p *problem) sentence() string {
	if reason, ok := strings.CutPrefix(p.Detail, p.Field+": "); ok && p.Field != "" {
		return upper(reason) + "."
	}
	return p.Title + ". " + upper(p.Detail)
}

// upper makes a sentence of an error's text, without the name of the package
// that it comes from.
func upper(s string) string {
	for _, pkg := range []string{"lease: ", "ipam: ", "render: ", "keys: "} {
		s = strings.TrimPrefix(s, pkg)
	}
	if s == "" || s[0] < 'a' || s[0] > 'z' {
		return s
	}
	return string(s[0]-'a'+'A') + s[1:]
}
