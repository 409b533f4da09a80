# SPDX-License-Identifier: BSD-3-Clause
# Sections of tools/figures, which reads this file: training on grids, and HAWQ's list.

# Trained on the grids after calibration, judged on pictures that were not trained on; half an hour.
figures_finetune() {
    resnet20 || return 0
    local w a tune top1 tuned="finetune:epochs=2,rate=0.0005"
    echo "resnet20 on 5,000 CIFAR-10 test pictures before and after $tuned on the 8,000 of train_a.bin; float $value"
    printf '%-8s %-14s %8s %8s  %s\n' plan tuned top-1 seconds command
    while read -r w a; do
        for tune in none $tuned; do
            run "$bitlathe" quantize "$net" $calibration --target counted --no-bench --act-range mse-ends --weights-bits $w --act-bits $a --tune $tune -o "$t/run" || continue
            top1=$seconds
            run "$bitlathe" eval "$t/run/model.blp" $words --json || continue
            printf '%-8s %-14s %8.2f %8s  %s\n' W${w}A$a "${tune%%:*}" "$(awk "BEGIN { print 100 * $(json "$t/out" top1) }")" "$top1" \
                "$(shown "$bitlathe" quantize "$net" $calibration --target counted --no-bench --act-range mse-ends --weights-bits $w --act-bits $a --tune $tune -o T/run)"
            rm -rf "$t/run"
        done
    done <<<"4 4
2 8"
    echo
}

# The Hessian's list beside masks (OHQ) and beside weights quantized for real.
figures_hawq() {
    local rank="--weights-bits 2,3,4 --act-bits 8 --weight-range mse" other name
    echo "Kendall's tau-b of HAWQ's Omega (32 pictures) with other lists, weights only"
    printf '%-20s %-8s %6s %6s %6s %6s  %s\n' network beside all W2 W3 W4 command
    for name in ${HAWQ_NETWORKS:-resnet20_cifar10 mobilenetv3s_cifar10}; do
        network $name || continue
        run "$bitlathe" sense "$net" $calibration --recipe hawq --set narrow=no --set sense=32 $rank -o "$t/hessian" || continue
        for other in mask kl; do
            run "$bitlathe" sense "$net" $calibration --recipe ohq --set weights_only=yes --set sensitivity=$other $rank -o "$t/other" \
                --beside "$t/hessian/sens.json" --json || continue
            printf '%-20s %-8s %6.3f %6.3f %6.3f %6.3f  %s\n' $name $other "$(json "$t/out" all.tau_b)" "$(json "$t/out" W2.tau_b)" \
                "$(json "$t/out" W3.tau_b)" "$(json "$t/out" W4.tau_b)" "$(shown "$bitlathe" sense "$net" $calibration --recipe hawq --set narrow=no --set sense=32 $rank -o T/hessian) && $(shown "$bitlathe" sense "$net" $calibration --recipe ohq --set weights_only=yes --set sensitivity=$other $rank -o T/other --beside T/hessian/sens.json)"
            rm -rf "$t/other"
        done
        rm -rf "$t/hessian"
    done
    echo
}

codebook_row() { # LABEL SEARCH-WORDS...: one plan after bias correction and after training; leaves its bytes in $size
    local label=$1 d=$t/book tune row="" sharper="" took=0
    shift
    rm -rf "$d"
    run "$bitlathe" search "$net" $calibration --target counted --codebook --no-keep-ends --act-bits 8 -o "$d" "$@" || return
    size=$(json "$d/plan.json" predicted.size_bytes)
    cp "$d/plan.json" "$t/book.plan.json"
    for tune in bias-correction "$codebook_tuned"; do
        cp "$t/book.plan.json" "$d/plan.json"
        run "$bitlathe" tune "$d" $calibration --tune $tune || return
        took=$seconds
        run "$bitlathe" lower "$net" --plan "$d/plan.json" -o "$d/model.blp" || return
        run "$bitlathe" eval "$d/model.blp" $words --json || return
        row+=$(printf ' %8.2f' "$(awk "BEGIN { print 100 * $(json "$t/out" top1) }")")
        [ -z "$sharper" ] || continue
        run "$bitlathe" compare "$net" "$d/model.blp" $words --json || return
        sharper=$(printf ' %6s %7.4f %7.2f' "$(json "$t/out" pairs.0.flips.total)" "$(json "$t/out" pairs.0.kl)" "$(json "$t/out" pairs.0.sqnr_db)")
    done
    printf '%-14s %9.0f%s%s %8s  %s\n' "$label" "$size" "$row" "$sharper" "$took" \
        "$(shown "$bitlathe" search "$net" $calibration --target counted --codebook --no-keep-ends --act-bits 8 "$@" -o T/run)"
}

# Codebooks of one width everywhere beside widths chosen by the search at the same bytes (indices and tables).
figures_codebook() {
    local bits limit size codebook_tuned=${CODEBOOK_TUNED:-finetune:epochs=1,rate=0.0002}
    resnet20 || return 0
    echo "k-means codebooks, resnet20, values at 8 bits, every layer counted: top-1 of 5,000 CIFAR-10 test pictures after bias"
    echo "correction, and after $codebook_tuned on the 8,000 of train_a.bin; float $value; of k-means also answers"
    echo "that are not float's, KL from its outputs, SQNR in dB"
    printf '%-14s %9s %8s %8s %6s %7s %7s %8s  %s\n' widths bytes "k-means" trained flips KL SQNR seconds command
    for bits in 2 3 4; do
        codebook_row "$bits everywhere" --recipe uniform --weights-bits $bits || continue
        limit=$size
        codebook_row "$bits on average" --set sensitivity=kl --set sense=128 --weights-bits 1,2,3,4,5,6,7 --budget size=${limit}B
    done
    echo
}

hawq_plan() { # LABEL WORDS...: searched, tuned as the recipe says, lowered, judged
    local label=$1 d=$t/hawq
    shift
    rm -rf "$d"
    run "$bitlathe" search "$net" $calibration --target counted -o "$d" "$@" || return
    size=$(json "$d/plan.json" predicted.size_bytes)
    run "$bitlathe" tune "$d" $calibration --tune "$hawq_tuned" || return
    local took=$seconds
    run "$bitlathe" lower "$net" --plan "$d/plan.json" -o "$d/model.blp" || return
    run "$bitlathe" eval "$d/model.blp" $words --json || return
    printf '  %-26s %9.0f %8.2f %8s  %s\n' "$label" "$size" "$(awk "BEGIN { print 100 * $(json "$t/out" top1) }")" "$took" \
        "$(shown "$bitlathe" search "$net" $calibration --target counted "$@" -o T/run)"
}

# HAWQ from the trace to integers: weights of 2, 4 and 8 bits at half of int8's bytes and at W4's, values at 8.
figures_hawq_plans() {
    local name size hawq_tuned=${HAWQ_TUNED:-finetune:epochs=1,rate=0.0002} narrow="--set narrow=yes --set act_range=mse-ends --weight-range minmax"
    echo "HAWQ beside one width, all after $hawq_tuned on the calibration set: bytes, top-1 on test data, seconds of training"
    for name in ${HAWQ_NETWORKS:-resnet20_cifar10 mobilenetv3s_cifar10}; do
        network $name || continue
        echo "$name, float $value"
        hawq_plan "W8A8" --recipe uniform $narrow --weights-bits 8 --act-bits 8 || continue
        hawq_plan "HAWQ, half of W8A8's bytes" --recipe hawq --budget size=0.5
        hawq_plan "W4A8, ends at 8" --recipe uniform $narrow --weights-bits 4 --act-bits 8 || continue
        hawq_plan "HAWQ, W4A8's bytes" --recipe hawq --budget size=$(printf '%.0f' "$size")B
        hawq_plan "W4A4, ends at 8" --recipe uniform $narrow --weights-bits 4 --act-bits 4 || continue
        hawq_plan "HAWQ, 0.6 of the latency" --recipe hawq --target bismo-edge --budget latency=0.6
    done
    echo
}

# Every row of `list quant-trainers` (or those named by TRAINERS) on one plan of 2-bit weights.
figures_trainers() {
    local trainer took words_of=${TRAINERS_TUNED:-epochs=2,samples=4000,rate=0.0005,flip=1,pad=4}
    resnet20 || return 0
    echo "resnet20, weights at 2 bits, values and ends at 8, trained with finetune:$words_of; top-1 of 5,000 CIFAR-10 test pictures, float $value"
    printf '%-10s %8s %8s  %s\n' trainer top-1 seconds command
    run "$bitlathe" search "$net" $calibration --target counted --recipe uniform --weights-bits 2 --act-bits 8 -o "$t/planned" || return
    for trainer in ${TRAINERS:-$("$bitlathe" list quant-trainers | awk '{ print $1 }')}; do
        rm -rf "$t/run"
        cp -r "$t/planned" "$t/run"
        run "$bitlathe" tune "$t/run" $calibration --tune "finetune:$words_of,trainer=$trainer" || continue
        took=$seconds
        run "$bitlathe" lower "$net" --plan "$t/run/plan.json" -o "$t/run/model.blp" || continue
        run "$bitlathe" eval "$t/run/model.blp" $words --json || continue
        printf '%-10s %8.2f %8s  %s\n' $trainer "$(awk "BEGIN { print 100 * $(json "$t/out" top1) }")" "$took" \
            "$(shown "$bitlathe" tune T/run $calibration --tune "finetune:$words_of,trainer=$trainer")"
    done
    echo
}
