package apn_test

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"fmt"
	"log"

	"github.com/apnkit/apnkit/apn"
	"github.com/apnkit/apnkit/apn/netmap"
	"github.com/apnkit/apnkit/apn/store"
	"github.com/apnkit/apnkit/keys"
)

// An operator hands a server a token; its agent joins with it, once, and follows
// the documents of its app.
func ExampleNetwork_AddJoinToken() {
	ctx := context.Background()
	ctl, err := apn.Open(apn.Config{Store: store.NewMem(), KEK: keys.Multi(&testKEK{id: "kek-1"})})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = ctl.Close() }()
	n, err := ctl.CreateNetwork(ctx, "acme", nil)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := n.AddApp(ctx, "shop", nil); err != nil {
		log.Fatal(err)
	}
	if _, err := n.AddServer(ctx, "shop", "web-1", nil); err != nil {
		log.Fatal(err)
	}
	token, _, err := n.AddJoinToken(ctx, "shop", "web-1", "https://apn.example.com", nil)
	if err != nil {
		log.Fatal(err)
	}

	// On the server, over HTTP: package apn/agent/source does this.
	seal, _ := ecdh.X25519().GenerateKey(rand.Reader)
	own, _ := keys.GeneratePrivateKey()
	credential := rand.Text() + rand.Text()
	who, err := ctl.Join(ctx, netmap.Join{
		Secret: token.Secret, Credential: credential, PublicKey: own.PublicKey(), SealKey: seal.PublicKey().Bytes(),
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(who.Network, who.App, who.Server, who.Custody)

	agent, err := ctl.Agent(ctx, credential)
	if err != nil {
		log.Fatal(err)
	}
	update, err := agent.Netmap(ctx, apn.Held{}, 0)
	if err != nil {
		log.Fatal(err)
	}
	doc, err := netmap.Parse(update.Body)
	if err != nil {
		log.Fatal(err)
	}
	m, err := doc.Open(token.Key)
	if err != nil {
		log.Fatal(err)
	}
	c, err := m.For(netmap.ServerID(who.App, who.Server))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(c.Name, c.PublicKey == own.PublicKey())
	// Output:
	// acme shop web-1 self
	// web-1.shop true
}
