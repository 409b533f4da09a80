# SPDX-License-Identifier: BSD-3-Clause
# Figures of OHQ and of the quality parts that all recipes share; sourced by tools/figures, whose words these are.

# Masked weights (OHQ) beside quantized ones: do layers rank alike?  Weights only, on given and on made samples.
# MQE_ROWS: an expression for one of them.
figures_mqe() {
    echo "Kendall's tau-b of masked-weight KL with the KL of quantized weights, 32 samples; bar, all widths: resnet20 0.6, mobilenetv3s 0.75"
    printf '%-24s %-6s %6s %6s %6s %6s  %s\n' network samples all W2 W3 W4 command
    local file words calibration value name from of data rank="--recipe ohq --set weights_only=yes --weights-bits 2,3,4 --act-bits 8"
    while IFS='|' read -r file words calibration value <&3; do
        name=$(basename "$file" .onnx)
        case $name in resnet20_cifar10 | resnet56_cifar10 | mobilenetv3s_cifar10 | mobilenet_v1_0.25_224) ;; *) continue ;; esac
        files_here "$calibration" || { echo "skipped: $name: data are not here"; continue; }
        for from in given made; do
            [[ $from =~ ${MQE_ROWS:-.} ]] || continue
            data=$calibration
            [ $from = given ] || data="--set distil_steps=200"
            rm -rf "$t/kl" "$t/mask"
            run "$bitlathe" sense "$file" $rank $data --set sensitivity=kl -o "$t/kl" || continue
            mkdir -p "$t/mask" && [ $from = given ] || cp "$t/kl/distilled.npy" "$t/kl/distilled.json" "$t/mask"
            run "$bitlathe" sense "$file" $rank $data -o "$t/mask" --beside "$t/kl/sens.json" --json || continue
            printf '%-24s %-6s %6.3f %6.3f %6.3f %6.3f  %s\n' "$name" $from "$(json "$t/out" all.tau_b)" "$(json "$t/out" W2.tau_b)" \
                "$(json "$t/out" W3.tau_b)" "$(json "$t/out" W4.tau_b)" \
                "$(shown "$bitlathe" sense "$file" $rank $data --set sensitivity=kl -o T/kl) && $(shown "$bitlathe" sense "$file" $rank $data -o T/mask --beside T/kl/sens.json)"
            [ $from = given ] || continue
            rm -rf "$t/drop"
            run "$bitlathe" sense "$file" $rank $data --set sensitivity=drop --set sense=1000 -o "$t/drop" || continue
            for of in mask kl; do
                data="$calibration"
                [ $of = mask ] || data="$data --set sensitivity=kl"
                run "$bitlathe" sense "$file" $rank $data -o "$t/$of" --beside "$t/drop/sens.json" --json || continue
                printf '%-24s %-6s %6.3f %6.3f %6.3f %6.3f  %s\n' "  $of with top-1 lost" given "$(json "$t/out" all.tau_b)" "$(json "$t/out" W2.tau_b)" \
                    "$(json "$t/out" W3.tau_b)" "$(json "$t/out" W4.tau_b)" \
                    "$(shown "$bitlathe" sense "$file" $rank $calibration --set sensitivity=drop --set sense=1000 -o T/drop), then as above --beside T/drop/sens.json"
            done
        done
    done 3<"$t/networks"
    echo
    mqe_prototype
}

# Kendall's tau-b of two columns.
tau_b() {
    awk '{ x[NR] = $1; y[NR] = $2 }
    END { for (i = 2; i <= NR; i++) for (j = 1; j < i; j++) { a = (x[i] > x[j]) - (x[i] < x[j]); b = (y[i] > y[j]) - (y[i] < y[j])
            s += a * b; p += a != 0; q += b != 0 }
        printf "%.3f", (p * q > 0 ? s / sqrt(p * q) : 0) }'
}

# OHQ's first author measured masks on a MobileNetV1 of width 1, layer by layer; ours on one of width 0.75, same layers,
# same shares: width b masks 1 - b/8.
mqe_prototype() {
    local theirs=$shared/data/golden/ohq_prototype_mask_kl.json file words calibration value at share data
    local words_of="--recipe ohq --set weights_only=yes --set mask_mode=ratio --candidates W2A8,W6A8,W8A8 --no-keep-ends"
    IFS='|' read -r file words calibration value < <(grep '/mobilenet_v1_0.75' "$t/networks")
    [ -r "$theirs" ] && [ -n "$file" ] && files_here "$calibration" || { echo "skipped: mqe_prototype: its figures, the network or the data are not here"; return; }
    echo "Masked-weight KL of MobileNetV1 by layer beside the first author's own of 2023 (width 1): Kendall's tau-b"
    rm -rf "$t/mask"
    run "$bitlathe" sense "$file" $words_of $calibration -o "$t/mask" || return
    for at in 0:2:0.75 1:6:0.25; do
        share=${at##*:}
        # Theirs in file order is ours in graph order.
        sed 's/{/\n{/g' "$theirs" | awk -v share="$share" '
            match($0, /"mask_ratio": *[0-9.]+/) { r = substr($0, RSTART, RLENGTH); sub(/.*: */, "", r) }
            on && r + 0 == share + 0 && match($0, /"kl": *[0-9.e+-]+/) { v = substr($0, RSTART, RLENGTH); sub(/.*: */, "", v); print v }
            /"[a-z0-9_]+_(imagenet|cifar10)": *\[/ { on = /"mobilenet_w1_imagenet"/ }' >"$t/theirs"
        mask_values "$t/mask/sens.json" "W$(echo "$at" | cut -d: -f2)A8" >"$t/ours"
        printf 'share %s: %s layers and %s, tau %s  %s\n' "$share" "$(wc -l <"$t/ours")" "$(wc -l <"$t/theirs")" \
            "$(paste "$t/ours" "$t/theirs" | tau_b)" "$(shown "$bitlathe" sense "$file" $words_of $calibration -o T/mask)"
    done
    echo
}

# What SENS has for a candidate, unit by unit.
mask_values() { # SENS.json CANDIDATE
    awk -v want="\"$2\"" 'index($0, want) { on = 1 } on && /"value":/ { v = $2; sub(/,/, "", v); print v; on = 0 }' "$1"
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
        run "$bitlathe" quantize "$file" $uniform --act-range mse-ends $calibration -o "$t/w8" && datafree_row "$name" given "$file" "$words"
        rm -rf "$t/w8"
        run "$bitlathe" quantize "$file" $uniform --recipe ohq -o "$t/w8" && datafree_row "$name" made "$file" "$words"
        rm -rf "$t/w8"
    done 3<"$t/networks"
    echo
}

# One scale a weight: naive, and what equalisation, bias correction and learning give back.  PERTENSOR_ROWS: an expression for some forms.
figures_pertensor() {
    echo "W8A8 with one scale a weight, 64 calibration pictures; points of top-1 lost on 500 (bar 1.5 for the last row of each network)"
    printf '%-30s %-28s %6s %6s %6s %7s  %s\n' network form drop error flips "SQNR dB" command
    local file words calibration value name label form uniform="--target counted --weights-bits 8 --act-bits 8 --per-tensor --act-range mse-ends --no-bench"
    while IFS='|' read -r file words calibration value <&3; do
        name=$(basename "$file" .onnx)
        case $name in mobilenet_v1_* | mobilenet_v2_*) ;; *) continue ;; esac
        files_here "$words $calibration" || { echo "skipped: $name: data are not here"; continue; }
        while IFS='|' read -r label form <&4; do
            [[ $label =~ ${PERTENSOR_ROWS:-.} ]] || continue
            run "$bitlathe" quantize "$file" $uniform $calibration $form -o "$t/w8" &&
                datafree_row "$name" "$label" "$file" "$words" 28 |
                sed "s#\$#  $(shown "$bitlathe" quantize "$file" $uniform $calibration $form -o T/w8 | sed 's/[&#]/\\&/g')#"
            rm -rf "$t/w8"
        done 4<<'END'
naive|--tune none
corrected|--tune bias-correction
equalised|--equalise --tune none
equalised, corrected|--equalise --tune bias-correction
least noise|--equalise-noise --tune none
least noise, corrected|--equalise-noise --tune bias-correction
least noise, learned|--equalise-noise --tune adaround-all
least noise, auto, corrected|--equalise-noise --act-range auto --tune bias-correction
END
    done 3<"$t/networks"
    echo
}

# What a network's memory is made of, in bytes: weights, one sample's values, the most that one layer reads and writes.
network_bytes() { # MODEL
    "$bitlathe" prepare "$1" --json >"$t/graph" || return
    awk -F'[:, ]+' '
    /"(inputs|outputs)": \[/ { list = $2 }
    /"op":/ { node = 1 }
    /"shape": \[/ { dims = 1; in_shape = 1; next }
    in_shape && /\]/ { in_shape = 0; if (node) { size[out] = dims; all += dims; take() } else { size[name] = dims; all += dims } next }
    in_shape { dims *= $2; next }
    /"name":/ { name = $3; gsub(/"/, "", name); n_in = 0; list = "" }
    list ~ /inputs/ && node && /^ +"[^"]*",?$/ { v = $2; gsub(/"/, "", v); ins[++n_in] = v }
    list ~ /outputs/ && /^ +"[^"]*",?$/ { out = $2; gsub(/"/, "", out) }
    /"op":/ { n_in = 0 }
    /"weights":/ { weights += $3 }
    function take(  i, sum) { sum = dims; for (i = 1; i <= n_in; i++) sum += size[ins[i]]; if (sum > most) most = sum }
    END { printf "%.0f %.0f %.0f\n", 4 * weights, 4 * all, 4 * most }' "$t/graph"
}

# Memory of whole runs beside 3 x float model + 64 MiB + one micro-batch's tape (16 samples' values and their
# gradients, at most 64 MiB of values, or one sample) + one layer's inputs and outputs over the calibration samples.
# The number of steps and of samples that sensitivities see changes nothing in what is held, so that few do.
# MEMORY_ROWS: an expression for some of "NETWORK LABEL".
figures_memory() {
    echo "Peak memory of whole runs beside 3 x float model + 64 MiB + one micro-batch's tape + one layer over the calibration samples, MiB"
    printf '%-30s %-18s %7s %7s %4s  %s\n' network run peak limit met command
    local file words calibration value name label of form weights all most samples
    while IFS='|' read -r file words calibration value <&3; do
        name=$(basename "$file" .onnx)
        case $name in *_op17) continue ;; esac
        weights=""
        while IFS='|' read -r label of form <&4; do
            [[ " $of " == *" $name "* && "$name $label" =~ ${MEMORY_ROWS:-.} ]] || continue
            files_here "$words $calibration" || { echo "skipped: $name: data are not here"; break; }
            [ -n "$weights" ] || read -r weights all most < <(network_bytes "$file") || break
            rm -rf "$t/run"
            [[ $label == ohq* ]] && set -- "$file" || set -- "$file" $calibration
            run "$bitlathe" quantize "$@" $form -o "$t/run" --json || [ $code -eq 1 ] || continue
            samples=$(json "$t/run/summary.json" samples.calibration)
            awk -v name="$name" -v label="$label" -v peak="$(json "$t/run/summary.json" peak_rss_bytes)" -v w="$weights" -v all="$all" \
                -v most="$most" -v n="$samples" -v command="$(shown "$bitlathe" quantize "$@" $form -o T/run)" 'BEGIN {
                m = 1048576; batch = int(64 * m / all); batch = batch > 16 ? 16 : batch < 1 ? 1 : batch
                limit = 3 * w + 64 * m + 2 * batch * all + most * n
                printf "%-30s %-18s %7.0f %7.0f %4s  %s\n", name, label, peak / m, limit / m, peak <= limit ? "yes" : "NO", command }'
            rm -rf "$t/run"
        done 4<<'END'
mixed|resnet20_cifar10 mobilenetv3s_cifar10 mlperf_tiny_kws vit_tiny_fmnist|--budget size=0.6 --target counted --no-bench
adaround|mlperf_tiny_kws mobilenet_v1_0.75_224|--weights-bits 4 --act-bits 8 --tune adaround --target counted --no-bench
imitate, 2 threads|mobilenet_v1_0.25_224 mobilenet_v1_0.75_224|--weights-bits 4 --act-bits 8 --tune imitate:steps=40 --target counted --no-bench --threads 2
refit, imitate|mobilenet_v1_0.25_224 mobilenet_v1_0.75_224|--weights-bits 4 --act-bits 8 --tune imitate:features=50,start=refit,steps=40 --crops 5 --target counted --no-bench --threads 2
ohq|mlperf_tiny_kws mobilenet_v1_0.75_224|--recipe ohq --set distil_steps=20 --target counted --no-bench
ohq, 2 threads|mobilenetv3s_cifar10 mobilenet_v1_0.75_224|--recipe ohq --set distil_steps=20 --target counted --no-bench --threads 2
ohq, timed|mobilenet_v1_0.75_224|--recipe ohq --set distil_steps=20 --isa avx2 --no-cache
pmp|resnet20_cifar10 resnet56_cifar10 vit_tiny_fmnist mobilenetv3s_cifar10 mobilenet_v1_0.75_224|--recipe pmp --set sense=16 --budget size=0.5 --target counted --no-bench
END
    done 3<"$t/networks"
    echo
}

# One row of the table: LABEL WORDS... .  Its figures and its program are kept; an unfinished one goes on from its records.
# TABLE_LIMIT: seconds after which a preparation costs too much (1200).  TABLE_ROWS: an expression for some of the ways.
table_row() {
    local label=$1 m=top1 kept=$keep/$name.$1 work=$keep/$name.$1.run again="" a b
    shift
    [[ $label =~ ^(${TABLE_ROWS:-.*})$ && ! -s "$kept" ]] || return 0
    [ ! -d "$work" ] || again="+" # its seconds are then those of the last attempt
    run timeout "${TABLE_LIMIT:-1200}" "$bitlathe" quantize "$file" "$@" -o "$work" --json || [ $code -eq 1 ] || return
    local took=$seconds$again peak=$mib
    run "$bitlathe" compare "$file" "$work/model.blp" $words --json || return
    json "$t/out" models.0.top1 >"$t/has" && [ -s "$t/has" ] || m=auc
    a=$(json "$t/out" models.0.$m) b=$(json "$t/out" models.1.$m)
    [ "$label" != W8A8 ] || awk "BEGIN { printf \"%.2f\", 100 * $a }" >"$keep/$name.float"
    cp "$work/model.blp" "$kept.blp"
    printf '%s|%s|%s|%s|%s|%s|%s\n' "$(awk "BEGIN { printf \"%.2f\", 100 * $b }")" "$(awk "BEGIN { printf \"%+.2f\", 100 * ($b - $a) }")" \
        "$(figure pairs.0.flips.total %d)" "$(awk "BEGIN { printf \"%.1f\", $(stat -c %s "$kept.blp") / 1024 }")" "$took" "$peak" \
        "$(shown "$bitlathe" quantize "$file" "$@")" >"$kept"
    rm -rf "$work"
}

# Latency of a network's programs, all in one interleaved run; taken anew where a row has come since.
table_times() { # LABEL...
    local label i=0 files="" have=""
    for label; do [ ! -s "$keep/$name.$label" ] || { files="$files $keep/$name.$label.blp" have="$have $label"; }; done
    [ -n "$files" ] && [ "$(head -n 1 "$keep/$name.times" 2>/dev/null)" != "$have" ] || return 0
    run ${BENCH_PREFIX:-} "$bitlathe" bench $files --threads 1 --json || return
    echo "$have" >"$keep/$name.times"
    for label in $have; do
        echo "$label $(json "$t/out" items.$i.latency_ms.q1)" >>"$keep/$name.times"
        i=$((i + 1))
    done
}

# Every network by every way.  What is made is kept in FIGURES_KEEP (BUILD/figures): a run that was stopped goes on with the next
# row; empty the folder to take them anew.
figures_table() {
    local file words calibration value name keep=${FIGURES_KEEP:-${bitlathe%/bitlathe}/figures}/table range label ms ratio top lost flips kib took peak command
    local ways="W8A8 W4A8 W4A8-best OHQ PMP" counted="--target counted --no-bench" ends="--act-range mse-ends"
    mkdir -p "$keep" || return
    echo "Networks by ways to quantize them: top-1 or AUC and points lost, changed answers, KiB of the program, lower quartile of its latency (one thread)"
    echo "and its ratio to W8A8 (all in one interleaved run), seconds (+: of the attempt that ended it) and peak memory (MiB) of the preparation"
    printf '%-30s %-10s %7s %7s %6s %9s %8s %7s %8s %6s  %s\n' network way metric points flips KiB ms of-int8 seconds MiB command
    while IFS='|' read -r file words calibration value <&3; do
        name=$(basename "$file" .onnx)
        case $name in *_fmnist_op17 | *_cifar10_op17) continue ;; esac
        files_here "$words $calibration" || { echo "skipped: $name: data are not here"; continue; }
        case $words in *reconstruction-auc*) range="--act-range minmax" ;; *) range="" ;; esac
        table_row W8A8 $calibration $counted --weights-bits 8 --act-bits 8 ${range:-$ends}
        table_row W4A8 $calibration $counted --weights-bits 4 --act-bits 8 --tune none ${range:-$ends}
        table_row W4A8-best $calibration $counted --weights-bits 4 --act-bits 8 --equalise --tune adaround ${range:-$ends}
        table_row OHQ --recipe ohq --force $counted --weights-bits 3,4,5,6,8 --act-bits 8 --budget size=0.5 --tune adaround-bias $range
        table_row PMP $calibration --recipe pmp --force $counted --budget size=0.5 $range
        table_times $ways
        [ ! -s "$keep/$name.float" ] || printf '%-30s %-10s %7s\n' "$name" float "$(cat "$keep/$name.float")"
        for label in $ways; do
            [ -s "$keep/$name.$label" ] || { printf '%-30s %-10s not taken\n' "$name" $label; continue; }
            IFS='|' read -r top lost flips kib took peak command <"$keep/$name.$label"
            read -r ms ratio < <(awk -v l=$label 'NR > 1 { ms[$1] = $2 } END { if (ms[l]) printf "%.3f %.2f\n", ms[l], ms[l] / ms["W8A8"]; else print "- -" }' \
                "$keep/$name.times" 2>/dev/null || echo "- -")
            printf '%-30s %-10s %7s %7s %6s %9s %8s %7s %8s %6s  %s\n' "$name" $label "$top" "$lost" "$flips" "$kib" "$ms" "$ratio" "$took" "$peak" "$command"
        done
    done 3<"$t/networks"
    echo
}

# Whole runs of OHQ: NETWORK ISA MENU WORDS...; the plan beside the menu's uniform widths by the same samples and the same measured
# costs, all timed in one interleaved run.  BENCH_PREFIX: what runs the stopwatch.
ohq_rows() {
    local name=$1 isa=$2 menu=$3 took peak width i label files="$t/ohq/model.blp" uniform=""
    shift 3
    network "$name" || return
    rm -rf "$t"/ohq "$t"/u*
    for width in ${menu//,/ }; do [[ " W8A8 W7A8 W7A7 W6A8 W6A6 W5A8 W4A8 W5A5 W4A4 " != *" $width "* ]] || uniform="$uniform $width"; done
    run ${BENCH_PREFIX:-} "$bitlathe" measure "$net" --recipe ohq --isa $isa --candidates $menu --threads 1 -o "$t/ohq" || return
    run "$bitlathe" quantize "$net" --recipe ohq --isa $isa --candidates $menu --no-bench "$@" -o "$t/ohq" --json || [ $code -eq 1 ] || return
    took=$seconds peak=$mib
    for width in $uniform; do
        mkdir -p "$t/u$width"
        cp "$t"/ohq/distilled.* "$t/ohq/stats.json" "$t/u$width" # the same samples and ranges
        run "$bitlathe" quantize "$net" --recipe ohq --isa $isa --target "$t/ohq/cost.json" --no-bench --weights-bits "$(expr "$width" : 'W\([0-9]*\)')" \
            --act-bits "${width#*A}" -o "$t/u$width" --json || return
        files="$files $t/u$width/model.blp"
    done
    run ${BENCH_PREFIX:-} "$bitlathe" bench $files --threads 1 --seconds 10 --isa $isa --json || return
    mv "$t/out" "$t/bench"
    run "$bitlathe" compare "$net" $files $words --json || return
    i=0
    for label in OHQ $uniform; do
        printf '%-26s %-10s %-5s %8s %9s %7s %+7.2f %6s %6s %8s %6s  %s\n' "$name" $isa $label "$(awk "BEGIN { printf \"%.3f\", $(json "$t/bench" items.$i.latency_ms.q1) }")" \
            "$(json "$t/bench" items.$i.prediction_error | awk '{ printf "%+.1f %%", 100 * $1 }')" \
            "$(awk "BEGIN { printf \"%.2f\", $(json "$t/bench" items.$i.latency_ms.q1) / $(json "$t/bench" items.1.latency_ms.q1) }")" \
            "$(awk "BEGIN { print -100 * $(json "$t/out" pairs.$i.drop) }")" "$(figure pairs.$i.drop_standard_error %.2f 100)" \
            "$(figure pairs.$i.flips.total %d)" "$took" "$peak" "$(shown "$bitlathe" quantize "$net" --recipe ohq --isa $isa --candidates $menu "$@")"
        i=$((i + 1)) took=- peak=-
    done
}

# Bars: latency predicted within 10 % of measured, 15 to 30 % below int8's at 1.5 points at most; whole recipe 360 s.
# beta=0: all of the budget is spent on accuracy.
figures_ohq() {
    local row
    echo "OHQ without data: latency (ms, lower quartile, one thread, interleaved), its prediction, its ratio to W8A8; points of top-1 against float;"
    echo "seconds (without the stopwatch) and peak memory (MiB) of the recipe"
    printf '%-26s %-10s %-5s %8s %9s %7s %7s %6s %6s %8s %6s  %s\n' network isa way ms predicted of-int8 points s.e. flips seconds MiB command
    while read -r row; do
        [[ "$row" =~ ${OHQ_ROWS:-.} ]] && ohq_rows $row
    done <<'END'
mobilenetv3s_cifar10 avx2 W8A8,W8A7,W7A8,W7A7,W8A6,W6A8,W7A6,W6A7,W6A6,W5A8,W5A7,W5A6,W5A5,W4A8,W4A7,W4A6 --set beta=0 --budget latency=0.75
resnet20_cifar10 avx2 W8A8,W7A7,W6A7,W6A6,W5A6,W5A5 --budget latency=0.72
mobilenet_v1_0.75_224 avx2 W8A8,W7A8,W7A7,W6A8,W6A7,W6A6,W5A7,W5A6 --set beta=0 --budget latency=0.8
mobilenet_v3_small_dequant avx2 W8A8,W7A8,W6A7,W6A6,W5A6 --budget latency=0.85
resnet20_cifar10 avx512vbmi W8A8,W6A6,W4A8,W4A4 --budget latency=0.85
END
    echo
}
