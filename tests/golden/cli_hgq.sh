#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# bitlathe train --recipe hgq on a task of four numbers: the front, its network on integers alone, the same bytes for any
# number of threads and after a stop, refusals.
. tests/golden/harness.sh
begin "$@"

awk 'BEGIN {
    srand(7); print "a,b,c,d,label"
    for (i = 0; i < 900; i++) {
        for (j = 0; j < 4; j++) v[j] = int(16 * rand()) - 8
        print v[0] / 4 "," v[1] / 4 "," v[2] / 4 "," v[3] / 4 "," (v[0] * v[1] > 4 ? 0 : v[2] + v[3] > 1 ? 1 : 2)
    }
}' >"$t/task.csv"
data="--data csv:$t/task.csv"
few="--set epochs=80 --set cycles=8 --set batch=64 --set float_epochs=30 --set float_batch=64 --set held_out=150 --set test=200 --set beta_end=1e-2"

ok 0 "train --recipe hgq --help" "$bitlathe" train --recipe hgq --help
prints "its help" '^  bitlathe train 16-64'
ok 0 "list hgq" "$bitlathe" list hgq
check "list hgq has rows" grep -q '^beta_end ' "$t/out"
ok 64 "hgq without -o" "$bitlathe" train 4-8-3 --recipe hgq $data
ok 64 "hgq without data" "$bitlathe" train 4-8-3 --recipe hgq -o "$t/run"
ok 64 "a recipe that trains nothing" "$bitlathe" train 4-8-3 --recipe ohq $data -o "$t/run"
ok 64 "a recipe that only trains" "$bitlathe" quantize $resnet8 --recipe hgq -o "$t/run"
ok 64 "a setting that is none" "$bitlathe" train 4-8-3 --recipe hgq $data --set colour=red -o "$t/run"
ok 64 "a setting that makes no sense" "$bitlathe" train 4-8-3 --recipe hgq $data --set overflow=SOMETIMES -o "$t/run"
ok 64 "no rows left" "$bitlathe" train 4-8-3 --recipe hgq $data --set held_out=900 --set test=0 -o "$t/run"
ok 65 "too few outputs" "$bitlathe" train 4-8-2 --recipe hgq $data $few -o "$t/run"
noise_images "$t/pictures" 4 41
printf '\0\1\2\3' >"$t/labels"
ok 69 "a network with branches" "$bitlathe" train $resnet8 --recipe hgq --data raw:$t/pictures,u8,4x1x28x28,$t/labels -o "$t/run"

ok 0 "hgq" "$bitlathe" train 4-8-3 --recipe hgq $data $few --points -o "$t/one" --threads 1
prints "hgq" '^integers: 0 of 600 outputs of 200 test rows differ'
prints "hgq" '^integers: 0 of 450 outputs of 150 held-out rows differ'
check "nothing to go on from is left" test ! -e "$t/one/hgq.part"
json_has "front.json" "$t/one/front.json" points.0.ebops1 points.0.held_out_top1 points.1.test_top1 float.test_top1 chosen
ok 0 "hgq --json, two threads" "$bitlathe" train 4-8-3 --recipe hgq $data $few --points -o "$t/two" --threads 2 --json
cp "$t/out" "$t/object.json"
one_object "hgq --json"
for f in front.json fixed.json points/00.json; do check "one and two threads: $f" cmp "$t/one/$f" "$t/two/$f"; done
ok 0 "hgq in plain loops" env BL_ISA=ref "$bitlathe" train 4-8-3 --recipe hgq $data $few -o "$t/plain"
check "the loops of another instruction set" cmp "$t/one/front.json" "$t/plain/front.json"
ok 0 "hgq under a budget" "$bitlathe" train 4-8-3 --recipe hgq $data $few --budget ebops="$(json "$t/one/front.json" points.0.ebops1)" -o "$t/budget"
check "the cheapest point is chosen" cmp "$t/one/points/00.json" "$t/budget/fixed.json"
ok 1 "hgq under a budget that nothing keeps" "$bitlathe" train 4-8-3 --recipe hgq $data $few --budget ebops=1 --floor top1=-0.1 -o "$t/none"
check "the nearest is written" test -s "$t/none/fixed.json"
check "a page with the front" grep -q 'class=\"front\"' "$t/one/report.html"
ok 0 "eval fixed.json" "$bitlathe" eval "$t/one/fixed.json" $data --predictions "$t/p.u16" --scores "$t/s.f32" --json
json_has "eval fixed.json" "$t/out" samples top1
check "a prediction for each row" test "$(stat -c %s "$t/p.u16")" -eq 1800 -a "$(stat -c %s "$t/s.f32")" -eq 10800
ok 64 "eval fixed.json without data" "$bitlathe" eval "$t/one/fixed.json"
sed 's/"weights": \[/"weights": [3,/' "$t/one/fixed.json" >"$t/damaged.json"
ok 65 "eval of a damaged one" "$bitlathe" eval "$t/damaged.json" $data
for words in "teacher=12 --set teacher_epochs=5 --set smoothing=0.1" "overflow=WRAP" "weights=kbi" "act_share=tensor --set weight_share=channel" "uniform_bits=4" "round=TRN" "ramp=pid --set target=300" \
    "overflow=SAT_SYM --set act_share=channel --set round=RND_CONV"; do
    ok 0 "hgq $words" "$bitlathe" train 4-8-3 --recipe hgq $data $few --set $words -o "$t/run"
    prints "hgq $words" '^integers: 0 of 600 outputs of 200 test rows differ'
    rm -rf "$t/run"
done

# Stopped once there is something to go on from; then gone on with.
longer="--set epochs=400 --set cycles=40 --set batch=64 --set float_epochs=5 --set held_out=150 --set test=200"
ok 0 "hgq, longer" "$bitlathe" train 4-32-32-3 --recipe hgq $data $longer -o "$t/whole"
"$bitlathe" train 4-32-32-3 --recipe hgq $data $longer -o "$t/stopped" >"$t/out" 2>"$t/err" &
pid=$!
for _ in $(seq 1200); do
    [ -e "$t/stopped/hgq.part" ] && break
    kill -0 $pid 2>/dev/null || break
    sleep 0.02
done
kill -INT $pid 2>/dev/null
wait $pid
code=$?
check "interrupted, or done before" test $code -eq 130 -o $code -eq 0
[ $code -eq 0 ] || ok 65 "other settings go on from nothing" "$bitlathe" train 4-32-32-3 --recipe hgq $data $longer --set decay=0.2 -o "$t/stopped"
ok 0 "hgq goes on" "$bitlathe" train 4-32-32-3 --recipe hgq $data $longer -o "$t/stopped"
for f in front.json fixed.json; do check "after a stop: $f" cmp "$t/whole/$f" "$t/stopped/$f"; done
finish
