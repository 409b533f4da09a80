#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The whole straight way: what summary.json promises, budgets kept exactly, records reused, the same
# bytes for any number of threads, infeasible budgets, plans edited by hand.
. tests/golden/harness.sh
begin "$@"

# A few pictures as bare bytes: unpacking the whole set again for each run is not what this tests.
if [ -r $fashion/train-images-idx3-ubyte.gz ]; then
    real=yes
    gzip -dc $fashion/train-images-idx3-ubyte.gz | head -c $((16 + 128 * 784)) | tail -c +17 >"$t/train"
    gzip -dc $fashion/t10k-images-idx3-ubyte.gz | head -c $((16 + 200 * 784)) | tail -c +17 >"$t/test"
    gzip -dc $fashion/t10k-labels-idx1-ubyte.gz | head -c $((8 + 200)) | tail -c +9 >"$t/labels.u8"
else
    real=no
    skip cli_quantize_fashion "dataset-fashion-mnist is not installed; made-up pictures take its place"
    noise_images "$t/train" 128 21
    noise_images "$t/test" 200 22
    noise_bytes 200 23 10 >"$t/labels.u8"
fi
data="--data raw:$t/train,u8,128x1x28x28 --mean 72.93 --std 90.015 --limit 64"
eval_spec=raw:$t/test,u8,200x1x28x28,$t/labels.u8
words="$data --target counted --budget size=0.6"
quantize() { "$bitlathe" quantize "$@"; }

# ---- one run with everything
ok 0 quantize quantize $resnet8 -o "$t/a" $words --eval $eval_spec --eval-limit 200
s=$t/a/summary.json
json_is summary $s model resnet8_fmnist.onnx
json_is summary $s recipe mixed
json_is summary $s target counted
json_is summary $s seed 1
json_is summary $s feasible true
json_has summary $s float.top1 float.top5 float.size_bytes float.latency_ms.median peak_rss_bytes \
    samples.calibration samples.sense samples.evaluation machine.cpu hashes.plan
for row in int8 mixed; do
    json_has "summary $row" $s $row.top1 $row.top5 $row.size_bytes $row.file_bytes $row.memory_bytes \
        $row.bops $row.sqnr_db $row.latency_ms.median $row.latency_ms.p10 $row.latency_ms.p90
done
# A target that counts has no latency: the figure is absent, not zero.
json_lacks "no prediction" $s mixed.predicted_latency_ms
json_lacks "no prediction" $s int8.predicted_latency_ms
json_lacks "no sum for the float network" $s float.sqnr_db
checks=$((checks + 1))
! grep -E '"(top1|top5|auc|mse|latency_ms|predicted_latency_ms|sqnr_db)": (0|0\.0|null),?$' $s || fail summary "a figure is zero"
for stage in import calibrate sense measure search bench evaluate export; do
    json_has "seconds of $stage" $s seconds.$stage
done
# The range of each value was chosen by what it leaves at the output, and the run says why.
json_has "a layer's range" $s layers.1.range layers.1.range_why
check "the plan says why" grep -q '"range_why": "no other gains\|"range_why": "[0-9.]* dB less noise at the output than' "$t/a/plan.json"
check "the report has ranges" grep -q 'range of the input</th>' "$t/a/report.html"
check "and why" grep -q 'noise at the output than\|no other gains' "$t/a/report.html"
json_is budget $s budgets.0.name size
json_is budget $s budgets.0.relative 0.59999999999999998
size=$(json $s mixed.size_bytes) int8=$(json $s int8.size_bytes) limit=$(json $s budgets.0.limit)
holds "the plan keeps its budget" "$size <= 0.6 * $int8 && $size > 0.5 * $int8"
holds "limit is 0.6 of int8" "$limit - 0.6 * $int8 < 1e-6 && 0.6 * $int8 - $limit < 1e-6"
json_is "plan.json says the same size" "$t/a/plan.json" predicted.size_bytes "$size"
json_is "model.blp has the same size" <("$bitlathe" inspect "$t/a/model.blp" --json) weight_bytes "${size%.0}"
holds "int8 is four times smaller than float" "$(json $s float.size_bytes) / $int8 == 4"
for f in report.html model.qdq.onnx graph.json trials.jsonl evaluations.jsonl baselines/W4A8.blp; do
    check "$f" test -s "$t/a/$f"
done
if [ $real = yes ]; then
    holds "int8 is as good as float on 200 pictures" "$(json $s int8.top1) > $(json $s float.top1) - 0.03"
    holds "mixed is nearly as good" "$(json $s mixed.top1) > $(json $s float.top1) - 0.08"
fi

# ---- again: nothing that is there is made again, and nothing changes
cp -r "$t/a" "$t/first"
ok 0 "quantize again" quantize $resnet8 -o "$t/a" $words --eval $eval_spec --eval-limit 200 --no-bench --json
one_object "quantize --json"
for stage in calibrate sense measure; do json_lacks "$stage is skipped" "$t/a/summary.json" seconds.$stage; done
json_lacks "no bench, no latency" "$t/a/summary.json" mixed.latency_ms
json_is "kept evaluation" "$t/a/summary.json" mixed.top1 "$(json "$t/first/summary.json" mixed.top1)"
for f in stats.json sens.json cost.json plan.json model.blp model.qdq.onnx trials.jsonl evaluations.jsonl; do
    check "$f stays as it was" cmp "$t/a/$f" "$t/first/$f"
done

# ---- a page of records that do not belong together
cp -r "$t/a" "$t/foreign"
ok 0 "report of a run" "$bitlathe" report "$t/foreign" -o "$t/foreign.html"
check "report of a run" test ! -s "$t/err"
cp "$t/a/baselines/int8.plan.json" "$t/foreign/plan.json"
ok 0 "report with another plan" "$bitlathe" report "$t/foreign" -o "$t/foreign.html"
says "report with another plan" 'the figures are of another plan than plan.json'
graph=$(json "$t/a/summary.json" hashes.graph)
sed "s/$graph/0$(printf %.31s "$graph")/" "$t/a/plan.json" >"$t/foreign/plan.json"
ok 65 "report with the plan of another network" "$bitlathe" report "$t/foreign" -o "$t/none.html"
says "report with the plan of another network" 'plan.json: the record of another network'
echo '{}' >"$t/foreign/summary.json"
ok 65 "report of no summary" "$bitlathe" report "$t/foreign" -o "$t/none.html"
absent "report of no summary" "$t/none.html"

# ---- from here on with fewer samples: what is repaired, what depends on what, threads, seeds
printf '%s\n' 'calibrate = 64' 'sensitivity = sqnr' 'sense = 16' 'target = counted' 'search = knapsack' 'tune = bias-correction' \
    'weight_bits = 2 4 8' 'act_bits = 4 8' 'keep_ends = yes' >"$t/quick.recipe"
data="--recipe $t/quick.recipe $data"
words="$data --budget size=0.6"
ok 0 "quick recipe" quantize $resnet8 -o "$t/a" $words --no-bench
json_is "quick recipe" "$t/a/sens.json" samples 16
json_lacks "the statistics are the same" "$t/a/summary.json" seconds.calibrate
cp -r "$t/a" "$t/before"
rm "$t/a/plan.json" "$t/a/model.blp" "$t/a/cost.json"
ok 0 "quantize with records missing" quantize $resnet8 -o "$t/a" $words --no-bench
json_lacks "calibrate is skipped" "$t/a/summary.json" seconds.calibrate
json_has "measure is not" "$t/a/summary.json" seconds.measure
for f in plan.json model.blp; do check "$f comes back" cmp "$t/a/$f" "$t/before/$f"; done
printf '{"bitlathe": "sens", "version": "9.0"}' >"$t/a/sens.json"
head -c 3000 "$t/before/stats.json" >"$t/a/stats.json"
ok 0 "quantize with spoilt records" quantize $resnet8 -o "$t/a" $words --no-bench -v
says "quantize -v" 'stats.json is made again'
for f in stats.json sens.json plan.json model.blp; do check "$f is repaired" cmp "$t/a/$f" "$t/before/$f"; done

# ---- what depends on what was asked is made again
ok 0 "other samples" quantize $resnet8 -o "$t/a" ${words/--limit 64/--limit 32} --no-bench
json_is "other samples" "$t/a/stats.json" samples 32
ok 0 "another budget" quantize $resnet8 -o "$t/a" $data --budget size=0.45 --no-bench
holds "another budget" "$(json "$t/a/summary.json" mixed.size_bytes) <= 0.45 * $int8"

# ---- what the plan loses, and where
ok 0 "inspect --worst" "$bitlathe" inspect --worst "$t/a"
prints "inspect --worst" 'units carry half of what the plan loses, [0-9.]* dB'
prints "inspect --worst" '^ *[0-9.]* %  W[2346] A8 .* leaves [0-9.]* %'
ok 0 "inspect --worst --json" "$bitlathe" inspect --worst "$t/a" --json -o "$t/worst.json"
holds "the worst first" "$(json "$t/worst.json" units.0.share) >= $(json "$t/worst.json" units.1.share)"
holds "a remedy leaves less" "$(json "$t/worst.json" units.0.help.share) < $(json "$t/worst.json" units.0.share)"
sum=$(grep -o '"harm": [-0-9.e]*' "$t/worst.json" | awk 'NR == 1 { all = $2; next } { sum += $2 } END { print sum / all }')
holds "shares are of the sum" "$sum > 0.999999 && $sum < 1.000001"
cp -r "$t/a" "$t/worst"
rm "$t/worst/sens.json"
sed -i 's/^ "data": {/ "other": {/' "$t/worst/run.json"
ok 66 "inspect --worst without sensitivities" "$bitlathe" inspect --worst "$t/worst"
says "inspect --worst without sensitivities" 'the run has no sensitivities; bitlathe sense'
sed 's/"W8A8"/"W9A8"/' "$t/a/sens.json" >"$t/worst/sens.json"
ok 65 "inspect --worst of a changed record" "$bitlathe" inspect --worst "$t/worst"
ok 66 "inspect --worst of no run" "$bitlathe" inspect --worst "$t/none"
ok 0 "two budgets" quantize $resnet8 -o "$t/a" $data --budget size=0.7 --budget bops=0.5 --no-bench
s=$t/a/summary.json
holds "two budgets" "$(json $s mixed.size_bytes) <= 0.7 * $int8 && $(json $s mixed.bops) <= 0.5 * $(json $s int8.bops)"
ok 0 "a budget in bytes" quantize $resnet8 -o "$t/a" $data --budget size=40KiB --no-bench
holds "a budget in bytes" "$(json $s mixed.size_bytes) <= 40960"

# ---- both ends are kept only while they are a small part of what is asked for
sed 's/keep_ends = yes/keep_ends = small/' "$t/quick.recipe" >"$t/small.recipe"
small="${data/quick.recipe/small.recipe}"
ok 0 "small ends" quantize $resnet8 -o "$t/small" $small --budget size=0.6 --no-bench
json_is "small ends" "$t/small/plan.json" units.0.w_bits 8
ok 1 "large ends" quantize $resnet8 -o "$t/large" $small --budget size=2KiB --no-bench
says "large ends" 'layers at both ends would be [2-9][0-9] % of the size asked for'
holds "large ends are narrow" "$(json "$t/large/plan.json" units.0.w_bits) < 8"
ok 1 "ends kept anyway" quantize $resnet8 -o "$t/kept" $data --budget size=2KiB --no-bench
json_is "ends kept anyway" "$t/kept/plan.json" units.0.w_bits 8

# ---- threads, seeds
for n in 1 2; do
    ok 0 "$n threads" quantize $resnet8 -o "$t/threads$n" $words --no-bench --threads $n
    for f in stats.json sens.json plan.json model.blp model.qdq.onnx; do
        check "$f with $n threads" cmp "$t/threads$n/$f" "$t/before/$f"
    done
done
ok 0 "another seed" quantize $resnet8 -o "$t/seed" $words --no-bench --seed 12345
json_is "another seed" "$t/seed/summary.json" seed 12345
json_is "another seed" "$t/seed/plan.json" feasible true

# ---- one width for all
ok 0 "W8A8" quantize $resnet8 -o "$t/w8" $data --recipe uniform --target counted --weights-bits 8 --act-bits 8 --no-bench
json_is "W8A8" "$t/w8/summary.json" recipe uniform
json_is "W8A8" "$t/w8/summary.json" int8.size_bytes "$int8"
json_lacks "W8A8" "$t/w8/summary.json" mixed
absent "W8A8 needs no sensitivities" "$t/w8/sens.json"
ok 0 "W4A8" quantize $resnet8 -o "$t/w4" $data --recipe uniform --target counted --weights-bits 4 --act-bits 8 --no-bench
json_lacks "int8 is not there" "$t/w4/summary.json" int8

# ---- int8 does not give way to itself: weights that lie on a grid of 6 bits have less noise there, and nothing was asked for
ok 0 "W6A8" quantize $resnet8 -o "$t/w6" $data --recipe uniform --target counted --weights-bits 6 --act-bits 8 --no-bench
ok 0 "from 6 bits to 8" quantize "$t/w6/model.qdq.onnx" --dequantize -o "$t/w6to8" $data --set sense=32 --target counted --weights-bits 6,8 --act-bits 8 --no-bench
[ $real = no ] || says "from 6 bits to 8" 'the plan is int8: uniform W6A8 keeps the same budgets'
json_lacks "from 6 bits to 8" "$t/w6to8/summary.json" refused
absent "from 6 bits to 8" "$t/w6to8/plan.refused.json"

# ---- budgets that nothing keeps
ok 1 "size=0.01" quantize $resnet8 -o "$t/no" $data --budget size=0.01 --budget bops=0.9 --no-bench
says "size=0.01" 'no plan keeps the budget size=0.01'
says "size=0.01" 'give a larger budget'
json_is "size=0.01" "$t/no/summary.json" feasible false
json_is "size=0.01" "$t/no/plan.json" feasible false
json_is "size=0.01" "$t/no/summary.json" budgets.0.binding true
check "the nearest plan runs" "$bitlathe" inspect "$t/no/model.blp"
ok 1 "search size=0.01" "$bitlathe" search $resnet8 -o "$t/no" $data --budget size=0.01
says "search size=0.01" 'no plan keeps the budget size=0.01'
for b in size=0 size=-1 size=x size latency=3kg weight=0.5 size=nan; do
    ok 64 "--budget $b" quantize $resnet8 -o "$t/none" $data --budget $b
done
ok 64 "one metric twice" quantize $resnet8 -o "$t/none" $data --budget size=0.5 --budget size=0.6
ok 64 "--weights-bits 0" quantize $resnet8 -o "$t/none" $data --weights-bits 0
absent "nothing is written for words that make no sense" "$t/none"

# ---- a plan edited by hand; the weights that tuning made belong to it
with=$t/before/weights.blw
check "weights.blw" test -s "$with"
sed 's/"narrow": false/"narrow": true/' "$t/before/plan.json" >"$t/edited.json"
ok 0 "edited plan" "$bitlathe" lower $resnet8 --plan "$t/edited.json" --weights "$with" -o "$t/edited.blp"
says "edited plan" 'note: .*edited.json was changed by hand'
check "edited program" "$bitlathe" inspect "$t/edited.blp"
checks=$((checks + 1))
! cmp -s "$t/edited.blp" "$t/before/model.blp" || fail "edited program" "is the one of the plan before"
ok 0 "plan as it was" "$bitlathe" lower $resnet8 --plan "$t/before/plan.json" --weights "$with" -o "$t/same.blp"
check "no note on a plan that is as it was" test ! -s "$t/err"
check "the program of the run" cmp "$t/same.blp" "$t/before/model.blp"
ok 0 "weights found beside the plan" "$bitlathe" lower $resnet8 --plan "$t/before/plan.json" -o "$t/beside.blp"
check "the program of the run again" cmp "$t/beside.blp" "$t/before/model.blp"
cp "$t/before/plan.json" "$t/alone.json"
ok 64 "tuned plan without its weights" "$bitlathe" lower $resnet8 --plan "$t/alone.json" -o "$t/none.blp"
says "tuned plan without its weights" 'give them with --weights'
ok 65 "weights of another run" "$bitlathe" lower $resnet8 --plan "$t/before/plan.json" --weights "$t/w4/weights.blw" -o "$t/none.blp"
sed 's/"zero": [0-9]*/"zero": 70000/' "$t/before/plan.json" >"$t/edited.json"
ok 65 "impossible plan" "$bitlathe" lower $resnet8 --plan "$t/edited.json" --weights "$with" -o "$t/none.blp"
absent "no program of an impossible plan" "$t/none.blp"
no_leftovers "no temporary files" "$t"
# ---- floors: the least cost that keeps them, judged by the quantized walk
ok 0 "floor sqnr" quantize $resnet8 -o "$t/floor" $data --target counted --floor sqnr=20 --no-bench
s=$t/floor/summary.json
json_is "floor sqnr" $s feasible true
json_is "floor sqnr" $s floors.0.name sqnr
json_is "floor sqnr" $s floors.0.minimize size
json_is "floor sqnr" $s floors.0.data calibration
json_is "floor sqnr" $s floors.0.holds true
json_is "floor sqnr" $s mixed.sqnr_db "$(json $s floors.0.achieved)"
holds "the floor is kept" "$(json $s floors.0.achieved) >= 20"
holds "at less than int8" "$(json $s mixed.size_bytes) < 0.8 * $(json $s int8.size_bytes)"
trials=$(wc -l <"$t/floor/trials.jsonl")
rm "$t/floor/plan.json"
ok 0 "floor again" quantize $resnet8 -o "$t/floor" $data --target counted --floor sqnr=20 --no-bench
check "no plan is judged twice" test "$(wc -l <"$t/floor/trials.jsonl")" -eq "$trials"
cp "$t/floor/plan.json" "$t/floor.plan.json"
ok 0 "floor with one thread" quantize $resnet8 -o "$t/floor1" $data --target counted --floor sqnr=20 --no-bench --threads 1
check "the same plan with one thread" cmp "$t/floor1/plan.json" "$t/floor.plan.json"
ok 0 "floor and budget" quantize $resnet8 -o "$t/floor" $data --target counted --floor sqnr=20 --budget bops=0.6 --minimize size --no-bench
holds "both hold" "$(json $s floors.0.achieved) >= 20 && $(json $s mixed.bops) <= 0.6 * $(json $s int8.bops)"
ok 0 "floor top1" quantize $resnet8 -o "$t/floor" $data --target counted --floor top1=-3 --floor-data $eval_spec --minimize bops --no-bench
json_is "floor top1" $s floors.0.samples 200
json_has "floor top1" $s floors.0.standard_error
holds "floor top1" "$(json $s floors.0.achieved) >= -3"
"$bitlathe" quantize $resnet8 -o "$t/floor" $data --target counted --floor sqnr=90 --no-bench >"$t/out" 2>"$t/err"
check "a floor that no plan keeps" test $? -eq 1
says "a floor that no plan keeps" 'no plan keeps the floor sqnr=90; the nearest one is written'
json_is "a floor that no plan keeps" $s feasible false
json_is "the nearest plan" "$t/floor/plan.json" feasible false
check "the nearest plan runs" test -s "$t/floor/model.blp"

# ---- equalised: run.json says so, and verbs that are given the folder alone do the same
ok 0 equalised quantize $mobilenet -o "$t/eq" $data --target counted --weights-bits 8 --act-bits 8 --per-tensor --equalise --no-bench
json_is equalised "$t/eq/run.json" equalise true
ok 0 "export of an equalised run" "$bitlathe" export "$t/eq" --format qdq -o "$t/eq.onnx"
check "export of an equalised run" cmp "$t/eq.onnx" "$t/eq/model.qdq.onnx"
ok 0 "equalised for least noise" quantize $mobilenet -o "$t/eqn" $data --target counted --weights-bits 8 --act-bits 8 --per-tensor --equalise-noise --tune bias-analytic --no-bench
json_is "equalised for least noise" "$t/eqn/run.json" equalise noise
ok 0 "export of a run equalised for least noise" "$bitlathe" export "$t/eqn" --format qdq -o "$t/eqn.onnx"
check "export of a run equalised for least noise" cmp "$t/eqn.onnx" "$t/eqn/model.qdq.onnx"
# ---- narrow depthwise layers: which tuner to take
ok 0 "narrow depthwise layers" quantize $mobilenet -o "$t/narrow" $data --target counted --weights-bits 4 --act-bits 8 --no-bench
says "narrow depthwise layers" 'note: .* depthwise layers have weights below 6 bits: --tune refit'
ok 0 "wide depthwise layers" quantize $mobilenet -o "$t/narrow" $data --target counted --weights-bits 6 --act-bits 8 --no-bench
checks=$((checks + 1))
! grep -q "depthwise" "$t/err" || fail "wide depthwise layers" "were called narrow"

ok 65 "its plan without --equalise" "$bitlathe" lower $mobilenet --plan "$t/eq/plan.json" -o "$t/none"

# ---- channels split by range: the same network in float, another file; least squares after
samples=${data#--recipe * }
ok 0 "channels split" "$bitlathe" prepare $mobilenet $samples --split-channels 3 -o "$t/split.onnx"
says "channels split" 'values in front of depthwise layers were cut'
ok 0 "the split network" "$bitlathe" compare $mobilenet "$t/split.onnx" $samples --json
json_is "the split network" "$t/out" pairs.0.flips.total 0
ok 0 "refitted" "$bitlathe" quantize "$t/split.onnx" -o "$t/refit" $data --target counted --weights-bits 8 --act-bits 8 --tune refit --no-bench
check "refitted" test -s "$t/refit/model.qdq.onnx"

# ---- where memory is short, what a layer reads lies on disk: the same weights, and nothing stays behind
ok 0 "refitted in memory" quantize $resnet8 -o "$t/roomy" $data --limit 128 --target counted --weights-bits 8 --act-bits 8 --tune refit --no-bench
mkdir -p "$t/disk"
ok 0 "refitted with little" env TMPDIR="$t/disk" "$bitlathe" quantize $resnet8 -o "$t/tight" $data --limit 128 --target counted --weights-bits 8 --act-bits 8 \
    --tune refit --no-bench --no-cache --threads 1 --memory 11MiB
check "the same weights" cmp -s "$t/roomy/weights.blw" "$t/tight/weights.blw"
check "nothing stays on disk" rmdir "$t/disk"
ok 69 "no disk either" env TMPDIR="$t/none" "$bitlathe" quantize $resnet8 -o "$t/tighter" $data --limit 128 --target counted --weights-bits 8 --act-bits 8 \
    --tune refit --no-bench --no-cache --threads 1 --memory 11MiB

ok 64 "one class" "$bitlathe" prepare $mobilenet $samples --split-channels 1 -o "$t/none.onnx"
ok 64 "split without samples" "$bitlathe" prepare $mobilenet --split-channels 4 -o "$t/none.onnx"
check "no file of a refused split" test ! -e "$t/none.onnx"

# ---- where int8 does not reach the recipe's SQNR, values may have 16 bits: as many as it takes, at the same size
ok 0 "int8 alone" quantize $resnet8 -o "$t/plain" $data --target counted --weights-bits 8 --act-bits 8 --no-bench
int8=$(json "$t/plain/summary.json" int8.sqnr_db)
floor=$(awk "BEGIN { print $int8 + 0.5 }")
s=$t/rescue/summary.json
ok 0 rescue quantize $resnet8 -o "$t/rescue" $data --target counted --set rescue=$floor --no-bench
says rescue 'int8 keeps only .* values may have 16 bits'
holds "the floor is reached" "$(json $s floors.0.achieved) >= $floor"
holds "at the same size" "$(json $s mixed.size_bytes) == $(json $s int8.size_bytes)"
check "some values have 16 bits" grep -q '"bits": 16' "$t/rescue/plan.json"
check "and some have 8" grep -q '"bits": 8' "$t/rescue/plan.json"
ok 0 "no rescue" quantize $resnet8 -o "$t/rescue0" $data --target counted --set rescue=0 --no-bench
json_lacks "no rescue" "$t/rescue0/summary.json" floors
ok 0 "beyond rescue" quantize $resnet8 -o "$t/rescue9" $data --target counted --set rescue=150 --no-bench
says "beyond rescue" 'int8 keeps only .*, and 16-bit values '
json_lacks "beyond rescue" "$t/rescue9/summary.json" floors

# ---- the plan of a table looked at again: never worse for the oracle, within the budget, the same again
ok 0 "found" quantize $resnet8 -o "$t/found" $words --no-bench
ok 0 "polished" quantize $resnet8 -o "$t/polished" $words --no-bench --set polish=30
s=$t/polished/summary.json
holds "never worse" "$(json $s mixed.sqnr_db) >= $(json "$t/found/summary.json" mixed.sqnr_db)"
holds "within the budget" "$(json $s mixed.size_bytes) <= 0.6 * $(json $s int8.size_bytes)"
holds "answers" "$(json "$t/polished/plan.json" solver.polish.answers) <= 30 && $(json "$t/polished/plan.json" solver.polish.answers) >= 3"
holds "as the oracle said" "$(json "$t/polished/plan.json" solver.polish.reward_after) >= $(json "$t/polished/plan.json" solver.polish.reward_before)"
cp "$t/polished/plan.json" "$t/polished.json"
ok 0 "polished again" quantize $resnet8 -o "$t/polished" $words --no-bench --set polish=30
check "the same plan" cmp "$t/polished/plan.json" "$t/polished.json"
ok 0 "above a floor" quantize $resnet8 -o "$t/polished" $data --target counted --floor sqnr=15 --no-bench --set polish=30
says "above a floor" 'polish: it keeps budgets and knows no floors'
ok 64 "points do not add up" quantize $resnet8 -o "$t/polished" $words --no-bench --set polish=30 --set reward=accuracy
says "points do not add up" 'polish needs one that does'

# ---- weights that stand for other codes: their EBOPs count those codes, as the program unpacks them
for words in "--codebook --weights-bits 2,3,4" "--weight-group 16 --weights-bits 2,3,4"; do
    name=${words%% *}
    ok 0 "$name" quantize $resnet8 -o "$t/book" $data $words --target counted --act-bits 8 --budget size=0.45 --no-bench --tune none
    holds "$name: EBOPs of codes" "$(json "$t/book/summary.json" mixed.ebops) > 0.2 * $(json "$t/book/summary.json" mixed.bops) && \
        $(json "$t/book/summary.json" mixed.ebops) <= $(json "$t/book/summary.json" mixed.bops)"
    ok 0 "$name: C" "$bitlathe" export "$t/book" --c -o "$t/book/net.c"
    rm -rf "$t/book"
done

finish
