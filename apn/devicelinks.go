package apn

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/argon2"

	"github.com/apnkit/apnkit/keys"
	"github.com/apnkit/apnkit/render"
)

// DeviceLink is a one-time link: whoever has its secret is handed the config of
// one device, once. The secret is stored nowhere, only its SHA-256.
type DeviceLink struct {
	ID         string // tells links apart, opens nothing
	Member     string
	Device     string
	Format     string // as it was given to AddDeviceLink
	Apps       bool   // one config per app
	By         string // who made it
	CreatedAt  time.Time
	ExpiresAt  time.Time
	UsedAt     time.Time // zero: nobody used it
	Passphrase bool      // it takes one
	Ended      string    // why it works no more; empty: it does
}

// Alarm says that somebody tried what nobody should: one of a device's links was
// redeemed a second time, or its passphrase guessed at. Whoever was handed the
// config may not be the member. A new key for the device answers it.
type Alarm struct {
	Kind AlarmKind  `json:"kind"`
	At   time.Time  `json:"at"`
	From netip.Addr `json:"from,omitzero"`
	Link string     `json:"link"` // its ID
}

// AlarmKind says what was tried.
type AlarmKind string

// The kinds of alarms.
const (
	LinkReused  AlarmKind = "link_reused"
	LinkGuessed AlarmKind = "link_guessed"
)

// onceRow is a one-time link. Its key has the hash of the secret.
type onceRow struct {
	head
	ID      string    `json:"id"`
	Member  string    `json:"member"`
	Device  string    `json:"device"`
	UID     string    `json:"uid"` // of the device's row
	Gen     uint64    `json:"gen"` // of its key
	Reach   []string  `json:"reach,omitempty"`
	Format  string    `json:"format,omitempty"`
	Apps    bool      `json:"apps,omitempty"`
	By      string    `json:"by,omitempty"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
	Used    time.Time `json:"used,omitzero"`
	Pass    []byte    `json:"pass,omitempty"`  // argon2id of the passphrase
	Wrong   int       `json:"wrong,omitempty"` // passphrases
	Refused int       `json:"refused,omitempty"`
}

// alarmRow is the last alarm of a device. It is about one key: the next one ends
// it.
type alarmRow struct {
	head
	UID string `json:"uid"`
	Gen uint64 `json:"gen"`
	Alarm
}

func onceKey(hash string) string            { return preOnce + hash }
func alarmKey(member, device string) string { return preAlarm + member + "/" + device }

const (
	// DefaultLinkTTL is how long a one-time link works.
	DefaultLinkTTL = 10 * time.Minute
	// MaxLinkTTL is how long it may work at most.
	MaxLinkTTL = 24 * time.Hour
	// linkKept is how long a link that has ended stays known, so that a second
	// redemption raises an alarm.
	linkKept      = 7 * 24 * time.Hour
	linkPrefix    = "apl_"
	linkSweep     = 16
	maxLinks      = 20 // of a device that may still be redeemed
	maxWrong      = 5  // passphrases
	maxRefused    = 8  // refusals that the audit log tells of one link
	maxLinkFormat = 32
	maxPassphrase = 256
)

// DeviceLinkOptions are the optional settings of a one-time link.
type DeviceLinkOptions struct {
	CommitOptions
	// Format is kept for whoever redeems the link: at most 32 of printable ASCII
	// without spaces. Empty: nothing is said.
	Format string
	// Apps hands out one config per app, as [Network.HandOutApps] does.
	Apps bool
	// TTL is how long the link works. Zero means [DefaultLinkTTL].
	TTL time.Duration
	// Passphrase must be told to redeem the link; five wrong ones end it. Empty:
	// none.
	Passphrase string
}

// AddDeviceLink makes a one-time link to the config of a device and returns its
// secret, which cannot be had again. The link ends with its time, with its use,
// and with the device, the device's key, or any access that the member has now.
// opts may be nil.
//
// A device whose private key is not here gives [render.ErrNoPrivateKey], or
// [ErrRevealed] if it was shown already.
func (n *Network) AddDeviceLink(ctx context.Context, member, device string, opts *DeviceLinkOptions) (secret string, l DeviceLink, err error) {
	secret, l, err = n.addDeviceLink(ctx, member, device, opts)
	if err != nil {
		return "", DeviceLink{}, &Error{Op: "add one-time link", Object: member + "/" + device, Err: err}
	}
	return secret, l, nil
}

func (n *Network) addDeviceLink(ctx context.Context, member, device string, opts *DeviceLinkOptions) (secret string, l DeviceLink, err error) {
	if opts == nil {
		opts = new(DeviceLinkOptions)
	}
	ttl := opts.TTL
	if ttl == 0 {
		ttl = DefaultLinkTTL
	}
	switch {
	case ttl < time.Second || ttl > MaxLinkTTL:
		return "", l, invalid("ttl", "must be 1 second to 24 hours", nil)
	case len(opts.Format) > maxLinkFormat || !printable(opts.Format):
		return "", l, invalid("format", "must be at most 32 of printable ASCII without spaces", nil)
	case len(opts.Passphrase) > maxPassphrase:
		return "", l, invalid("passphrase", "must be at most 256 bytes", nil)
	}
	// The network's name leads to the row; the rest has 260 random bits.
	secret = linkPrefix + n.name + "." + rand.Text() + rand.Text()
	row := onceRow{
		ID: strings.ToLower(rand.Text()[:12]), Member: member, Device: device, Format: opts.Format, Apps: opts.Apps,
		By: actorOf(ctx).ID,
	}
	if opts.Passphrase != "" {
		row.Pass = passphraseHash(secret, opts.Passphrase)
	}
	err = n.do(ctx, &opts.CommitOptions, func(t *tx) error {
		r := row
		if err := t.addLink(&r, secretHash(secret), ttl); err != nil {
			return err
		}
		l = t.linkOf(&r, t.now)
		return nil
	})
	return secret, l, err
}

func (t *tx) addLink(r *onceRow, hash string, ttl time.Duration) error {
	k, ok := find[*keyRow](t.state, keyKey(devKey(r.Member, r.Device)))
	switch {
	case !ok:
		return ErrNotFound
	case k.Custody == keys.Self:
		return render.ErrNoPrivateKey
	case k.Custody == keys.Once && k.Revealed:
		return ErrRevealed
	}
	var old []string
	open := 0
	for h, other := range under[*onceRow](t.state, preOnce) {
		switch {
		case t.now.Sub(other.Expires) > linkKept && len(old) < linkSweep:
			old = append(old, h)
		case other.Member == r.Member && other.Device == r.Device && t.linkOver(other, t.now) == nil:
			open++
		}
	}
	if open >= maxLinks {
		return fmt.Errorf("%w: the device has %d links that nobody has used", ErrExhausted, open)
	}
	for _, h := range old {
		t.del(onceKey(h))
	}
	r.UID, r.Gen, r.Reach = k.UID, k.Gen, t.appsOf(r.Member)
	r.Created, r.Expires = t.now.UTC(), t.now.Add(ttl).UTC()
	t.put(onceKey(hash), r)
	t.event("link.create", r.Member+"/"+r.Device, fmt.Sprintf("link %s until %s", r.ID, r.Expires.Format(time.RFC3339)))
	return nil
}

// DeviceLinks returns a device's one-time links, newest first, those that ended
// in the last days too.
func (n *Network) DeviceLinks(member, device string) ([]DeviceLink, error) {
	s := n.view()
	if _, ok := find[*devRow](s, devKey(member, device)); !ok {
		return nil, &Error{Op: "list one-time links", Object: member + "/" + device, Err: ErrNotFound}
	}
	links, now := []DeviceLink{}, n.ctl.now()
	for _, r := range under[*onceRow](s, preOnce) {
		if r.Member == member && r.Device == device {
			links = append(links, s.linkOf(r, now))
		}
	}
	slices.SortFunc(links, func(a, b DeviceLink) int {
		if c := b.CreatedAt.Compare(a.CreatedAt); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return links, nil
}

func (s *state) linkOf(r *onceRow, now time.Time) DeviceLink {
	l := DeviceLink{
		ID: r.ID, Member: r.Member, Device: r.Device, Format: r.Format, Apps: r.Apps, By: r.By, CreatedAt: r.Created,
		ExpiresAt: r.Expires, UsedAt: r.Used, Passphrase: r.Pass != nil,
	}
	if err := s.linkOver(r, now); err != nil {
		l.Ended = err.Error()
	}
	return l
}

// RemoveDeviceLink makes a one-time link invalid. opts may be nil.
func (n *Network) RemoveDeviceLink(ctx context.Context, member, device, id string, opts *CommitOptions) error {
	err := n.do(ctx, opts, func(t *tx) error {
		for hash, r := range under[*onceRow](t.state, preOnce) {
			if r.ID == id && r.Member == member && r.Device == device {
				t.del(onceKey(hash))
				t.event("link.revoke", member+"/"+device, "link "+id)
				return nil
			}
		}
		return ErrNotFound
	})
	if err != nil {
		return &Error{Op: "remove one-time link", Object: member + "/" + device, Err: err}
	}
	return nil
}

// dropLinks forgets the links and the alarm of a device that goes.
func (t *tx) dropLinks(member, device string) {
	var gone []string
	for hash, r := range under[*onceRow](t.state, preOnce) {
		if r.Member == member && r.Device == device {
			gone = append(gone, onceKey(hash))
		}
	}
	if _, ok := find[*alarmRow](t.state, alarmKey(member, device)); ok {
		gone = append(gone, alarmKey(member, device))
	}
	for _, key := range gone {
		t.del(key)
	}
}

// linkOver says why a link cannot be redeemed, nil if it can.
func (s *state) linkOver(r *onceRow, now time.Time) error {
	ended := func(why string) error { return fmt.Errorf("%w: %s", ErrLinkEnded, why) }
	k, ok := find[*keyRow](s, keyKey(devKey(r.Member, r.Device)))
	apps := s.appsOf(r.Member)
	switch {
	case !r.Used.IsZero():
		return ErrLinkUsed
	case !now.Before(r.Expires):
		return ended("its time is over")
	case r.Wrong >= maxWrong:
		return ended("too many wrong passphrases")
	case !ok || k.UID != r.UID:
		return ended("the device was removed")
	case k.Gen != r.Gen:
		return ended("the device has a new key")
	case slices.ContainsFunc(r.Reach, func(app string) bool { return !slices.Contains(apps, app) }):
		return ended("the access that it was made for was taken away")
	default:
		return nil
	}
}

// RedeemLink hands out the config that a one-time link leads to, as
// [Network.HandOut] does: what use made of it must not reach anybody if
// RedeemLink returns an error. The link is used up in the same commit that
// records the hand-out, so of several redeemers one wins. use gets one config,
// or one per app if the link was made so.
//
// A secret that is unknown, or removed, gives [ErrNotFound]; a link that was used
// [ErrLinkUsed], and raises an alarm; one that works no more for another reason
// [ErrLinkEnded]. A missing or wrong passphrase is a [*FieldError]; to check it
// takes 19 MiB and some 20 ms, so callers bound how many they check at a time.
func (c *Control) RedeemLink(ctx context.Context, secret, passphrase string, use func(DeviceLink, []*render.Config) error) error {
	object, err := c.redeemLink(ctx, secret, passphrase, use)
	if err != nil {
		return &Error{Op: "redeem one-time link", Object: object, Err: err}
	}
	return nil
}

func (c *Control) redeemLink(ctx context.Context, secret, passphrase string, use func(DeviceLink, []*render.Config) error) (object string, err error) {
	rest, ok := strings.CutPrefix(secret, linkPrefix)
	network := rest[:max(strings.LastIndexByte(rest, '.'), 0)]
	if !ok || checkNetwork("secret", network) != nil {
		return "", ErrNotFound
	}
	// Read, not opened: a stranger must not make this process load networks.
	key := onceKey(secretHash(secret))
	page, err := c.store.Get(ctx, space(network), key)
	if err != nil {
		return "", storeError(err)
	}
	if len(page.Entries) == 0 {
		return "", ErrNotFound
	}
	n, err := c.open(ctx, network)
	if err == nil {
		err = n.catchUpNow(ctx)
	}
	if err != nil {
		return "", err
	}
	r, ok := find[*onceRow](n.view(), key)
	if !ok {
		return "", ErrNotFound
	}
	ctx = WithActor(ctx, Actor{ID: "link " + r.ID, From: actorOf(ctx).From})
	err = n.view().linkOver(r, c.now())
	if err == nil && r.Pass != nil {
		err = n.checkPassphrase(ctx, key, r, secret, passphrase)
	}
	if err == nil {
		err = n.redeem(ctx, key, r, use)
	}
	if errors.Is(err, ErrLinkUsed) || errors.Is(err, ErrLinkEnded) {
		return "", errors.Join(err, n.do(ctx, nil, func(t *tx) error { return t.refuseLink(key, err) }))
	}
	return r.Member + "/" + r.Device, err
}

// redeem hands out the config and uses the link up.
func (n *Network) redeem(ctx context.Context, key string, r *onceRow, use func(DeviceLink, []*render.Config) error) error {
	return n.tryHandOut(ctx, r.Member, r.Device, func(c *shownConfig, cfg *render.Config) error {
		c.claim = func(t *tx) error { return t.useLink(key) }
		configs := []*render.Config{cfg}
		if r.Apps {
			configs = c.split(n.name, cfg)
		}
		return use(n.view().linkOf(r, n.ctl.now()), configs)
	})
}

func (t *tx) useLink(key string) error {
	r, ok := find[*onceRow](t.state, key)
	if !ok {
		return ErrNotFound
	}
	if err := t.linkOver(r, t.now); err != nil {
		return err
	}
	used := *r
	used.Used = t.now.UTC()
	t.put(key, &used)
	t.event("link.redeem", r.Member+"/"+r.Device, "link "+r.ID)
	return nil
}

// checkPassphrase compares, and counts what is wrong.
func (n *Network) checkPassphrase(ctx context.Context, key string, r *onceRow, secret, passphrase string) error {
	if passphrase == "" {
		return invalid("passphrase", "is required", nil)
	}
	if len(passphrase) <= maxPassphrase && subtle.ConstantTimeCompare(passphraseHash(secret, passphrase), r.Pass) == 1 {
		return nil
	}
	left := 0
	err := n.do(ctx, nil, func(t *tx) error {
		now, ok := find[*onceRow](t.state, key)
		if !ok {
			return ErrNotFound
		}
		if err := t.linkOver(now, t.now); err != nil {
			return err
		}
		wrong := *now
		wrong.Wrong++
		t.put(key, &wrong)
		left = maxWrong - wrong.Wrong
		t.refused("link.refuse", r.Member+"/"+r.Device, fmt.Sprintf("link %s: wrong passphrase, %d tries left", r.ID, left))
		if left == 0 {
			t.alarm(&wrong, LinkGuessed)
		}
		return nil
	})
	switch {
	case err != nil:
		return err
	case left == 0:
		return fmt.Errorf("%w: too many wrong passphrases", ErrLinkEnded)
	default:
		return invalid("passphrase", fmt.Sprintf("is wrong; %d more tries", left), nil)
	}
}

// passphraseHash is salted with the link's secret, which is stored nowhere: who
// has the rows alone cannot even try passphrases. The cost is the least that
// OWASP's cheat sheet on password storage advises.
func passphraseHash(secret, passphrase string) []byte {
	salt := sha256.Sum256([]byte("apn one-time link\x00" + secret))
	return argon2.IDKey([]byte(passphrase), salt[:], 2, 19<<10, 1, 32)
}

// refuseLink records that a link was tried that works no more. A loop must not
// fill the log.
func (t *tx) refuseLink(key string, why error) error {
	r, ok := find[*onceRow](t.state, key)
	if !ok || r.Refused >= maxRefused {
		return nil
	}
	refused := *r
	refused.Refused++
	t.put(key, &refused)
	action := "link.refuse"
	if errors.Is(why, ErrLinkUsed) {
		action = "link.reused"
		t.alarm(r, LinkReused)
	}
	t.refused(action, r.Member+"/"+r.Device, "link "+r.ID+": "+why.Error())
	return nil
}

// alarm raises an alarm on a link's device, if that still has the key that the
// link was about.
func (t *tx) alarm(r *onceRow, kind AlarmKind) {
	k, ok := find[*keyRow](t.state, keyKey(devKey(r.Member, r.Device)))
	if !ok || k.UID != r.UID || k.Gen != r.Gen {
		return
	}
	t.put(alarmKey(r.Member, r.Device), &alarmRow{
		UID: r.UID, Gen: r.Gen, Alarm: Alarm{Kind: kind, At: t.now.UTC(), From: t.cmd.actor.From, Link: r.ID},
	})
}

// alarmOf returns the alarm of a device with its present key.
func (s *state) alarmOf(member, device string, k *keyRow) *Alarm {
	r, ok := find[*alarmRow](s, alarmKey(member, device))
	if !ok || r.UID != k.UID || r.Gen != k.Gen {
		return nil
	}
	a := r.Alarm
	return &a
}
