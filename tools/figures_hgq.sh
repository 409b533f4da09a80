# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
# Sections hgq and jets of tools/figures: fronts of HGQ.

hgq_points() { # FRONT: held-out accuracy, test accuracy, EBOPs of each point, cheapest first
    awk -F'[:,]' '/"held_out_top1"/ { h = $2 } /"test_top1"/ { t = $2 } /"ebops1":/ { print 100 * h, 100 * t, $2 + 0 }' "$1"
}

hgq_at() { # FRONT EBOPS: test accuracy of the point that held-out rows choose among those at most so dear
    hgq_points "$1" | awk -v most="$2" '$3 <= most && $1 > h { h = $1; t = $2 } END { print h ? t : "-" }'
}

hgq_below() { # FRONT LEVEL: EBOPs at which accuracy on the test rows crosses LEVEL, by an isotonic fit over the logarithm of EBOPs
    hgq_points "$1" | awk -v level="$2" '
        { n++; v[n] = $2; w[n] = 1; x[n] = log($3)
          while (n > 1 && v[n - 1] >= v[n]) {
              v[n - 1] = (v[n - 1] * w[n - 1] + v[n] * w[n]) / (w[n - 1] + w[n])
              x[n - 1] = (x[n - 1] * w[n - 1] + x[n] * w[n]) / (w[n - 1] + w[n])
              w[n - 1] += w[n]; n--
          } }
        END {
            if (n && v[1] >= level) { printf "%.0f", exp(x[1]); exit }
            for (i = 2; i <= n; i++)
                if (v[i] >= level) { printf "%.0f", exp(x[i - 1] + (x[i] - x[i - 1]) * (level - v[i - 1]) / (v[i] - v[i - 1])); exit }
            print "-"
        }'
}

hgq_median() { # NUMBERS, one a line, dashes last
    sort -g | awk '{ x[NR] = $1 } END { print x[int((NR + 1) / 2)] }'
}

letter_words() {
    echo "letter --recipe hgq --data csv:$shared/data/letter/letter.csv --mean 8 --std 4 --set held_out=2400 --set test=4000 --set teacher=256 --set teacher_epochs=60 --threads 1"
}

letter_long() { # EPOCHS
    echo "--set epochs=$1 --set cycles=34 --set decay=0.05 --set beta=2e-8 --set beta_hold=0.06 --set beta_ramp=2e-7 --set beta_end=6e-5 --budget ebops=25000"
}

letter_uniform() { # BITS no|yes
    echo "$(letter_words) --set uniform_bits=$1 --set uniform_real=$2 --set epochs=200 --set cycles=1 --set decay=0.05 --set ramp=constant --set beta=0"
}

# HGQ_SEEDS (1) and HGQ_EPOCHS (12000): three seeds take about six minutes of one core.  HGQ_KEEP: a folder that keeps trainings,
# for a second call.
figures_hgq() {
    local seeds=${HGQ_SEEDS:-1} epochs=${HGQ_EPOCHS:-12000} keep=${HGQ_KEEP:-$t} seed n words flt row
    [ -r "$shared/data/letter/letter.csv" ] || { echo "skipped: hgq: no $shared/data/letter/letter.csv"; return; }
    words="$(letter_words) $(letter_long $epochs)"
    echo "HGQ on Letter: 13,600 rows learned, 2,400 choose, 4,000 test; one training, one front; seeds $seeds, $epochs epochs"
    echo "test accuracy, % (below the float network of the same seed) at most so many EBOPs, exact spans; bars 0.5 at 25000, 2 at 16000, 5 at 12000"
    printf '%-6s %7s %15s %15s %15s %15s %15s %7s %8s  %s\n' seed float 25000 21000 16000 15000 12000 differ seconds command
    for seed in $seeds; do
        hgq_once "$keep/hgq$seed" $words --seed $seed || return
        flt=$(json "$keep/hgq$seed/front.json" float.test_top1)
        row=""
        for n in 25000 21000 16000 15000 12000; do
            row+=$(printf '%16s' "$(hgq_at "$keep/hgq$seed/front.json" $n | awk -v f="$flt" '{ if ($1 == "-") print; else printf "%.2f (%+.2f)", $1, $1 - 100 * f }')")
        done
        printf '%-6s %7.2f%s %7d %8s  %s\n' $seed "$(awk "BEGIN { print 100 * $flt }")" "$row" "$(json "$keep/hgq$seed/front.json" integers.test.differ)" \
            "$seconds" "$(shown "$bitlathe" train $words --seed $seed --points -o T/hgq$seed)"
    done
    hgq_beside "$seeds"
    echo
}

# One point a seed, NAME.SEED/front.json in the kept folder or the last one at most MOST of it; medians of them and of HGQ's points that
# are at most so dear as the same seed's.
hgq_row() { # LABEL NAME SEEDS COMMAND [MOST]
    local held test ebops own seed
    for seed in $3; do
        hgq_points "$keep/$2.$seed/front.json" | awk -v most="${5:-1e18}" '$3 <= most' | tail -n 1 >"$t/point"
        [ -s "$t/point" ] || continue
        read -r held test ebops <"$t/point"
        echo "$held $test $ebops $(hgq_at "$keep/hgq$seed/front.json" "$ebops")"
    done >"$t/row"
    [ -s "$t/row" ] || return 0
    held=$(cut -d' ' -f1 "$t/row" | hgq_median) test=$(cut -d' ' -f2 "$t/row" | hgq_median)
    ebops=$(cut -d' ' -f3 "$t/row" | hgq_median) own=$(cut -d' ' -f4 "$t/row" | hgq_median)
    printf '%-22s %9.0f %9.2f %7.2f %7s %7s  %-27s %s\n' "$1" "$ebops" "$held" "$test" "$own" \
        "$(awk -v a="$own" -v b="$test" 'BEGIN { if (a == "-") print a; else printf "%+.2f", a - b }')" "$(cut -d' ' -f2 "$t/row" | paste -s -d' ')" "$4"
}

hgq_beside() { # SEEDS: other ways to choose widths, in the same engine with the same teacher
    local b step words seed
    echo "One width for all (its steps powers of two, or any number: LSQ; 200 epochs), and one width a layer, learned: medians of seeds $1;"
    echo "HGQ: the median of the same seeds' points at most so dear: bar -0.30"
    printf '%-22s %9s %9s %7s %7s %7s  %-27s %s\n' widths EBOPs "held out" test HGQ better "test by seed" command
    for step in no yes; do
        for b in 8 7 6 5 4 3 2; do
            words=$(letter_uniform $b $step)
            for seed in $1; do hgq_once "$keep/uniform$b$step.$seed" $words --seed $seed || return; done
            hgq_row "$b, $([ $step = yes ] && echo "any step" || echo "powers of two")" "uniform$b$step" "$1" "$(shown "$bitlathe" train $words --seed SEED -o T/uniform)"
        done
    done
    words="$(letter_words) --set weight_share=tensor --set act_share=tensor --set epochs=2000 --set cycles=20 --set beta=1e-6 --set beta_end=6e-5"
    for seed in $1; do hgq_once "$keep/layers.$seed" $words --seed $seed || return; done
    for b in 60000 40000 25000 16000; do
        hgq_row "a layer, at most $b" layers "$1" "$(shown "$bitlathe" train $words --seed SEED -o T/layers)" $b
    done
}

hgq_once() { # FOLDER WORDS...: a training with its points; one that is finished there already is taken as it is
    local to=$1
    shift
    seconds=-
    [ "$(json "$to/front.json" done 2>/dev/null)" = true ] || run "$bitlathe" train "$@" --points -o "$to"
}

jets_words() { # TASK CSV
    local rows="--set held_out=9000 --set test=10000"
    [ "$1" = A ] || rows="--set held_out=4500 --set test=5000"
    echo "jets --recipe hgq --data csv:$2 --set standard=yes $rows --set teacher=256 --set teacher_epochs=30 --set float_epochs=100 --threads 1"
}

# Task B is good at lower prices of accuracy: its price moves where its front lies.  Shorter cycles: chosen on rows that are learned from.
jets_long() { # TASK
    local price="--set beta=1e-7 --set beta_hold=0.04 --set beta_ramp=4e-7 --set beta_end=7e-5" cycles=30
    [ "$1" = A ] || price="--set beta=1e-7 --set beta_hold=0.04 --set beta_ramp=6e-7 --set beta_end=5e-5" cycles=120
    echo "--set epochs=${JETS_EPOCHS:-9000} --set cycles=$cycles --set input_clip=yes $price"
}

jets_crossings() { # TASK MEAN SEEDS WORDS BARS: EBOPs at each level, per seed and the median; beside uniform 8 bit by the nominal count
    local seed level
    echo "EBOPs at which the front crosses so many points below it; bars $5 at 1, 2, 3, 5 points"
    printf '%-8s %8s %8s %8s %8s %8s  %s\n' seed 0.5 1 2 3 5 command
    for seed in $3; do
        printf '%-8s' "$seed"
        for level in 0.5 1 2 3 5; do
            hgq_below "$keep/jets$1$seed/front.json" "$(awk "BEGIN { print $2 - $level }")" >"$t/crossed"
            printf ' %8s' "$(cat "$t/crossed")"
            sed 's/^-$/inf/' "$t/crossed" >>"$t/at$1$level"
            echo >>"$t/at$1$level"
        done
        echo "  $(shown "$bitlathe" train $4 --seed "$seed" --points -o T/jets)"
    done
    printf '%-8s' median
    for level in 0.5 1 2 3 5; do printf ' %8s' "$(hgq_median <"$t/at$1$level")"; done
    printf '\n%-8s' fewer # than uniform 8 bit by the nominal count: 4256 weights of 8 bits times 8 bits of input
    for level in 0.5 1 2 3 5; do hgq_median <"$t/at$1$level" | awk '{ if ($1 == "inf") printf " %8s", "-"; else printf " %8.1f", 272384 / $1 }'; done
    echo "  than uniform 8 bit, nominal (272,384); bars 10 at 0.5 points, 20 at 2"
}

jets_circuits() { # TASK MEAN SEEDS BAR: tables two points below float beside 6 bits for all
    local seed by n held test ebops flt
    BL_HARDWARE_YOSYS=${BL_HARDWARE_YOSYS:-0}
    circuits_head
    : >"$t/rows"
    front_points "$keep/jets$1.u6/front.json" | tail -n 1 >"$t/u6"
    read -r n held test ebops <"$t/u6"
    circuit_row "6 bits, shared" "$test" "$ebops" "$keep/jets$1.u6/fixed.json"
    circuit_row "6 bits, digits alone" "$test" "$ebops" "$keep/jets$1.u6/fixed.json" --unshared
    for by in 2 3; do
        for seed in $3; do
            flt=$(json "$keep/jets$1$seed/front.json" float.held_out_top1)
            front_points "$keep/jets$1$seed/front.json" |
                awk -v c=$by -v least="$([ $by = 2 ] && awk "BEGIN { print 100 * $flt - 2 }" || awk "BEGIN { print $2 - 2 }")" '$c >= least { print; exit }' >"$t/like"
            read -r n held test ebops <"$t/like" || { echo "seed $seed: no point within 2 points of float"; continue; }
            circuit_row "seed $seed, $([ $by = 2 ] && echo "held-out" || echo test) -2" "$test" "$ebops" "$keep/jets$1$seed/points/$n.json"
        done
        awk -v bar="$4" -v by="$([ $by = 2 ] && echo held-out || echo test)" -v from=$((by == 2 ? 3 : 3 + $(wc -w <<<"$3"))) '
            NR <= 2 { l[NR] = $6; d = NR == 1 ? $7 : d; c = NR == 1 ? $8 : c } NR >= from { v[++m] = $6; x[m] = $7; y[m] = $8 }
            END { for (i = 1; i <= m; i++) for (j = i + 1; j <= m; j++) if (v[j] < v[i]) { k = v[i]; v[i] = v[j]; v[j] = k; k = x[i]; x[i] = x[j]; x[j] = k; k = y[i]; y[i] = y[j]; y[j] = k }
                  k = int((m + 1) / 2); if (m) printf "cheapest within 2 points of float by %s rows, median: %.2f times fewer tables than 6 bits shared (bar %s), %.2f than 6 bits of digits alone; depth %d against %d, cycles %d against %d\n", by, l[1] / v[k], bar, l[2] / v[k], x[k], d, y[k], c }' "$t/rows"
    done
}

# JETS_TASKS (A B), JETS_SEEDS (1), JETS_EPOCHS (9000); JETS_KEEP: a folder that keeps trainings, for a second call.
figures_jets() {
    local task seed words mean b seeds=${JETS_SEEDS:-1} keep=${JETS_KEEP:-$t}
    . tools/hardware.sh
    [ -r /usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz ] || { echo "skipped: jets: no Fashion-MNIST"; return; }
    for task in ${JETS_TASKS:-A B}; do
        tools/jet-shaped $task >"$t/$task.csv" || return
        words=$(jets_words $task "$t/$task.csv")
        for seed in $seeds; do
            hgq_once "$keep/jets$task$seed" $words $(jets_long $task) --seed "$seed" || return
            json "$keep/jets$task$seed/front.json" float.test_top1 >>"$t/float$task"
        done
        mean=$(awk 'NF { s += $1; n++ } END { printf "%.2f", 100 * s / n }' "$t/float$task")
        echo "Task $task of the shape of LHC jets, seeds $seeds; float $mean % (mean of the seeds); outputs of the test rows that differ on integers: $(for seed in $seeds; do json "$keep/jets$task$seed/front.json" integers.test.differ; done | tr '\n' ' ')"
        jets_crossings $task "$mean" "$seeds" "$words $(jets_long $task)" "$([ $task = A ] && echo "17000 9000 6200 3000" || echo "8500 4300 2600 1250")"
        for b in 8 6 4; do
            hgq_once "$keep/jets$task.u$b" $words --set uniform_bits=$b --set epochs=150 --set cycles=1 --set ramp=constant --set beta=0 || return
            hgq_points "$keep/jets$task.u$b/front.json" | tail -n 1 | awk -v b=$b '{ printf "uniform %d bits: %.2f %% at %.0f EBOPs\n", b, $2, $3 }'
        done
        jets_circuits $task "$mean" "$seeds" "$([ $task = A ] && echo 3 || echo 6)"
        echo
    done
}
