#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Parts of the work by --shard and what merge makes of them: the bytes of one call.
. tests/golden/harness.sh
begin "$@"

noise_images "$t/train" 24 41
data="--data raw:$t/train,u8,24x1x28x28 --mean 72.93 --std 90.015"
quick="--set calibrate=16 --set sense=8 --target counted"

# ---- sense
mkdir -p "$t/merged"
ok 0 "sense, whole" "$bitlathe" sense $resnet8 $quick $data -o "$t/whole"
for n in 2 3; do
    parts=""
    for i in $(seq $n); do
        ok 0 "sense $i/$n" "$bitlathe" sense $resnet8 $quick $data --shard $i/$n -o "$t/part$i"
        parts="$t/part$i/sens.$i-of-$n.json $parts" # the last one first
    done
    ok 0 "merge $n" "$bitlathe" merge $parts -o "$t/merged/$n.json"
    check "the bytes of one call, $n parts" cmp "$t/whole/sens.json" "$t/merged/$n.json"
done
ok 64 "a part is missing" "$bitlathe" merge "$t/part1/sens.1-of-3.json" "$t/part2/sens.2-of-3.json" -o "$t/none.json"
ok 64 "a part twice" "$bitlathe" merge "$t/part1/sens.1-of-2.json" "$t/part1/sens.1-of-2.json" -o "$t/none.json"
ok 0 "another seed" "$bitlathe" sense $resnet8 $quick $data --shard 2/2 --seed 9 -o "$t/other"
ok 65 "parts of two records" "$bitlathe" merge "$t/part1/sens.1-of-2.json" "$t/other/sens.2-of-2.json" -o "$t/none.json"
absent "what was refused leaves nothing" "$t/none.json"
cp "$t/part1/sens.1-of-2.json" "$t/part1/sens.json"
ok 0 "a part is no whole" "$bitlathe" sense $resnet8 $quick $data -o "$t/part1"
check "made again" cmp "$t/whole/sens.json" "$t/part1/sens.json"

# ---- eval
printf 'label\n' >"$t/labels.csv"
for i in $(seq 24); do echo $((i % 10)) >>"$t/labels.csv"; done
head -c $((24 * 784)) "$t/train" >"$t/pixels"
od -An -v -tu1 -w1 "$t/pixels" | awk '{ print $1 % 10 }' | head -24 | while read -r l; do printf "\\x0$l"; done >"$t/labels.u8"
eval_data="--data raw:$t/train,u8,24x1x28x28,$t/labels.u8 --mean 72.93 --std 90.015"
ok 0 "eval, whole" "$bitlathe" eval $resnet8 $eval_data --json
top1=$(json "$t/out" top1) top5=$(json "$t/out" top5)
for i in 1 2 3 4 5; do ok 0 "eval $i/5" "$bitlathe" eval $resnet8 $eval_data --shard $i/5 -o "$t/eval$i.json"; done
ok 0 "merge of counts" "$bitlathe" merge "$t"/eval[1-5].json -o "$t/eval.json"
json_is "samples" "$t/eval.json" samples 24
json_is "top-1" "$t/eval.json" top1 "$top1"
json_is "top-5" "$t/eval.json" top5 "$top5"
ok 64 "more parts than samples" "$bitlathe" eval $resnet8 $eval_data --shard 1/100 -o "$t/none.json"
ok 64 "errors have no parts" "$bitlathe" eval $resnet8 $eval_data --shard 1/2 --metric mse -o "$t/none.json"

# ---- search: answers of the oracle
words="$resnet8 --recipe haq --set search=random --set episodes=9 $quick $data --budget size=0.6"
ok 0 "search, whole" "$bitlathe" search $words -o "$t/alone"
for i in 1 2; do ok 0 "answers $i/2" "$bitlathe" search $words --shard $i/2 -o "$t/ask$i"; done
mkdir -p "$t/joined"
ok 0 "merge of answers" "$bitlathe" merge "$t/ask1/trials.1-of-2.jsonl" "$t/ask2/trials.2-of-2.jsonl" -o "$t/joined/trials.jsonl"
lines=$(wc -l <"$t/joined/trials.jsonl")
check "each once" test "$lines" -eq "$(wc -l <"$t/alone/trials.jsonl")"
ok 0 "search on their answers" "$bitlathe" search $words -o "$t/joined"
check "nothing was asked again" test "$(wc -l <"$t/joined/trials.jsonl")" -eq "$lines"
check "the same plan" cmp "$t/alone/plan.json" "$t/joined/plan.json"
ok 64 "a search without parts" "$bitlathe" search $resnet8 $quick $data --budget size=0.6 --shard 1/2 -o "$t/none"
for bad in 0/2 3/2 1 1/2/3 x/y; do ok 64 "--shard $bad" "$bitlathe" sense $resnet8 $quick $data --shard $bad -o "$t/none"; done
ok 65 "merge of something else" "$bitlathe" merge "$t/whole/stats.json" -o "$t/none.json"
finish
