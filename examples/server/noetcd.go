//go:build !etcd

package main

func tagEtcd(engines) {}
