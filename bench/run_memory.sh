#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Memory of `run` beside what was promised before it was taken, and what running then takes from the system:
#   bench/run_memory.sh BUILD
# Networks: programs that bench/peers.sh left in BUILD/bench; none are made here.  A second pass over the same input
# must take nothing (test_exec counts that too).  JSON: BUILD/bench/memory.json.
cd "$(dirname "$0")/.." || exit 1
[ $# -eq 1 ] || { echo "usage: bench/run_memory.sh BUILD" >&2; exit 64; }
bitlathe=$1/bitlathe out=$1/bench
shopt -s nullglob
programs=("$out"/*/model.blp)
[ ${#programs[@]} -gt 0 ] || { echo "skipped: memory: no programs in $out (make bench-peers makes them)"; exit 0; }
printf '%-32s %12s %12s %14s %s\n' network promised taken "program bytes" equal
lines=() bad=0
for p in "${programs[@]}"; do
    name=$(basename "$(dirname "$p")")
    shown=$("$bitlathe" bench "$p" --seconds 0.05 --threads 1 --json 2> "$out/log" < /dev/null) ||
        { echo "skipped: $name: $(tail -n 1 "$out/log")"; continue; }
    numbers=$(printf '%s' "$shown" | tr ',{}' '\n\n\n' | awk -F: '/"promised_bytes"/ { p = $2 + 0 } /"peak_bytes"/ { t = $2 + 0 } END { print p + 0, t + 0 }')
    read -r promised taken <<< "$numbers"
    equal=yes
    [ "$promised" = "$taken" ] || { equal=NO bad=1; }
    printf '%-32s %12s %12s %14s %s\n' "$name" "$promised" "$taken" "$(stat -c %s "$p")" $equal
    lines+=("{\"network\":\"$name\",\"promised\":$promised,\"taken\":$taken}")
done
(IFS=,; printf '{"networks":[%s]}\n' "${lines[*]}") > "$out/memory.json"
exit $bad
