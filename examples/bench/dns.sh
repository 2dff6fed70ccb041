#!/usr/bin/env bash
# Compares our DNS server with others on loopback: queries per second and
# processor time per query, side by side.
#
#   examples/bench/dns.sh [-r rounds] [-l seconds] [-n servers] [-t udp|tcp]
#
# It needs dnsperf and runs whichever of knotd, nsd and coredns it finds (Debian:
# apt-get install knot nsd dnsperf). The servers take turns within each round,
# because a shared machine changes its mind about its speed.
set -euo pipefail

rounds=3 seconds=3 servers=5000 transport=udp
while getopts r:l:n:t: opt; do
	case $opt in
	r) rounds=$OPTARG ;;
	l) seconds=$OPTARG ;;
	n) servers=$OPTARG ;;
	t) transport=$OPTARG ;;
	*) sed -n '2,10p' "$0" >&2 && exit 2 ;;
	esac
done
PATH=$PATH:/usr/sbin:/sbin
command -v dnsperf >/dev/null || { echo "dns.sh: dnsperf is not installed" >&2; exit 1; }

here=$(cd "$(dirname "$0")" && pwd)
dir=$(mktemp -d)
declare -A pid port
finish() {
	for name in "${!pid[@]}"; do kill "${pid[$name]}" 2>/dev/null && wait "${pid[$name]}" 2>/dev/null || true; done
	rm -rf "$dir"
}
trap finish EXIT

(cd "$here/.." && go build -o "$dir/dns" ./bench/dns)
"$dir/dns" -servers "$servers" -write "$dir"

cat >"$dir/knot.conf" <<END
server:
    rundir: "$dir"
    listen: 127.0.0.1@@PORT@
database:
    storage: "$dir"
log:
  - target: stderr
    any: error
zone:
  - domain: apn.
    file: "$dir/apn.zone"
END
cat >"$dir/nsd.conf" <<END
server:
    ip-address: 127.0.0.1@@PORT@
    username: ""
    zonesdir: "$dir"
    database: ""
    pidfile: "$dir/nsd.pid"
    xfrdfile: "$dir/xfrd.state"
    xfrdir: "$dir"
    zonelistfile: "$dir/zone.list"
    rrl-ratelimit: 0
    minimal-responses: yes
    tcp-count: 1000
remote-control:
    control-enable: no
zone:
    name: "apn"
    zonefile: "$dir/apn.zone"
END
cat >"$dir/coredns.conf" <<END
apn:@PORT@ {
    bind 127.0.0.1
    file $dir/apn.zone
}
END

answers() { dnsperf -s 127.0.0.1 -p "$1" -m udp -d <(echo "srv-000001.apn A") -n 1 -c 1 -T 1 -t 1 2>/dev/null | grep -q 'Response codes:.*NOERROR 1 '; }

# start NAME COMMAND... runs a server on a free port; @PORT@ stands for it.
start() {
	local name=$1 try i
	shift
	for try in 1 2 3 4 5; do
		port[$name]=$((20000 + RANDOM % 20000))
		[ -f "$dir/$name.conf" ] && sed "s/@PORT@/${port[$name]}/" "$dir/$name.conf" >"$dir/$name.run"
		"${@//@PORT@/${port[$name]}}" >"$dir/$name.log" 2>&1 &
		pid[$name]=$!
		for i in $(seq 60); do
			kill -0 "${pid[$name]}" 2>/dev/null || break
			answers "${port[$name]}" && return
		done
		kill "${pid[$name]}" 2>/dev/null || true
	done
	echo "dns.sh: $name does not start:" >&2
	cat "$dir/$name.log" >&2
	exit 1
}

names=(apnkit)
start apnkit "$dir/dns" -servers "$servers" -listen 127.0.0.1:@PORT@
for name in knot nsd coredns; do
	case $name in
	knot) command=(knotd -c "$dir/knot.run") ;;
	nsd) command=(nsd -d -c "$dir/nsd.run") ;;
	coredns) command=(coredns -quiet -conf "$dir/coredns.run") ;;
	esac
	if command -v "${command[0]}" >/dev/null; then
		start $name "${command[@]}"
		names+=("$name")
	else
		echo "dns.sh: ${command[0]} is not installed: left out" >&2
	fi
done

# family PID prints it and all processes below it.
family() {
	echo "$1"
	local child
	for child in $(cat /proc/"$1"/task/*/children 2>/dev/null); do family "$child"; done
}

# ticks PID prints the processor time that its family has used.
ticks() {
	local p sum=0
	for p in $(family "$1"); do
		sum=$((sum + $(sed 's/.*) //' "/proc/$p/stat" | cut -d' ' -f12,13 | tr ' ' +)))
	done
	echo $sum
}

hz=$(getconf CLK_TCK)
for round in $(seq "$rounds"); do
	for name in "${names[@]}"; do
		before=$(ticks "${pid[$name]}")
		dnsperf -s 127.0.0.1 -p "${port[$name]}" -m "$transport" -d "$dir/queries" -l "$seconds" -c 8 -T 1 -q 200 >"$dir/out" 2>&1
		after=$(ticks "${pid[$name]}")
		awk -v name="$name" -v ticks=$((after - before)) -v hz="$hz" '
			/Queries completed/ { n = $3 } /Queries lost/ { lost = $3 } /Queries per second/ { qps = $4 }
			END { print name, qps, ticks / hz / n * 1e6, lost }' "$dir/out" >>"$dir/results"
	done
done

printf '%s, %d names, median of %d rounds of %d s\n\n' "$transport" $((2 * (servers - 1))) "$rounds" "$seconds"
printf '%-10s %10s %14s %8s %22s\n' server kQPS 'CPU us/query' lost 'ours against it'
awk '
	function median(list,    n, v, i, j, t) {
		n = split(list, v, " ")
		for (i = 2; i <= n; i++) for (j = i; j > 1 && v[j] + 0 < v[j-1] + 0; j--) { t = v[j]; v[j] = v[j-1]; v[j-1] = t }
		return n % 2 ? v[(n+1)/2] : (v[n/2] + v[n/2+1]) / 2
	}
	!($1 in q) { order[++k] = $1 }
	{
		q[$1] = q[$1] " " $2; c[$1] = c[$1] " " $3; lost[$1] += $4
		if ($1 == "apnkit") { qps = $2; cpu = $3 }                      # ratios within a round
		rq[$1] = rq[$1] " " qps / $2; rc[$1] = rc[$1] " " cpu / $3
	}
	END {
		for (i = 1; i <= k; i++) {
			s = order[i]
			printf "%-10s %10.1f %14.2f %8d %10.2fx QPS %5.2fx CPU\n", s, median(q[s]) / 1e3, median(c[s]), lost[s], median(rq[s]), median(rc[s])
		}
	}' "$dir/results"
