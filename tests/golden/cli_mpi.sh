#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Ranks: sense, eval and search under mpirun leave the bytes of one process; a rank that dies ends the run, and the
# next one goes on.  Skipped by name where mpirun is absent or the program was built without MPI.
. tests/golden/harness.sh
begin "$@"

noise_images "$t/train" 24 41
data="--data raw:$t/train,u8,24x1x28x28 --mean 72.93 --std 90.015"
quick="--set calibrate=16 --set sense=8 --target counted --threads 1"

# ---- what a launcher says is understood, whatever was built
OMPI_COMM_WORLD_SIZE=2 OMPI_COMM_WORLD_RANK=0 "$bitlathe" inspect $resnet8 >"$t/out" 2>"$t/err"
check "a verb without parts is refused" test $? -eq 64
run=${BITLATHE_MPIRUN:-mpirun}
command -v "${run%% *}" >/dev/null || { skip cli_mpi "no mpirun"; finish; exit; }
OMPI_COMM_WORLD_SIZE=2 OMPI_COMM_WORLD_RANK=0 timeout 20 "$bitlathe" eval "$t/none.onnx" >"$t/out" 2>"$t/err"
if grep -q 'built without it' "$t/err"; then
    skip cli_mpi "built without MPI"
    finish
    exit
fi
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0 # modules that Open MPI has unloaded by then

ranks() { # CODE NAME N COMMAND...: mpirun's own words are passed over
    local want=$1 name=$2 n=$3 code
    shift 3
    checks=$((checks + 1))
    timeout 300 $run --oversubscribe -n $n "$@" >"$t/out" 2>"$t/err"
    code=$?
    [ $code -eq $want ] || fail "$name" "exit code $code, not $want: $(head -c 400 "$t/err")"
}

ok 0 "sense, one process" "$bitlathe" sense $resnet8 $quick $data -o "$t/one"
for n in 2 3; do
    ranks 0 "sense, $n ranks" $n "$bitlathe" sense $resnet8 $quick $data -o "$t/many$n"
    check "one answer, $n ranks" test "$(wc -l <"$t/out")" -eq 1
    check "the bytes of one process, $n ranks" cmp "$t/one/sens.json" "$t/many$n/sens.json"
done
ok 0 "search, one process" "$bitlathe" search $resnet8 $quick $data --budget size=0.6 -o "$t/one"
ranks 0 "search, 2 ranks" 2 "$bitlathe" search $resnet8 $quick $data --budget size=0.6 -o "$t/fresh"
check "the same plan" cmp "$t/one/plan.json" "$t/fresh/plan.json"

words="$resnet8 --recipe haq --set search=random --set episodes=9 $quick $data --budget size=0.6"
ok 0 "random, one process" "$bitlathe" search $words -o "$t/alone"
ranks 0 "random, 2 ranks" 2 "$bitlathe" search $words -o "$t/shared"
check "the same policy" cmp "$t/alone/plan.json" "$t/shared/plan.json"
check "as many answers" test "$(wc -l <"$t/alone/trials.jsonl")" -eq "$(wc -l <"$t/shared/trials.jsonl")"
ranks 0 "ddpg, 2 ranks" 2 "$bitlathe" search $words --set search=ddpg -o "$t/shared2"
ok 0 "ddpg, one process" "$bitlathe" search $words --set search=ddpg -o "$t/alone2"
check "the same policy by ddpg" cmp "$t/alone2/plan.json" "$t/shared2/plan.json"

od -An -v -tu1 -w1 "$t/train" | awk '{ print $1 % 10 }' | head -24 | while read -r l; do printf "\\x0$l"; done >"$t/labels.u8"
eval_data="--data raw:$t/train,u8,24x1x28x28,$t/labels.u8 --mean 72.93 --std 90.015 --threads 1"
ok 0 "eval, one process" "$bitlathe" eval $resnet8 $eval_data --json
top1=$(json "$t/out" top1) top5=$(json "$t/out" top5)
ranks 0 "eval, 3 ranks" 3 "$bitlathe" eval $resnet8 $eval_data --json
json_is "top-1 of 3 ranks" "$t/out" top1 "$top1"
json_is "top-5 of 3 ranks" "$t/out" top5 "$top5"
json_is "samples of 3 ranks" "$t/out" samples 24

# ---- an error of all, and a rank that is killed
ranks 66 "a model that is not there" 2 "$bitlathe" eval "$t/none.onnx" $eval_data
timeout 300 $run --oversubscribe -n 2 "$bitlathe" sense $mobilenet --set calibrate=24 --set sense=24 --target counted --threads 1 $data -o "$t/lost" \
    >"$t/out" 2>"$t/err" &
pid=$!
for k in $(seq 400); do # until calibration is done
    [ -f "$t/lost/stats.json" ] && break
    sleep 0.02
done
victim=$(pgrep -P "$(pgrep -P $pid 2>/dev/null | head -n 1)" 2>/dev/null | tail -n 1)
[ -z "$victim" ] || kill -KILL "$victim" 2>/dev/null
wait $pid
check "a lost rank ends the run with an error" test $? -ne 0
ranks 0 "the next run goes on" 2 "$bitlathe" sense $mobilenet --set calibrate=24 --set sense=24 --target counted --threads 1 $data -o "$t/lost"
ok 0 "one process beside it" "$bitlathe" sense $mobilenet --set calibrate=24 --set sense=24 --target counted --threads 1 $data -o "$t/whole"
check "the bytes after a loss" cmp "$t/whole/sens.json" "$t/lost/sens.json"
finish
