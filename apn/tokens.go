package apn

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"time"

	"github.com/apnkit/apnkit/apn/store"
)

// Token is an API token. The secret itself is stored nowhere, only its SHA-256:
// it has 256 random bits, so a slow hash would protect nothing and cost every
// request.
type Token struct {
	ID        string    `json:"id"`   // tells tokens apart, opens nothing
	Name      string    `json:"name"` // for people and the audit log
	CreatedAt time.Time `json:"created_at"`
	ExpiresAt time.Time `json:"expires_at,omitzero"` // zero: it does not end
	// Network and Member bind the token to one person of one network. Both
	// empty: an operator, who may do everything.
	Network string `json:"network,omitempty"`
	Member  string `json:"member,omitempty"`
}

type tokenRow struct {
	head
	Token
	// UID is that of the member's row: a later member of the same name is
	// somebody else.
	UID string `json:"uid,omitempty"`
}

// TokenOptions are the optional settings of a token.
type TokenOptions struct {
	// Network and Member bind the token to a person. Empty: an operator.
	Network, Member string
	// TTL is how long the token is valid. Zero: for ever.
	TTL time.Duration
}

// tokenPrefix lets scanners of source code and logs recognise a token that
// leaked.
const tokenPrefix = "apn_"

// AddToken makes an API token and returns its secret, which cannot be had again.
// opts may be nil.
func (c *Control) AddToken(ctx context.Context, name string, opts *TokenOptions) (secret string, t Token, err error) {
	const op = "add token"
	if opts == nil {
		opts = new(TokenOptions)
	}
	if err := checkTokenName(name); err != nil {
		return "", Token{}, &Error{Op: op, Err: err}
	}
	if (opts.Network == "") != (opts.Member == "") {
		return "", Token{}, &Error{Op: op, Err: invalid("member", "and network go together", nil)}
	}
	uid, err := c.incarnation(ctx, opts.Network, opts.Member)
	if err != nil {
		return "", Token{}, &Error{Op: op, Object: opts.Member, Err: err}
	}
	if opts.TTL < 0 {
		return "", Token{}, &Error{Op: op, Err: invalid("ttl", "must not be negative", nil)}
	}
	body := rand.Text() + rand.Text() // 260 bits
	secret = tokenPrefix + body + checksum(body)
	now := c.now().UTC()
	t = Token{ID: strings.ToLower(rand.Text()[:12]), Name: name, CreatedAt: now, Network: opts.Network, Member: opts.Member}
	if opts.TTL > 0 {
		t.ExpiresAt = now.Add(opts.TTL)
	}
	row := tokenRow{Token: t, UID: uid}
	row.stamp()
	value, err := json.Marshal(row)
	if err != nil {
		return "", Token{}, &Error{Op: op, Err: err}
	}
	if err = c.record(ctx, "token.add", t.ID, tokenDetail(t), ""); err == nil {
		_, err = c.store.Commit(ctx, dirSpace, store.Batch{Writes: []store.Write{{Key: tokenKey(secret), Value: value}}})
	}
	if err != nil {
		return "", Token{}, &Error{Op: op, Err: storeError(err)}
	}
	return secret, t, nil
}

func tokenDetail(t Token) string {
	whose := "for operators"
	if t.Member != "" {
		whose = "for " + t.Member + " in " + t.Network
	}
	if t.ExpiresAt.IsZero() {
		return t.Name + ", " + whose
	}
	return t.Name + ", " + whose + ", until " + t.ExpiresAt.Format(time.RFC3339)
}

// checksum lets a mistyped token be told from an unknown one without a look-up.
func checksum(body string) string { return fmt.Sprintf("%08x", crc32.ChecksumIEEE([]byte(body))) }

func tokenKey(secret string) string { return dirToken + secretHash(secret) }

func checkTokenName(name string) error {
	if len(name) == 0 || len(name) > maxNote || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r > '~' }) {
		return invalid("name", "must be 1 to 100 of printable ASCII", nil)
	}
	return nil
}

// Token returns the token that a secret belongs to. A secret that is malformed,
// unknown, expired, or that of a member who is gone, gives [ErrForbidden], without saying which.
func (c *Control) Token(ctx context.Context, secret string) (Token, error) {
	const op = "check token"
	body, ok := strings.CutPrefix(secret, tokenPrefix)
	if !ok || len(body) != 60 || checksum(body[:52]) != body[52:] {
		return Token{}, &Error{Op: op, Err: ErrForbidden}
	}
	page, err := c.store.Get(ctx, dirSpace, tokenKey(secret))
	if err != nil {
		return Token{}, &Error{Op: op, Err: storeError(err)}
	}
	if len(page.Entries) == 0 {
		return Token{}, &Error{Op: op, Err: ErrForbidden}
	}
	row, err := decodeToken(page.Entries[0])
	if err != nil {
		return Token{}, &Error{Op: op, Err: err}
	}
	if t := row.ExpiresAt; !t.IsZero() && !c.now().Before(t) {
		return Token{}, &Error{Op: op, Err: ErrForbidden}
	}
	switch uid, err := c.incarnation(ctx, row.Network, row.Member); {
	case errors.Is(err, ErrNotFound), err == nil && uid != row.UID:
		return Token{}, &Error{Op: op, Err: ErrForbidden}
	case err != nil:
		return Token{}, &Error{Op: op, Err: err}
	}
	return row.Token, nil
}

// incarnation returns the UID of a member's row; empty for operators.
func (c *Control) incarnation(ctx context.Context, network, member string) (string, error) {
	if network == "" {
		return "", nil
	}
	n, err := c.open(ctx, network)
	if err != nil {
		return "", err
	}
	r, ok := find[*memRow](n.view(), memKey(member))
	if !ok {
		return "", notFound("member")
	}
	return r.UID, nil
}

func decodeToken(e store.Entry) (tokenRow, error) {
	var row tokenRow
	if err := json.Unmarshal(e.Value, &row); err != nil || row.V != rowFormat {
		return tokenRow{}, damaged(dirToken, errors.New("malformed JSON document"))
	}
	return row, nil
}

// Tokens returns all API tokens, without their secrets, in no order.
func (c *Control) Tokens(ctx context.Context) ([]Token, error) {
	tokens := []Token{}
	err := c.eachToken(ctx, func(_ string, t Token) bool {
		tokens = append(tokens, t)
		return true
	})
	if err != nil {
		return nil, &Error{Op: "list tokens", Err: err}
	}
	return tokens, nil
}

// RemoveToken makes a token invalid at once.
func (c *Control) RemoveToken(ctx context.Context, id string) error {
	const op = "remove token"
	key := ""
	err := c.eachToken(ctx, func(k string, t Token) bool {
		if t.ID == id {
			key = k
		}
		return key == ""
	})
	if err == nil && key == "" {
		err = ErrNotFound
	}
	if err == nil {
		err = c.record(ctx, "token.remove", id, "", "")
	}
	if err == nil {
		_, err = c.store.Commit(ctx, dirSpace, store.Batch{Writes: []store.Write{{Key: key}}})
		err = storeError(err)
	}
	if err != nil {
		return &Error{Op: op, Object: id, Err: err}
	}
	return nil
}

func (c *Control) eachToken(ctx context.Context, yield func(key string, t Token) bool) error {
	for after := ""; ; {
		page, err := c.store.List(ctx, dirSpace, dirToken, after, pageSize)
		if err != nil {
			return storeError(err)
		}
		for _, e := range page.Entries {
			row, err := decodeToken(e)
			if err != nil {
				return err
			}
			if after = e.Key; !yield(e.Key, row.Token) {
				return nil
			}
		}
		if !page.More {
			return nil
		}
	}
}
