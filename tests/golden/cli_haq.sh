#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# HAQ from the command line: models as targets, an agent's search on one, killed and started again, tables.
. tests/golden/harness.sh
begin "$@"

noise_images "$t/train" 16 41
data="--data raw:$t/train,u8,16x1x28x28 --mean 72.93 --std 90.015"

# ---- targets
for target in bismo-cloud bismo-edge bitfusion bitfusion-isca; do
    ok 0 "measure on $target" "$bitlathe" measure $resnet8 --target $target -o "$t/$target" --json
    holds "$target has a latency" "$(json "$t/out" int8_latency_ms) > 0"
done
json_is "the batch" "$t/bismo-cloud/cost.json" machine.batch 16
ok 0 "measure on bitfusion, in words" "$bitlathe" measure $resnet8 --target bitfusion -o "$t/bitfusion"
prints "both figures" '8 bits everywhere, a batch of 16: [0-9.]* ms, [0-9.]* mJ'
ok 69 "energy on a target without one" "$bitlathe" search $resnet8 $data --target counted --budget energy=0.5 -o "$t/none"
says "energy on a target without one" 'neither measures nor models energy'
ok 66 "a table that is not there" "$bitlathe" measure $resnet8 --target nothing.npy@x -o "$t/none"
echo junk >"$t/junk.npy"
ok 65 "a table that is no array" "$bitlathe" measure $resnet8 --target "$t/junk.npy" -o "$t/none"
npy_noise "$t/short.npy" "3, 8, 8" 192 7
ok 65 "a table that is not of float64" "$bitlathe" measure $resnet8 --target "$t/short.npy" -o "$t/none"
says "a table that is not of float64" 'give float64 \[layer\]'
head -c 200 "$t/short.npy" >"$t/cut.npy"
ok 65 "a table cut short" "$bitlathe" measure $resnet8 --target "$t/cut.npy" -o "$t/none"

# ---- a search, whole
words="$resnet8 --recipe haq --set episodes=30 --set sense=8 --set calibrate=16 $data --target bitfusion --budget energy=0.6"
ok 0 "haq" "$bitlathe" search $words -o "$t/whole"
says "the reward is chosen" 'reward: noise at the output, the samples have no labels'
json_is "method" "$t/whole/plan.json" solver.method ddpg
json_is "reward" "$t/whole/plan.json" solver.reward sqnr
json_has "figures" "$t/whole/plan.json" predicted.latency_ns predicted.energy_nj predicted.size_bytes
check "an answer a policy" test "$(wc -l <"$t/whole/trials.jsonl")" -ge 25
ok 0 "eight bits" "$bitlathe" measure $resnet8 --target bitfusion -o "$t/int8" --json
int8=$(json "$t/out" int8_energy_mj)
ok 0 "price of the plan" "$bitlathe" measure $resnet8 --target bitfusion --plan "$t/whole/plan.json" -o "$t/price" --json
holds "within the budget" "$(json "$t/out" energy_mj) <= 0.6 * $int8 * 1.000001"
json_is "the first layer" "$t/out" kinds.0.kind first
json_is "the ends keep 8 bits" "$t/out" kinds.0.w_bits 8.0
json_has "kinds" "$t/out" kinds.0.ns kinds.1.kind kinds.1.computing kinds.1.moving
ok 0 "on another target" "$bitlathe" measure $resnet8 --target bismo-edge --plan "$t/whole/plan.json" -o "$t/price"
prints "on another target" 'on bismo-edge: .* ms$'
prints "bits by kind of layer" '^  last  *1  *8\.00  *8\.00 '
ok 0 "random beside it" "$bitlathe" search $words --set search=random -o "$t/random"
json_is "method of random" "$t/random/plan.json" solver.method random

# ---- killed at five moments, then finished: the same plan
random_state=815
for i in 1 2 3 4 5; do
    random 20
    "$bitlathe" search $words -o "$t/again" >"$t/out" 2>"$t/err" &
    pid=$!
    want=$((5 * i + r / 4))
    for k in $(seq 400); do # until so many answers lie there
        [ "$(cat "$t/again/trials.jsonl" 2>/dev/null | wc -l)" -ge $want ] && break
        kill -0 $pid 2>/dev/null || break
        sleep 0.02
    done
    kill -KILL $pid 2>/dev/null
    wait $pid 2>/dev/null
done
ok 0 "the last start" "$bitlathe" search $words -o "$t/again"
check "killed and started again: the same plan" cmp "$t/whole/plan.json" "$t/again/plan.json"

# ---- AMED's walk
amed="$resnet8 --recipe amed --set episodes=12 --set sense=8 --set calibrate=16 $data --target bismo-edge"
ok 0 "amed" "$bitlathe" search $amed -o "$t/amed"
json_is "method of amed" "$t/amed/plan.json" solver.method metropolis
json_is "loss of amed" "$t/amed/plan.json" solver.loss kl
json_has "steps of amed" "$t/amed/plan.json" solver.trace.0.zeta solver.trace.11.cost
cp "$t/amed/plan.json" "$t/first.json"
ok 0 "amed again, all remembered" "$bitlathe" search $amed -o "$t/amed"
check "amed again" cmp "$t/first.json" "$t/amed/plan.json"
ok 0 "amed within a budget" "$bitlathe" search $amed --budget size=0.7 -o "$t/amed"
ok 64 "amed without the oracle" "$bitlathe" search $amed --set reward=table -o "$t/amed"

# ---- what makes no sense
ok 64 "no budget" "$bitlathe" search $resnet8 --recipe haq --set episodes=3 $data -o "$t/unbounded"
says "no budget" 'without a budget the widest policy is the best'
check "no budget, nothing left" test ! -e "$t/unbounded"
ok 64 "another reward" "$bitlathe" search $words --set reward=taste -o "$t/taste"
ok 64 "pairs" "$bitlathe" search $words --candidates W4A8,W8A8,W4A4 -o "$t/pairs"
says "pairs" 'is not on the menu'
ok 64 "a tuner in the loop that is none" "$bitlathe" search $words --set loop_tune=prayer -o "$t/loop"
ok 0 "bias correction in the loop" "$bitlathe" search $words --set episodes=2 --set loop_tune=bias-correction -o "$t/loop"
ok 0 "a table instead of the oracle" "$bitlathe" search $words --set reward=table --set sensitivity=sqnr --weights-bits 2,4,8 --act-bits 4,8 -o "$t/table"
json_is "table" "$t/table/plan.json" solver.reward table
ok 1 "a budget that nothing keeps" "$bitlathe" search $words --set episodes=3 --budget latency=1ns -o "$t/tight"
json_is "said in the plan" "$t/tight/plan.json" feasible false
finish
