#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# One allocation is refused somewhere in a command (BL_FAIL_ALLOC, at seeded places): exit code 69 and one
# line, nothing half-written; what is there is what the undisturbed command writes, and the next one goes on
# from it.  test_failing refuses every single one, but below the command line.
. tests/golden/harness.sh
begin "$@"

noise_images "$t/x" 16 31
npy_noise "$t/in.npy" "1, 1, 28, 28" 784 8
data="--data raw:$t/x,u8,16x1x28x28 --mean 72.93 --std 90.015"
printf '%s\n' 'calibrate = 16' 'sensitivity = sqnr' 'sense = 4' 'target = counted' 'search = knapsack' 'tune = bias-correction' \
    'weight_bits = 4 8' 'act_bits = 8' 'keep_ends = yes' >"$t/quick.recipe"
common="--threads 1"
refusals=0

# With the N-th allocation refused.  A command that takes fewer comes through ($through is yes).
refused() { # N NAME COMMAND...
    local n=$1 name=$2 code
    shift 2
    checks=$((checks + 1))
    BL_FAIL_ALLOC=$n "$@" >"$t/out" 2>"$t/err"
    code=$?
    through=no
    case $code in
    0) through=yes ;;
    69) refusals=$((refusals + 1))
        [ "$(grep -c -v '^bitlathe: note: ' "$t/err")" -eq 1 ] && grep -q '^bitlathe: .*needs .* more' "$t/err" ||
            fail "$name, allocation $n" "not one line on stderr: $(head -c 400 "$t/err")" ;;
    *) fail "$name, allocation $n" "exit code $code: $(head -c 400 "$t/err")" ;;
    esac
    no_leftovers "$name, allocation $n" "$t"
}

# Ten places of a command that takes about MOST allocations: the first ones, then seeded ones.
places() { # MOST
    echo 1 2 3
    for _ in 1 2 3 4 5 6 7; do
        random "$1"
        echo $((r + 4))
    done
}

# ---- commands that write one file: it is there and whole, or it is not
one_file() { # NAME MOST COMMAND...: the last word is the file, or the folder
    local name=$1 most=$2 file=${*: -1}
    shift 2
    ok 0 "$name" "$@"
    rm -rf "$t/whole"
    mv "$file" "$t/whole"
    for n in $(places "$most"); do
        refused $n "$name" "$@"
        if [ $through = yes ]; then
            check "$name beyond allocation $n" diff -r "$t/whole" "$file"
            rm -rf "$file"
        else
            absent "$name, allocation $n" "$file"
        fi
    done
}

ok 0 "a run" "$bitlathe" quantize $resnet8 --recipe "$t/quick.recipe" $data --budget size=0.7 -o "$t/run" --no-bench $common
one_file import 300 "$bitlathe" import $resnet8 $common -o "$t/graph.json"
one_file run 400 "$bitlathe" run "$t/run/model.blp" --in "$t/in.npy" $common --out "$t/y.npy"
one_file export 600 "$bitlathe" export "$t/run" $common -o "$t/q.onnx"

# ---- quantize writes many: each is the undisturbed one's, and the command goes on from them
for n in $(places 6000); do
    rm -rf "$t/again"
    refused $n quantize "$bitlathe" quantize $resnet8 --recipe "$t/quick.recipe" $data --budget size=0.7 -o "$t/again" --no-bench $common
    for f in stats.json sens.json cost.json plan.json weights.blw model.blp; do
        [ ! -e "$t/again/$f" ] || check "quantize, allocation $n: $f" cmp "$t/run/$f" "$t/again/$f"
    done
done
ok 0 "quantize goes on" "$bitlathe" quantize $resnet8 --recipe "$t/quick.recipe" $data --budget size=0.7 -o "$t/again" --no-bench $common
for f in plan.json weights.blw model.blp; do check "quantize goes on: $f" cmp "$t/run/$f" "$t/again/$f"; done
echo "$refusals commands with a refused allocation"
check "most were refused" test $refusals -ge 20
finish
