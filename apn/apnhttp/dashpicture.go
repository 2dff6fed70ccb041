package apnhttp

import (
	"fmt"
	"html/template"
	"math"
	"strings"

	"github.com/apnkit/apnkit/apn"
)

// The picture of a network: apps as cards with a dot per server, and lines
// between linked apps. Beyond some apps and servers it groups: lines give way to
// a sentence below, and dots to a number.
const (
	ringApps = 10 // with lines between them, and a name for each dot
	gridApps = 60
	dotsWide = 12
	dotsHigh = 2 // 1 in the grid

	cardWidth, cardGap = 188, 24
	dotStep            = 14
)

type card struct {
	app     apn.App
	servers []apn.Server // the first ones
	x, y, h int          // upper left corner, height
}

func (c *card) centre() (x, y int) { return c.x + cardWidth/2, c.y + c.h/2 }

// picture draws the network as SVG. Its text alternative is the list of apps.
func (c *call) picture() template.HTML {
	apps, more := c.net.Apps(&apn.ListOptions{Limit: gridApps})
	if len(apps) == 0 {
		return ""
	}
	ring, dots := len(apps) <= ringApps && !more, dotsWide
	if ring {
		dots *= dotsHigh
	}
	cards := make([]card, len(apps))
	servers := 0
	for i, a := range apps {
		cards[i] = card{app: a, h: 58}
		cards[i].servers, _, _ = c.net.Servers(a.Name, &apn.ListOptions{Limit: dots})
		cards[i].h += (len(cards[i].servers) + dotsWide - 1) / dotsWide * dotStep
		servers += a.Servers
	}
	var width, height int
	if ring {
		width, height = placeRing(cards)
	} else {
		width, height = placeGrid(cards)
	}
	var b strings.Builder
	title := fmt.Sprintf("%d apps with %d servers", len(apps), servers)
	fmt.Fprintf(&b, `<svg class="picture" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="group" aria-label="Picture of the network: %s">`, width, height, width, height, title)
	if ring {
		c.drawLinks(&b, cards)
	}
	for i := range cards {
		c.drawCard(&b, &cards[i], ring)
	}
	b.WriteString("</svg>")
	return template.HTML(b.String()) //nolint:gosec // G203: names are escaped below
}

// placeRing puts the cards around a centre and returns the size of the picture.
func placeRing(cards []card) (width, height int) {
	n := len(cards)
	rx, ry := 0.0, 0.0
	switch {
	case n == 2:
		rx = 170
	case n > 2:
		rx, ry = 150+float64(n)*19, 50+float64(n)*18
	}
	tallest := 0
	for i := range cards {
		tallest = max(tallest, cards[i].h)
	}
	width, height = int(2*rx)+cardWidth+2, int(2*ry)+tallest+2
	for i := range cards {
		angle := 2*math.Pi*float64(i)/float64(n) - math.Pi/2
		if n%2 == 0 {
			angle -= math.Pi / float64(n)
		}
		if n == 2 {
			angle = math.Pi * float64(1-i)
		}
		cards[i].x = width/2 + int(rx*math.Cos(angle)) - cardWidth/2
		cards[i].y = height/2 + int(ry*math.Sin(angle)) - cards[i].h/2
	}
	return width, height
}

func placeGrid(cards []card) (width, height int) {
	const wide = 4
	y := 1
	for i := 0; i < len(cards); i += wide {
		row := cards[i:min(i+wide, len(cards))]
		tallest := 0
		for j := range row {
			row[j].x, row[j].y = 1+j*(cardWidth+cardGap), y
			tallest = max(tallest, row[j].h)
		}
		y += tallest + cardGap
	}
	return wide*(cardWidth+cardGap) - cardGap + 2, y - cardGap + 1
}

// drawLinks draws a line between any two apps that reach each other.
func (c *call) drawLinks(b *strings.Builder, cards []card) {
	all := c.net.Info().Links == apn.LinkAll
	linked := map[[2]string]bool{}
	for _, l := range c.net.Links() {
		linked[[2]string{l.A, l.B}] = l.Linked
	}
	for i := range cards {
		for j := range cards[:i] {
			one, other := &cards[j], &cards[i]
			is, exception := linked[[2]string{one.app.Name, other.app.Name}]
			if !is && (exception || !all) {
				continue
			}
			x1, y1 := one.centre()
			x2, y2 := other.centre()
			fmt.Fprintf(b, `<line x1="%d" y1="%d" x2="%d" y2="%d"/>`, x1, y1, x2, y2)
		}
	}
}

func (c *call) drawCard(b *strings.Builder, k *card, named bool) {
	path := template.HTMLEscapeString(c.at("networks", c.net.Name(), "apps", k.app.Name))
	fmt.Fprintf(b, `<a href="%s"><rect x="%d" y="%d" width="%d" height="%d" rx="10"/>`, path, k.x, k.y, cardWidth, k.h)
	name := k.app.Name
	if len(name) > 20 {
		name = name[:19] + "…"
	}
	count := fmt.Sprintf("%s servers", thousands(k.app.Servers))
	switch k.app.Servers {
	case 0:
		count = "no server yet"
	case 1:
		count = "1 server"
	}
	fmt.Fprintf(b, `<text x="%d" y="%d" class="name">%s</text><text x="%d" y="%d">%s</text>`,
		k.x+14, k.y+25, template.HTMLEscapeString(name), k.x+14, k.y+44, count)
	for i, s := range k.servers {
		class := "open"
		if s.Endpoint.IsZero() {
			class = "nat"
		}
		fmt.Fprintf(b, `<circle cx="%d" cy="%d" r="4" class="%s">`, k.x+18+i%dotsWide*dotStep, k.y+60+i/dotsWide*dotStep, class)
		if named {
			b.WriteString("<title>" + template.HTMLEscapeString(s.Name) + "</title>")
		}
		b.WriteString("</circle>")
	}
	b.WriteString("</a>")
}
