//go:build !sqlite

package main

const sqliteDriver = ""
