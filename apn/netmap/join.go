package netmap

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/apnkit/apnkit/keys"
)

// JoinToken is what an operator hands to a server so that it joins its network.
type JoinToken struct {
	// URL is the control plane's, without the path of the agent channel.
	URL string `json:"url"`
	// Pin is the SHA-256 of the subject public key info of the control plane's
	// certificate. Nil: the system's certificate authorities decide.
	Pin []byte `json:"pin,omitempty"`
	// Key is what signs the network's documents.
	Key ed25519.PublicKey `json:"key"`
	// Secret works once. The control plane stores its SHA-256.
	Secret string `json:"secret"`
}

// tokenPrefix lets scanners of source code and logs recognise a token.
const tokenPrefix = "apnjoin_"

// Encode returns the token as text: printable, without spaces, with the secret.
func (t JoinToken) Encode() (string, error) {
	type plain JoinToken
	raw, err := json.Marshal(plain(t)) //nolint:gosec // the token is the one way in which the secret travels
	if err != nil {
		return "", fmt.Errorf("netmap: encode join token: %w", err)
	}
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(raw), nil
}

// ParseJoinToken reads what [JoinToken.Encode] writes, with spaces around it.
// The error wraps [ErrToken] and does not quote the text.
func ParseJoinToken(s string) (JoinToken, error) {
	refuse := func(why string) (JoinToken, error) {
		return JoinToken{}, fmt.Errorf("netmap: parse join token: %w: %s", ErrToken, why)
	}
	body, ok := strings.CutPrefix(strings.TrimSpace(s), tokenPrefix)
	if !ok {
		return refuse("does not begin with " + tokenPrefix)
	}
	raw, err := base64.RawURLEncoding.DecodeString(body)
	if err != nil {
		return refuse("cut off or mistyped")
	}
	type plain JoinToken
	var t plain
	if json.Unmarshal(raw, &t) != nil {
		return refuse("cut off or mistyped")
	}
	u, err := url.Parse(t.URL)
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil:
		return refuse("has no URL of a control plane")
	case len(t.Pin) != 0 && len(t.Pin) != 32:
		return refuse("the pin is not a SHA-256")
	case len(t.Key) != ed25519.PublicKeySize:
		return refuse("has no signing key")
	case t.Secret == "":
		return refuse("has no secret")
	}
	return JoinToken(t), nil
}

// String hides the token: logs do not hold it.
func (t JoinToken) String() string { return "(hidden)" }

// Format hides the token, whatever the verb.
func (t JoinToken) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, "(hidden)") // fmt drops the error, too
}

// LogValue hides the token.
func (t JoinToken) LogValue() slog.Value { return slog.StringValue("(hidden)") }

// MarshalJSON hides the token; [JoinToken.Encode] is the only way out.
func (t JoinToken) MarshalJSON() ([]byte, error) { return []byte(`"(hidden)"`), nil }

// Join is the body of POST /v1/agent/join.
type Join struct {
	Secret string `json:"secret"` // of the token
	// Credential is what the agent will identify itself by: 32 random bytes or
	// more as text, made by the agent. The control plane stores its SHA-256.
	Credential string `json:"credential"`
	// PublicKey is the agent's WireGuard key (custody Self). Zero leaves the
	// server's key with the control plane (custody Managed).
	PublicKey keys.PublicKey `json:"public_key,omitzero"`
	// SealKey is the X25519 public key that [Secrets] are sealed to: 32 bytes.
	SealKey []byte `json:"seal_key"`
	Version string `json:"version,omitempty"` // of the agent, for people
}

// Joined answers a [Join]: who the agent is.
type Joined struct {
	Network string       `json:"network"`
	App     string       `json:"app"`
	Server  string       `json:"server"` // name, as in [ServerID]
	Custody keys.Custody `json:"custody"`
}

// NewKey is the body of POST /v1/agent/key.
type NewKey struct {
	PublicKey keys.PublicKey `json:"public_key"`
}

// MaxStatusPeers is how many peers a [Status] tells about.
const MaxStatusPeers = 1000

// Status is the body of POST /v1/agent/status.
type Status struct {
	Version  string `json:"version,omitempty"` // of the agent
	Epoch    string `json:"epoch,omitempty"`
	Revision uint64 `json:"revision"` // applied; 0: none yet
	// ClockOffset is how far the server's clock is ahead of the control plane's,
	// in nanoseconds.
	ClockOffset time.Duration `json:"clock_offset"`
	// Peers are those that shook hands since the last report, latest first, at
	// most [MaxStatusPeers]; PeersUp counts all whose last handshake is less than
	// three minutes old.
	Peers   []PeerStatus `json:"peers,omitempty"`
	PeersUp int          `json:"peers_up"`
	// Errors are what keeps the server from doing what the document says, in
	// plain words.
	Errors []string `json:"errors,omitempty"`
}

// PeerStatus is what a server knows of one peer.
type PeerStatus struct {
	ID string `json:"id"`
	// HandshakeAge is how long ago the last handshake was, in nanoseconds.
	HandshakeAge time.Duration `json:"handshake_age"`
	Received     uint64        `json:"received"` // bytes, since the peer was added
	Sent         uint64        `json:"sent"`
}
