// Package ipam numbers a network: every app gets a subnet of the network's
// prefixes, and every owner in the app, a server or a device, an address.
//
// A [Pool] is a value. Nothing here does I/O, reads the clock, starts a goroutine
// or logs. Deciding ([Pool.Subnet], [Pool.Grow], [Pool.Acquire], [Pool.Move],
// [Pool.Release], [Pool.ReleaseSubnet]) changes nothing either: it returns the
// answer and a [Change], the records before and after. The caller commits these
// records wherever it likes and then calls [Pool.Apply]; if the commit fails,
// there is nothing to undo. A decision that is not applied is a preview. Many
// decisions, each applied before the next, become one commit with [Join].
//
//	_, c, err := pool.Acquire(now, "shop", "web-1", nil)
//	// commit c.Steps in one transaction
//	err = pool.Apply(c)
//
// [Load] builds a Pool from its records, in any order. Replicas that commit to
// one log at its head, and decide again when another one was faster, never give
// an address out twice: they apply each other's rows, with [Pool.Record] as what
// was before. Do not decide before the first load is complete.
//
// # Rest
//
// What is released rests for Config.CoolDown before somebody else gets it: leases
// and config files that others hold still name it, and would reach whoever gets
// it next. Only the former owner may have it back at once. Ranges rest as
// addresses do. The time of the release is in the record, so the rest survives a
// restart, and a clock that goes backwards does not shorten it: the later of now
// and the last release counts. Resting addresses count as held when a subnet
// grows. What has rested is forgotten little by little by the decisions that
// follow, which is why a Change may remove records of others.
//
// # Generations
//
// Each time an owner gets an address anew, the generation of its assignment is
// higher than any that it had while its app kept its subnet. [Pool.Release] with
// the generation that the caller knows cannot hit a later assignment.
//
// # Growth
//
// A full subnet doubles in place, upward, as long as the space above is not held;
// then it gets further ranges. No address and no base ever changes. So that there
// is space above, the placement [Spread] cuts new ranges from the largest unused
// prefix.
//
// # IPv6
//
// By default the IPv6 address is the IPv4 address in the low 32 bits of the
// network's IPv6 prefix: one pick decides both, and the record of the IPv4 address
// stands for both. Automatic picks use the first 2^24 addresses of a range;
// callers may choose any.
//
// # Arguments
//
// App and owner are opaque: not empty, UTF-8, at most 512 bytes. Prefixes have
// no host bits and addresses no zone; IPv4-mapped prefixes are refused, IPv4-mapped
// addresses are taken as IPv4. Times before 1970 count as 1970.
package ipam
