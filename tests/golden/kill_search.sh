#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Every search, killed at seeded random moments and started again, ends with the plan of one that nobody disturbed:
# the agent, the dice, AMED's walk, the greedy walk along PMP's list and the exact solver, the last two above a floor,
# so that they ask about whole plans as well.
. tests/golden/harness.sh
begin "$@"

noise_images "$t/train" 16 41
data="--data raw:$t/train,u8,16x1x28x28 --mean 72.93 --std 90.015"
quick="--set calibrate=16 --set sense=8 --threads 1"
random_state=2024

now_ms() { # in $ms
    local s=${EPOCHREALTIME/[.,]/}
    ms=$((s / 1000))
}

killed_after() { # MS WORDS...: into $again; counts in $killed
    local pid after=$1
    shift
    "$bitlathe" search "$@" -o "$again" >"$t/out" 2>"$t/err" &
    pid=$!
    sleep "$(awk -v ms="$after" 'BEGIN { print ms / 1000 }')"
    kill -KILL $pid 2>/dev/null
    wait $pid 2>/dev/null
    [ $? -ne 137 ] || killed=$((killed + 1))
}

killed_at_random() { # NAME ANSWERS WORDS...: ANSWERS 1 where the search asks the oracle or the judge
    local name=$1 answers=$2 start whole i again=$t/$1.again
    shift 2
    now_ms; start=$ms
    ok 0 "$name undisturbed" "$bitlathe" search "$@" -o "$t/$name"
    now_ms; whole=$((ms - start))
    [ "$name" = knapsack ] && json_has "proof of $name" "$t/$name/plan.json" solver.proof || json_is "method of $name" "$t/$name/plan.json" solver.method $name
    [ $answers = 0 ] || check "$name asked about plans" test -s "$t/$name/trials.jsonl"
    killed=0
    for i in 1 2 3; do # further each time
        random 30
        killed_after $((whole * (25 * i - 20 + r) / 100)) "$@"
    done
    # On a machine whose load fell since the first run all were over before: sooner, then, and from the beginning.
    for i in 2 4 8 16 32; do
        [ $killed = 0 ] || break
        rm -rf "$again"
        killed_after $((whole / i)) "$@"
    done
    ok 0 "the last start of $name" "$bitlathe" search "$@" -o "$again"
    check "$name, killed $killed times: the same plan" cmp "$t/$name/plan.json" "$again/plan.json"
    check "$name was killed in time" test $killed -ge 1
}

haq="$resnet8 --recipe haq $quick $data --target bitfusion --budget energy=0.6"
killed_at_random ddpg 1 $haq --set episodes=36
killed_at_random random 1 $haq --set search=random --set episodes=36
killed_at_random metropolis 1 $resnet8 --recipe amed --set episodes=24 $quick $data --target bismo-edge
killed_at_random pareto-greedy 1 $resnet8 --recipe pmp $quick --set rounding=nearest --set tune=bias-correction $data --target counted --floor sqnr=12
killed_at_random knapsack 1 $resnet8 --recipe mixed $quick $data --target counted --floor sqnr=12
finish
