package apnhttp_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/apnkit/apnkit/apn/apnhttp"
)

// operations returns the text of each operation of the document by "GET /path".
// The document keeps to one layout: paths at two spaces, methods at four.
func operations(t *testing.T, doc string) map[string]string {
	t.Helper()
	ops := map[string]string{}
	var path, op string
	_, rest, found := strings.Cut(doc, "\npaths:\n")
	require.True(t, found)
	rest, _, found = strings.Cut(rest, "\ncomponents:\n")
	require.True(t, found)
	for line := range strings.SplitSeq(rest, "\n") {
		key, isKey := strings.CutSuffix(strings.TrimSpace(line), ":")
		indent := len(line) - len(strings.TrimLeft(line, " "))
		switch {
		case isKey && indent == 2:
			path, op = key, ""
		case isKey && indent == 4:
			op = strings.ToUpper(key) + " " + path
			require.NotContains(t, ops, op, "twice")
			ops[op] = "\n"
		case op != "":
			ops[op] += line + "\n"
		}
	}
	return ops
}

// TestDocument compares routes and OpenAPI document in both directions.
func TestDocument(t *testing.T) {
	t.Parallel()
	a := newAPI(t, nil)
	r := a.get("/openapi.yaml", "Authorization: ").is(200)
	require.Equal(t, "application/yaml", r.header.Get("Content-Type"))
	require.Contains(t, string(r.body), "\n  version: 1.2.3\n")
	ops := operations(t, string(r.body))

	ids := map[string]bool{}
	for op, text := range ops {
		id := regexp.MustCompile(`\n +operationId: (\w+)\n`).FindStringSubmatch(text)
		require.NotNil(t, id, op)
		require.False(t, ids[id[1]], "operationId %s", id[1])
		ids[id[1]] = true
	}
	for _, rt := range apnhttp.Routes() {
		if rt.ForBrowsers {
			continue
		}
		text, ok := ops[rt.Pattern]
		require.True(t, ok, "the document lacks %s", rt.Pattern)
		delete(ops, rt.Pattern)

		has := func(parameter string) bool { return strings.Contains(text, "/parameters/"+parameter+"'") }
		require.Equal(t, rt.Public, strings.Contains(text, "security: []"), rt.Pattern)
		require.Equal(t, rt.Changes, has("dryRun"), rt.Pattern)
		require.Equal(t, rt.Matches, has("ifMatch"), rt.Pattern)
		once := rt.Changes && strings.HasPrefix(rt.Pattern, "POST ") && rt.Pattern != "POST /v1/tokens" && !strings.HasSuffix(rt.Pattern, "/join") && !strings.HasSuffix(rt.Pattern, "{device}/links") && !strings.HasSuffix(rt.Pattern, "/webhooks")
		require.Equal(t, once, has("idempotencyKey"), rt.Pattern)
		query := 0
		for name := range strings.FieldsSeq(rt.Query) {
			if !has(name) {
				require.Contains(t, text, "- name: "+name+"\n", rt.Pattern)
				query++
			}
		}
		require.Equal(t, strings.Count(text, "- name: "), query, rt.Pattern)
	}
	require.Empty(t, ops, "the document has operations that are not served")
}
