#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# bitlathe train: what it writes, the same bytes for any number of threads and after a stop, refusals.
. tests/golden/harness.sh
begin "$@"

ok 0 "train --help" "$bitlathe" train --help
prints "train --help" '^  bitlathe train '
ok 64 "train without a model" "$bitlathe" train
ok 64 "train without -o" "$bitlathe" train $resnet8
ok 64 "train without data" "$bitlathe" train $resnet8 -o "$t/net.onnx"
for table in architectures optimizers quant-trainers schedules losses; do
    ok 0 "list $table" "$bitlathe" list $table
    check "list $table has rows" test -s "$t/out"
done

if [ -r $fashion/train-images-idx3-ubyte.gz ]; then
    few="--limit 800 --epochs 2 --batch 64 --random --held-out 160 --flip --pad 2"
    ok 64 "batch of no whole micro-batches" "$bitlathe" train $resnet8 $fashion_train $few --micro 7 -o "$t/net.onnx"
    ok 64 "unknown optimizer" "$bitlathe" train $resnet8 $fashion_train $few --optimizer none -o "$t/net.onnx"
    check "what is refused leaves nothing" test ! -e "$t/net.onnx" -a ! -e "$t/net.onnx.part"
    ok 0 "train" "$bitlathe" train $resnet8 $fashion_train $few --threads 1 -o "$t/one.onnx" --history "$t/one.json"
    prints "train" 'epoch 2/2: loss '
    check "nothing to go on from is left" test ! -e "$t/one.onnx.part"
    ok 0 "train --threads 2" "$bitlathe" train $resnet8 $fashion_train $few --threads 2 -o "$t/two.onnx" --history "$t/two.json" --json
    cp "$t/out" "$t/object.json"
    one_object "train --json"
    json_has "train --json" "$t/object.json" kept_epoch epochs.1.held_accuracy seconds
    check "one and two threads, the network" cmp "$t/one.onnx" "$t/two.onnx"
    check "one and two threads, the history" cmp "$t/one.json" "$t/two.json"
    ok 0 "eval" "$bitlathe" eval "$t/one.onnx" $fashion_test --limit 200

    # A network without a file, its curves on a page; every architecture learns, and what it becomes opens.
    ok 64 "no network" "$bitlathe" train $fashion_train -o "$t/arch.onnx"
    ok 64 "two networks" "$bitlathe" train $resnet8 --arch resnet8 $fashion_train -o "$t/arch.onnx"
    ok 64 "an unknown architecture" "$bitlathe" train --arch none $fashion_train -o "$t/arch.onnx"
    ok 64 "a shape of two" "$bitlathe" train --arch resnet8 --shape 3,32 $fashion_train -o "$t/arch.onnx"
    for arch in conv3 resnet8 resnet20 mobilenetv3s; do
        ok 0 "train --arch $arch" "$bitlathe" train --arch $arch --shape 1,28,28 $fashion_train --limit 192 --held-out 64 --epochs 2 \
            --batch 64 --rate 0.01 --page "$t/page.html" -o "$t/arch.onnx"
        check "--arch $arch: the page" grep -q '<polyline class="line s0"' "$t/page.html"
        check "--arch $arch: the page no longer loads itself" test "$(grep -c http-equiv=.refresh "$t/page.html")" -eq 0
        ok 0 "eval --arch $arch" "$bitlathe" eval "$t/arch.onnx" $fashion_test --limit 20
        [ $arch != conv3 ] || cp "$t/arch.onnx" "$t/maxima.onnx"
    done
    ok 0 "maxima on two threads" "$bitlathe" train --arch conv3 --shape 1,28,28 $fashion_train --limit 192 --held-out 64 --epochs 2 \
        --batch 64 --rate 0.01 --threads 2 -o "$t/arch.onnx"
    check "maxima on two threads: the same bytes" cmp "$t/maxima.onnx" "$t/arch.onnx"

    # On the grids of a plan; what it leaves becomes a program.
    ok 0 "a plan" "$bitlathe" quantize $resnet8 $fashion_train --limit 64 --weights-bits 2 --act-bits 4 -o "$t/run"
    ok 64 "unknown trainer" "$bitlathe" train $resnet8 --plan "$t/run/plan.json" --trainer none $fashion_train --limit 200 -o "$t/learned"
    ok 0 "train --plan" "$bitlathe" train $resnet8 --plan "$t/run/plan.json" $fashion_train --limit 400 --epochs 1 --batch 64 \
        --rate 0.005 -o "$t/learned"
    ok 0 "lower what was learned" "$bitlathe" lower $resnet8 --plan "$t/learned/plan.json" -o "$t/learned/model.blp"
    ok 0 "eval it" "$bitlathe" eval "$t/learned/model.blp" $fashion_test --limit 50

    # The same as a tuner: the plan takes the grids, and a second run finds them.
    tuned="--weights-bits 2 --act-bits 4 --target counted --no-bench --limit 64 -o $t/tuned --tune finetune:epochs=1,samples=320"
    ok 64 "unknown word" "$bitlathe" quantize $resnet8 $fashion_train $tuned,speed=3
    ok 0 "quantize --tune finetune" "$bitlathe" quantize $resnet8 $fashion_train $tuned
    cp "$t/tuned/plan.json" "$t/tuned.json" && cp "$t/tuned/model.blp" "$t/tuned.blp" && cp "$t/tuned/weights.blw" "$t/tuned.blw"
    ok 0 "once more" "$bitlathe" quantize $resnet8 $fashion_train $tuned
    check "the same plan" cmp "$t/tuned/plan.json" "$t/tuned.json"
    check "the same program" cmp "$t/tuned/model.blp" "$t/tuned.blp"
    ok 0 "lower it alone" "$bitlathe" lower $resnet8 --plan "$t/tuned/plan.json" -o "$t/alone.blp"
    check "the same from lower" cmp "$t/alone.blp" "$t/tuned.blp"
    ok 0 "export it" "$bitlathe" export "$t/tuned" --format c -o "$t/tuned.c"
    mkdir "$t/short"
    ok 0 "by the row's own name" "$bitlathe" export "$t/tuned" --c -o "$t/short/tuned.c"
    check "the same file" cmp "$t/short/tuned.c" "$t/tuned.c"

    # Stopped as soon as there is something to go on from; then gone on with.
    "$bitlathe" train $resnet8 $fashion_train $few --threads 1 -o "$t/stopped.onnx" >"$t/out" 2>"$t/err" &
    pid=$!
    for _ in $(seq 1200); do
        [ -e "$t/stopped.onnx.part" ] && break
        kill -0 $pid 2>/dev/null || break
        sleep 0.05
    done
    kill -INT $pid 2>/dev/null
    wait $pid
    code=$?
    check "interrupted, or done before" test $code -eq 130 -o $code -eq 0
    [ $code -eq 0 ] || check "the best epoch is kept" test -s "$t/stopped.onnx" -a -s "$t/stopped.onnx.part"
    ok 0 "train goes on" "$bitlathe" train $resnet8 $fashion_train $few --threads 1 -o "$t/stopped.onnx"
    check "after a stop" cmp "$t/one.onnx" "$t/stopped.onnx"
    no_leftovers "train" "$t"
else
    skip "train on Fashion-MNIST" "no $fashion"
fi
finish
