package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"github.com/apnkit/apnkit/keys"
)

// transit is a KEK whose key stays in a transit engine, as HashiCorp Vault and
// OpenBao have one. This file is all that it takes.
type transit struct {
	url, token, key string // https://vault.example:8200, the client's token, the key's name
	version         int    // of the key; another version is another KEK
}

// KeyID is part of every data key: it names the version, so that a rotation
// inside the service shows.
func (k *transit) KeyID() string { return fmt.Sprintf("transit/%s:v%d", k.key, k.version) }

func (k *transit) Wrap(ctx context.Context, plaintext, aad []byte) ([]byte, error) {
	out, err := k.call(ctx, "encrypt", map[string]any{"plaintext": plaintext, "associated_data": aad, "key_version": k.version})
	return []byte(out.Data.Ciphertext), err
}

func (k *transit) Unwrap(ctx context.Context, wrapped, aad []byte) ([]byte, error) {
	out, err := k.call(ctx, "decrypt", map[string]any{"ciphertext": string(wrapped), "associated_data": aad})
	return out.Data.Plaintext, err
}

type answer struct {
	Data struct {
		Ciphertext string `json:"ciphertext"`
		Plaintext  []byte `json:"plaintext"` // base64 in JSON, as are all byte slices
	} `json:"data"`
}

func (k *transit) call(ctx context.Context, op string, in map[string]any) (out answer, err error) {
	body, _ := json.Marshal(in) // strings, bytes and numbers always encode
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, k.url+"/v1/transit/"+op+"/"+k.key, bytes.NewReader(body))
	if err != nil {
		return out, err
	}
	req.Header.Set("X-Vault-Token", k.token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return out, err // an outage, as far as package keys is concerned
	}
	defer func() { _ = resp.Body.Close() }()
	switch {
	case resp.StatusCode == http.StatusBadRequest && op == "decrypt":
		return out, fmt.Errorf("transit %s: %w", op, keys.ErrTampered)
	case resp.StatusCode != http.StatusOK:
		return out, fmt.Errorf("transit %s: %s", op, resp.Status)
	}
	return out, json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&out)
}
