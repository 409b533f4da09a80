#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Whole programs by the AMX rows, tiles in plain C: every value of every step has the same bits as by the rows that
# are here, on one thread and on two; and the set is refused by name where the CPU has none.
. tests/golden/harness.sh
begin "$@"
tiles=$1/bitlathe-tiles
[ -x "$tiles" ] || { skip tiles "no bitlathe-tiles: not x86-64"; exit 77; }

noise_images "$t/x" 16 31
npy_noise "$t/in.npy" "1, 1, 28, 28" 784 8
data="--data raw:$t/x,u8,16x1x28x28 --mean 72.93 --std 90.015"
ok 0 "a program" "$bitlathe" quantize $resnet8 -o "$t/one" --recipe uniform --weights-bits 8 --act-bits 8 --target counted --no-bench $data
if grep -qw amx_int8 /proc/cpuinfo; then
    skip "amx refused" "this CPU has it"
else
    ok 69 "amx refused" "$bitlathe" run "$t/one/model.blp" --in "$t/in.npy" --out "$t/none" --isa amx
    says "amx refused" 'cannot run amx'
fi
if ! "$tiles" run "$t/one/model.blp" --in "$t/in.npy" --out "$t/try" --isa amx >"$t/out" 2>"$t/err"; then
    grep -q 'cannot run amx' "$t/err" && { skip tiles "the rest of these rows wants AVX-512"; exit 77; }
fi
for net in $resnet8 $mobilenet; do
    for w in 8 4; do
        run=$t/$(basename "$net" .onnx)-$w
        ok 0 "$net W$w" "$bitlathe" quantize "$net" -o "$run" --recipe uniform --weights-bits $w --act-bits 8 --target counted --no-bench $data
        ok 0 "$net W$w here" "$bitlathe" run "$run/model.blp" --in "$t/in.npy" --out "$run/here" --all-values
        for threads in 1 2; do
            ok 0 "$net W$w tiles $threads" "$tiles" run "$run/model.blp" --in "$t/in.npy" --out "$run/tiles$threads" --all-values --isa amx --threads $threads
            check "$net W$w tiles on $threads threads: the same bits" diff -r "$run/here" "$run/tiles$threads"
        done
        ok 0 "$net W$w rows" "$tiles" bench "$run/model.blp" --isa amx --layers --seconds 0.05
        prints "$net W$w rows" 'conv_amx'
    done
done
finish
