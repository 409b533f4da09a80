#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The allocation solver on 54 seeded problems: 50, 100, 150 units of 16 options, 1 to 3 budgets, with and
# without ties, three of each; beside glpsol on the same problem where it is installed.
#   bench/knapsack.sh BUILD [SEEDS]        a line a problem, then the summary; exit 1 where optima differ
# The two run one after the other on each problem.  Times are of the solver alone: our "seconds", and the
# "Time used" of glpsol, both without reading.  "gap@1s" is the proven gap when ours is cut after a second.
# Problems look like networks: latency ~ macs w a, bytes, traffic, 10 % noise, harm that falls 4x a bit.
# Three budgets all bind: their limits lie within 1 % of what one plan of least harm at some prices spends.
cd "$(dirname "$0")/.." || exit 1
[ $# -ge 1 ] || { echo "usage: bench/knapsack.sh BUILD [SEEDS]" >&2; exit 64; }
bitlathe=$1/bitlathe seeds=${2:-3}
t=$(mktemp -d) || exit 73
trap 'rm -rf "$t"' EXIT

problem() { # SEED UNITS BUDGETS TIES
    awk -v seed="$1" -v n="$2" -v k="$3" -v ties="$4" '
    function unit() { state = (state * 16807) % 2147483647; return state / 2147483647 }
    function normal() { return sqrt(-2 * log(unit())) * cos(6.283185307179586 * unit()) }
    # What plans of least harm + price . cost spend, at prices that leave 0.3 of the first: near such
    # spending every budget has a price, so every one binds.
    function binding(  lo, hi, step, price, u, o, m, r, least, at, used) {
        hi = 20
        for (lo = -20; step < 40; step++) {
            price = exp((lo + hi) / 2)
            for (m = 1; m <= k; m++) used[m] = 0
            for (u = 0; u < n; u++) {
                least = 1e300
                for (o = 0; o < 16; o++) {
                    r = harm[u, o]
                    for (m = 1; m <= k; m++) r += price * n * cost[u, o, m] / full[m]
                    if (r < least) { least = r; at = o }
                }
                for (m = 1; m <= k; m++) used[m] += cost[u, at, m]
            }
            if (used[1] > 0.3 * full[1]) lo = (lo + hi) / 2; else hi = (lo + hi) / 2
        }
        for (m = 1; m <= k; m++) limit[m] = used[m] * (0.99 + 0.02 * unit())
    }
    BEGIN {
        state = 1 + seed * 7919 + n * 104729 + k * 1299709 + ties * 15485863
        for (i = 0; i < 20; i++) unit()
        split("latency bytes traffic", budget, " ")
        for (u = 0; u < n; u++) {
            macs = 1e6 * exp(normal()); weights = 1e5 * exp(normal()); values = 1e4 * exp(normal())
            hw = exp(1.5 * normal()); ha = exp(1.5 * normal())
            text = text sprintf("%s\n {\"name\":\"layer%d\",\"options\":[", u ? "," : "", u)
            for (o = 0; o < 16; o++) {
                w = 2 + 2 * int(o / 4); a = 2 + 2 * (o % 4)
                c[1] = macs * w * a * (0.9 + 0.2 * unit()); c[2] = weights * w / 8
                c[3] = values * a + 0.3 * weights * w
                v = (hw * 4 ^ (2 - w) + ha * 4 ^ (2 - a)) * (0.9 + 0.2 * unit())
                text = text sprintf("%s{\"name\":\"w%da%d\",\"objective\":%.12g,\"costs\":[", o ? "," : "", w, a, v)
                for (m = 1; m <= k; m++) text = text sprintf("%s%.12g", (m > 1 ? "," : ""), c[m])
                text = text "]}"
                harm[u, o] = v
                for (m = 1; m <= k; m++) cost[u, o, m] = c[m]
                for (m = 1; m <= k && o == 15; m++) full[m] += c[m]
            }
            text = text "]}"
        }
        for (m = 1; m <= k; m++) limit[m] = full[m] * 0.3 * (m == 1 ? 0.75 : 1)
        if (k > 2) binding()
        printf "{\"version\":1,\"budgets\":["
        for (m = 1; m <= k; m++) printf "%s{\"name\":\"%s\",\"limit\":%.12g}", (m > 1 ? "," : ""), budget[m], limit[m]
        printf "],\"units\":[%s],\n\"ties\":[", text
        for (u = 0; ties && u + 1 < n;) {
            size = 2 + int(4 * unit())
            if (unit() < 0.5) { u++; continue }
            printf "%s[", (groups++ ? "," : "")
            for (i = 0; i < size && u < n; i++) printf "%s\"layer%d\"", i ? "," : "", u++
            printf "]"
        }
        print "]}"
    }'
}

field() { # FILE KEY
    awk -F'"' -v key="$2" '$2 == key { v = $3; if (v ~ /[0-9]/) gsub(/[^-0-9.e+]/, "", v); else v = $4; print v; exit }' "$1"
}

other() { # sets theirs (objective) and their_s; "-" where glpsol is missing or did not finish
    theirs=- their_s=-
    command -v glpsol >"$t/where" || return 0
    glpsol --lp "$t/p.lp" --tmlim 60 -o "$t/glp.txt" >"$t/glp.log" 2>&1
    grep -q 'INTEGER OPTIMAL' "$t/glp.txt" && theirs=$(awk '$1 == "Objective:" { print $4 }' "$t/glp.txt")
    their_s=$(awk '/^Time used:/ { print $3 }' "$t/glp.log")
    [ "$theirs" != - ] || their_s=">60"
}

printf '%5s %7s %4s %4s  %-8s %-6s %9s %9s %7s  %14s %14s\n' units budgets ties seed status proof seconds glpsol 'gap@1s' objective "glpsol's"
for n in 50 100 150; do for k in 1 2 3; do for ties in 0 1; do for ((seed = 1; seed <= seeds; seed++)); do
    problem $seed $n $k $ties >"$t/p.json"
    "$bitlathe" search --problem "$t/p.json" --write-lp "$t/p.lp" --json >"$t/ours.json" || exit
    "$bitlathe" search --problem "$t/p.json" --seconds 1 --json >"$t/cut.json" || exit
    other
    printf '%5d %7d %4s %4d  %-8s %-6s %9.3f %9s %6.3f%%  %14.8g %14s\n' $n $k "$([ $ties = 1 ] && echo yes || echo no)" $seed \
        "$(field "$t/ours.json" status)" "$(field "$t/ours.json" proof)" "$(field "$t/ours.json" seconds)" "$their_s" \
        "$(awk "BEGIN { print 100 * $(field "$t/cut.json" gap) }")" "$(field "$t/ours.json" objective)" "$theirs"
done; done; done; done | tee "$t/table"

sort -n -k7,7 "$t/table" | awk '
    { n++; s[n] = $7; proven += $5 == "optimal"; gap = $9 + 0 > gap ? $9 + 0 : gap }
    $11 != "-" { both++; d = $10 - $11; if (d < 0) d = -d; if (d > 1e-6 * $10) differ++; if ($8 > 0) { r = $7 / $8; if (r > worst) worst = r } }
    $8 ~ />/ { unfinished++ }
    END {
        printf "%d problems, %d proven; median %.3f s, worst %.3f s; largest gap after one second %.3f %%\n", n, proven, s[int((n + 1) / 2)], s[n], gap
        if (both) printf "glpsol: %d finished, %d other optima; not finished in 60 s: %d; ours at most %.1f times its time\n", both, differ, unfinished, worst
        exit differ > 0 || proven < n
    }'
