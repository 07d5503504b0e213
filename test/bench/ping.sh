#!/bin/sh
# CPU per PING of the front end and of redis-server, side by side: ping.sh BUILD
# Both listen on loopback, one thread each, and are ended by their process id.
build=$1 redis_port=$((20000 + $$ % 10000)) tick=$(getconf CLK_TCK)
ping_port=$((redis_port + 10000))
"$build"/test/bench/ping $ping_port 120 >/dev/null & ping=$!
redis-server --port $redis_port --bind 127.0.0.1 --save '' --appendonly no >/dev/null & redis=$!
trap 'kill $ping $redis' EXIT
sleep 1

cpu() { awk '{ print $14 + $15 }' "/proc/$1/stat"; }

# measure NAME PID PORT PIPELINE REQUESTS
measure() {
    before=$(cpu "$2")
    rate=$(redis-benchmark -p "$3" -c 50 -n "$5" -P "$4" -q PING | tr '\r' '\n' | awk '/per second/ { r = $0 } END { sub(/.*: /, "", r); sub(/ requests.*/, "", r); print r }')
    echo "$1 P=$4: $(echo "$before $(cpu "$2") $tick $5" | awk '{ printf "%.3f", ($2 - $1) / $3 * 1e6 / $4 }') us of CPU per request, $rate/s"
}

for round in 1 2 3; do
    measure front-end $ping $ping_port 1 400000
    measure redis $redis $redis_port 1 400000
    measure front-end $ping $ping_port 16 4000000
    measure redis $redis $redis_port 16 4000000
done
