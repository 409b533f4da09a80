#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Predicted against measured latency of whole networks, one thread, batch 1:
#   bench/predict.sh BUILD [MODEL.onnx...]
# Networks: those given, else those of models/ and of the folder of BITLATHE_SHARED (../shared), and the
# seeded ones (bench/seeded.sh).  JSON: BUILD/bench/predict.json.
# Each is measured with widths {2,3,4,8} x {4,8}.  "widest" gives the overhead of a step and so is no test;
# "drawn" (widths by lot) and "narrowest" are.  State: where the weights are when their turn comes.
#   BENCH_PREFIX  what runs `measure`, such as "chrt -f 5" on a machine that others use too
cd "$(dirname "$0")/.." || exit 1
[ $# -ge 1 ] || { echo "usage: bench/predict.sh BUILD [MODEL.onnx...]" >&2; exit 64; }
build=$1 bitlathe=$1/bitlathe shared=${BITLATHE_SHARED:-../shared}
shift
t=$(mktemp -d) || exit 73
trap 'rm -rf "$t"' EXIT
if [ $# -eq 0 ]; then
    mapfile -t seeded < <(bench/seeded.sh "$build")
    shopt -s nullglob
    set -- models/*.onnx "$shared"/models/*.onnx "${seeded[@]}"
fi
mkdir -p "$build/bench"
all=$build/bench/predict.lines
. bench/keep.sh
keep_list "$all"
printf '%-34s %-10s %12s %12s %8s  %-5s %8s\n' network plan predicted_ms measured_ms error state seconds
for model in "$@"; do
    if grep "^$(basename "$model" .onnx) " "$all"; then continue; fi
    name=$(basename "$model" .onnx) start=${EPOCHREALTIME/[.,]/}
    # shellcheck disable=SC2086
    if ! ${BENCH_PREFIX:-} "$bitlathe" measure "$model" --weights-bits 2,3,4,8 --act-bits 4,8 -o "$t/run" >"$t/out" 2>"$t/err" </dev/null; then
        echo "skipped: $name: $(head -c 200 "$t/err")"
        continue
    fi
    seconds=$(((${EPOCHREALTIME/[.,]/} - start) / 1000000))
    awk -v name="$name" -v s="$seconds" '/ predicted / { sub(/,.*/, "", $3); gsub(/%,/, "");
        printf "%-34s %-10s %12s %12s %8s  %-5s %8s\n", name, $1, $3, $6, $8, $0 ~ /in DRAM/ ? "DRAM" : $0 ~ /in L3/ ? "L3" : "L2", s }' "$t/out" |
        tee -a "$all"
    rm -rf "$t/run"
done
awk 'BEGIN { printf "{\"networks\":[" }
     { printf "%s\n{\"network\":\"%s\",\"plan\":\"%s\",\"predicted_ms\":%s,\"measured_ms\":%s,\"state\":\"%s\",\"seconds\":%s}", (NR > 1 ? "," : ""), $1, $2, $3, $4, $6, $7 }
     END { print "]}" }' "$all" > "$build/bench/predict.json"
[ -s "$all" ] || { echo "no network was measured"; exit 0; }
awk '$2 != "widest" { e = $5 + 0; if (e < 0) e = -e; d = 1000 * ($3 - $4); if (d < 0) d = -d; n++; bad += e > 10 && d > 20; print e }
     END { print n, bad > "/dev/stderr" }' "$all" 2>"$t/count" | sort -n |
    awk '{ x[NR] = $1 } END { printf "absolute error: median %.1f %%, most %.1f %%", x[int((NR + 1) / 2)], x[NR] }'
awk '{ printf "; %d of %d are off by more than 10 %% and 20 us\n", $2, $1 }' "$t/count"
