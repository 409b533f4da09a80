# SPDX-License-Identifier: BSD-3-Clause
# Figures of OHQ and of the quality parts that all recipes share; sourced by tools/figures, whose words these are.

# Masked weights (OHQ) beside quantized ones: do layers rank alike?  Weights only, on given and on made samples.
figures_mqe() {
    echo "Kendall's tau-b of masked-weight KL with the KL of quantized weights, 32 samples; bar, all widths: resnet20 0.6, mobilenetv3s 0.75"
    printf '%-24s %-6s %6s %6s %6s %6s  %s\n' network samples all W2 W3 W4 command
    local file words calibration value name from data rank="--recipe ohq --set weights_only=yes --weights-bits 2,3,4 --act-bits 8"
    while IFS='|' read -r file words calibration value <&3; do
        name=$(basename "$file" .onnx)
        case $name in resnet20_cifar10 | mobilenetv3s_cifar10 | mobilenet_v1_0.25_224) ;; *) continue ;; esac
        files_here "$calibration" || { echo "skipped: $name: data are not here"; continue; }
        for from in given made; do
            data=$calibration
            [ $from = given ] || data="--set distil_steps=200"
            rm -rf "$t/kl" "$t/mask"
            run "$bitlathe" sense "$file" $rank $data --set sensitivity=kl -o "$t/kl" || continue
            mkdir -p "$t/mask" && [ $from = given ] || cp "$t/kl/distilled.npy" "$t/kl/distilled.json" "$t/mask"
            run "$bitlathe" sense "$file" $rank $data -o "$t/mask" --against "$t/kl/sens.json" --json || continue
            printf '%-24s %-6s %6.3f %6.3f %6.3f %6.3f  %s\n' "$name" $from "$(json "$t/out" all.tau_b)" "$(json "$t/out" W2.tau_b)" \
                "$(json "$t/out" W3.tau_b)" "$(json "$t/out" W4.tau_b)" \
                "$(shown "$bitlathe" sense "$file" $rank $data --set sensitivity=kl -o T/kl) && $(shown "$bitlathe" sense "$file" $rank $data -o T/mask --against T/kl/sens.json)"
        done
    done 3<"$t/networks"
    echo
}

# One row of figures_datafree: drop, its error, flips and SQNR of T/w8 against the float network.
datafree_row() { # NAME SAMPLES FILE WORDS
    run "$bitlathe" compare "$3" "$t/w8/model.blp" $4 --json || return
    printf "%-30s %-${5:-6}s %+6.2f %6.2f %6s %7.2f\n" "$1" "$2" "$(awk "BEGIN { print 100 * $(json "$t/out" pairs.0.drop) }")" \
        "$(awk "BEGIN { print 100 * $(json "$t/out" pairs.0.drop_standard_error) }")" "$(json "$t/out" pairs.0.flips.total)" \
        "$(json "$t/out" pairs.0.sqnr_db)"
}

figures_datafree() {
    echo "W8A8 without data (quantize --recipe ohq --weights-bits 8 --act-bits 8) beside calibration samples; points of top-1 lost"
    printf '%-30s %-6s %6s %6s %6s %7s\n' network samples drop error flips "SQNR dB"
    local file words calibration value name uniform="--target counted --weights-bits 8 --act-bits 8 --no-bench"
    while IFS='|' read -r file words calibration value <&3; do
        name=$(basename "$file" .onnx)
        case $name in resnet20_cifar10 | resnet56_cifar10 | mobilenetv3s_cifar10 | mobilenet_v1_* | mlperf_tiny_kws | mlperf_tiny_vww) ;; *) continue ;; esac
        files_here "$words $calibration" || { echo "skipped: $name: data are not here"; continue; }
        run "$bitlathe" quantize "$file" $uniform $calibration -o "$t/w8" && datafree_row "$name" given "$file" "$words"
        rm -rf "$t/w8"
        run "$bitlathe" quantize "$file" $uniform --recipe ohq -o "$t/w8" && datafree_row "$name" made "$file" "$words"
        rm -rf "$t/w8"
    done 3<"$t/networks"
    echo
}

# One scale a weight: naive, and what equalisation and bias correction give back.
figures_pertensor() {
    echo "W8A8 with one scale a weight, 64 calibration pictures; points of top-1 lost on 500 (bar 1.5 for the last row of each network)"
    printf '%-30s %-28s %6s %6s %6s %7s  %s\n' network form drop error flips "SQNR dB" command
    local file words calibration value name label form uniform="--target counted --weights-bits 8 --act-bits 8 --per-tensor --no-bench"
    while IFS='|' read -r file words calibration value <&3; do
        name=$(basename "$file" .onnx)
        case $name in mobilenet_v1_* | mobilenet_v2_*) ;; *) continue ;; esac
        files_here "$words $calibration" || { echo "skipped: $name: data are not here"; continue; }
        while IFS='|' read -r label form <&4; do
            run "$bitlathe" quantize "$file" $uniform $calibration $form -o "$t/w8" &&
                datafree_row "$name" "$label" "$file" "$words" 28 |
                sed "s#\$#  $(shown "$bitlathe" quantize "$file" $uniform $calibration $form -o T/w8 | sed 's/[&#]/\\&/g')#"
            rm -rf "$t/w8"
        done 4<<'END'
naive|--tune none
corrected|--tune bias-correction
equalised|--equalise --tune none
equalised, corrected|--equalise --tune bias-correction
least noise|--equalise=noise --tune none
least noise, corrected|--equalise=noise --tune bias-correction
END
    done 3<"$t/networks"
    echo
}
