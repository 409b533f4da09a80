#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Programs of 8 and of narrow widths on x86-64 processors without what this one has, under qemu-user: every
# value of every step has the same bits as here.
. tests/golden/harness.sh
begin "$@"
[ "$(uname -m)" = x86_64 ] || { skip old_cpus "not x86-64"; exit 77; }
command -v qemu-x86_64 >"$t/where" || { skip old_cpus "no qemu-x86_64 (Debian: qemu-user)"; exit 77; }
[[ ! -r $bitlathe ]] || ! grep -qa __asan_init "$bitlathe" || { skip old_cpus "sanitizers do not run under qemu-user"; exit 77; }

noise_images "$t/x" 16 31
npy_noise "$t/in.npy" "1, 1, 28, 28" 784 8
data="--data raw:$t/x,u8,16x1x28x28 --mean 72.93 --std 90.015"
for net in $resnet8 $mobilenet; do
    for w in 8 2; do
        run=$t/$(basename "$net" .onnx)-$w
        ok 0 "$net W$w" "$bitlathe" quantize "$net" -o "$run" --recipe uniform --weights-bits $w --act-bits $w --target counted --no-bench $data
        ok 0 "$net W$w here" "$bitlathe" run "$run/model.blp" --in "$t/in.npy" --out "$run/here" --all-values
        for cpu in Conroe Nehalem Haswell; do
            # What qemu cannot emulate of a processor it says on stderr.
            checks=$((checks + 1))
            if ! qemu-x86_64 -cpu $cpu "$bitlathe" run "$run/model.blp" --in "$t/in.npy" --out "$run/$cpu" --all-values --threads 1 \
                    >"$t/out" 2>"$t/err"; then
                fail "$net W$w on $cpu" "$(head -c 300 "$t/err")"
                continue
            fi
            check "$net W$w on $cpu: the same bits" diff -r "$run/here" "$run/$cpu"
        done
    done
done
finish
