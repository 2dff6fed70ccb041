package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"maps"
	"reflect"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"
)

// columns is how wide tables are at most.
const columns = 80

func (c *call) encode(v any) error {
	e := json.NewEncoder(c.stdout)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// line is encode for a stream: one line per event.
func (c *call) line(v any) error { return json.NewEncoder(c.stdout).Encode(v) }

// list prints a list, or what to do about an empty one.
func list[T any](c *call, items iter.Seq2[T, error], empty, head string, row func(T) []string) error {
	all := []T{} // not null
	for item, err := range items {
		if err != nil {
			return err
		}
		all = append(all, item)
	}
	if c.json {
		return c.encode(all)
	}
	if len(all) == 0 {
		fmt.Fprintln(c.stderr, empty)
		return nil
	}
	rows := make([][]string, len(all))
	for i, item := range all {
		rows[i] = row(item)
	}
	return c.table(head, rows)
}

// table prints rows under a head. The widest cells give way until it fits.
func (c *call) table(head string, rows [][]string) error {
	rows = slices.Insert(rows, 0, strings.Fields(head))
	width := make([]int, len(rows[0]))
	total := 2 * (len(width) - 1)
	for i := range width {
		for _, row := range rows {
			row[i] = clean(cmp.Or(row[i], "-"))
			width[i] = max(width[i], utf8.RuneCountInString(row[i]))
		}
		total += width[i]
	}
	for ; total > columns && !c.wide; total-- {
		width[slices.Index(width, slices.Max(width))]--
	}
	var text bytes.Buffer
	t := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		for i, cell := range row {
			if r := []rune(cell); len(r) > width[i] {
				row[i] = string(r[:width[i]-1]) + "…"
			}
		}
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	first, rest, _ := strings.Cut(text.String(), "\n")
	_, err := io.WriteString(c.stdout, c.paint(bold, first)+"\n"+rest)
	return err
}

// clean takes out what would move a terminal's cursor: texts come from others.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}

// Select Graphic Rendition, ECMA-48 8.3.117.
const (
	bold  = "1"
	red   = "31"
	green = "32"
)

func (c *call) paint(code, text string) string {
	if !c.tty || c.getenv("NO_COLOR") != "" || c.getenv("TERM") == "dumb" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// show prints an object, a line per field.
func show[T any](c *call, v T, err error) error {
	if err != nil {
		return err
	}
	if c.json {
		return c.encode(v)
	}
	t := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
	showFields(t, "", reflect.ValueOf(v))
	return t.Flush()
}

func showFields(t io.Writer, prefix string, v reflect.Value) {
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		name = prefix + strings.ReplaceAll(name, "_", " ")
		field := v.Field(i)
		switch {
		case field.IsZero() && field.Kind() != reflect.Bool:
		case field.Kind() == reflect.Pointer:
			showFields(t, name+" ", field.Elem())
		default:
			for i, text := range texts(field.Interface()) {
				if i > 0 {
					name = ""
				}
				fmt.Fprintf(t, "%s\t%s\n", name, clean(text))
			}
		}
	}
}

// texts are the words for a value, one per line.
func texts(value any) []string {
	switch v := value.(type) {
	case time.Time:
		return []string{moment(v)}
	case map[string]string:
		var all []string
		for _, key := range slices.Sorted(maps.Keys(v)) {
			all = append(all, key+" "+v[key])
		}
		return all
	}
	if v := reflect.ValueOf(value); v.Kind() == reflect.Slice {
		var all []string
		for i := range v.Len() {
			all = append(all, strings.TrimSpace(strings.Trim(fmt.Sprint(v.Index(i)), "{}")))
		}
		return all
	}
	return []string{fmt.Sprint(value)}
}

func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format("2006-01-02 15:04:05")
}

// now is the server's time, as far as it is known: leases end by its clock.
func (c *call) now() time.Time {
	if ahead := c.clock.ahead.Load(); ahead != nil && ahead.Abs() > clockFine {
		return time.Now().Add(*ahead)
	}
	return time.Now()
}

// left is how long it is until t, in whole seconds.
func (c *call) left(t time.Time) string { return t.Sub(c.now()).Round(time.Second).String() }

// join prints values side by side.
func join[T any](values []T) string {
	all := make([]string, len(values))
	for i, v := range values {
		all[i] = fmt.Sprint(v)
	}
	return strings.Join(all, ", ")
}

// period is a duration as the API reads it; zero is left out.
func period(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return d.String()
}
