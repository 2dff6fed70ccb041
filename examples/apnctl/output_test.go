package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// TestJSON looks at the shape of what scripts read.
func TestJSON(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	require.JSONEq(t, "[]", w.must(t, "networks", "-json"))
	w.fill(t)
	for command, want := range map[string]string{
		"networks": "name", "apps": "subnets", "servers": "public_key", "members": "roles", "devices": "custody", "roles": "role", "tokens": "id",
	} {
		var items []map[string]any
		require.NoError(t, json.Unmarshal([]byte(w.must(t, command, "-json")), &items), command)
		require.NotEmpty(t, items, command)
		require.Contains(t, items[0], want)
	}
	for _, command := range []string{"links", "rules", "leases"} {
		require.JSONEq(t, "[]", w.must(t, command, "-json"), command)
	}
	for _, tt := range [][2]string{
		{"whoami", "operator"},
		{"networks show", "prefixes"},
		{"apps show shop", "subnets"},
		{"servers show shop/web-1", "endpoint"},
		{"members show ada", "roles"},
		{"devices show ada/laptop", "custody"},
		{"apps add blog", "name"},
		{"apps rm blog -yes", "removed"},
		{"servers rm shop/web-1 -dry-run", "names"},
		{"zone", "zone"},
		{"zone -hosts", "hosts"},
		{"version", "version"},
		{"audit -verify", "events"},
		{"qr ada/laptop", "qr"},
		{"servers join shop/web-1", "token"},
		{"devices link ada/laptop", "url"},
	} {
		var object map[string]any
		require.NoError(t, json.Unmarshal([]byte(w.must(t, append(strings.Fields(tt[0]), "-json")...)), &object), tt[0])
		require.Contains(t, object, tt[1], tt[0])
	}
	require.True(t, json.Valid([]byte(w.must(t, "zone", "-report"))))
	events := strings.Split(strings.TrimSpace(w.must(t, "audit", "-json", "-last", "3")), "\n")
	require.Len(t, events, 3)
	for _, line := range events {
		var event map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &event))
		require.Contains(t, event, "action")
	}
	_, stderr, status := w.run(t, "servers", "add", "shop/a.b", "-json")
	require.Equal(t, 1, status)
	var problem map[string]any
	require.NoError(t, json.Unmarshal([]byte(stderr), &problem))
	require.Equal(t, "name", problem["field"])
}

func TestTable(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	c := &call{program: &program{stdout: &out, getenv: func(string) string { return "" }}}
	rows := func() [][]string {
		return [][]string{{"a", strings.Repeat("x", 90), strings.Repeat("ä", 30)}, {"\x1b[2Jb", "", "tab\there"}}
	}
	require.NoError(t, c.table("NAME LONG OTHER", rows()))
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	require.Len(t, lines, 3)
	for _, line := range lines {
		require.LessOrEqual(t, utf8.RuneCountInString(line), columns)
	}
	require.Contains(t, lines[1], "…")
	require.Contains(t, lines[1], strings.Repeat("ä", 30), "the widest cell gives way")
	require.Contains(t, lines[2], "?[2Jb  -")
	require.NotContains(t, out.String(), "\x1b")

	out.Reset()
	c.wide = true
	require.NoError(t, c.table("NAME LONG OTHER", rows()))
	require.Contains(t, out.String(), strings.Repeat("x", 90))

	out.Reset()
	c.tty = true
	require.NoError(t, c.table("NAME LONG OTHER", rows()))
	require.True(t, strings.HasPrefix(out.String(), "\x1b[1mNAME"))
	out.Reset()
	c.getenv = func(name string) string { return map[string]string{"NO_COLOR": "1"}[name] }
	require.NoError(t, c.table("NAME LONG OTHER", rows()))
	require.NotContains(t, out.String(), "\x1b")
}

// TestHelp reads the help of every command: it fits a terminal, and its flags
// exist.
func TestHelp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	fits := func(text string) {
		for line := range strings.Lines(text) {
			require.LessOrEqual(t, utf8.RuneCountInString(strings.TrimSpace(line)), columns, line)
		}
	}
	all := w.must(t, "help")
	fits(all)
	for _, cmd := range commands() {
		require.Contains(t, all, "  "+cmd.name)
		one := w.must(t, append([]string{"help"}, strings.Fields(cmd.name)...)...)
		require.Equal(t, one, w.must(t, append(strings.Fields(cmd.name), "-h")...))
		require.Contains(t, one, "usage: apnctl "+cmd.name)
	}
	require.Equal(t, all, w.must(t))
	require.Equal(t, all, w.must(t, "--help"))
}

func TestFlagsAnywhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.fill(t)
	for _, line := range []string{"apps show shop -json", "apps show -json shop", "apps show -json -- shop"} {
		require.Contains(t, w.must(t, strings.Fields(line)...), `"name": "shop"`, line)
	}
	_, stderr, status := w.run(t, "servers", "--", "-json")
	require.Equal(t, 1, status, "a word, not a flag")
	require.NotContains(t, stderr, "flag")
}
