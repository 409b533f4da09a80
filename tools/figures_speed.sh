# SPDX-License-Identifier: BSD-3-Clause
# Sourced by tools/figures: mixed plans for time against our own int8, at one instruction set.
#   FIGURES_ISA     the sets ("avx2")
#   SPEED_BUDGETS   an expression for the lists of budgets that are asked (all)
#   BENCH_PREFIX    what runs the stopwatch, such as "chrt -f 5" on a machine that others use too

# One row: the first budget that the table just measured can meet, drop in points with its standard error, milliseconds
# of int8 and of the plan (lower quartiles, interleaved).  Test pictures are asked once, for the plan that was chosen.
speed_row() { # ISA RATIOS MENU...
    local isa=$1 ratios=$2 ratio name top1 float bench folder met=
    shift 2
    name=$(basename "$net" .onnx)
    folder=$t/speed-$name # what does not depend on the budget is there for the next row
    run ${BENCH_PREFIX:-} "$bitlathe" measure "$net" --isa $isa "$@" --no-cache --threads 1 -o "$folder" || return
    for ratio in $ratios; do
        run "$bitlathe" quantize "$net" $calibration --act-range mse-ends --isa $isa --target here "$@" --budget latency=$ratio --no-bench -o "$folder" > "$t/why" && met=1 && break
        [ $code -eq 1 ] || { cat "$t/why"; return; }
        echo "not met: $name: latency=$ratio"
    done
    [ -n "$met" ] || return
    run "$bitlathe" compare "$net" "$folder/model.blp" $words --isa $isa --json || return
    float=$(json "$t/out" models.0.top1) top1=$(json "$t/out" models.1.top1)
    local drop error
    drop=$(awk "BEGIN { printf \"%+.2f\", 100 * ($top1 - $float) }")
    error=$(figure pairs.0.drop_standard_error %.2f 100)
    run ${BENCH_PREFIX:-} "$bitlathe" bench "$folder/model.blp" "$folder/baselines/int8.blp" --isa $isa --threads 1 --seconds 3 --json || return
    bench=$(for i in 0 1; do json "$t/out" items.$i.latency_ms.q1; done | awk '{ ms[NR] = $1 } END { printf "%9.3f %9.3f %7.2f", ms[2], ms[1], ms[2] / ms[1] }')
    printf '%-26s %-11s %6s %8s %6s %s %5.1f  %s\n' "$name" $isa "$ratio" "$drop" "$error" "$bench" \
        "$(figure aa_spread %.1f 100)" "$(shown "$bitlathe" quantize "$net" $calibration --act-range mse-ends --isa $isa --target here "$@" --budget latency=$ratio -o T/run)"
}

# What a chip says that offers nothing: the layers that gain, and what binds the others.
roof_row() { # ISA MENU...
    local isa=$1
    shift
    rm -rf "$t/run"
    run ${BENCH_PREFIX:-} "$bitlathe" measure "$net" --isa $isa "$@" --no-cache --threads 1 -o "$t/run" || return
    printf '%-26s %-11s %s\n' "$(basename "$net" .onnx)" $isa "$(grep 'gain no time' "$t/out")"
}

figures_mixed-speed() {
    local isa file name menu asked ratios
    echo "Mixed plans against our own int8 in time (one thread, batch 1, lower quartiles of interleaved runs)"
    printf '%-26s %-11s %6s %8s %6s %9s %9s %7s %5s  %s\n' network isa budget points error int8-ms plan-ms faster A/A-% command
    for isa in ${FIGURES_ISA:-avx2}; do
        while IFS='|' read -r net words calibration value <&3; do
            name=$(basename "$net" .onnx)
            case $name in
            resnet20_cifar10) menu="--weights-bits 4,5,6,7,8 --act-bits 4,5,6,7,8" asked="0.62 0.64 0.66" ;;
            mobilenet_v1_0.75_224) menu="--candidates W8A8,W7A8,W7A7,W6A8,W6A7,W6A6,W5A8,W5A7,W4A8 --set sense=32 --tune imitate" asked="0.66 0.67 0.68;0.755 0.77 0.785" ;;
            *) continue ;;
            esac
            files_here "$words $calibration" || { echo "skipped: $name: data are not here"; continue; }
            while IFS= read -r ratios <&4; do
                [[ "$name $ratios" =~ ${SPEED_BUDGETS:-.} ]] && speed_row $isa "$ratios" $menu
            done 4< <(tr ';' '\n' <<<"$asked")
        done 3<"$t/networks"
    done
    for isa in avx512 avx512vbmi; do
        while IFS='|' read -r net words calibration value <&3; do
            case $(basename "$net" .onnx) in resnet20_cifar10 | mobilenet_v1_0.75_224) ;; *) continue ;; esac
            roof_row $isa --weights-bits 1,2,4,8 --act-bits 1,2,4,8
        done 3<"$t/networks"
    done
    rm -rf "$t"/run "$t"/speed-*
    echo
}
