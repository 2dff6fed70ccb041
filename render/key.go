package render

import (
	"strings"
	"sync"
)

// key is one of the keys that wg and wg-quick know.
type key uint8

const (
	keyNone key = iota
	keyPrivateKey
	keyListenPort
	keyFwMark
	keyAddress
	keyMTU
	keyDNS
	keyTable
	keyPreUp
	keyPostUp
	keyPreDown
	keyPostDown
	keySaveConfig
	keyPublicKey // the first one of [Peer]
	keyPresharedKey
	keyAllowedIPs
	keyEndpoint
	keyPersistentKeepalive
	keyCount = int(iota)
)

func bit(k key) uint32 { return 1 << k }

// names is where keys are told apart: no two have the same length and the same
// first letter.
//
//nolint:gochecknoglobals // a table that is built once and never changes
var names = sync.OnceValue(func() *[20][26]key {
	t := new([20][26]key)
	for k := range key(keyCount) {
		if name := k.String(); name != "" {
			t[len(name)][name[0]-'A'] = k
		}
	}
	return t
})

// keyNamed returns the key of that name in any case, or keyNone.
func keyNamed(s string) key {
	t := names()
	if len(s) == 0 || len(s) >= len(t) {
		return keyNone
	}
	letter := s[0]&^0x20 - 'A'
	if int(letter) >= len(t[0]) {
		return keyNone
	}
	k := t[len(s)][letter]
	if name := k.String(); s != name && !strings.EqualFold(s, name) {
		return keyNone
	}
	return k
}

// String returns the key as the man pages spell it.
func (k key) String() string {
	switch k {
	case keyPrivateKey:
		return "PrivateKey"
	case keyListenPort:
		return "ListenPort"
	case keyFwMark:
		return "FwMark"
	case keyAddress:
		return "Address"
	case keyMTU:
		return "MTU"
	case keyDNS:
		return "DNS"
	case keyTable:
		return "Table"
	case keyPreUp:
		return "PreUp"
	case keyPostUp:
		return "PostUp"
	case keyPreDown:
		return "PreDown"
	case keyPostDown:
		return "PostDown"
	case keySaveConfig:
		return "SaveConfig"
	case keyPublicKey:
		return "PublicKey"
	case keyPresharedKey:
		return "PresharedKey"
	case keyAllowedIPs:
		return "AllowedIPs"
	case keyEndpoint:
		return "Endpoint"
	case keyPersistentKeepalive:
		return "PersistentKeepalive"
	default:
		return ""
	}
}

func (k key) section() section {
	if k >= keyPublicKey {
		return peerSection
	}
	return interfaceSection
}

// isList reports whether the key may come again.
func (k key) isList() bool {
	return k == keyAddress || k == keyDNS || k == keyAllowedIPs || k.isHook()
}

func (k key) isHook() bool { return k >= keyPreUp && k <= keyPostDown }
