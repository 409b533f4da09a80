#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A run that is killed and started again ends as one that nobody disturbed: ten seeded moments spread
# over its whole length, then Ctrl-C.  How far each kill let it come depends on the machine; that every
# restart ends with the same plan does not.
. tests/golden/harness.sh
begin "$@"

noise_images "$t/train" 16 41
data="--data raw:$t/train,u8,16x1x28x28 --mean 72.93 --std 90.015"
printf '%s\n' 'calibrate = 16' 'sensitivity = sqnr' 'sense = 16' 'target = counted' 'search = knapsack' 'tune = bias-correction' \
    'weight_bits = 2 4 8' 'act_bits = 8' 'keep_ends = yes' >"$t/quick.recipe"
words="$mobilenet --recipe $t/quick.recipe $data --budget size=0.6 --no-bench"
records="stats.json sens.json cost.json plan.json model.blp model.qdq.onnx"

now_ms() { # in $ms
    local s=${EPOCHREALTIME/[.,]/}
    ms=$((s / 1000))
}

now_ms; start=$ms
ok 0 "an undisturbed run" "$bitlathe" quantize $words -o "$t/whole"
now_ms; whole=$((ms - start))
echo "an undisturbed run takes $whole ms"

same_records() { # NAME FOLDER
    for f in $records; do check "$1: $f" cmp "$t/whole/$f" "$2/$f"; done
}

# Runs it in the background, sends the signal after so many ms, leaves its exit code in $code.
disturbed() { # SIGNAL MS FOLDER
    "$bitlathe" quantize $words -o "$3" >"$t/out" 2>"$t/err" &
    local pid=$!
    sleep "$(awk -v n="$2" 'BEGIN { print n / 1000 }')"
    kill -s "$1" $pid 2>/dev/null
    wait $pid 2>/dev/null
    code=$?
}

# ---- one folder, killed again and again: each start goes on from what is there
random_state=4711
killed=0
for i in $(seq 10); do
    random 80
    disturbed KILL $((whole * (i * 5 + r / 4) / 100)) "$t/again"
    [ $code -eq 137 ] && killed=$((killed + 1))
    checks=$((checks + 1))
    [ $code -eq 137 ] || [ $code -eq 0 ] || fail "kill $i" "exit code $code: $(head -c 300 "$t/err")"
    # What lies there under its final name is whole.
    for f in $(find "$t/again" -name '*.json' 2>/dev/null); do check "kill $i: $f is whole" "$bitlathe" inspect "$f"; done
done
echo "$killed of 10 were killed before they were done"
check "some were killed in time" test $killed -ge 3
ok 0 "the last start" "$bitlathe" quantize $words -o "$t/again"
same_records "killed ten times" "$t/again"

# ---- a fresh folder each time, killed once and started once
for i in 1 2 3 4; do
    random 90
    disturbed KILL $((whole * (r + 5) / 100)) "$t/once$i"
    ok 0 "start after kill $i" "$bitlathe" quantize $words -o "$t/once$i"
    same_records "killed at $((r + 5)) %" "$t/once$i"
done

# ---- what a kill may leave: half a temporary file, half a line, half a record
rm -rf "$t/once"*
cp -r "$t/whole" "$t/left"
head -c 1000 "$t/whole/sens.json" >"$t/left/.sens.json.999.tmp"
mv "$t/left/.sens.json.999.tmp" "$t/left/sens.json.999.tmp"
head -c 2000 "$t/whole/sens.json" >"$t/left/sens.json"
rm "$t/left/plan.json"
printf '{"plan": "0123' >>"$t/left/trials.jsonl"
ok 0 "start among leftovers" "$bitlathe" quantize $words -o "$t/left"
same_records "leftovers" "$t/left"

# ---- Ctrl-C and a polite kill: 130 and 75, one line that says how to go on, then on
for signal in INT TERM; do
    [ $signal = INT ] && want=130 word=interrupted || { want=75 word=stopped; }
    # A shell without job control starts background commands with SIGINT ignored; the tool sets its own.
    disturbed $signal $((whole * 40 / 100)) "$t/$signal"
    checks=$((checks + 1))
    if [ $code -eq 0 ]; then
        echo "note: $signal came after the end"
    elif [ $code -ne $want ] || [ "$(wc -l <"$t/err")" -ne 1 ] || ! grep -q "^bitlathe: .*$word; .*the same command goes on" "$t/err"; then
        fail "$signal" "exit code $code, stderr: $(head -c 300 "$t/err")"
    fi
    no_leftovers "$signal" "$t/$signal"
    ok 0 "start after $signal" "$bitlathe" quantize $words -o "$t/$signal"
    same_records "$signal" "$t/$signal"
done
finish
