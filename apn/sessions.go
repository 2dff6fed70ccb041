package apn

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/apnkit/apnkit/apn/store"
)

// Session is somebody who signed in for a while. Like a token's, its secret is
// stored nowhere, only its SHA-256.
type Session struct {
	Name string `json:"name"` // for the audit log
	// Operator may do everything. Network and Member name a person otherwise.
	Operator  bool      `json:"operator,omitempty"`
	Network   string    `json:"network,omitempty"`
	Member    string    `json:"member,omitempty"`
	RotatedAt time.Time `json:"rotated_at"` // when it got its present secret
	ExpiresAt time.Time `json:"expires_at"` // however often it is rotated
}

type sessionRow struct {
	head
	Session
	UID   string `json:"uid,omitempty"`   // of the member's row, as in a token's
	Token string `json:"token,omitempty"` // key of the token that it ends with
	Prev  string `json:"prev,omitempty"`  // key of the secret before, which may be in use for a moment
	Old   bool   `json:"old,omitempty"`   // there is a newer secret

	rev store.Rev
}

const (
	dirSession    = "session/"
	sessionPrefix = "aps_"
	sessionTTL    = 12 * time.Hour
	sessionGrace  = time.Minute // for requests that are under way with the secret before
	sessionSweep  = 50
)

// SessionOptions are the optional settings of a session.
type SessionOptions struct {
	// Token is the secret of the API token that the session ends with. Empty:
	// none.
	Token string
	// TTL is how long the session lasts. Zero: 12 hours.
	TTL time.Duration
}

// StartSession makes a session of s and returns its secret. Only the names in s
// count. opts may be nil.
func (c *Control) StartSession(ctx context.Context, s Session, opts *SessionOptions) (secret string, out Session, err error) {
	const op = "start session"
	if opts == nil {
		opts = new(SessionOptions)
	}
	uid, err := c.incarnation(ctx, s.Network, s.Member)
	if err != nil {
		return "", Session{}, &Error{Op: op, Object: s.Member, Err: err}
	}
	if opts.TTL < 0 {
		return "", Session{}, &Error{Op: op, Err: invalid("ttl", "must not be negative", nil)}
	}
	ttl := opts.TTL
	if ttl == 0 {
		ttl = sessionTTL
	}
	row := sessionRow{Session: s, UID: uid}
	row.RotatedAt = c.now().UTC()
	row.ExpiresAt = row.RotatedAt.Add(ttl)
	if opts.Token != "" {
		row.Token = tokenKey(opts.Token)
	}
	writes, err := c.endedSessions(ctx)
	if err == nil {
		err = c.record(ctx, "session.start", s.Name, "until "+row.ExpiresAt.Format(time.RFC3339), "")
	}
	if err == nil {
		secret, err = c.putSession(ctx, &row, store.Batch{Writes: writes})
	}
	if err != nil {
		return "", Session{}, &Error{Op: op, Err: storeError(err)}
	}
	return secret, row.Session, nil
}

// Session returns the session that a secret belongs to. A secret that is
// malformed, unknown or expired, or whose token or member is gone, gives
// [ErrForbidden], without saying which.
func (c *Control) Session(ctx context.Context, secret string) (Session, error) {
	row, err := c.session(ctx, secret)
	if err != nil {
		return Session{}, &Error{Op: "check session", Err: err}
	}
	return row.Session, nil
}

// RotateSession gives a session another secret. The one before works a minute
// longer, for requests that are under way; to rotate it again gives
// [ErrConflict].
func (c *Control) RotateSession(ctx context.Context, secret string) (next string, s Session, err error) {
	const op = "rotate session"
	row, err := c.session(ctx, secret)
	if err != nil {
		return "", Session{}, &Error{Op: op, Err: err}
	}
	if row.Old {
		return "", Session{}, &Error{Op: op, Err: ErrConflict}
	}
	now := c.now().UTC()
	last := row
	last.Old = true
	if end := now.Add(sessionGrace); end.Before(last.ExpiresAt) {
		last.ExpiresAt = end
	}
	value, err := json.Marshal(last)
	if err != nil {
		return "", Session{}, &Error{Op: op, Err: err}
	}
	row.Prev, row.RotatedAt = sessionKey(secret), now
	next, err = c.putSession(ctx, &row, store.Batch{
		Checks: map[string]store.Rev{row.Prev: row.rev}, Writes: []store.Write{{Key: row.Prev, Value: value}},
	})
	switch {
	case errors.Is(err, store.ErrConflict):
		return "", Session{}, &Error{Op: op, Err: ErrConflict}
	case err != nil:
		return "", Session{}, &Error{Op: op, Err: storeError(err)}
	}
	return next, row.Session, nil
}

// EndSession makes a session's secret invalid at once. One that is unknown is no
// error.
func (c *Control) EndSession(ctx context.Context, secret string) error {
	row, err := c.session(ctx, secret)
	if errors.Is(err, ErrForbidden) {
		return nil
	}
	if err == nil {
		err = c.record(ctx, "session.end", row.Name, "", "")
	}
	if err == nil {
		writes := []store.Write{{Key: sessionKey(secret)}}
		if row.Prev != "" {
			writes = append(writes, store.Write{Key: row.Prev})
		}
		_, err = c.store.Commit(ctx, dirSpace, store.Batch{Writes: writes})
		err = storeError(err)
	}
	if err != nil {
		return &Error{Op: "end session", Err: err}
	}
	return nil
}

func (c *Control) session(ctx context.Context, secret string) (sessionRow, error) {
	body, ok := strings.CutPrefix(secret, sessionPrefix)
	if !ok || len(body) != 52 {
		return sessionRow{}, ErrForbidden
	}
	page, err := c.store.Get(ctx, dirSpace, sessionKey(secret))
	if err != nil {
		return sessionRow{}, storeError(err)
	}
	if len(page.Entries) == 0 {
		return sessionRow{}, ErrForbidden
	}
	row, err := decodeSession(page.Entries[0])
	if err != nil {
		return sessionRow{}, err
	}
	if !c.now().Before(row.ExpiresAt) {
		return sessionRow{}, ErrForbidden
	}
	if row.Token != "" {
		if err := c.tokenLives(ctx, row.Token); err != nil {
			return sessionRow{}, err
		}
	}
	switch uid, err := c.incarnation(ctx, row.Network, row.Member); {
	case errors.Is(err, ErrNotFound), err == nil && uid != row.UID:
		return sessionRow{}, ErrForbidden
	case err != nil:
		return sessionRow{}, err
	}
	return row, nil
}

// tokenLives gives ErrForbidden for a token that was removed or has ended.
func (c *Control) tokenLives(ctx context.Context, key string) error {
	page, err := c.store.Get(ctx, dirSpace, key)
	if err != nil {
		return storeError(err)
	}
	if len(page.Entries) == 0 {
		return ErrForbidden
	}
	row, err := decodeToken(page.Entries[0])
	if err != nil {
		return err
	}
	if t := row.ExpiresAt; !t.IsZero() && !c.now().Before(t) {
		return ErrForbidden
	}
	return nil
}

// putSession commits a session under a new secret, and b with it.
func (c *Control) putSession(ctx context.Context, row *sessionRow, b store.Batch) (secret string, err error) {
	secret = sessionPrefix + rand.Text() + rand.Text() // 260 bits
	row.stamp()
	value, err := json.Marshal(row)
	if err != nil {
		return "", err
	}
	b.Writes = append(b.Writes, store.Write{Key: sessionKey(secret), Value: value})
	_, err = c.store.Commit(ctx, dirSpace, b)
	return secret, err
}

// endedSessions returns the removal of some sessions that have ended. The keys
// are hashes, so those after a random one are as good as any.
func (c *Control) endedSessions(ctx context.Context) ([]store.Write, error) {
	page, err := c.store.List(ctx, dirSpace, dirSession, sessionKey(rand.Text()), sessionSweep)
	if err != nil {
		return nil, storeError(err)
	}
	var writes []store.Write
	for _, e := range page.Entries {
		row, err := decodeSession(e)
		if err != nil {
			return nil, err
		}
		if !c.now().Before(row.ExpiresAt) {
			writes = append(writes, store.Write{Key: e.Key})
		}
	}
	return writes, nil
}

func sessionKey(secret string) string { return dirSession + secretHash(secret) }

func decodeSession(e store.Entry) (sessionRow, error) {
	var row sessionRow
	if err := json.Unmarshal(e.Value, &row); err != nil || row.V != rowFormat {
		return sessionRow{}, damaged(dirSession, errors.New("malformed JSON document"))
	}
	row.rev = e.Rev
	return row, nil
}
