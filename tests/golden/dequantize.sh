#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Quantized networks as input: they run as written, verbs that choose grids refuse them, --dequantize
# takes the quantizers out.
. tests/golden/harness.sh
begin "$@"

noise_images "$t/train" 48 31
noise_images "$t/test" 200 32
noise_bytes 200 33 10 >"$t/labels.u8"
data="--data raw:$t/train,u8,48x1x28x28 --mean 72.93 --std 90.015"
test="--data raw:$t/test,u8,200x1x28x28,$t/labels.u8 --mean 72.93 --std 90.015"
ok 0 quantize "$bitlathe" quantize $resnet8 -o "$t/run" $data --weights-bits 8 --act-bits 8 --tune none --target counted --no-bench
qdq=$t/run/model.qdq.onnx

worst() { # A.f32 B.f32: the largest difference
    paste <(od -An -v -w4 -tf4 "$1") <(od -An -v -w4 -tf4 "$2") |
        awk '{ d = $1 - $2; if (d < 0) d = -d; if (d > m) m = d } END { print m + 0 }'
}

# ---- as written: the integers of the program but where float sums fall on the other side of a half
same_as_program() { # NAME MODEL PROGRAM
    ok 0 "eval $1" "$bitlathe" eval "$2" $test --scores "$t/q.f32" --predictions "$t/q.u16"
    ok 0 "eval program $1" "$bitlathe" eval "$3" $test --scores "$t/p.f32" --predictions "$t/p.u16"
    local n
    n=$(flips "$t/q.u16" "$t/p.u16")
    holds "$1: predictions of the program" "$n <= 1"
    local step
    step=$(od -An -v -w4 -tf4 "$t/p.f32" | awk '{ v[$1 + 0] } END { for (a in v) for (b in v) { d = a - b; if (d > 0 && (m == 0 || d < m)) m = d } print m + 0 }')
    holds "$1: scores within three steps" "$step > 0 && $(worst "$t/q.f32" "$t/p.f32") <= 3.01 * $step"
}
same_as_program int8 "$qdq" "$t/run/model.blp"
ok 0 "quantize W4A8" "$bitlathe" quantize $resnet8 -o "$t/run4" $data --weights-bits 4 --act-bits 8 --tune none --target counted --no-bench
ok 0 "export int4" "$bitlathe" export "$t/run4" --int4 -o "$t/int4.onnx"
ok 0 "import int4" "$bitlathe" import "$t/int4.onnx"
prints "import int4" "opset 21"
prints "import int4" "DequantizeLinear"
same_as_program int4 "$t/int4.onnx" "$t/run4/model.blp"
npy_noise "$t/x.npy" "1, 1, 28, 28" 784 5
ok 0 "run QDQ" "$bitlathe" run "$qdq" --in "$t/x.npy" --out "$t/result"
check "out0.npy" test -s "$t/result/out0.npy"

# ---- verbs that choose grids, or use them, want a float network
refused() { # VERB WORDS...
    ok 64 "$1 of a QDQ model" "$bitlathe" "$@"
    says "$1 of a QDQ model" '--dequantize'
}
refused quantize "$qdq" $data -o "$t/no"
refused calibrate "$qdq" $data -o "$t/no"
refused sense "$qdq" $data -o "$t/no"
refused measure "$qdq" -o "$t/no"
refused search "$qdq" $data -o "$t/no"
refused lower "$qdq" --plan "$t/run/plan.json" -o "$t/no.blp"
refused tune "$qdq" "$t/run/plan.json" $data -o "$t/no"
refused distil "$qdq" -o "$t/no.npy"
absent "nothing is made" "$t/no"

# ---- made float again
ok 0 "import --dequantize" "$bitlathe" import "$qdq" --dequantize
checks=$((checks + 1))
! grep -q 'QuantizeLinear' "$t/out" || fail "import --dequantize" "quantizers are left"
ok 0 "eval float" "$bitlathe" eval $resnet8 $test --scores "$t/f.f32"
ok 0 "eval --dequantize" "$bitlathe" eval "$qdq" --dequantize $test --scores "$t/d.f32"
top=$(od -An -v -w4 -tf4 "$t/f.f32" | awk '{ d = $1 < 0 ? -$1 : $1; if (d > m) m = d } END { print m }')
holds "close to the network before it was quantized" "$(worst "$t/f.f32" "$t/d.f32") < 0.1 * $top"
ok 0 "eval a float network --dequantize" "$bitlathe" eval $resnet8 --dequantize $test --scores "$t/e.f32"
check "a float network stays what it is" cmp "$t/f.f32" "$t/e.f32"
ok 0 "quantize --dequantize" "$bitlathe" quantize "$qdq" --dequantize -o "$t/again" $data --weights-bits 8 --act-bits 8 --tune none --target counted --no-bench
ok 0 "export remembers" "$bitlathe" export "$t/again" -o "$t/again.onnx"
check "the same export" cmp "$t/again.onnx" "$t/again/model.qdq.onnx"
ok 0 "MobileNet with anchored grids" "$bitlathe" quantize $mobilenet -o "$t/mobile" $data --weights-bits 8 --act-bits 8 --anchored --tune none --target counted --no-bench
ok 0 "eval float MobileNet" "$bitlathe" eval $mobilenet $test --scores "$t/f.f32"
ok 0 "eval MobileNet --dequantize" "$bitlathe" eval "$t/mobile/model.qdq.onnx" --dequantize $test --scores "$t/d.f32"
top=$(od -An -v -w4 -tf4 "$t/f.f32" | awk '{ d = $1 < 0 ? -$1 : $1; if (d > m) m = d } END { print m }')
holds "MobileNet: close to the network before it was quantized" "$(worst "$t/f.f32" "$t/d.f32") < 0.25 * $top"
finish
