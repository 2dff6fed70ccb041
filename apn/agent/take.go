package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/apnkit/apnkit/apn/netmap"
	"github.com/apnkit/apnkit/keys"
)

// keyPatience is how long a document waits for the private key that goes with it.
const keyPatience = 3 * time.Second

// epochsLeft is how many earlier epochs the agent remembers.
const epochsLeft = 16

// open verifies a document and returns what this server does with it.
func (a *Agent) open(s *netmap.Signed) (*netmap.Config, error) {
	m, err := s.Open(a.identity.Key)
	if err != nil {
		return nil, err
	}
	if m.Network != a.identity.Network || m.App != a.identity.App {
		return nil, fmt.Errorf("agent: open document of %s/%s: %w", m.Network, m.App, netmap.ErrForeign)
	}
	return m.For(a.identity.PeerID())
}

// take goes over to the document that d leads to. What is refused leaves the
// agent as it was.
func (a *Agent) take(d *netmap.Delta) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	next, err := a.signed.Apply(d)
	if err != nil {
		return err
	}
	want, err := a.open(next)
	if err != nil {
		return err
	}
	if err := next.Newer(a.signed); err != nil {
		return err
	}
	if slices.Contains(a.memory.Left, next.Epoch()) {
		return fmt.Errorf("agent: take document: epoch was left earlier: %w", netmap.ErrOlder)
	}
	if a.signed != nil && a.signed.Epoch() != next.Epoch() {
		left := append(slices.Clone(a.memory.Left), a.signed.Epoch())
		a.memory.Left = left[max(0, len(left)-epochsLeft):]
		a.remember()
	}
	a.signed, a.want = next, want
	a.openSecrets()
	return nil
}

// saveDocument saves the last document. Nothing waits for the disk: a document
// that is lost comes again.
func (a *Agent) saveDocument() {
	if a.cfg.Dir == nil {
		return
	}
	a.mu.Lock()
	s := a.signed
	a.mu.Unlock()
	if err := a.cfg.Dir.save(netmapFile, s.Append(nil)); err != nil {
		a.log.Error("document is applied but not saved", "error", err)
	}
}

// remember saves what the agent learnt besides documents.
func (a *Agent) remember() {
	if a.cfg.Dir == nil {
		return
	}
	if err := a.cfg.Dir.saveJSON(memoryFile, a.memory); err != nil {
		a.log.Error("memory is not saved", "error", err)
	}
}

// openSecrets opens what is sealed to the server. If it does not open, the
// secrets stay what they were: those of keys that did not change are good.
func (a *Agent) openSecrets() {
	if a.sealed == nil || a.want == nil {
		return
	}
	if s, err := a.sealed.Open(a.identity.SealKey, a.sealing()); err == nil {
		a.secrets = s
	}
}

// sealing is what secrets have to be sealed for.
func (a *Agent) sealing() netmap.Sealing {
	return netmap.Sealing{Network: a.identity.Network, Server: a.identity.PeerID(), Epoch: a.want.Epoch, KeyGen: a.want.KeyGen}
}

// privateKey returns the private half of the key that want names.
func (a *Agent) privateKey(want *netmap.Config) (keys.PrivateKey, bool) {
	if k, ok := a.identity.privateKey(want.PublicKey); ok {
		return k, true
	}
	if s := a.secrets; s != nil && !s.PrivateKey.IsZero() && s.PrivateKey.PublicKey() == want.PublicKey {
		return s.PrivateKey, true
	}
	return keys.PrivateKey{}, false
}

// lacksSecrets reports whether the document names keys that are not here.
func (a *Agent) lacksSecrets() bool {
	if a.want == nil {
		return false
	}
	if _, ok := a.privateKey(a.want); !ok {
		return true
	}
	if a.want.Preshared == 0 {
		return false
	}
	if a.secrets == nil || a.secrets.Preshared != a.want.Preshared {
		return true
	}
	return slices.ContainsFunc(a.want.Peers, func(p netmap.Peer) bool {
		_, ok := a.secrets.PSKs[p.PublicKey]
		return !ok
	})
}

// settle gets what a document asks for besides itself: secrets, and a key of
// another generation. It does nothing if nothing is asked for.
func (a *Agent) settle(ctx context.Context) error {
	a.mu.Lock()
	lacks := a.lacksSecrets()
	wanted := a.want != nil && a.want.RotateTo > a.want.KeyGen && len(a.identity.PrivateKeys) > 0
	a.mu.Unlock()
	if wanted {
		if err := a.rotate(ctx); err != nil {
			return err
		}
	}
	if lacks {
		return a.fetchSecrets(ctx)
	}
	return nil
}

// settleKey gets the private key that a document asks for before anything is
// written, so that key and peers change in one step. Without an answer the rest
// does not wait longer.
func (a *Agent) settleKey(ctx context.Context) {
	a.mu.Lock()
	_, have := a.privateKey(a.want)
	a.mu.Unlock()
	if !have {
		ctx, cancel := context.WithTimeout(ctx, keyPatience)
		defer cancel()
		_ = a.fetchSecrets(ctx) // keepSettled tries again, and tells
	}
}

func (a *Agent) fetchSecrets(ctx context.Context) error {
	sealed, err := a.cfg.Source.Secrets(ctx)
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if sealed == nil {
		return fmt.Errorf("agent: fetch secrets: there are none: %w", ErrNoKey)
	}
	s, err := sealed.Open(a.identity.SealKey, a.sealing())
	if err != nil {
		return err
	}
	a.sealed, a.secrets = sealed, s
	nudge(a.dirty)
	if a.cfg.Dir != nil {
		if err := a.cfg.Dir.saveJSON(secretsFile, sealed); err != nil {
			a.log.Error("secrets are applied but not saved", "error", err)
		}
	}
	if a.lacksSecrets() {
		return fmt.Errorf("agent: fetch secrets: not all of the document's: %w", ErrNoKey)
	}
	return nil
}

// Rotate makes the server's next WireGuard key and announces it. The server goes
// over to it when a document shows it, in the same step as its peers. A key that
// was announced and is not yet in use is announced again.
//
// If the control plane keeps the server's key, the error wraps [ErrManaged].
func (a *Agent) Rotate(ctx context.Context) error {
	if a.cfg.Source == nil {
		return errors.New("agent: rotate: there is no control plane")
	}
	a.mu.Lock()
	own := len(a.identity.PrivateKeys) > 0
	a.mu.Unlock()
	if !own {
		return fmt.Errorf("agent: rotate: %w", ErrManaged)
	}
	return a.rotate(ctx)
}

func (a *Agent) rotate(ctx context.Context) error {
	next, err := a.nextKey()
	if err != nil {
		return err
	}
	return a.cfg.Source.Announce(ctx, next)
}

// nextKey returns the key that follows the one in use. It is on disk before
// anybody hears of it.
func (a *Agent) nextKey() (keys.PublicKey, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if n := len(a.identity.PrivateKeys); n > 0 && a.want != nil && a.identity.PublicKey() != a.want.PublicKey {
		return a.identity.PublicKey(), nil
	}
	key, err := keys.GeneratePrivateKey()
	if err != nil {
		return keys.PublicKey{}, fmt.Errorf("agent: rotate: %w", err)
	}
	id := a.identity
	id.PrivateKeys = append(slices.Clone(id.PrivateKeys), key)
	if err := a.saveIdentity(&id); err != nil {
		return keys.PublicKey{}, err
	}
	return key.PublicKey(), nil
}

// dropOldKeys forgets keys that came before the one in use, once it is in use.
func (a *Agent) dropOldKeys(inUse keys.PublicKey) {
	a.mu.Lock()
	defer a.mu.Unlock()
	i := slices.IndexFunc(a.identity.PrivateKeys, func(k keys.PrivateKey) bool { return k.PublicKey() == inUse })
	if i <= 0 {
		return
	}
	id := a.identity
	id.PrivateKeys = slices.Clone(id.PrivateKeys[i:])
	if err := a.saveIdentity(&id); err != nil {
		a.log.Error("old key is not forgotten", "error", err)
	}
}

func (a *Agent) saveIdentity(id *Identity) error {
	if a.cfg.Dir != nil {
		if err := a.cfg.Dir.SaveIdentity(id); err != nil {
			return err
		}
	}
	a.identity = *id
	return nil
}
