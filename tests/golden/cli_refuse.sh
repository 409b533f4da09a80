#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Plans that are refused: what stays in the run's folder, what is said.  Sensitivities whose noise is covered (--sqnr-eps) are all
# alike, so that the search gives a plan that one width for all beats.
. tests/golden/harness.sh
begin "$@"

noise_images "$t/x" 32 41
words="--data raw:$t/x,u8,32x1x28x28 --mean 72.93 --std 90.015 --target counted --act-bits 8 --sqnr-eps 1e9 --set sense=4 --set calibrate=16 --no-bench"
quantize() { "$bitlathe" quantize $resnet8 $words --budget size=0.6 "$@"; }

# ---- int8 in its place, which the budget does not allow
ok 1 "int8 in its place" quantize --weights-bits 2,4,8 -o "$t/a"
says "int8 in its place" "^bitlathe: $t/a: the plan is refused: uniform W4A8 keeps the same budgets with .* dB instead of .* dB; int8 takes its place"
limit=$(json "$t/a/summary.json" budgets.0.limit) int8=$(json "$t/a/summary.json" int8.size_bytes)
limit=$(printf %.0f "$limit") int8=$(printf %.0f "$int8")
says "int8 breaks the budget" "has size=$int8 bytes, above the limit of $limit bytes, give a larger budget or --force"
check "the notes say it" grep -q "in its place, has size=$int8 bytes, above the limit of $limit bytes" "$t/a/summary.json"
check "the page says it" grep -q 'Uniform int8 is in its place. Over its limit: size, by 66.7' "$t/a/report.html"
check "and its table" grep -q "int8, in the plan's place" "$t/a/report.html"
json_is "what the budget is judged by" "$t/a/summary.json" budgets.0.achieved "$(json "$t/a/summary.json" int8.size_bytes)"
json_is "in its place" "$t/a/summary.json" in_place int8
check "the refused plan is aside" test -s "$t/a/plan.refused.json"
check "the program is int8" cmp "$t/a/model.blp" "$t/a/baselines/int8.blp"
check "the plan is int8's" cmp "$t/a/plan.json" "$t/a/baselines/int8.plan.json"
check "the weights are int8's" cmp "$t/a/weights.blw" "$t/a/baselines/int8.weights.blw"

cp "$t/a/baselines/int8.weights.blw" "$t/int8.blw"

# ---- forced, in the same folder: nothing of the refusal stays
ok 0 "forced" quantize --weights-bits 2,4,8 -o "$t/a" --force
says "forced" 'note: the plan is refused'
absent "no plan aside" "$t/a/plan.refused.json"
json_lacks "nothing in its place" "$t/a/summary.json" in_place
checks=$((checks + 1))
! cmp -s "$t/a/model.blp" "$t/a/baselines/int8.blp" || fail "forced" "the program is int8"

# ---- no 8 bits among the widths: nothing may look like a result, not even of an earlier call
ok 0 "a result first" "$bitlathe" quantize $resnet8 $words --budget size=0.9 --weights-bits 4,6 -o "$t/b"
for f in plan.json weights.blw model.blp model.qdq.onnx; do check "$f of the first call" test -s "$t/b/$f"; done
ok 1 "nothing in its place" quantize --weights-bits 2,4,6 -o "$t/b"
says "nothing in its place" "^bitlathe: $t/b: the plan is refused: uniform W4A8 .*; nothing takes its place, add 8 to the widths"
for f in plan.json weights.blw model.blp model.qdq.onnx; do absent "$f of a refused plan" "$t/b/$f"; done
check "the refused plan is there" test -s "$t/b/plan.refused.json"
json_is "nothing in its place" "$t/b/summary.json" in_place nothing
check "the page says it" grep -q 'Nothing is in its place' "$t/b/report.html"
cp "$t/b/report.html" "$t/page"
ok 0 "the page again" "$bitlathe" report "$t/b"
check "the page again" cmp "$t/page" "$t/b/report.html"
ok 66 "nothing to export" "$bitlathe" export "$t/b" -o "$t/none.onnx"
absent "nothing exported" "$t/none.onnx"
ok 0 "forced without 8 bits" quantize --weights-bits 2,4,6 -o "$t/b" --force
check "forced without 8 bits" test -s "$t/b/model.blp" -a ! -e "$t/b/plan.refused.json"

# ---- a slow tuner: rivals are screened with the quick one; who could win, and int8 where it takes the place, is tuned as the plan is
ok 1 "a slow tuner" quantize --weights-bits 2,4,8 --tune refit -o "$t/c"
says "a slow tuner" "^bitlathe: $t/c: the plan is refused: uniform W4A8 keeps the same budgets with .* dB instead of .* dB; int8 takes its place"
json_is "the rival that wins" "$t/c/summary.json" uniform.0.tuned refit
json_is "int8 in its place" "$t/c/summary.json" int8.tuned refit
check "the program is int8" cmp "$t/c/model.blp" "$t/c/baselines/int8.blp"
check "the weights are int8's" cmp "$t/c/weights.blw" "$t/c/baselines/int8.weights.blw"
ok 0 "forced with a slow tuner" quantize --weights-bits 2,4,8 --tune refit -o "$t/d" --force
json_is "int8 is beyond the budget" "$t/d/summary.json" int8.tuned bias-correction
json_is "the rival that wins" "$t/d/summary.json" uniform.0.tuned refit
json_is "the plan" "$t/d/summary.json" mixed.tuned refit
check "what was screened is kept as it is" cmp "$t/d/baselines/int8.weights.blw" "$t/int8.blw"
check "the rival is the same" cmp "$t/d/baselines/W4A8.blp" "$t/c/baselines/W4A8.blp"
ok 0 "int8 is the plan" "$bitlathe" quantize $resnet8 $words --budget size=1 --sqnr-eps 1e-9 --weights-bits 4,8 --tune refit -o "$t/e"
json_is "the plan is int8" "$t/e/summary.json" mixed.sqnr_db "$(json "$t/e/summary.json" int8.sqnr_db)"
json_is "and its row is tuned as it is" "$t/e/summary.json" int8.tuned refit
check "with the same weights" cmp "$t/e/weights.blw" "$t/e/baselines/int8.weights.blw"
finish
