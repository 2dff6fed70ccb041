// Command embed is the library inside another program: a network, an app with
// two servers, a person with a laptop, and the file that the laptop imports.
package main

import (
	"context"
	"log"
	"os"

	"github.com/apnkit/apnkit/apn"
	"github.com/apnkit/apnkit/apn/boltstore"
	"github.com/apnkit/apnkit/keys/localkek"
	"github.com/apnkit/apnkit/render"
)

func main() {
	ctx, dir := context.Background(), must(os.MkdirTemp("", "apn"))
	kek := must(localkek.CreateFile(dir+"/kek.key", nil))
	ctl := must(apn.Open(apn.Config{Store: must(boltstore.Open(dir+"/apn.db", nil)), KEK: kek}))

	acme := must(ctl.CreateNetwork(ctx, "acme", nil)) // the account's own ID
	must(acme.AddApp(ctx, "shop", nil))
	must(acme.AddServer(ctx, "shop", "web-1", &apn.ServerOptions{Endpoint: "203.0.113.7:51820"}))
	must(acme.AddServer(ctx, "shop", "db-1", &apn.ServerOptions{Endpoint: "[2001:db8::5]:51820"}))
	must(acme.AddMember(ctx, "ada", nil))
	check(acme.SetRole(ctx, "ada", "shop", apn.Developer, nil))
	must(acme.AddDevice(ctx, "ada", "laptop", nil))

	cfg := must(acme.DeviceConfig(ctx, "ada", "laptop"))
	must(render.Quick.WriteTo(os.Stdout, cfg, nil))
}

func must[T any](v T, err error) T {
	check(err)
	return v
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
