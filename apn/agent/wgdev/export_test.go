package wgdev

import "golang.zx2c4.com/wireguard/wgctrl/wgtypes"

// AppendConfig and ParseDevice are the configuration protocol.
func AppendConfig(dst []byte, c wgtypes.Config) []byte { return appendConfig(dst, c) }

func ParseDevice(text string) (*wgtypes.Device, error) { return parseDevice(text) }
