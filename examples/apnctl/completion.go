package main

import (
	"context"
	"flag"
	"fmt"
	"iter"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/apnkit/apnkit/apn/apnhttp/apnclient"
)

// scripts ask apnctl itself for each word, so that names complete as well.
var scripts = map[string]string{
	"bash": `# in ~/.bashrc: source <(apnctl completion bash)
_apnctl() {
  local IFS=$'\n'
  COMPREPLY=($(compgen -W "$(apnctl complete -- "${COMP_WORDS[@]:1:COMP_CWORD-1}" 2>/dev/null)" -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _apnctl apnctl
`,
	"zsh": `#compdef apnctl
# in ~/.zshrc, after compinit: source <(apnctl completion zsh)
_apnctl() {
  local -a found
  found=("${(@f)$(apnctl complete -- "${(@)words[2,CURRENT-1]}" 2>/dev/null)}")
  compadd -a found || _files
}
compdef _apnctl apnctl
`,
	"fish": `# in ~/.config/fish/config.fish: apnctl completion fish | source
complete -c apnctl -a '(apnctl complete -- (commandline -opc)[2..-1] 2>/dev/null)'
`,
}

func completion(_ context.Context, c *call) error {
	script, ok := scripts[c.words[0]]
	if !ok {
		return usageError{"the shell is bash, zsh or fish"}
	}
	return c.text("script", []byte(script), nil)
}

// completeTime is how long a shell waits for names.
const completeTime = 2 * time.Second

// complete prints what may follow the words.
func complete(ctx context.Context, c *call) error {
	ctx, cancel := context.WithTimeout(ctx, completeTime)
	defer cancel()
	cmd, rest := findCommand(c.words)
	var found []string
	if len(c.words) < 2 && (cmd == nil || len(rest) == 0) {
		for _, other := range commands() {
			words := strings.Fields(other.name)
			if len(words) == len(c.words)+1 && slices.Equal(words[:len(c.words)], c.words) && other.name != "complete" {
				found = append(found, words[len(c.words)])
			}
		}
	}
	if cmd != nil {
		f := flag.NewFlagSet("", flag.ContinueOnError)
		new(options).define(f, always+" "+cmd.flags)
		f.VisitAll(func(f *flag.Flag) { found = append(found, "-"+f.Name) })
		if args := strings.Fields(cmd.args); len(rest) < len(args) && c.connect() == nil && c.findNetwork(ctx) == nil {
			found = append(found, c.candidates(ctx, args[len(rest)])...)
		}
	}
	fmt.Fprintln(c.stdout, strings.Join(found, "\n"))
	return nil
}

// candidates are the names that a word of a command may be.
func (c *call) candidates(ctx context.Context, arg string) []string {
	c.words = nil // the lists are of everything
	switch strings.Trim(arg, "[]") {
	case "APP":
		return namesOf(c.client.Apps(ctx, c.network), func(a apnclient.App) string { return a.Name })
	case "APP/SERVER":
		return namesOf(ofApps(ctx, c, c.client.Servers), func(s apnclient.Server) string { return s.App + "/" + s.Name })
	case "MEMBER":
		return namesOf(c.client.Members(ctx, c.network), func(m apnclient.Member) string { return m.Name })
	case "MEMBER/]DEVICE":
		return namesOf(ofMembers(ctx, c, func(m apnclient.Member) iter.Seq2[apnclient.Device, error] {
			return c.client.Devices(ctx, c.network, m.Name)
		}),
			func(d apnclient.Device) string { return d.Member + "/" + d.Name })
	case "ROLE":
		return []string{"viewer", "developer", "admin"}
	case "SHELL":
		return []string{"bash", "zsh", "fish"}
	default:
		return nil
	}
}

func namesOf[T any](items iter.Seq2[T, error], name func(T) string) (all []string) {
	for item, err := range items {
		if err != nil {
			return all
		}
		all = append(all, name(item))
	}
	return all
}

func version(_ context.Context, c *call) error {
	v := "devel"
	if info, ok := debug.ReadBuildInfo(); ok {
		v = info.Main.Version
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				v += " " + s.Value
			}
		}
	}
	return c.text("version", []byte(v+"\n"), nil)
}
