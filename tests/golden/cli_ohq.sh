#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The way without data: samples made from the network, masks, sensitivity weighed against cost; records that
# are taken again; and networks that remember nothing.
. tests/golden/harness.sh
begin "$@"

few="--set distil_samples=8 --set distil_steps=12 --target counted --no-bench"
ok 0 ohq "$bitlathe" quantize $resnet8 --recipe ohq $few -o "$t/a"
s=$t/a/summary.json
json_is ohq $s recipe ohq
json_is ohq $s samples.source "batch-norm, all samples together"
json_is ohq $s samples.calibration 8
says "samples are made" 'no --data: 8 samples distilled from the statistics of 9 BatchNormalizations in 12 steps'
check "the report shows them" grep -q 'src="data:image/png;base64,' "$t/a/report.html"
check "and says how they came" grep -q 'No data were given' "$t/a/report.html"
json_is distilled "$t/a/distilled.json" steps 12
json_is distilled "$t/a/distilled.json" layers 9
json_is masks "$t/a/sens.json" metric mask
json_lacks "masks predict no SQNR" "$t/a/plan.json" predicted.sqnr_db
json_is weighed "$t/a/plan.json" solver.weighed_cost bops
json_is weighed "$t/a/plan.json" solver.alpha 0.5
holds "some widths are narrow" "$(json $s mixed.bops) < $(json $s int8.bops)"
no_leftovers ohq "$t/a"

# ---- taken again, or not
cp "$t/a/distilled.npy" "$t/first.npy"
ok 0 "again" "$bitlathe" quantize $resnet8 --recipe ohq $few -o "$t/a"
json_lacks "nothing is distilled twice" $s seconds.distil
json_lacks "nothing is sensed twice" $s seconds.sense
printf x >>"$t/a/distilled.npy"
ok 0 "damaged samples" "$bitlathe" quantize $resnet8 --recipe ohq $few -o "$t/a"
json_has "made again" $s seconds.distil
check "the same bytes" cmp "$t/a/distilled.npy" "$t/first.npy"
ok 0 "one thread" "$bitlathe" quantize $resnet8 --recipe ohq $few -o "$t/one" --threads 1
check "the same samples with one thread" cmp "$t/one/distilled.npy" "$t/first.npy"
check "the same plan with one thread" cmp "$t/one/plan.json" "$t/a/plan.json"
ok 0 "another seed" "$bitlathe" calibrate $resnet8 --recipe ohq --set distil_samples=8 --set distil_steps=12 -o "$t/one" --seed 7
check "other samples" test "$(cmp "$t/one/distilled.npy" "$t/first.npy" >/dev/null 2>&1; echo $?)" -eq 1

# ---- with budgets; with samples that are given
ok 0 budget "$bitlathe" quantize $resnet8 --recipe ohq $few --budget size=0.6 -o "$t/a"
json_lacks "a budget: sensitivity alone" "$t/a/plan.json" solver.weighed_cost
holds "the budget is kept" "$(json $s mixed.size_bytes) <= 0.6 * $(json $s int8.size_bytes)"
ok 0 given "$bitlathe" quantize $resnet8 --recipe ohq $few --data "npy:$t/first.npy" -o "$t/given"
absent "nothing is made where samples are given" "$t/given/distilled.npy"
json_lacks given "$t/given/summary.json" samples.source
ok 0 both "$bitlathe" quantize $resnet8 --recipe ohq $few --set data=both --data "npy:$t/first.npy" -o "$t/both"
says "made samples stand beside given ones" 'beside --data: 8 samples distilled'
check "and the report says so" grep -q 'Beside the given ones 8 samples' "$t/both/report.html"
json_is both "$t/both/summary.json" samples.calibration 16
# ---- the folder keeps what it was made from, wherever it lies
for run in a both; do
    mv "$t/$run" "$t/moved"
    ok 0 "tune $run, moved" "$bitlathe" tune "$t/moved" --tune bias-correction -o "$t/again"
    json_is "tune $run, moved" "$t/moved/run.json" data.words.0 "$([ $run = a ] && echo distilled.npy || echo samples.npy)"
    check "the weights of $run" cmp "$t/again/weights.blw" "$t/moved/weights.blw"
    mv "$t/moved" "$t/$run"
done
check "the given ones first" cmp -n 20000 -i 128:128 "$t/both/samples.npy" "$t/first.npy"
ok 0 "time alone" "$bitlathe" quantize $resnet8 --recipe ohq ${few/counted/here} --data "npy:$t/first.npy" --set alpha=0 --set beta=1 --weights-bits 8 \
    --act-bits 4,8 --measure-seconds 0.01 -o "$t/time"
int8=$(json "$t/time/summary.json" int8.predicted_latency_ms)
holds "noise buys time, or int8 is taken" "$(json "$t/time/summary.json" mixed.predicted_latency_ms) <= 0.97 * $int8 || \
    $(json "$t/time/summary.json" mixed.bops) == $(json "$t/time/summary.json" int8.bops)"
ok 64 "a floor of top-1 needs labels" "$bitlathe" quantize $resnet8 --recipe ohq $few --floor top1=-1 -o "$t/floor"
absent "and is refused before any work" "$t/floor"
ok 64 "a comma in the folder" "$bitlathe" quantize $resnet8 --recipe ohq $few -o "$t/a,b"
ok 64 "a line that makes no sense" "$bitlathe" quantize $resnet8 --recipe ohq --set masks=0 -o "$t/b"

# ---- nothing but the model: no samples means OHQ, no folder NET.run where one stands
network=$PWD/$resnet8
tool=$PWD/$bitlathe
[ -x "$tool" ] || tool=$bitlathe
mkdir -p "$t/alone"
cp "$network" "$t/alone/net.onnx"
ok 0 "the model alone" env -C "$t/alone" "$tool" quantize net.onnx --set distil_steps=8 --set distil_samples=8 --target counted --no-bench
check "NET.run" test -s "$t/alone/net.run/model.blp" -a -s "$t/alone/net.run/report.html"
json_is "OHQ without being asked" "$t/alone/net.run/summary.json" recipe ohq
says "the model alone" 'no --data: 8 samples distilled'

# ---- ranks of two metrics
words="--recipe ohq --set distil_samples=8 --set distil_steps=12 --set weights_only=yes --weights-bits 2,4,8 --act-bits 8"
ok 0 "quantized for real" "$bitlathe" sense $resnet8 $words --set sensitivity=kl -o "$t/kl"
json_is settings "$t/kl/sens.json" settings "weights only"
ok 0 "beside masks" "$bitlathe" sense $resnet8 $words -o "$t/mask" --beside "$t/kl/sens.json" --json
cp "$t/out" "$t/tau.json"
holds "masks rank as quantizing does" "$(json "$t/tau.json" all.tau_b) > 0.5"
json_has "by width" "$t/tau.json" W2.tau_b W4.tau_b W8.tau_b
ok 0 "beside itself" "$bitlathe" sense $resnet8 $words -o "$t/mask" --beside "$t/mask/sens.json"
prints "one" 'all  tau-b  1.000'

# ---- what labels say, here the network's own answers: it can only lose, and by whole samples
noise_images "$t/pictures" 40 31
pictures="raw:$t/pictures,u8,40x1x28x28"
ok 0 "its own answers" "$bitlathe" eval $resnet8 --data "$pictures" --mean 72.93 --std 90.015 --predictions "$t/own.u16"
printf '%b' "$(od -An -v -tu2 -w2 "$t/own.u16" | awk '{ printf "\\x%02x", $1 }')" >"$t/own.u8"
ok 0 "top-1 lost" "$bitlathe" sense $resnet8 --recipe uniform --set sensitivity=drop --set sense=40 --data "$pictures,$t/own.u8" --mean 72.93 --std 90.015 \
    --weights-bits 2,8 --act-bits 8 -o "$t/drop"
json_is "top-1 lost" "$t/drop/sens.json" metric drop
awk '/"value":/ { v = $2 + 0; n = 40 * v; d = n - int(n + 0.5); if (v < 0 || v > 1 || d > 1e-6 || d < -1e-6) bad = 1; if (v > most) most = v }
    END { print bad + 0, most }' "$t/drop/sens.json" >"$t/lost"
holds "whole samples" "$(cut -d' ' -f1 "$t/lost") == 0"
holds "two bits cost some" "$(cut -d' ' -f2 "$t/lost") > 0"
ok 65 "without labels" "$bitlathe" sense $resnet8 --recipe uniform --set sensitivity=drop --data "$pictures" --mean 72.93 --std 90.015 \
    --weights-bits 2,8 --act-bits 8 -o "$t/drop2"
{ head -c 39 "$t/own.u8"; printf '\012'; } >"$t/strange.u8"
ok 65 "a label that is no class" "$bitlathe" sense $resnet8 --recipe uniform --set sensitivity=drop --set sense=40 --data "$pictures,$t/strange.u8" \
    --mean 72.93 --std 90.015 --weights-bits 2,8 --act-bits 8 -o "$t/drop2"
says "its place" 'sample 39 has label 10, the network has 10 classes; '

# ---- a network that remembers nothing
squeezenet=$shared/models/squeezenet1_1.onnx
if [ -r "$squeezenet" ]; then
    ok 0 "no BatchNormalization" "$bitlathe" distil "$squeezenet" --samples 1 -o "$t/noise.npy"
    prints "says so" 'samples of Gaussian numbers'
    quick="--recipe ohq --set distil_samples=4 --target counted --weights-bits 8 --act-bits 8 --no-bench -o $t/reach"
    ok 0 "inputs of another scale" "$bitlathe" quantize "$squeezenet" $quick --mean 104,117,123
    says "inputs of another scale" 'Gaussian numbers within what --mean and --std make of pixels'
    holds "their reach" "$(json "$t/reach/distilled.json" reach.2.1) == 132 && $(json "$t/reach/distilled.json" reach.0.0) == -104"
    ok 0 "another reach" "$bitlathe" quantize "$squeezenet" $quick --mean 0 --std 255
    holds "another reach" "$(json "$t/reach/distilled.json" reach.0.1) == 1"
    ok 0 "no reach" "$bitlathe" quantize "$squeezenet" $quick
    says "no reach" 'may be far from real ones'
    json_lacks "no reach" "$t/reach/distilled.json" reach
else
    skip cli_ohq_gaussian "$squeezenet is not here"
fi
finish
