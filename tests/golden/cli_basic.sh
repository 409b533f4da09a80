#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Every verb once on the project's own networks: help, text, --json, the files that it promises.
. tests/golden/harness.sh
begin "$@"

verbs="bench calibrate compare eval export import inspect list lower measure prepare quantize report run search sense train tune"

# ---- help, version, words that are none
ok 0 version "$bitlathe" --version
prints version '^bitlathe [0-9]*\.[0-9]*\.[0-9]*$'
ok 0 help "$bitlathe" --help
for v in $verbs; do prints "help names $v" "^  $v "; done
for v in $verbs; do
    ok 0 "$v --help" "$bitlathe" $v --help
    prints "$v --help" '^Example:$'
    prints "$v --help" "^  bitlathe $v "
    prints "$v --help" '  --json '
    ok 0 "$v --usage" "$bitlathe" $v --usage
    ok 64 "$v --no-such-option" "$bitlathe" $v --no-such-option
    says "$v --no-such-option" 'no-such-option'
    ok 64 "$v with too many words" "$bitlathe" $v a b c d e f g h i j k l m n o p q r
done
ok 64 "unknown verb" "$bitlathe" polish
says "unknown verb" 'polish'
"$bitlathe" >"$t/out" 2>"$t/err"
check "no verb" test $? -eq 64
for bad in "--threads 0" "--threads x" "--seed -1" "--memory 5" "--memory x" "--isa sse9" "--dim N" "--dim N=0"; do
    ok 64 "import $bad" "$bitlathe" import $resnet8 $bad
done
for verb in import prepare inspect calibrate sense measure lower eval run bench compare export report tune quantize; do
    ok 64 "$verb without its word" "$bitlathe" $verb
done
ok 64 "search without anything" "$bitlathe" search
ok 64 "control bytes in a word" "$bitlathe" $'im\nport'

# ---- list
ok 0 "list" "$bitlathe" list
cp "$t/out" "$t/tables"
ok 0 "list --json" "$bitlathe" list --json
one_object "list --json"
while read -r table; do
    ok 0 "list $table" "$bitlathe" list "$table"
    check "list $table has rows" test -s "$t/out"
    ok 0 "list $table --json" "$bitlathe" list "$table" --json
    one_object "list $table --json"
    json_has "list $table --json" "$t/object.json" $table.0.name $table.0.help
done <"$t/tables"
ok 0 "list commands" "$bitlathe" list commands
for v in $verbs; do prints "list commands has $v" "^$v "; done
ok 64 "list what is not there" "$bitlathe" list spoons

# ---- models
for m in $resnet8 $mobilenet; do
    name=${m##*/}
    for verb in import prepare inspect; do
        ok 0 "$verb $name" "$bitlathe" $verb $m
        as_expected "$verb.${name%.onnx}.txt"
        prints "$verb $name" 'Conv'
        ok 0 "$verb $name --json" "$bitlathe" $verb $m --json
        one_object "$verb $name --json"
        json_has "$verb $name --json" "$t/object.json" inputs.0.name outputs.0.name nodes.0.op
    done
    ok 0 "import $name -o" "$bitlathe" import $m -o "$t/graph.json"
    check "graph.json" test -s "$t/graph.json"
    json_is "graph.json" "$t/graph.json" inputs.0.shape.2 28
    ok 0 "prepare $name" "$bitlathe" prepare $m --json
    checks=$((checks + 1))
    ! grep -q '"op": "BatchNormalization"' "$t/out" || fail "prepare $name" "BatchNormalization is left"
done
ok 0 "dim" "$bitlathe" import $resnet8 --dim N=3 --json

# ---- stages one by one
noise_images "$t/train" 24 11
noise_images "$t/test" 40 12
noise_bytes 40 13 10 >"$t/labels.u8"
data="--data raw:$t/train,u8,24x1x28x28 --mean 72.93 --std 90.015"
test="--data raw:$t/test,u8,40x1x28x28,$t/labels.u8 --mean 72.93 --std 90.015"
printf 'calibrate = 24\nsensitivity = sqnr\nsense = 16\ntarget = counted\nsearch = knapsack\nweight_bits = 4 8\nact_bits = 8\nkeep_ends = yes\n' >"$t/quick.recipe"
recipe="--recipe $t/quick.recipe --budget size=0.7"
run=$t/run
ok 0 calibrate "$bitlathe" calibrate $resnet8 $recipe $data -o "$run"
prints calibrate "^$run/stats.json$"
ok 0 sense "$bitlathe" sense $resnet8 $recipe $data -o "$run"
ok 0 measure "$bitlathe" measure $resnet8 $recipe --target counted -o "$run" --json
one_object measure
json_is measure "$t/object.json" record "$run/cost.json"
ok 0 search "$bitlathe" search $resnet8 $recipe $data -o "$run"
for r in stats sens cost plan; do
    ok 0 "inspect $r.json" "$bitlathe" inspect "$run/$r.json"
    one_object "inspect $r.json"
    json_is "$r.json" "$run/$r.json" bitlathe $r
    json_has "$r.json" "$run/$r.json" version hash seed tool made_from.graph
done
json_is "stats.json" "$run/stats.json" samples 24
json_is "sens.json" "$run/sens.json" samples 16
json_is "cost.json" "$run/cost.json" target counted
json_is "plan.json" "$run/plan.json" feasible true
ok 0 lower "$bitlathe" lower $resnet8 --plan "$run/plan.json" -o "$run/model.blp" --json
one_object lower
json_has lower "$t/object.json" program weight_bytes memory_bytes
json_is "size as predicted" "$run/plan.json" predicted.size_bytes "$(json "$t/object.json" weight_bytes).0"
ok 65 "a program as a network" "$bitlathe" prepare "$run/model.blp"
says "a program as a network" 'this is what bitlathe made of a network, not an ONNX file'
ok 0 "lower again" "$bitlathe" lower $resnet8 --plan "$run/plan.json" -o "$t/again.blp"
check "the same program twice" cmp "$run/model.blp" "$t/again.blp"
ok 0 "inspect model.blp" "$bitlathe" inspect "$run/model.blp"
prints "inspect model.blp" 'conv .* W[48] A8->A8'
ok 0 "inspect model.blp --json" "$bitlathe" inspect "$run/model.blp" --json
one_object "inspect model.blp --json"

# ---- tune: weights for a plan that is there; the other stages find them
ok 0 "search for tuning" "$bitlathe" search $resnet8 $recipe --tune bias-correction $data -o "$t/tuned"
json_lacks "an untuned plan" "$t/tuned/plan.json" made_from.weights
ok 64 "tune without a tuner" "$bitlathe" tune "$t/tuned" $data
ok 64 "tune by nobody" "$bitlathe" tune "$t/tuned" $data --tune nobody
ok 0 tune "$bitlathe" tune "$t/tuned" --tune bias-correction $data
prints tune "^$t/tuned/weights.blw$"
json_has "a tuned plan" "$t/tuned/plan.json" made_from.weights
cp "$t/tuned/plan.json" "$t/tuned.plan.json"
ok 0 "search finds the weights" "$bitlathe" search $resnet8 $recipe --tune bias-correction $data -o "$t/tuned"
check "search names the weights" cmp "$t/tuned/plan.json" "$t/tuned.plan.json"
ok 0 "lower finds the weights" "$bitlathe" lower $resnet8 --plan "$t/tuned/plan.json" -o "$t/tuned/model.blp"
ok 0 "tune MODEL PLAN" "$bitlathe" tune $resnet8 "$run/plan.json" --tune bias-correction $data -o "$t/tuned2" --json
one_object "tune MODEL PLAN"
check "the same weights" cmp "$t/tuned/weights.blw" "$t/tuned2/weights.blw"
ok 0 "lower elsewhere" "$bitlathe" lower $resnet8 --plan "$t/tuned2/plan.json" -o "$t/tuned2/model.blp"
check "the same program" cmp "$t/tuned/model.blp" "$t/tuned2/model.blp"
ok 0 "quantize tuned" "$bitlathe" quantize $resnet8 $recipe --tune bias-correction $data -o "$t/whole" --no-bench
check "quantize and search, tune, lower give one program" cmp "$t/whole/model.blp" "$t/tuned/model.blp"
ok 0 "inspect weights" "$bitlathe" inspect "$t/whole/weights.blw"
prints "inspect weights" "$t/whole/weights.blw: [0-9]* constants replaced, 0 grids learned, hash $(json "$t/whole/plan.json" made_from.weights)"
prints "inspect weights" 'bias  */fc/Gemm  *10  *10 of 10 changed, by at most '
ok 0 "inspect int8's weights --json" "$bitlathe" inspect "$t/whole/baselines/int8.weights.blw" --json
one_object "inspect int8's weights --json"
json_is "inspect int8's weights" "$t/object.json" plan "$(json "$t/whole/baselines/int8.plan.json" hash)"
json_has "inspect int8's weights" "$t/object.json" hash graph constants.0.name constants.0.shape constants.0.replaces
cp "$t/whole/weights.blw" "$t/alone.blw"
ok 66 "inspect weights without their run" "$bitlathe" inspect "$t/alone.blw"
says "inspect weights without their run" 'no run.json beside it'
ok 0 "inspect weights elsewhere" "$bitlathe" inspect "$t/alone.blw" $resnet8
ok 65 "inspect weights of another network" "$bitlathe" inspect "$t/alone.blw" $mobilenet
says "inspect weights of another network" 'the record of another network; give the weights of this network'
rm "$t/tuned2/weights.blw"
ok 64 "lower without the weights" "$bitlathe" lower $resnet8 --plan "$t/tuned2/plan.json" -o "$t/no.blp"

# ---- the folder alone: its network, its plan, its samples
cp -r "$t/whole" "$t/folder"
rm "$t/folder/weights.blw" "$t/folder/model.blp"
ok 0 "tune on the run's own samples" "$bitlathe" tune "$t/folder" --tune bias-correction
check "quantize's weights" cmp "$t/folder/weights.blw" "$t/whole/weights.blw"
ok 0 "lower RUN" "$bitlathe" lower "$t/folder"
prints "lower RUN" "^$t/folder/model.blp$"
check "quantize's program" cmp "$t/folder/model.blp" "$t/whole/model.blp"
ok 0 "tune RUN elsewhere" "$bitlathe" tune "$t/folder" --tune bias-analytic -o "$t/other"
ok 0 "lower what was tuned elsewhere" "$bitlathe" lower "$t/other" -o "$t/other.blp"
ok 0 "lower its plan" "$bitlathe" lower $resnet8 --plan "$t/other/plan.json" -o "$t/same.blp"
check "the same program by plan" cmp "$t/other.blp" "$t/same.blp"
absent "nothing but -o" "$t/other/model.blp"
ok 0 "tune RUN on other samples" "$bitlathe" tune "$t/folder" --tune bias-correction $data --limit 12 -o "$t/fewer"
ok 0 "tune RUN on fewer" "$bitlathe" tune "$t/folder" --tune bias-correction --limit 12 -o "$t/fewer2"
check "the same samples" cmp "$t/fewer/weights.blw" "$t/fewer2/weights.blw"
checks=$((checks + 1))
! cmp -s "$t/fewer/weights.blw" "$t/whole/weights.blw" || fail "--limit" "wins over the run's"
ok 0 "words on the command line" "$bitlathe" tune "$t/folder" --tune bias-correction --mean 0 -o "$t/mean"
checks=$((checks + 1))
! cmp -s "$t/mean/weights.blw" "$t/whole/weights.blw" || fail "--mean" "wins over the run's"
ok 0 "a run's samples for another verb" "$bitlathe" compare $resnet8 "$t/folder/model.blp" --data "$t/folder/run.json" --json
json_is "a run's samples for another verb" "$t/out" samples 24
cp "$t/folder/run.json" "$t/folder.json"
ok 0 "a stage without samples" "$bitlathe" measure $resnet8 $recipe --target counted -o "$t/folder"
check "keeps what they were" cmp "$t/folder/run.json" "$t/folder.json"
rm "$t/folder/sens.json"
ok 0 "inspect --worst without sensitivities" "$bitlathe" inspect --worst "$t/folder"
prints "inspect --worst without sensitivities" '^Each unit alone on the plan.s widths, measured'
noise_images "$t/train" 24 14
ok 65 "samples that changed" "$bitlathe" tune "$t/folder" --tune bias-correction
says "samples that changed" "samples are not those that $t/folder/run.json was made from; give --data"
mv "$t/train" "$t/train.gone"
ok 66 "samples that are gone" "$bitlathe" tune "$t/folder" --tune bias-correction
says "samples that are gone" "$t/train: .*; put it back, or give --data$"
noise_images "$t/train" 24 11
sed -i '/^ "data": {/,/^ }/d; s/^ "graph": \(.*\),$/ "graph": \1/' "$t/folder/run.json"
ok 64 "a run that keeps no samples" "$bitlathe" tune "$t/folder" --tune bias-correction
says "a run that keeps no samples" 'give --data'
ok 66 "tune no run" "$bitlathe" tune "$t" --tune bias-correction
says "tune no run" 'give the folder of `bitlathe quantize -o`'
ok 66 "lower no run" "$bitlathe" lower "$t"
ok 66 "lower nothing" "$bitlathe" lower "$t/missing"
ok 64 "lower a network alone" "$bitlathe" lower $resnet8

# ---- windows of a sample have its label, the last sample's too
noise_images "$t/tall" 16 41
noise_bytes 14 42 10 >"$t/tall.u8"
ok 0 "sensitivity drop on windows" "$bitlathe" sense $resnet8 $recipe --set sensitivity=drop --data raw:"$t/tall",u8,14x32x28,"$t/tall.u8" \
    --window 28 --mean 72.93 --std 90.015 -o "$t/windows"

# ---- eval: a float network, under a plan, a program
ok 0 "eval float" "$bitlathe" eval $resnet8 $test --predictions "$t/float.u16" --scores "$t/float.f32"
prints "eval float" '^40 samples, top-1 '
check "predictions" test "$(stat -c %s "$t/float.u16")" -eq 80
check "scores" test "$(stat -c %s "$t/float.f32")" -eq 1600
ok 0 "eval float --reference" "$bitlathe" eval $resnet8 $test --predictions "$t/reference.u16" --reference
check "oneDNN and the reference agree" cmp "$t/float.u16" "$t/reference.u16"
ok 0 "eval float --threads 1" "$bitlathe" eval $resnet8 $test --scores "$t/float1.f32" --threads 1
check "threads change no score" cmp "$t/float.f32" "$t/float1.f32"
ok 0 "eval --plan" "$bitlathe" eval $resnet8 $test --plan "$run/plan.json" --scores "$t/fake.f32" --json
one_object "eval --plan"
ok 0 "eval --plan with the weights beside it" "$bitlathe" eval $resnet8 $test --plan "$t/whole/plan.json" --scores "$t/beside.f32"
ok 0 "eval --plan --weights" "$bitlathe" eval $resnet8 $test --plan "$t/whole/plan.json" --weights "$t/whole/weights.blw" --scores "$t/given.f32"
check "the same weights" cmp "$t/beside.f32" "$t/given.f32"
checks=$((checks + 1))
! cmp -s "$t/beside.f32" "$t/fake.f32" || fail "tuned weights" "change no score"
ok 0 "eval of a baseline's plan" "$bitlathe" eval $resnet8 $test --plan "$t/whole/baselines/int8.plan.json" --scores "$t/int8.f32"
ok 0 "lower it" "$bitlathe" lower $resnet8 --plan "$t/whole/baselines/int8.plan.json" -o "$t/int8.blp"
check "the baseline's program" cmp "$t/int8.blp" "$t/whole/baselines/int8.blp"
ok 64 "eval --plan without its weights" "$bitlathe" eval $resnet8 $test --plan "$t/tuned2/plan.json"
says "eval --plan without its weights" 'the plan was made for tuned weights; give them with --weights'
ok 65 "eval --plan with others" "$bitlathe" eval $resnet8 $test --plan "$run/plan.json" --weights "$t/whole/weights.blw"
ok 0 "eval program" "$bitlathe" eval "$run/model.blp" $test --scores "$t/program.f32" --json
one_object "eval program"
json_is "eval program" "$t/object.json" samples 40
json_has "eval program" "$t/object.json" top1 top5 seconds
json_lacks "eval program" "$t/object.json" auc
for isa in ref avx2 avx512; do
    "$bitlathe" eval "$run/model.blp" $test --limit 10 --isa $isa --scores "$t/$isa.f32" >"$t/out" 2>"$t/err"
    [ $? -eq 69 ] && { skip "eval_$isa" "not on this CPU"; continue; }
    check "integers are the same with $isa" cmp -n 400 "$t/program.f32" "$t/$isa.f32"
done
ok 0 "eval --limit" "$bitlathe" eval "$run/model.blp" $test --limit 7 --json
json_is "eval --limit" "$t/out" samples 7
ok 64 "eval --plan of a program" "$bitlathe" eval "$run/model.blp" $test --plan "$run/plan.json"
ok 64 "eval without data" "$bitlathe" eval $resnet8
ok 64 "unknown metric" "$bitlathe" eval $resnet8 $test --metric taste

# ---- compare: a float network and programs in one table
ok 0 compare "$bitlathe" compare $resnet8 "$run/model.blp" $resnet8 $test
prints compare '^40 samples; each model beside the first'
prints "compare with itself" "^$resnet8 .* equal$"
ok 0 "compare --json" "$bitlathe" compare $resnet8 "$run/model.blp" $resnet8 $test --json
one_object "compare --json"
json_is "compare --json" "$t/object.json" samples 40
json_is "compare counts flips as the predictions do" "$t/object.json" pairs.0.flips.total \
    "$("$bitlathe" eval "$run/model.blp" $test --predictions "$t/program.u16" >/dev/null; flips "$t/float.u16" "$t/program.u16")"
json_has "compare --json" "$t/object.json" models.0.top1 models.1.top5 pairs.0.drop pairs.0.drop_standard_error \
    pairs.0.drop_bound95 pairs.0.flips.better pairs.0.flips.worse pairs.0.mcnemar.p pairs.0.kl pairs.0.sqnr_db
json_is "compare with itself" "$t/object.json" pairs.1.equal true
json_is "compare with itself" "$t/object.json" pairs.1.kl 0.0
ok 0 "compare without labels" "$bitlathe" compare $resnet8 "$run/model.blp" $data --json
json_lacks "compare without labels" "$t/out" pairs.0.drop
json_lacks "compare without labels" "$t/out" pairs.0.mcnemar
json_has "compare without labels" "$t/out" pairs.0.flips.total pairs.0.kl
ok 64 "compare one" "$bitlathe" compare $resnet8 $test

# ---- run
npy_noise "$t/x.npy" "1, 1, 28, 28" 784 5
ok 0 "run float" "$bitlathe" run $resnet8 --in "$t/x.npy" --out "$t/o1" --all-values
ok 0 "run float --json" "$bitlathe" run $resnet8 --in "$t/x.npy" --out "$t/o1j" --json
one_object "run float --json"
json_is "run float --json" "$t/object.json" out "$t/o1j"
ok 0 "run program" "$bitlathe" run "$run/model.blp" --in "$t/x.npy" --out "$t/o2" --all-values
for o in o1 o2; do
    check "out0.npy of $o" test "$(stat -c %s "$t/$o/out0.npy")" -eq $((128 + 40))
    ok 0 "index.json of $o" "$bitlathe" inspect "$t/$o/index.json"
    n=$(grep -c '"file"' "$t/$o/index.json")
    check "$o holds every value" test "$n" -ge 15 -a "$n" -eq "$(find "$t/$o" -name 'v*.npy' | wc -l)"
    sed -n 's/^ *"file": "\(.*\)",\{0,1\}$/\1/p' "$t/$o/index.json" >"$t/files"
    while read -r f; do check "$o/$f" test -s "$t/$o/$f"; done <"$t/files"
done
json_has "index.json of a program" "$t/o2/index.json" values.0.name values.0.bits values.0.scale values.0.zero
npy_noise "$t/x3.npy" "3, 1, 28, 28" 2352 6
ok 0 "run float at batch 3" "$bitlathe" run $resnet8 --in "$t/x3.npy" --out "$t/o3"
check "out0.npy at batch 3" test "$(stat -c %s "$t/o3/out0.npy")" -eq $((128 + 120))
# Made for a batch of 8 (the name of its free dimension becomes the number): shown as it is, run as it is, one sample for all else.
cp $resnet8 "$t/eight.onnx"
for at in $(LC_ALL=C grep -obUaP '\x12\x01N' $resnet8 | cut -d: -f1); do
    hex_out 088800 | dd of="$t/eight.onnx" bs=1 seek=$at conv=notrunc status=none
done
ok 0 "import of a batch of 8" "$bitlathe" import "$t/eight.onnx"
prints "import of a batch of 8" 'float32 8x1x28x28'
ok 0 "prepare of a batch of 8" "$bitlathe" prepare "$t/eight.onnx"
says "prepare of a batch of 8" 'made for a batch of 8; it is taken for one sample at a time'
prints "prepare of a batch of 8" 'float32 1x1x28x28'
npy_noise "$t/x8.npy" "8, 1, 28, 28" $((8 * 784)) 8
ok 0 "run at the file's batch" "$bitlathe" run "$t/eight.onnx" --in "$t/x8.npy" --out "$t/o8"
ok 0 "run at the same free batch" "$bitlathe" run $resnet8 --in "$t/x8.npy" --out "$t/free8"
check "a fixed batch runs as a free one" cmp "$t/o8/out0.npy" "$t/free8/out0.npy"
noise_images "$t/eight.u8" 8 12
ok 0 "quantize a batch of 8" "$bitlathe" quantize "$t/eight.onnx" --weights-bits 8 --act-bits 8 --data raw:"$t/eight.u8",u8,8x1x28x28 --no-bench \
    --target counted -o "$t/eight"
mkdir "$t/name" && cp $resnet8 "$t/name/eight.onnx"
ok 0 "quantize the free one" "$bitlathe" quantize "$t/name/eight.onnx" --weights-bits 8 --act-bits 8 --data raw:"$t/eight.u8",u8,8x1x28x28 --no-bench \
    --target counted -o "$t/free"
check "the same program from a fixed batch" cmp "$t/eight/model.blp" "$t/free/model.blp"
# NumPy's float64 and pictures of bytes: numbers are numbers.
{ hex_out 934e554d5059 0100 7600; printf '%-117s\n' "{'descr': '|u1', 'fortran_order': False, 'shape': (1, 1, 28, 28), }"; noise_bytes 784 9 200; } >"$t/u8.npy"
{ hex_out 934e554d5059 0100 7600; printf '%-117s\n' "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1, 28, 28), }"
  tail -c 784 "$t/u8.npy" | od -An -v -tu1 -w1 | awk '{ # a whole number below 256 as float32
      if (!$1) { printf "00000000"; next }
      for (e = 0; 2 ^ (e + 1) <= $1; e++); m = ($1 - 2 ^ e) * 2 ^ (23 - e); b = (127 + e) * 2 ^ 23 + m
      printf "%02x%02x%02x%02x", b % 256, int(b / 256) % 256, int(b / 65536) % 256, int(b / 16777216) }' | sed 's/../\\x&/g' | xargs -0 printf '%b'; } >"$t/f32.npy"
ok 0 "run program on float32" "$bitlathe" run "$run/model.blp" --in "$t/f32.npy" --out "$t/of"
for m in "$run/model.blp" $resnet8; do
    ok 0 "run ${m##*/} on bytes" "$bitlathe" run "$m" --in "$t/u8.npy" --out "$t/ou"
    says "run ${m##*/} on bytes" "u8.npy: uint8 is taken as the network's float32"
    ok 0 "run ${m##*/} on the same as float32" "$bitlathe" run "$m" --in "$t/f32.npy" --out "$t/of"
    check "${m##*/}: the same numbers" cmp "$t/ou/out0.npy" "$t/of/out0.npy"
done
{ hex_out 934e554d5059 0100 7600; printf '%-117s\n' "{'descr': '<f8', 'fortran_order': False, 'shape': (1, 1, 28, 28), }"
  head -c 6264 /dev/zero; hex_out 9c7500883ce4377e; } >"$t/f64.npy"
ok 65 "run on 1e300" "$bitlathe" run $resnet8 --in "$t/f64.npy" --out "$t/none"
says "run on 1e300" "f64.npy: 1e+300 is no number that the network's input of float32 takes"
ok 64 "run without --out" "$bitlathe" run $resnet8 --in "$t/x.npy"
ok 64 "run with two inputs" "$bitlathe" run $resnet8 --in "$t/x.npy" --in "$t/x.npy" --out "$t/o4"

# ---- the driver, export, report, bench
ok 0 quantize "$bitlathe" quantize $resnet8 $recipe $data -o "$run" --no-bench
prints quantize '^chosen plan '
prints quantize "^report: $run/report.html$"
for f in run.json graph.json summary.json report.html model.qdq.onnx baselines/int8.blp baselines/int8.plan.json; do
    check "$f" test -s "$run/$f"
done
check "quantize and the stages give one program" cmp "$run/model.blp" "$t/again.blp"
ok 0 export "$bitlathe" export "$run" -o "$t/net.onnx"
check "export twice" cmp "$t/net.onnx" "$run/model.qdq.onnx"
cp "$t/net.onnx" "$t/net1.onnx"
ok 0 "export --json" "$bitlathe" export "$run" --format qdq -o "$t/net.onnx" --all-outputs --json
one_object "export --json"
ok 0 "eval of a file with all outputs" "$bitlathe" eval "$t/net.onnx" $data
ok 0 "import of an export" "$bitlathe" import "$t/net.onnx"
prints "import of an export" 'QuantizeLinear'
ok 0 "run of an export" "$bitlathe" run "$run/model.qdq.onnx" --in "$t/x.npy" --out "$t/o5"
cp -r "$run" "$t/dims"
sed -i 's/"graph"/"dims": {"N": 1, "M": 3}, "graph"/' "$t/dims/run.json"
ok 0 "export with the run's --dim" "$bitlathe" export "$t/dims" -o "$t/dims.onnx"
check "the same network" cmp "$t/dims.onnx" "$t/net1.onnx"
sed -i 's/"N": 1/"N": 2/' "$t/dims/run.json"
ok 0 "the call's --dim stands" "$bitlathe" export "$t/dims" --dim N=1 -o "$t/dims.onnx"
check "the same network" cmp "$t/dims.onnx" "$t/net1.onnx"
sed -i 's/"N": 2/"N": 0/' "$t/dims/run.json"
ok 65 "a run with a dimension of size 0" "$bitlathe" export "$t/dims" -o "$t/dims.onnx"
says "a run with a dimension of size 0" '"dims": N is no size'
ok 64 "unknown format" "$bitlathe" export "$run" --format cake -o "$t/net.onnx"
ok 0 report "$bitlathe" report "$run" -o "$t/page.html"
check "one HTML page" grep -q '</html>' "$t/page.html"
ok 0 "report --json" "$bitlathe" report "$run" -o "$t/page.html" --json
one_object "report --json"
ok 0 bench "$bitlathe" bench "$run/model.blp" --seconds 0.5 --threads 1 --json
one_object bench
json_has bench "$t/object.json" latency_ms.median latency_ms.p10 latency_ms.p90 peak_bytes promised_bytes isa threads
ok 0 "bench of three" "$bitlathe" bench "$run/model.blp" "$run/baselines/int8.blp" $resnet8 --seconds 0.5
prints "bench of three" 'A/A'
ok 0 "bench of two --json" "$bitlathe" bench "$run/model.blp" "$run/baselines/int8.blp" --seconds 0.5 --json
one_object "bench of two --json"
json_has "bench of two --json" "$t/object.json" items.1.latency_ms.median aa_spread

ok 0 "bench --layers" "$bitlathe" bench "$run/model.blp" --seconds 0.2 --layers
prints "bench --layers" 'GMAC/s'
ok 0 "bench --layers --json" "$bitlathe" bench "$run/model.blp" --seconds 0.2 --layers --json
json_has "bench --layers --json" "$t/out" layers.0.kernel layers.1.macs layers.1.q1_us
printf '2\n1\n' >"$t/turns"
ok 0 "bench --turns" "$bitlathe" bench "$run/model.blp" --turns <"$t/turns"
check "bench --turns: two turns, of two runs and of one" grep -qzE '^[0-9]+ [0-9]+[[:space:]][0-9]+[[:space:]]$' "$t/out"
printf '2\nmany\n' >"$t/turns"
ok 65 "bench --turns: not a number" "$bitlathe" bench "$run/model.blp" --turns <"$t/turns"
ok 64 "bench --turns of a float network" "$bitlathe" bench $resnet8 --turns

# ---- energy: counted or modelled by `measure`, said which, and minimized
ok 0 "measure" "$bitlathe" measure $resnet8 --weights-bits 4,8 --act-bits 8 --no-cache -o "$t/energy"
prints "measure" 'layer shapes gain no time from fewer bits'
ok 0 "measure --json" "$bitlathe" measure $resnet8 --weights-bits 4,8 --act-bits 8 --no-cache -o "$t/energy" --json
json_has "measure --json" "$t/out" roofline.0.bound roofline.0.gain roofline.0.key
check "cells have energy" grep -q '"energy_nj": [0-9.]*[1-9]' "$t/energy/cost.json"
check "the record says whose energy" grep -qE '"energy": "(RAPL|model)' "$t/energy/cost.json"
ok 0 "least energy" "$bitlathe" quantize $resnet8 $data --target "$t/energy/cost.json" --weights-bits 4,8 --act-bits 8 \
    --floor sqnr=15 --minimize energy -o "$t/energy-run" --no-bench --json
json_has "least energy" "$t/energy-run/summary.json" mixed.predicted_energy_mj int8.predicted_energy_mj

# ---- a stand-alone problem
cat >"$t/problem.json" <<'END'
{"version": 1, "budgets": [{"name": "size", "limit": 10}],
 "units": [{"name": "a", "options": [{"name": "4", "objective": 3, "costs": [4]}, {"name": "8", "objective": 1, "costs": [8]}]},
           {"name": "b", "options": [{"name": "4", "objective": 9, "costs": [2]}, {"name": "8", "objective": 1, "costs": [6]}]}],
 "ties": []}
END
ok 0 problem "$bitlathe" search --problem "$t/problem.json" --json --write-lp "$t/problem.lp"
one_object problem
json_is problem "$t/object.json" status optimal
json_is problem "$t/object.json" choice.a 4
json_is problem "$t/object.json" choice.b 8
json_is problem "$t/object.json" objective 4.0
check "LP text" grep -qi 'minimize' "$t/problem.lp"
sed -i 's/"limit": 10/"limit": 5/' "$t/problem.json"
"$bitlathe" search --problem "$t/problem.json" --json >"$t/out" 2>"$t/err"
check "infeasible problem" test $? -eq 1
json_is "infeasible problem" "$t/out" status infeasible

# ---- -o of every verb whose answer is one object
for words in "list ops" "list" "inspect $run/model.blp" "inspect $resnet8" "inspect $run/plan.json" "eval $run/model.blp $test" \
    "compare $resnet8 $run/model.blp $test" "bench $run/model.blp --seconds 0.1"; do
    rm -f "$t/answer.json"
    ok 0 "$words -o" "$bitlathe" $words -o "$t/answer.json"
    ok 0 "$words -o is an object" "$bitlathe" inspect "$t/answer.json"
    ok 73 "$words -o nowhere" "$bitlathe" $words -o "$t/no/such/answer.json"
done

# ---- what the plan beside a program predicted, and nothing where that is another plan's
mkdir "$t/beside"
cp "$run/model.blp" "$run/plan.json" "$t/beside"
ok 0 "bench of a counted plan" "$bitlathe" bench "$t/beside/model.blp" --seconds 0.1 --json
json_lacks "a target without a clock predicts no time" "$t/out" predicted_ms
sed -i 's/^\( *\)"size_bytes": /\1"latency_ns": 2500000.0,\n\1"size_bytes": /' "$t/beside/plan.json"
ok 0 "bench beside its plan" "$bitlathe" bench "$t/beside/model.blp" --seconds 0.1 --json
json_is "bench beside its plan" "$t/out" predicted_ms 2.5
sed -i 's/"hash": "./"hash": "z/' "$t/beside/plan.json"
ok 0 "bench beside another plan" "$bitlathe" bench "$t/beside/model.blp" --seconds 0.1 --json
json_lacks "bench beside another plan" "$t/out" predicted_ms

# ---- BL_TRACE: what ran when, for a trace viewer; the results stay as they are
rm -rf "$t/traced"
mkdir "$t/traced"
ok 0 "BL_TRACE" env BL_TRACE="$t/trace.json" "$bitlathe" search $resnet8 $recipe $data -o "$t/traced"
check "the same plan" cmp "$run/plan.json" "$t/traced/plan.json"
json_has "BL_TRACE" "$t/trace.json" traceEvents.0.ts traceEvents.0.dur traceEvents.0.args.arena_bytes
for stage in import calibrate sense; do check "BL_TRACE has $stage" grep -q "\"name\": \"$stage\"" "$t/trace.json"; done
ok 0 "BL_TRACE of another place" env BL_TRACE="$t/no/such/trace" "$bitlathe" search $resnet8 $recipe $data -o "$t/traced"
says "BL_TRACE of another place" 'note: BL_TRACE: .*no/such/trace is not written'

# ---- our reader refuses what is no JSON
for text in '{' '{"a":1} trailing' '{"a":1,}' '{"a":nan}' '{"a":1,"a":2}'; do
    printf '%s' "$text" >"$t/bad.json"
    ok 65 "inspect '$text'" "$bitlathe" inspect "$t/bad.json"
done
no_leftovers "no temporary files" "$t"
finish
