// Package ipam numbers servers: it carves a network's prefixes into a subnet per
// app and gives every owner in it an address.
package ipam
