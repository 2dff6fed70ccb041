package render

import "strings"

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

// String returns the key as the man pages spell it.
func (k key) String() string {
	return [keyCount]string{
		"", "PrivateKey", "ListenPort", "FwMark", "Address", "MTU", "DNS", "Table", "PreUp", "PostUp", "PreDown", "PostDown",
		"SaveConfig", "PublicKey", "PresharedKey", "AllowedIPs", "Endpoint", "PersistentKeepalive",
	}[k]
}

// keyNamed returns the key of that name in any case, or keyNone.
func keyNamed(s string) key {
	for k := range key(keyCount) {
		if name := k.String(); len(name) == len(s) && strings.EqualFold(name, s) {
			return k
		}
	}
	return keyNone
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
