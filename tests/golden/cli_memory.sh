#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The memory ceiling decides how many samples walk side by side, and nothing else: the same records and programs.
. tests/golden/harness.sh
begin "$@"

noise_images "$t/x" 40 51
noise_bytes 40 52 10 >"$t/y.u8"
words="--data raw:$t/x,u8,40x1x28x28,$t/y.u8 --mean 72.93 --std 90.015 --target counted --weights-bits 4,8 --act-bits 8 --budget size=0.7 --no-bench
    --set calibrate=40 --set sense=21 --tune bias-correction"
same() { # NAME FILE...: of the runs under both ceilings
    local name=$1 f
    shift
    for f; do check "$name: $f" cmp "$t/wide/$f" "$t/small/$f"; done
    rm -rf "$t/wide" "$t/small"
}

for one in $mobilenet:sqnr:mse $mobilenet:kl:mse $mobilenet:mask:mse $mobilenet:drop:mse $resnet8:sqnr:auto; do
    IFS=: read -r net metric range <<<"$one"
    name="${net##*/} $metric $range"
    for pair in wide:8GiB small:24MiB; do
        run=$t/${pair%:*} memory="--memory ${pair#*:}"
        ok 0 "$name in ${pair#*:}" "$bitlathe" quantize $net $words --set sensitivity=$metric --act-range $range -o "$run" $memory --force
        ok 0 "$name, worst, in ${pair#*:}" "$bitlathe" inspect --worst "$run" -o "$run/worst.json" $memory
        sed -i '/"run":/d' "$run/worst.json" # the folder's name
    done
    same "$name" stats.json sens.json plan.json weights.blw model.blp worst.json
done
finish
