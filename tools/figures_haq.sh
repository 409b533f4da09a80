# SPDX-License-Identifier: BSD-3-Clause
# Sourced by tools/figures: HAQ's search on hardware models beside uniform widths, random search and the exact solver.
# HAQ_EPISODES (200), HAQ_SAMPLES (64) and HAQ_NETWORKS say how much.  Rivals run at W4A4's latency.

# Widths of a plan in $t/NAME tuned, lowered and evaluated once: leaves $top1.
haq_judge() { # NAME
    local d=$t/$1
    top1=-
    run "$bitlathe" tune "$d" $calibration || return
    run "$bitlathe" lower "$net" --plan "$d/plan.json" -o "$d/model.blp" || return
    run "$bitlathe" eval "$d/model.blp" $words --json || return
    top1=$(awk "BEGIN { printf \"%.2f\", 100 * $(json "$t/out" top1) }")
}

haq_row() { # LABEL NAME WORDS...
    local label=$1 d=$t/$2 took
    shift 2
    run "$bitlathe" search "$net" $calibration --target $target -o "$d" "$@" || return
    took=$seconds
    haq_judge "${d##*/}"
    ms=$(awk "BEGIN { printf \"%.4f\", $(json "$d/plan.json" predicted.latency_ns) / 1e6 }")
    printf '  %-26s %9s ms %7s %% %8s s  %s\n' "$label" "$ms" "$top1" "$took" "$(shown bitlathe search $name.onnx --target $target "$@")"
}

haq_level() { # W A: HAQ and its rivals at the latency of uniform widths
    local limit effort="--set sense=${HAQ_SAMPLES:-64} --set episodes=${HAQ_EPISODES:-200}"
    rm -rf "$t/uniform" "$t/ends" "$t/haq" "$t/random" "$t/exact"
    echo "$name on $target, the latency of uniform W$1A$2:"
    haq_row "uniform W$1A$2" uniform --recipe uniform --set act_range=mse --set narrow=yes --weights-bits $1 --act-bits $2 --no-keep-ends
    limit=$(json "$t/uniform/plan.json" predicted.latency_ns) || return
    uniform=$top1
    haq_row "uniform, ends at 8" ends --recipe uniform --set act_range=mse --set narrow=yes --weights-bits $1 --act-bits $2
    haq_row haq haq --recipe haq $effort --budget latency=${limit}ns
    [ "$top1" = - ] || { cases=$((cases + 1)); won=$((won + $(awk "BEGIN { print ($top1 > $uniform) }"))); }
    cp "$t/haq/plan.json" "$t/$name.$target.W$1A$2.plan.json"
    [ "$1$2" = 44 ] || return 0
    haq_row "random, as many policies" random --recipe haq --set search=random $effort --budget latency=${limit}ns
    mkdir -p "$t/exact"
    [ ! -f "$t/$name.sens.json" ] || cp "$t/$name.sens.json" "$t/exact/sens.json"
    haq_row "exact solver, KL table" exact --recipe haq --set sensitivity=kl --set search=knapsack --set sense=32 --budget latency=${limit}ns
    [ ! -f "$t/exact/sens.json" ] || cp "$t/exact/sens.json" "$t/$name.sens.json"
}

# Prices of the policies found for one target on the others.
haq_crossed() {
    local from to plan
    echo "$name: latency in ms of the policy found for a row's target on a column's, at W4A4's latency"
    printf '  %-14s %12s %12s %12s\n' "found for" bismo-cloud bismo-edge bitfusion
    for from in bismo-cloud bismo-edge bitfusion; do
        plan=$t/$name.$from.W4A4.plan.json
        [ -f "$plan" ] || continue
        printf '  %-14s' $from
        for to in bismo-cloud bismo-edge bitfusion; do
            run "$bitlathe" measure "$net" --plan "$plan" --target $to -o "$t/price" --json && printf ' %12.4f' "$(json "$t/out" latency_ms)"
        done
        echo
    done
}

figures_haq() {
    local name target won=0 cases=0 top1 ms uniform
    echo "HAQ: top-1 on test data (read once a row) at the latency of uniform widths, before any training of weights"
    echo "(uniform: every layer at these widths, as HAQ's tables have it; HAQ keeps the ends at 8 bits and pays for them)"
    for name in ${HAQ_NETWORKS:-resnet20_cifar10 mobilenetv3s_cifar10}; do
        network $name || continue
        for target in bismo-cloud bismo-edge bitfusion; do
            haq_level 4 4
            if [ $target = bitfusion ]; then haq_level 6 4; haq_level 8 8; else haq_level 5 5; haq_level 6 6; fi
        done
        haq_crossed
    done
    echo "HAQ above uniform in $won of $cases cases"
    echo
}
