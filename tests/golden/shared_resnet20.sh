#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The shared networks: float predictions equal those of ONNX Runtime byte for byte, and resnet20 in
# eight bits stays within 0.3 points and 60 changed predictions of 5,000.  BL_TEST_LONG=1 takes the
# slow networks too.
. tests/golden/harness.sh

if [ ! -r "$shared/models/models.json" ]; then
    skip shared_resnet20 "no models/models.json in BITLATHE_SHARED"
    exit 77
fi
begin "$@"

long="resnet56_cifar10 vit_tiny_fmnist vit_tiny_fmnist_op17 mobilenet_v1_0.75_224 mobilenet_v2_1.0_224_dequant
 mobilenet_v3_small_dequant squeezenet1_1"

networks "$shared/models/models.json" >"$t/networks"

near() { # NAME FILE.f32 FILE.f32: relative difference below 1e-4, number by number
    checks=$((checks + 1))
    paste <(od -An -v -w4 -tf4 "$2") <(od -An -v -w4 -tf4 "$3") | awk '
        { d = $1 - $2; if (d < 0) d = -d; m = $2 < 0 ? -$2 : $2; if (NF != 2 || d > 1e-4 * m) bad++ }
        END { exit bad > 0 || NR == 0 }' || fail "$1" "scores differ by more than 1e-4"
}

while IFS='|' read -r file words calibration value <&3; do
    name=${file%.onnx}
    if [[ " $long " == *[[:space:]]"$name"[[:space:]]* ]] && [ -z "${BL_TEST_LONG:-}" ]; then
        skip "$name" "slow; set BL_TEST_LONG=1"
        continue
    fi
    if [ ! -r "$shared/models/$file" ] || ! files_here "$words"; then
        skip "$name" "model or data are not here"
        continue
    fi
    ok 0 "$name" "$bitlathe" eval "$shared/models/$file" $words --predictions "$t/$name.u16" --scores "$t/$name.f32" --json
    echo "$name: $(tr -d '\n' <"$t/out")"
    top1=$(json "$t/out" top1) || top1=$(json "$t/out" auc)
    holds "$name: the reference metric $value" "($top1 - $value) ^ 2 < 1e-12"
    want=$shared/models/predictions/$name
    if [ -r "$want.u16" ]; then check "$name: predictions byte for byte" cmp "$t/$name.u16" "$want.u16"; fi
    if [ -r "$want.f32" ]; then near "$name: scores" "$t/$name.f32" "$want.f32"; fi
done 3<"$t/networks"

# ---- resnet20 in eight bits, calibrated on 256 pictures of the training set
IFS='|' read -r file words calibration value < <(grep '^resnet20_cifar10' "$t/networks")
if [ -s "$t/resnet20_cifar10.u16" ] && files_here "$calibration"; then
    ok 0 "W8A8" "$bitlathe" quantize "$shared/models/$file" $calibration --limit 256 --target counted \
        --weights-bits 8 --act-bits 8 --no-bench -o "$t/w8"
    ok 0 "W8A8 eval" "$bitlathe" eval "$t/w8/model.blp" $words --predictions "$t/w8.u16" --json
    top1=$(json "$t/out" top1)
    changed=$(flips "$t/w8.u16" "$t/resnet20_cifar10.u16")
    echo "resnet20 W8A8: top-1 $top1 against $value, $changed of 5000 predictions changed"
    holds "W8A8 within 0.3 points" "$value - $top1 <= 0.003 + 1e-9"
    check "W8A8 changes at most 60 predictions" test "$changed" -le 60
else
    skip resnet20_w8a8 "calibration data are not here"
fi
finish
