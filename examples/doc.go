// Package examples holds programs that use the library; see the folders.
package examples
