#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Memory of `run` beside what was promised before it was taken, and what running then takes from the system:
#   bench/run_memory.sh BUILD [NAME...]    NAME: part of a network's name
# Programs: bench/programs.sh.  A second pass over the same input
# must take nothing (test_exec counts that too).  JSON: BUILD/bench/memory.json.
cd "$(dirname "$0")/.." || exit 1
[ $# -ge 1 ] || { echo "usage: bench/run_memory.sh BUILD [NAME...]" >&2; exit 64; }
bitlathe=$1/bitlathe out=$1/bench
mapfile -t programs < <(bench/programs.sh "$@")
[ ${#programs[@]} -gt 0 ] || { echo "skipped: memory: no programs"; exit 0; }
printf '%-32s %12s %12s %14s %s\n' network promised taken "program bytes" equal
lines=() bad=0
for name in "${programs[@]}"; do
    p=$out/$name/model.blp
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
