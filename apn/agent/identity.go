package agent

import (
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"

	"github.com/apnkit/apnkit/apn/netmap"
	"github.com/apnkit/apnkit/keys"
)

// Identity is who a server is to its control plane, with the secrets that prove
// it. [NewIdentity] makes one from a join token; joining fills in Network, App
// and Server.
type Identity struct {
	// URL and Pin are where the control plane is and what certificate it has, see
	// [netmap.JoinToken].
	URL string
	Pin []byte
	// Key signs the network's documents.
	Key ed25519.PublicKey

	// Network, App and Server are who the server is; empty until it has joined.
	Network, App, Server string

	// Token is the secret of the join token; empty once the server has joined.
	Token string
	// Credential identifies the agent.
	Credential string
	// SealKey is what [netmap.Secrets] are sealed to.
	SealKey *ecdh.PrivateKey
	// PrivateKeys are the WireGuard keys that the server keeps itself: the one in
	// use, and while it changes, the next one. None if the control plane keeps
	// the key.
	PrivateKeys []keys.PrivateKey
}

// IdentityOptions are the optional settings of [NewIdentity].
type IdentityOptions struct {
	// Managed leaves the server's WireGuard key with the control plane, which
	// seals it to the server. False: the server makes its own, and nobody else
	// has it.
	Managed bool
}

// NewIdentity makes the secrets of a server that is about to join. Store it
// before it joins: the control plane answers the same identity again if its
// first answer was lost. opts may be nil.
func NewIdentity(t netmap.JoinToken, opts *IdentityOptions) (*Identity, error) {
	if opts == nil {
		opts = new(IdentityOptions)
	}
	seal, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("agent: new identity: %w", err)
	}
	id := &Identity{
		URL: t.URL, Pin: slices.Clone(t.Pin), Key: slices.Clone(t.Key), Token: t.Secret,
		Credential: "apna_" + rand.Text() + rand.Text(), SealKey: seal,
	}
	if !opts.Managed {
		key, err := keys.GeneratePrivateKey()
		if err != nil {
			return nil, fmt.Errorf("agent: new identity: %w", err)
		}
		id.PrivateKeys = []keys.PrivateKey{key}
	}
	return id, nil
}

// PeerID returns the server's peer ID.
func (i *Identity) PeerID() string { return netmap.ServerID(i.App, i.Server) }

// Joined reports whether the server has joined a network.
func (i *Identity) Joined() bool { return i.Network != "" && i.App != "" && i.Server != "" }

// PublicKey returns the WireGuard key that the server made last, zero if the
// control plane keeps the key.
func (i *Identity) PublicKey() keys.PublicKey {
	if len(i.PrivateKeys) == 0 {
		return keys.PublicKey{}
	}
	return i.PrivateKeys[len(i.PrivateKeys)-1].PublicKey()
}

// privateKey returns the private half of pub.
func (i *Identity) privateKey(pub keys.PublicKey) (keys.PrivateKey, bool) {
	for _, k := range i.PrivateKeys {
		if k.PublicKey() == pub {
			return k, true
		}
	}
	return keys.PrivateKey{}, false
}

// String names the server, without any secret.
func (i Identity) String() string { return i.Network + "/" + i.App + "/" + i.Server }

// Format writes String for every verb.
func (i Identity) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, i.String()) // fmt drops the error, too
}

// LogValue is String.
func (i Identity) LogValue() slog.Value { return slog.StringValue(i.String()) }

// MarshalJSON refuses: only a [Dir] writes the secrets down.
func (i Identity) MarshalJSON() ([]byte, error) {
	return nil, errors.New("agent: an identity is stored by Dir alone")
}

// identityForm is an identity at rest.
type identityForm struct {
	Format      int      `json:"format"`
	URL         string   `json:"url"`
	Pin         []byte   `json:"pin,omitempty"`
	Key         []byte   `json:"key"`
	Network     string   `json:"network,omitempty"`
	App         string   `json:"app,omitempty"`
	Server      string   `json:"server,omitempty"`
	Token       string   `json:"token,omitempty"`
	Credential  string   `json:"credential"`
	SealKey     []byte   `json:"seal_key"`
	PrivateKeys []string `json:"private_keys,omitempty"`
}

func (i *Identity) marshal() ([]byte, error) {
	f := identityForm{
		Format: 1, URL: i.URL, Pin: i.Pin, Key: i.Key, Network: i.Network, App: i.App, Server: i.Server,
		Token: i.Token, Credential: i.Credential, SealKey: i.SealKey.Bytes(),
	}
	for _, k := range i.PrivateKeys {
		f.PrivateKeys = append(f.PrivateKeys, base64.StdEncoding.EncodeToString(k.Reveal()[:]))
	}
	return json.MarshalIndent(f, "", "\t") //nolint:gosec // this is where the secrets are kept
}

func parseIdentity(data []byte) (*Identity, error) {
	var f identityForm
	if json.Unmarshal(data, &f) != nil || f.Format < 1 { // the decoder's own text may quote a secret
		return nil, errors.New("not an identity")
	}
	if f.Format > 1 {
		return nil, fmt.Errorf("format %d, newest known is 1", f.Format)
	}
	i := &Identity{
		URL: f.URL, Pin: f.Pin, Key: f.Key, Network: f.Network, App: f.App, Server: f.Server,
		Token: f.Token, Credential: f.Credential,
	}
	var err error
	if i.SealKey, err = ecdh.X25519().NewPrivateKey(f.SealKey); err != nil {
		return nil, errors.New("seal key is damaged")
	}
	if len(i.Key) != ed25519.PublicKeySize {
		return nil, errors.New("signing key is damaged")
	}
	for _, text := range f.PrivateKeys {
		k, err := keys.ParsePrivateKey(text)
		if err != nil {
			return nil, errors.New("private key is damaged")
		}
		i.PrivateKeys = append(i.PrivateKeys, k)
	}
	return i, nil
}
