# SPDX-License-Identifier: BSD-3-Clause
# Sourced by tools/figures: HAQ's search on hardware models beside uniform widths at the same price, both fine-tuned
# alike and judged once on test data.  A case that is finished lies in HAQ_KEEP (BUILD/figures-haq) and is not done
# again; what a kill interrupts goes on where it was.
#   HAQ_CASES      some of the cases only: NETWORK:TARGET:LEVEL words, * allowed, such as 'resnet20*:bismo-*:W4A4'
#   HAQ_EPISODES   300, HAQ_SENSE 64: how long the search; another length is another folder
#   HAQ_POLISH     20000: answers of the list about neighbours of the best policy, once the agent is through; 0: none
#   HAQ_DRAWS      of haq_more: so many policies drawn as a further rival
#   HAQ_TUNE       what both sides get after it, a row of `bitlathe list tuners`; plans that are there are taken
HAQ_EPISODES=${HAQ_EPISODES:-300}
HAQ_SENSE=${HAQ_SENSE:-64}
HAQ_POLISH=${HAQ_POLISH:-20000}
HAQ_TUNE=${HAQ_TUNE:-finetune:epochs=1,samples=4000,teacher=1,rate=0.0001}
haq_grids="--set act_range=mse --set narrow=yes"
haq_networks="resnet20_cifar10 mobilenetv3s_cifar10"
haq_targets="bismo-cloud bismo-edge bitfusion"
haq_estimate="--set reward=table --set sensitivity=kl --set sense=$HAQ_SENSE"
haq_kind=haq
[ "$HAQ_POLISH" = 0 ] || haq_kind=polish$HAQ_POLISH
haq_effort="--set episodes=$HAQ_EPISODES"
[ "$HAQ_POLISH" = 0 ] || haq_effort+=" --set polish=$HAQ_POLISH"

haq_levels() { # TARGET: 5 to 7 bits cost as much as 8 on Bit Fusion
    case $1 in bitfusion*) echo "W4A4 W6A4 W8A8" ;; *) echo "W4A4 W5A5 W6A6" ;; esac
}

# Widths to choose from: what a target charges alike is one width there, the widest of them.
haq_menu() { # TARGET: words in $menu
    case $1 in bitfusion*) menu="--weights-bits 2,4,8 --act-bits 2,4,8" ;; *) menu="" ;; esac
}

haq_here() { # sets net, words, calibration, value, keep of $name
    network $name || return
    keep=${HAQ_KEEP:-${bitlathe%/bitlathe}/figures-haq}/$HAQ_EPISODES-$HAQ_SENSE
    how=$(printf '%s' "$HAQ_TUNE" | tr -c 'a-z0-9.' _)
    mkdir -p "$keep"
}

# A folder's plan tuned and lowered into a folder within, unless it is; the program appears there when it is whole.
haq_tuned() { # FOLDER
    [ -f "$1/$how/model.blp" ] && return
    run "$bitlathe" tune "$net" "$1/plan.json" $calibration --tune "$HAQ_TUNE" --threads 1 -o "$1/$how" || return
    echo "$seconds" >"$1/$how/tune.seconds"
    run "$bitlathe" lower "$net" --plan "$1/$how/plan.json" -o "$1/$how/model.blp"
}

# The search of a folder, unless it is done.
haq_searched() { # FOLDER WORDS...
    local d=$1 took=0
    shift
    [ -f "$d/search.seconds" ] && return
    mkdir -p "$d"
    run "$bitlathe" search "$net" $calibration -o "$d" --threads 1 "$@" || return
    shown bitlathe search $name.onnx "$@" >"$d/command"
    echo "$seconds" >"$d/search.seconds"
}

haq_uniform() { # LEVEL: every layer at these widths, the ends too, as HAQ's tables have it; leaves it in $plain
    plain=$keep/$name.uniform.$1
    haq_searched "$plain" --target counted --recipe uniform $haq_grids --weights-bits ${1:1:1} --act-bits ${1:3:1} --no-keep-ends && haq_tuned "$plain"
}

haq_price() { # FOLDER TARGET METRIC: of its plan, in ms or mJ; that of eight bits is left in $int8
    run "$bitlathe" measure "$net" --plan "$1/plan.json" --target $2 -o "$t/price" --json || return
    price=$(json "$t/out" $3) || return
    [ -f "$keep/$name.$2.int8" ] || { run "$bitlathe" measure "$net" --target $2 -o "$t/price" --json && mv "$t/out" "$keep/$name.$2.int8"; } || return
    int8=$(json "$keep/$name.$2.int8" int8_$3)
}

# The list of sensitivities is of the network and the menu alone: one for all their searches.
haq_list() { # FOLDER TARGET
    haq_menu $2
    local list=$keep/$name.list${menu//[^0-9]/}
    [ -f "$list/sens.json" ] || run "$bitlathe" sense "$net" $calibration --recipe haq $haq_estimate $menu --target counted -o "$list" --threads 1 || return
    mkdir -p "$1"
    [ -f "$1/sens.json" ] || cp "$list/sens.json" "$1/sens.json"
}

# Top-1 of the uniform plan and of a folder's on the same test pictures, their difference with its paired error: $row.
haq_compared() { # FOLDER
    row=$1/$how/row
    [ -f "$row" ] && return
    run "$bitlathe" compare "$plain/$how/model.blp" "$1/$how/model.blp" $words --threads 1 --json || return
    printf '%s\n' "$(json "$t/out" models.0.top1) $(json "$t/out" models.1.top1) $(json "$t/out" pairs.0.drop_standard_error)" >"$row.part" && mv "$row.part" "$row"
}

haq_wanted() { # TARGET LEVEL
    local pattern
    [ -n "${HAQ_CASES:-}" ] || return 0
    for pattern in $HAQ_CASES; do [[ $name:$1:$2 == $pattern ]] && return; done
    return 1
}

# One of the eighteen: HAQ at the latency of uniform widths.
haq_case() { # TARGET LEVEL
    local d=$keep/$name.$1.$2.$haq_kind limit
    haq_uniform $2 && haq_price "$plain" $1 latency_ms || return
    limit=$price
    haq_list "$d" $1 && haq_searched "$d" --target $1 --recipe haq $haq_estimate $menu $haq_effort --budget latency=${limit}ms && haq_tuned "$d" || return
    haq_compared "$d" && haq_price "$d" $1 latency_ms || return
    awk -v name=$name -v target=$1 -v level=$2 -v list="$(json "$d/plan.json" predicted.objective)" -v agent="$(json "$d/plan.json" solver.polish.reward_before || json "$d/plan.json" solver.best_reward)" -v limit="$limit" -v ms="$price" -v int8="$int8" -v flt="$value" -v took="$(cat "$d/search.seconds")" \
        -v tune="$(cat "$d/$how/tune.seconds")" -v command="$(cat "$d/command")" \
        '{ printf "%-20s %-12s %-5s %9.4f %9.4f %6.2fx %7.4f %7.4f %7.2f %7.2f %+6.2f %5.2f %+7.2f %4s %7s %7s  %s\n", name, target, level, limit, ms, int8 / ms, 10 ^ -agent, list, 100 * $1, 100 * $2,
             100 * ($2 - $1), 100 * $3, 100 * ($2 - flt), ($2 > $1 ? "yes" : $2 == $1 ? "same" : "no"), took, tune, command }' "$row"
    cases=$((cases + 1)) won=$((won + $(awk '{ print ($2 > $1) }' "$d/$how/row")))
}

# Prices of the policies found for one target on the others (the paper's table 1).
haq_crossed() {
    local from to d
    echo "$name: latency in ms of the policy found for a row's target on a column's, each found at the latency of W4A4 on its own;"
    echo "! beyond what W4A4 takes there, * the most accurate of those within"
    printf '  %-14s %12s %12s %12s %10s\n' "found for" $haq_targets "top-1"
    for from in $haq_targets; do
        d=$keep/$name.$from.W4A4.$haq_kind
        [ -f "$d/$how/row" ] || { echo "  $from: not searched yet"; return; }
        haq_uniform W4A4 && haq_price "$plain" $from latency_ms && echo "limit $from $price"
        for to in $haq_targets; do haq_price "$d" $to latency_ms && echo "$from $to $price"; done
        awk -v from=$from '{ print from, "top", 100 * $2 }' "$d/$how/row"
    done >"$t/crossed"
    awk -v names="$haq_targets" '{ at[$1, $2] = $3 }
        END { n = split(names, k, " ")
            for (j = 1; j <= n; j++) for (i = 1; i <= n; i++) if (at[k[i], k[j]] <= at["limit", k[j]] && at[k[i], "top"] > most[j]) { most[j] = at[k[i], "top"]; best[j] = i }
            for (i = 1; i <= n; i++) { printf "  %-14s", k[i]
                for (j = 1; j <= n; j++) printf " %11.4f%s", at[k[i], k[j]], (best[j] == i ? "*" : at[k[i], k[j]] > at["limit", k[j]] ? "!" : " ")
                printf " %10.2f\n", at[k[i], "top"] }
            printf "  %-14s", "W4A4"; for (j = 1; j <= n; j++) printf " %11.4f ", at["limit", k[j]]; print "" }' "$t/crossed"
}

# The agent beside as many policies drawn, or HAQ_DRAWS of them, and beside the exact solver on the same list; all tuned alike.
haq_rivals() { # TARGET LEVEL, or METRIC-SHARE of 8 bits
    local d kind words_of budget
    case $2 in
        W*) haq_uniform $2 && haq_price "$plain" $1 latency_ms || return; budget=latency=${price}ms ;;
        *) haq_uniform W8A8 || return; budget=${2/-/=} ;;
    esac
    echo "$name on $1, $2 (budget $budget): ms, mJ, predicted KL, then top-1 after $HAQ_TUNE, and beside float (${value})"
    for kind in haq random exact $([ $haq_kind = haq ] || echo $haq_kind) ${HAQ_DRAWS:+draws$HAQ_DRAWS}; do
        d=$keep/$name.$1.$2.$kind
        haq_menu $1
        words_of="--recipe haq $haq_estimate $menu"
        [[ $kind = draws* ]] || words_of+=" --set episodes=$HAQ_EPISODES"
        case $kind in
            random) words_of+=" --set search=random" ;;
            polish*) words_of+=" --set polish=$HAQ_POLISH" ;;
            exact) words_of+=" --set search=knapsack" ;;
            draws*) words_of+=" --set search=random --set episodes=$HAQ_DRAWS" ;;
        esac
        haq_list "$d" $1 && haq_searched "$d" --target $1 $words_of --budget $budget && haq_tuned "$d" && haq_compared "$d" && haq_price "$d" $1 latency_ms || continue
        awk -v kind=$kind -v ms="$price" -v mj="$(json "$t/out" energy_mj || echo -)" -v list="$(json "$d/plan.json" predicted.objective)" -v flt="$value" \
            -v took="$(cat "$d/search.seconds")" -v command="$(cat "$d/command")" \
            '{ printf "  %-11s %9.4f %9s %9.5f %7.2f (%+.2f) %8s s  %s\n", kind, ms, (mj == "-" ? mj : sprintf("%.4f", mj)), list, 100 * $2, 100 * ($2 - flt), took, command }' "$d/$how/row"
    done
}

# Energy and latency beside eight bits, at a share of it.
haq_ratio() { # TARGET METRIC SHARE UNIT
    local d=$keep/$name.$1.$2-$3.$haq_kind
    haq_uniform W8A8 && haq_list "$d" $1 && haq_searched "$d" --target $1 --recipe haq $haq_estimate $menu $haq_effort --budget $2=$3 && haq_tuned "$d" || return
    haq_compared "$d" && haq_price "$d" $1 $2_$4 || return
    awk -v name=$name -v target=$1 -v metric=$2 -v price="$price" -v int8="$int8" -v unit=$4 -v flt="$value" -v command="$(cat "$d/command")" \
        '{ printf "%-20s %-12s %-8s %9.4f %s, %.2f times less than 8 bit; top-1 %.2f, 8 bit tuned alike %.2f (%+.2f), float %.2f (%+.2f)  %s\n", name, target, metric, price, unit,
             int8 / price, 100 * $2, 100 * $1, 100 * ($2 - $1), 100 * flt, 100 * ($2 - flt), command }' "$d/$how/row"
}

figures_haq() {
    local name target level won=0 cases=0 keep how row menu plain price int8 net words calibration value
    echo "HAQ at the latency of uniform widths, both after $HAQ_TUNE; top-1 on test pictures, read once a row"
    echo "(uniform: every layer at these widths, as HAQ's tables have it; HAQ keeps the ends at 8 bits and pays for them; $HAQ_EPISODES episodes rewarded by a KL list of $HAQ_SENSE samples, then $HAQ_POLISH neighbours of the best; sum of the list before and after these)"
    printf '%-20s %-12s %-5s %9s %9s %7s %7s %7s %7s %7s %6s %5s %7s %4s %7s %7s  %s\n' network target level limit-ms HAQ-ms of-8bit agent list uniform HAQ points s.e. to-float won search-s tune-s command
    for name in $haq_networks; do
        haq_here || continue
        for target in $haq_targets; do
            for level in $(haq_levels $target); do haq_wanted $target $level || continue; haq_case $target $level || echo "FAILED: $name $target $level"; done
        done
    done
    echo "HAQ above uniform in $won of $cases cases"
    echo
}

# The agent's 600 episodes with the list, on all cores: what it takes by the clock.
figures_haq_time() {
    local asked="--recipe haq $haq_estimate --target bismo-cloud"
    resnet20 || return 0
    echo "resnet20: list of $HAQ_SENSE pictures, then 600 episodes rewarded by it ($(nproc) cores, load $(cut -d' ' -f1 /proc/loadavg))"
    run "$bitlathe" sense "$net" $calibration $asked -o "$t/timed" && echo "list $seconds s" &&
        run "$bitlathe" search "$net" $calibration $asked --set episodes=600 --budget latency=0.457 -o "$t/timed" && echo "search $seconds s"
    echo "command: $(shown "$bitlathe" sense "$net" $calibration $asked -o T/timed) && $(shown "$bitlathe" search "$net" $calibration $asked --set episodes=600 --budget latency=0.457 -o T/timed)"
    rm -rf "$t/timed"
    echo
}

# HAQ as its paper has it, every policy fine-tuned before it is judged: what an answer takes, from HAQ_LOOP (30) episodes.
# What a kill interrupts is gone on with from HAQ_KEEP; then the processor time is that of the last start alone.
figures_haq_loop() {
    local n=${HAQ_LOOP:-30} kept d asked took
    resnet20 || return 0
    d=${HAQ_KEEP:-$t}/loop
    asked="--recipe haq --set sense=128 --set loop_tune=${HAQ_LOOP_TUNE:-finetune:epochs=1,samples=2000,teacher=1,rate=0.0001} --set episodes=$n --target bismo-cloud --budget latency=0.457"
    kept=$(cat "$d/trials.jsonl" 2>/dev/null | wc -l)
    took=$( { TIMEFORMAT='%R %U %S'; time "$bitlathe" search "$net" $calibration $asked --threads 1 -o "$d" >"$t/out" 2>"$t/err" </dev/null; } 2>&1 | tail -n 1)
    [ -f "$d/plan.json" ] || { echo "FAILED: $(head -c 300 "$t/err")"; return; }
    awk -v took="$took" -v kept=$kept 'END { split(took, a, " "); n = NR - kept
        printf "%d answers, %d of them in this start: %.1f s by the clock, %.1f s of a processor, %.2f s each: 600 are %.0f minutes\n", NR, n, a[1], a[2] + a[3],
            n ? (a[2] + a[3]) / n : 0, n ? 10 * (a[2] + a[3]) / n : 0 }' "$d/trials.jsonl"
    echo "best reward so far: $(json "$d/plan.json" solver.best_reward)"
    echo "command: $(shown "$bitlathe" search "$net" $calibration $asked --threads 1 -o T/loop)"
    echo
}

# What the cases above say further; their plans are taken where they lie.
figures_haq_more() {
    local name target keep how row menu plain price int8 net words calibration value
    for name in $haq_networks; do
        haq_here || continue
        haq_crossed
        for target in $haq_targets; do haq_wanted $target W4A4 && haq_rivals $target W4A4; done
        haq_wanted bitfusion energy && haq_ratio bitfusion energy 0.526 mj && haq_rivals bitfusion energy-0.526
        for target in bismo-edge bismo-cloud; do haq_wanted $target latency && haq_ratio $target latency 0.513 ms && haq_rivals $target latency-0.513; done
    done
    echo
}

# Six recipes on one network and target under three latencies, drawn; folders in COMPARE_KEEP are gone on with.
#   COMPARE_WORDS  what is set for all of them: shorter than the recipes say, so that it is no afternoon
figures_compare() {
    local keep=${COMPARE_KEEP:-$t/compare} eval
    resnet20 || return 0
    eval=$(set -- $words; while [ "$1" != --data ]; do shift; done; echo "$2")
    set -- "$net" $calibration --recipes ohq,pmp,haq,hawq,amed,uniform --target bismo-edge --budget latency=0.75,0.6,0.46 \
        ${COMPARE_WORDS:---limit 512 --set calibrate=64 --set sense=32 --set episodes=100} --eval "$eval" -o "$keep"
    run "$bitlathe" compare "$@" && cat "$t/out"
    echo "$seconds s: $(shown bitlathe compare "$@")"
    echo
}
