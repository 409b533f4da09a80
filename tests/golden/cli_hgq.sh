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
ok 64 "no EBOPs at all" "$bitlathe" train 4-8-3 --recipe hgq $data $few --budget ebops=0 -o "$t/run"
check "what was refused leaves no folder" test ! -e "$t/run"
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
awk -F, -v OFS=, 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == "label") at = i } NR == 3 { $at = 3 } { print }' "$t/task.csv" >"$t/strange.csv"
ok 65 "eval fixed.json, a label that is no class" "$bitlathe" eval "$t/one/fixed.json" --data csv:"$t/strange.csv"
says "its place" 'sample 1 has label 3, the network has 3 classes; '
sed 's/"weights": \[/"weights": [3,/' "$t/one/fixed.json" >"$t/damaged.json"
ok 65 "eval of a damaged one" "$bitlathe" eval "$t/damaged.json" $data
for words in "teacher=12 --set teacher_epochs=5 --set smoothing=0.1" "overflow=WRAP" "weights=kbi" "act_share=tensor --set weight_share=channel" "uniform_bits=4" "round=TRN" "ramp=pid --set target=300" \
    "overflow=SAT_SYM --set act_share=channel --set round=RND_CONV" "overflow=WRAP --set act_share=tensor --set round=RND_INF" \
    "round=TRN_ZERO" "round=RND_ZERO" "round=RND_MIN_INF" "standard=yes --set beta_ramp=1e-5 --set beta_hold=0.2" "ramp=constant" "input_clip=yes" "average=0.9 --set look=1"; do
    ok 0 "hgq $words" "$bitlathe" train 4-8-3 --recipe hgq $data $few --set $words -o "$t/run"
    prints "hgq $words" '^integers: 0 of 600 outputs of 200 test rows differ'
    check "hgq $words: learns (chance is 40 %)" test "$(sed -n 's/.*test rows differ.*, \([0-9]*\)\.[0-9]* % right/\1/p' "$t/out")" -ge 60
    rm -rf "$t/run"
done
for words in "round=RND" "overflow=WRAP --set round=TRN"; do
    ok 0 "wide sums, $words" "$bitlathe" train 4-8-8-3 --recipe hgq $data $few --set ramp=constant --set beta=0 --set gamma=0 --set weight_bits=14 --set act_f=13 --set $words -o "$t/wide"
    prints "wide sums, $words" '^integers: 0 of 600 outputs of 200 test rows differ.*binary64'
    check "wide sums, $words: more than binary32 holds" test "$(json "$t/wide/front.json" points.0.sum_bits)" -gt 24
    rm -rf "$t/wide"
done
ok 0 "one width, steps of any size" "$bitlathe" train 4-8-3 --recipe hgq $data $few --set uniform_bits=4 --set uniform_real=yes --set ramp=constant --set beta=0 -o "$t/real"
json_lacks "no integers behind them" "$t/real/front.json" integers
check "nor a network" test ! -e "$t/real/fixed.json"
json_has "their price" "$t/real/front.json" points.0.ebops1
ok 64 "steps of any size for learned widths" "$bitlathe" train 4-8-3 --recipe hgq $data $few --set uniform_real=yes -o "$t/run"
ok 64 "a number of a picture is not scaled by itself" "$bitlathe" train conv3 --recipe hgq --data raw:$t/pictures,u8,4x1x28x28,$t/labels --set standard=yes --set held_out=1 --set test=1 -o "$t/run"

# The words that repeat the scaling give the same answers; a table of Weka's, a named network and its recipe.
awk -F, 'BEGIN { print "@relation task\n@attribute a numeric\n@attribute b real\n@attribute c real\n@attribute d real\n@attribute class {x,y,z}\n@data" }
    NR > 1 { print $1 "," 10 * $2 "," $3 + 100 "," $4 "," substr("xyz", $5 + 1, 1) }' "$t/task.csv" >"$t/task.arff"
ok 0 "a table of Weka's" "$bitlathe" train 4-8-3 --recipe hgq --data arff:$t/task.arff $few --set standard=yes -o "$t/arff"
words=$(sed -n 's/^rows were scaled as by //p' "$t/out")
right=$(sed -n 's/.*test rows differ.*, \([0-9.]*\) % right/\1/p' "$t/out")
tail -n 200 "$t/task.arff" | { sed -n '1,/@data/p' "$t/task.arff"; cat; } >"$t/test.arff"
ok 0 "the test rows on integers" "$bitlathe" eval "$t/arff/fixed.json" --data arff:$t/test.arff $words --json
check "as many right" test "$(json "$t/out" top1 | awk '{ printf "%.2f", 100 * $1 }')" = "$right"
awk -F, 'BEGIN { srand(5) } NR > 1 { printf "%d", $5; for (i = 0; i < 16; i++) printf ",%g", $(i % 4 + 1) + rand(); print "" }' "$t/task.csv" |
    { echo label,a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p; cat; } >"$t/wide.csv"
ok 0 "jets" "$bitlathe" train jets --recipe jets --data csv:$t/wide.csv --set epochs=80 --set cycles=4 --set held_out=150 --set test=200 -o "$t/jets"
prints "jets" '^integers: 0 of 1000 outputs of 200 test rows differ'

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
