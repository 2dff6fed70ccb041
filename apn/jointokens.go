package apn

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/apnkit/apnkit/apn/netmap"
	"github.com/apnkit/apnkit/apn/store"
	"github.com/apnkit/apnkit/keys"
)

// joinRow is a single-use token by which an agent joins as one server. The
// secret is stored nowhere, only its SHA-256, which is in the row's key.
type joinRow struct {
	head
	App     string    `json:"app"`
	Server  string    `json:"server"`
	UID     string    `json:"uid"` // of the server's row
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
	Used    time.Time `json:"used,omitzero"`
	Refused bool      `json:"refused,omitempty"` // and that is in the audit log
}

// agentRow is the agent that runs a server.
type agentRow struct {
	head
	UID        string    `json:"uid"`        // of the server's row
	Token      string    `json:"token"`      // SHA-256 of the secret that it joined with
	Credential string    `json:"credential"` // SHA-256 of what it identifies itself by
	SealKey    []byte    `json:"seal"`       // what secrets are sealed to
	Joined     time.Time `json:"joined"`
	Version    string    `json:"version,omitempty"`
	// Revealed is the generation of the private key that it was last given.
	Revealed uint64 `json:"revealed,omitempty"`
	// RotateTo asks it for a key of that generation.
	RotateTo uint64 `json:"rotate_to,omitempty"`
}

func joinKey(hash string) string         { return preJoin + hash }
func agentKey(app, server string) string { return preAgt + app + "/" + server }

// secretHash is what is stored of a secret of 256 random bits.
func secretHash(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

const (
	// DefaultJoinTTL is how long a join token works.
	DefaultJoinTTL = time.Hour
	// MaxJoinTTL is how long it may work at most.
	MaxJoinTTL = 7 * 24 * time.Hour
	// joinKept is how long a token that ended stays known, so that a refusal can
	// say why.
	joinKept = 7 * 24 * time.Hour
	// joinSweep bounds how many tokens one command looks at for that.
	joinSweep = 16
)

// JoinOptions are the optional settings of a join token.
type JoinOptions struct {
	CommitOptions
	// TTL is how long the token works. Zero means [DefaultJoinTTL].
	TTL time.Duration
	// Pin is the SHA-256 of the subject public key info of the control plane's
	// certificate. Nil: the system's certificate authorities decide.
	Pin []byte
}

// AddJoinToken makes a token by which an agent joins as a server, once, and
// returns it with the time at which it ends. url is where agents reach the
// control plane. The token is bound to this server, not to a later one of the
// same name. An agent that the server already has goes on until another joins.
// opts may be nil.
//
// The first token of a network makes the key that signs its documents.
func (n *Network) AddJoinToken(ctx context.Context, app, server, url string, opts *JoinOptions) (netmap.JoinToken, time.Time, error) {
	token, expires, err := n.addJoinToken(ctx, app, server, url, opts)
	if err != nil {
		return netmap.JoinToken{}, time.Time{}, &Error{Op: "add join token", Object: app + "/" + server, Err: err}
	}
	return token, expires, nil
}

func (n *Network) addJoinToken(ctx context.Context, app, server, url string, opts *JoinOptions) (token netmap.JoinToken, expires time.Time, err error) {
	if opts == nil {
		opts = new(JoinOptions)
	}
	ttl := opts.TTL
	switch {
	case ttl == 0:
		ttl = DefaultJoinTTL
	case ttl < time.Second || ttl > MaxJoinTTL:
		return token, expires, invalid("ttl", "must be 1 second to 7 days", nil)
	}
	// The network's name leads to the row; the rest has 260 random bits.
	secret := n.name + "." + rand.Text() + rand.Text()
	seed := newSeed()
	defer clear(seed)
	err = n.do(ctx, &opts.CommitOptions, func(t *tx) error {
		r, ok := find[*srvRow](t.state, srvKey(app, server))
		if !ok {
			return ErrNotFound
		}
		pub, err := t.signingKey(seed)
		if err != nil {
			return err
		}
		token = netmap.JoinToken{URL: url, Pin: slices.Clone(opts.Pin), Key: pub, Secret: secret}
		if err := checkJoinToken(token); err != nil {
			return err
		}
		expires = t.now.Add(ttl).UTC()
		key := joinKey(secretHash(secret))
		t.sweepJoins(key)
		t.put(key, &joinRow{
			App: app, Server: server, UID: r.UID, Created: t.now.UTC(), Expires: expires,
		})
		t.event("join.add", app+"/"+server, "until "+expires.Format(time.RFC3339))
		return nil
	})
	return token, expires, err
}

// checkJoinToken refuses a URL or pin that no agent would take.
func checkJoinToken(t netmap.JoinToken) error {
	text, err := t.Encode()
	if err == nil {
		_, err = netmap.ParseJoinToken(text)
	}
	if err != nil {
		return invalid("url", "must be the http or https URL of the control plane, with a pin of 32 bytes or none", err)
	}
	return nil
}

// sweepJoins forgets tokens that ended long ago, of those that come next to a
// new one. Hashes are random, so over time every old one is next to some.
func (t *tx) sweepJoins(key string) {
	var old []string
	left := joinSweep
	t.rows.Ascend(key, func(key string, at rowAt) bool {
		r, ok := at.row.(*joinRow)
		if ok && t.now.Sub(r.Expires) > joinKept {
			old = append(old, key)
		}
		left--
		return ok && left > 0
	})
	for _, key := range old {
		t.del(key)
	}
}

// Join makes an agent the one that runs the server which its token names. A
// token works once; the same token with the same credential gives the same
// answer again.
//
// A token that is unknown, has ended or was used, or whose server is gone, gives
// [ErrForbidden]. Refusals of a token that was real are in the audit log.
func (c *Control) Join(ctx context.Context, j netmap.Join) (netmap.Joined, error) {
	out, err := c.join(ctx, j)
	if err != nil {
		object := ""
		if out.Server != "" {
			object = out.App + "/" + out.Server
		}
		return netmap.Joined{}, &Error{Op: "join", Object: object, Err: err}
	}
	return out, nil
}

func (c *Control) join(ctx context.Context, j netmap.Join) (out netmap.Joined, err error) {
	pair, err := checkJoin(j)
	if err != nil {
		return out, err
	}
	network := j.Secret[:max(strings.LastIndexByte(j.Secret, '.'), 0)]
	if checkNetwork("secret", network) != nil {
		return out, refuse("the join token is unknown")
	}
	// Read, not opened: a stranger must not make this process load networks.
	page, err := c.store.Get(ctx, space(network), joinKey(secretHash(j.Secret)))
	if err != nil {
		return out, storeError(err)
	}
	if len(page.Entries) == 0 {
		return out, refuse("the join token is unknown")
	}
	n, err := c.open(ctx, network)
	if err != nil {
		return out, err
	}
	var refused error
	var before *agentRow
	err = n.do(ctx, nil, func(t *tx) (err error) {
		out, before, refused, err = t.join(j, pair)
		return err
	})
	if err == nil {
		err = refused
	}
	if err != nil {
		return out, err
	}
	// The credential alone does not say which network it is for. What it may do
	// there only the network's rows tell, so they come first.
	b := store.Batch{}
	if before != nil && before.Credential != secretHash(j.Credential) {
		b.Writes = append(b.Writes, store.Write{Key: dirAgent + before.Credential})
	}
	value, err := json.Marshal(agentPlace{head{rowFormat}, network, out.App, out.Server})
	if err != nil {
		return out, err
	}
	b.Writes = append(b.Writes, store.Write{Key: dirAgent + secretHash(j.Credential), Value: value})
	if _, err := c.store.Commit(ctx, dirSpace, b); err != nil {
		return out, storeError(err) // the agent asks again
	}
	return out, nil
}

// refuse says why a join token is not taken.
func refuse(why string) error { return fmt.Errorf("%w: %s", ErrForbidden, why) }

// maxVersion is how much of an agent's version is kept, in bytes.
const maxVersion = 64

// checkJoin refuses what no agent sends, and returns the key pair that the
// server gets if the control plane keeps it.
func checkJoin(j netmap.Join) (*keyPair, error) {
	if n := len(j.Credential); n < 32 || n > 255 || !printable(j.Credential) {
		return nil, invalid("credential", "must be 32 to 255 of printable ASCII without spaces", nil)
	}
	if _, err := new(netmap.Secrets).Seal(j.SealKey, netmap.Sealing{}); err != nil {
		return nil, invalid("seal_key", "must be an X25519 public key", nil)
	}
	return newKey(j.PublicKey, keys.Managed)
}

func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// join carries out a join. refused says why it does not; that, too, is recorded.
func (t *tx) join(j netmap.Join, pair *keyPair) (out netmap.Joined, before *agentRow, refused, err error) {
	hash := secretHash(j.Secret)
	r, ok := find[*joinRow](t.state, joinKey(hash))
	if !ok {
		return out, nil, nil, refuse("the join token is unknown")
	}
	key := srvKey(r.App, r.Server)
	out = netmap.Joined{Network: t.cmd.network, App: r.App, Server: r.Server}
	srv, has := find[*srvRow](t.state, key)
	k, sealed := find[*keyRow](t.state, keyKey(key))
	before, _ = find[*agentRow](t.state, agentKey(r.App, r.Server))
	here := has && sealed && srv.UID == r.UID
	if here && before != nil && before.Token == hash && before.Credential == secretHash(j.Credential) {
		out.Custody = k.Custody
		return out, before, nil, nil // the first answer was lost
	}
	why := ""
	switch {
	case !r.Used.IsZero():
		why = "the join token was used already"
	case !t.now.Before(r.Expires):
		why = "the join token has ended"
	case !here:
		why = "the server of the join token is gone"
	}
	if why != "" {
		t.refuseJoin(hash, r, why)
		return out, before, refuse(why), nil
	}
	if out.Custody, err = t.joinKey(key, k, pair); err != nil {
		return out, before, nil, err
	}
	used := *r
	used.Used = t.now.UTC()
	t.put(joinKey(hash), &used)
	t.put(agentKey(r.App, r.Server), &agentRow{
		UID: srv.UID, Token: hash, Credential: secretHash(j.Credential), SealKey: slices.Clone(j.SealKey),
		Joined: t.now.UTC(), Version: plainText(j.Version, maxVersion),
	})
	t.event("agent.join", r.App+"/"+r.Server, "custody "+string(out.Custody))
	return out, before, nil, nil
}

// refuseJoin records the first refusal of a token: a loop must not fill the log.
func (t *tx) refuseJoin(hash string, r *joinRow, why string) {
	if r.Refused {
		return
	}
	refused := *r
	refused.Refused = true
	t.put(joinKey(hash), &refused)
	t.refused("join.refuse", r.App+"/"+r.Server, why)
}

// joinKey gives the server the agent's key in custody Self, else one that is
// kept here. A key that is right already stays.
func (t *tx) joinKey(owner string, old *keyRow, pair *keyPair) (keys.Custody, error) {
	if old.Custody == pair.custody && (pair.custody == keys.Managed || old.pub == pair.public) {
		return old.Custody, nil
	}
	return pair.custody, t.replaceKey(owner, old, pair, pair.custody)
}

// agentPlace is a row of the directory that leads from the hash of a credential
// to the server whose agent has it, or had it.
type agentPlace struct {
	head
	Network string `json:"network"`
	App     string `json:"app"`
	Server  string `json:"server"`
}

const dirAgent = "agent/"

func decodePlace(e store.Entry) (agentPlace, error) {
	var p agentPlace
	if err := json.Unmarshal(e.Value, &p); err != nil || p.V != rowFormat {
		return p, damaged(dirAgent, errors.New("malformed JSON document"))
	}
	return p, nil
}
