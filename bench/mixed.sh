#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Mixed plans chosen by this machine's table, beside our own int8:
#   bench/mixed.sh BUILD
# With AVX2: drop, times, ratio (tools/figures, section mixed-speed), and what AVX-512 has to offer.  With AMX: ResNet-18
# at 224, weights by lot (bench/seeded.sh), which asks for the table's plan alone.  JSON: BUILD/bench/mixed.json.
#   FIGURES_NETWORKS  an extended regular expression of files; BENCH_PREFIX  such as "chrt -f 5"
cd "$(dirname "$0")/.." || exit 1
[ $# -eq 1 ] || { echo "usage: bench/mixed.sh BUILD" >&2; exit 64; }
build=$1 bitlathe=$1/bitlathe out=$1/bench images=${BITLATHE_SHARED:-../shared}/data/imagenet_calib
mkdir -p "$out"
: > "$out/mixed.lines"
if "$bitlathe" list kernels --isa avx2 > /dev/null 2>&1; then
    tools/figures "$build" mixed-speed | tee "$out/mixed.txt"
    awk '$2 !~ /^avx/ { next }
    $4 == "of" { printf "{\"network\":\"%s\",\"isa\":\"%s\",\"shapes\":%s,\"gain_no_time\":%s}\n", $1, $2, $5, $3; next }
    $6 + 0 > 0 && NF > 9 {
        printf "{\"network\":\"%s\",\"isa\":\"%s\",\"budget\":%s,\"points\":%s,\"error\":%s,\"int8_ms\":%s,\"plan_ms\":%s,\"faster\":%s}\n", $1, $2, $3, $4 + 0, $5 + 0, $6, $7, $8
    }' "$out/mixed.txt" >> "$out/mixed.lines"
else
    echo "not here: avx2"
fi
if "$bitlathe" list kernels --isa amx > /dev/null 2>&1; then
    while read -r model; do
        [[ $model == *resnet18* && -d $images ]] || continue
        # shellcheck disable=SC2086
        ${BENCH_PREFIX:-} "$bitlathe" measure "$model" --isa amx --weights-bits 1,2,4,8 --act-bits 8 --threads 1 -o "$out/mixed" > "$out/log" 2>&1 &&
            "$bitlathe" quantize "$model" --isa amx --target "$out/mixed/cost.json" --weights-bits 1,2,4,8 --act-bits 8 \
                --budget latency=0.89 --limit 8 --no-bench -o "$out/mixed" --data "images:$images,$images/labels.csv" \
                --crop 224 --mean 127.5,127.5,127.5 --std 127.5,127.5,127.5 > "$out/log" 2>&1 &&
            ${BENCH_PREFIX:-} "$bitlathe" bench "$out/mixed/model.blp" "$out/mixed/baselines/int8.blp" --isa amx --threads 1 --seconds 3 |
            tee "$out/mixed.txt" || { echo "failed: mixed: $(tail -n 1 "$out/log")"; exit 1; }
        awk '$1 == "model.blp" { p = $2 } $1 == "int8.blp" { i = $2 }
             END { printf "{\"network\":\"resnet18_seeded\",\"isa\":\"amx\",\"budget\":0.89,\"int8_ms\":%s,\"plan_ms\":%s,\"faster\":%.3f}\n", i, p, i / p }' \
            "$out/mixed.txt" >> "$out/mixed.lines"
    done < <(bench/seeded.sh "$build")
else
    echo "not here: amx"
fi
{ printf '{"plans":[\n'; sed '$!s/$/,/' "$out/mixed.lines"; printf ']}\n'; } > "$out/mixed.json"
