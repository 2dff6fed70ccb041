// Package apn runs application private networks: an account's apps with address
// ranges of their own, their servers with keys and names, the people who may
// reach them from their devices, and the times at which ports are open.
//
// [Open] takes a store and a KEK and returns a [Control], which holds many
// networks. A [Network] is changed by methods such as [Network.AddServer] and
// read by methods such as [Network.Server]; [Network.Watch] tells when it has
// changed. What servers and devices need follows from the state: a device's
// config from [Network.DeviceConfig], all that one server may know from
// [Network.ServerMap], the names from [Network.Zone].
//
// # Commits
//
// A network's state is a function of its rows in the store, and a network has
// one sequence of revisions. Each change is one commit: its rows, the sealed key
// and the audit event are there together or not at all, and nothing is handed to
// a caller before it is durable. Concurrent commands share a commit. Any number
// of processes may work on one store; a process that was overtaken reads what
// changed and decides again.
//
// # Agents
//
// What runs on a server joins by a token of [Network.AddJoinToken] and is an
// [Agent] from then on: it waits for signed documents of package netmap, fetches
// the secrets that are sealed to it, rotates its key and reports how it is.
//
// # Keys
//
// Every key pair, public half included, is sealed under a data key of its
// network, which the KEK wraps. A private key leaves only in a config that was
// recorded as handed out.
package apn
