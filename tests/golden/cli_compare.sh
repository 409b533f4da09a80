#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Recipes beside each other on one model, and finished runs: the table, the record, the page.
. tests/golden/harness.sh
begin "$@"

noise_images "$t/train" 16 41
data="--data raw:$t/train,u8,16x1x28x28 --mean 72.93 --std 90.015"
quick="--set episodes=6 --set sense=8 --set calibrate=16"

words="$resnet8 --recipes mixed,haq,amed,uniform --target bismo-edge,bitfusion --budget latency=0.8,0.6 $quick $data -o $t/all"
ok 0 "four recipes on two targets" "$bitlathe" compare $words
check "a row of figures and one of bits a plan" test "$(grep -c ' latency=0\.[86] ' "$t/out")" -eq 32
prints "two targets" '^bitfusion'
json_is "model" "$t/all/compare.json" model resnet8_fmnist.onnx
json_is "the first" "$t/all/compare.json" points.0.series mixed
json_has "figures of a model with energy" "$t/all/compare.json" points.8.energy_mj points.8.latency_ms points.8.size_bytes points.8.sqnr_db points.8.seconds
json_lacks "no energy on BISMO" "$t/all/compare.json" points.0.energy_mj
json_lacks "no accuracy without labels" "$t/all/compare.json" points.0.top1
check "two and three pictures and one of EBOPs, for wide and narrow windows" test "$(grep -c '<svg' "$t/all/compare.html")" -eq 12
check "16 rows of figures and 16 of bits on the page" test "$(grep -c '<tr><th scope' "$t/all/compare.html")" -eq 32
check "what each took" grep -q 'Time each took' "$t/all/compare.html"
json_is "kinds of layers" "$t/all/compare.json" points.0.kinds.0.kind first
prints "bits by kind of layer" '^bitfusion: mean bits by kind of layer'
json_has "EBOPs of a plan" "$t/all/compare.json" points.0.ebops points.15.ebops
check "nothing is loaded from anywhere" sh -c "! grep -q 'https\\?://' '$t/all/compare.html'"
for target in bismo-edge bitfusion; do
    for recipe in mixed haq amed uniform; do check "records of $recipe on $target" test -f "$t/all/$target/$recipe/plan-latency=0.6.json"; done
done
cp "$t/all/bitfusion/haq/plan-latency=0.6.json" "$t/before.json"
ok 0 "again, from its records" "$bitlathe" compare $words --json
one_object "again, as JSON"
check "the same plan" cmp "$t/before.json" "$t/all/bitfusion/haq/plan-latency=0.6.json"

# ---- finished runs
for share in 0.8 0.6; do
    ok 0 "a run at $share" "$bitlathe" quantize $resnet8 $data --set calibrate=16 --set sense=8 --target bitfusion --budget energy=$share --force --no-bench -o "$t/run$share"
done
ok 0 "two runs" "$bitlathe" compare "$t/run0.8" "$t/run0.6" -o "$t/runs"
prints "the first run" '  run0.8 '
prints "uniform beside them" '  uniform .*int8'
check "EBOPs of uniform 8 bit in a run" test "$(json "$t/runs/compare.json" points.1.ebops | cut -d. -f1)" -gt 10000000
mkdir -p "$t/one" "$t/two"
cp -r "$t/run0.8" "$t/one/run"
cp -r "$t/run0.6" "$t/two/run"
ok 0 "two runs of one name" "$bitlathe" compare "$t/one/run/" "$t/two/run" "$t/run0.8/" -o "$t/named"
json_is "the first by its path" "$t/named/compare.json" points.0.series "$t/one/run"
check "the second by its path" grep -q "\"series\": \"$t/two/run\"" "$t/named/compare.json"
check "a folder as the shell completes it" grep -q '"series": "run0.8"' "$t/named/compare.json"
sed 's/"model": "resnet8_fmnist.onnx"/"model": "other.onnx"/' "$t/run0.6/summary.json" >"$t/two/run/summary.json"
ok 0 "runs of two networks" "$bitlathe" compare "$t/one/run" "$t/two/run" -o "$t/named"
says "runs of two networks" 'two/run is a run of other.onnx, other points are of resnet8_fmnist.onnx'
mkdir -p "$t/front"
echo '{"points":[{"ebops1":1000.0,"held_out_top1":0.5,"test_top1":0.25},{"ebops1":2000.0,"held_out_top1":0.75}]}' >"$t/front/front.json"
ok 0 "a run and a front" "$bitlathe" compare "$t/front" "$t/run0.8" --json
cp "$t/out" "$t/object.json"
json_is "a point of the front" "$t/object.json" points.0.top1 0.25
json_is "its cost" "$t/object.json" points.0.ebops 1000.0
json_is "held-out accuracy where no other is" "$t/object.json" points.1.top1 0.75
ok 0 "a recipe beside a front" "$bitlathe" compare $resnet8 "$t/front" --recipes uniform --target counted --budget bops=0.5 --set calibrate=16 $data -o "$t/beside"
json_is "the recipe" "$t/beside/compare.json" points.0.series uniform
json_is "the front" "$t/beside/compare.json" points.1.series front
json_is "its cost" "$t/beside/compare.json" points.2.ebops 2000.0
check "the report says which layers are bound by what" grep -q 'bound by' "$t/run0.6/report.html"
check "the report has bits by kind of layer" grep -q '<section id="kinds">' "$t/run0.6/report.html"
check "a page of runs" grep -q '<svg' "$t/runs/compare.html"

# ---- what makes no sense
ok 64 "one model" "$bitlathe" compare $resnet8 $data
ok 64 "two models with recipes" "$bitlathe" compare $resnet8 $resnet8 --recipes uniform $data -o "$t/none"
ok 64 "no folder" "$bitlathe" compare $resnet8 --recipes uniform $data
ok 64 "a budget that is none" "$bitlathe" compare $resnet8 --recipes uniform --budget latency $data -o "$t/none"
ok 64 "a recipe that is none" "$bitlathe" compare $resnet8 --recipes luck --target counted $data -o "$t/none"
ok 65 "accuracy without labels" "$bitlathe" compare $resnet8 --recipes uniform --eval "raw:$t/train,u8,16x1x28x28" $data -o "$t/none"
finish
