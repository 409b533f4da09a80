#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# How a search's pieces scale to many machines: simulated from times measured here, one thread a rank.
#   bench/ranks.sh BUILD [EPISODES]            EPISODES (60) are measured, 600 and 100,000 simulated
# Measured: the serial start of rank 0 (with calibration), that of the others (from its records), each episode's answer
# (trials.jsonl), joining 10,000 of them, the grids that every process makes once, and what an answer that is known takes
# in rank 0's last walk.  Simulated: episodes go round the ranks in turn, as --shard and mpirun have it; a run takes
#   start + start of the others + grids + the slowest rank's episodes + joining + grids + last walk.
# Where MPI is installed, two ranks that really ran stand beside the simulation's two.
#   RANKS_MODEL, RANKS_DATA   another network and its `--data ...` words; BENCH_PREFIX: such as "chrt -f 5"
cd "$(dirname "$0")/.." || exit 1
. tests/golden/harness.sh
[ $# -ge 1 ] || { echo "usage: bench/ranks.sh BUILD [EPISODES]" >&2; exit 64; }
begin "$1"
episodes=${2:-60}
cifar=$shared/data/cifar10/train_a.bin
model=${RANKS_MODEL:-$shared/models/resnet20_cifar10.onnx}
data=${RANKS_DATA:---data cifar:$cifar --mean 123.675,116.28,103.53 --std 58.395,57.12,57.375}
[ -r "$model" ] || { echo "skipped: ranks: no $model"; exit 0; }
words="$model --recipe haq --set search=random --set episodes=$episodes --set sense=128 --target bismo-cloud --budget latency=0.5 --threads 1 $data"

timed() { # COMMAND...: leaves its seconds in $took
    local start=${EPOCHREALTIME/[.,]/}
    ${BENCH_PREFIX:-} "$@" >"$t/out" 2>"$t/err" || { echo "failed: $*: $(head -c 300 "$t/err")" >&2; exit 1; }
    took=$(awk "BEGIN { printf \"%.4f\", (${EPOCHREALTIME/[.,]/} - $start) / 1e6 }")
}

# A part that holds no episode: all that a rank does before its first one.
timed "$bitlathe" search $words --shard 99999/99999 -o "$t/run"; first=$took
timed "$bitlathe" search $words --shard 99999/99999 -o "$t/run"; others=$took
timed "$bitlathe" search $words -o "$t/run"; one=$took
timed "$bitlathe" search $words -o "$t/run"; last=$took
grids=$(awk "BEGIN { g = $last - $others; print (g > 0 ? g : 0) }")
# A thousand answers of two samples are soon there: what each takes when it is known.
many="${words/sense=128/sense=2} --set episodes=1000"
timed "$bitlathe" search $many -o "$t/many"
timed "$bitlathe" search $many -o "$t/many"
known=$(awk "BEGIN { k = ($took - $last) / (1000 - $episodes); printf \"%.6f\", (k > 0 ? k : 0) }")
sed 's/.*"seconds": *\([0-9.e+-]*\).*/\1/' "$t/run/trials.jsonl" >"$t/pieces"
n=$(wc -l <"$t/pieces")
# Fifty parts of 200 other answers: what joining takes goes with the lines.
mkdir "$t/parts"
for part in $(seq 50); do
    awk -v part="$part" '{ line[NR] = $0 } END { for (k = 1; k <= 200; k++) { out = line[k % NR + 1]
        sub(/"plan": *"[0-9a-f]*"/, "\"plan\": \"" sprintf("%032x", part * 1000 + k) "\"", out); print out } }' "$t/run/trials.jsonl" >"$t/parts/$part.jsonl"
done
timed "$bitlathe" merge "$t"/parts/*.jsonl -o "$t/whole.jsonl"; join=$took
echo "$(basename "$model"), $n answers measured on $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1), one thread${BENCH_PREFIX:+, under $BENCH_PREFIX}"
echo "start $first s, start of the others $others s, $n episodes alone $one s, grids $grids s, a known answer $known s, joining 10,000 answers $join s"
awk '{ s += $1; if ($1 > m) m = $1 } END { printf "an episode %.4f s (slowest %.4f)\n", s / NR, m }' "$t/pieces"
printf '%9s %6s %12s %9s %11s\n' episodes ranks seconds speed-up efficiency
for all in 600 100000; do
    awk -v all=$all -v first="$first" -v others="$others" -v join="$join" -v grids="$grids" -v known="$known" '
        { piece[n++] = $1 }
        END {
            srand(1)
            for (e = 0; e < all; e++) drawn[e] = piece[int(rand() * n)]
            for (k = split("1 2 4 10 32 100 316 1000", ranks, " "); ++i <= k;) {
                r = ranks[i]; slowest = 0
                for (p = 0; p < r; p++) { s = 0; for (e = p; e < all; e += r) s += drawn[e]; if (s > slowest) slowest = s }
                s = first + grids + slowest + (r > 1 ? others + join * all / 10000 + grids + known * all : 0)
                if (r == 1) alone = s
                printf "%9d %6d %12.1f %9.1f %10.0f%%\n", all, r, s, alone / s, 100 * alone / s / r
            }
        }' "$t/pieces"
done
if command -v mpirun >/dev/null; then
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    timed mpirun --oversubscribe -n 2 "$bitlathe" search $words -o "$t/two"
    echo "two ranks that ran, $episodes episodes: $took s beside $(awk "BEGIN { print $first + $one - $others }") s alone; the same plan: $(cmp -s "$t/run/plan.json" "$t/two/plan.json" && echo yes || echo NO)"
fi
