//go:build !sqlite

package main

func tagSQLite(engines) {}
