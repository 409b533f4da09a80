# SPDX-License-Identifier: BSD-3-Clause
# Section of tools/figures, which reads this file: fronts of fixed-point networks as circuits.

# Fields of a front's points, a line each: "NUMBER HELD TEST EBOPS", cheapest first.
front_points() { # FRONT.json
    awk -F'[:,]' '/"held_out_top1"/ { h = $2 } /"test_top1"/ { t = $2 } /"ebops1":/ { printf "%02d %.2f %.2f %d\n", n++, 100 * h, 100 * t, $2 }' "$1"
}

# "ADDERS_CSD ADDERS BITS_CSD BITS LUTS DEPTH CYCLES YOSYS" of a network as it is exported, digits shared or not.
as_circuit() { # FIXED.json [WORDS...]
    local f=$t/hw/hardware.json lut=- carry ff fixed=$1
    shift
    run "$bitlathe" export "$fixed" --format verilog --pipeline 4 "$@" -o "$t/hw" || return
    [ "${BL_HARDWARE_YOSYS:-1}" = 0 ] || ! have yosys || read -r lut carry ff <<<"$(synthesised "$t/hw" xilinx)"
    awk -v luts="$(json "$f" luts)" -v depth="$(json "$f" depth)" -v cycles="$(json "$f" cycles)" -v lut="${lut:--}" '
        /"adders":/ && n++ { sub(/,/, ""); a += $2 } /"adder_bits":/ { b += $2 } /"adders_csd":/ { c += $2 } /"adder_bits_csd":/ { d += $2 }
        END { print c, a, d, b, luts, depth, cycles, lut }' "$f"
    rm -rf "$t/hw"
}

circuit_row() { # NAME TEST EBOPS FIXED [WORDS...]
    local row name=$1 test=$2 ebops=$3
    shift 3
    row=$(as_circuit "$@") || return
    echo "$ebops $row" >>"$t/rows"
    awk -v name="$name" -v test="$test" -v e="$ebops" '{ printf "%-22s %8d %7s %6d -> %5d %7d -> %6d %8d %6d %6d %7s %6s\n", name, e, test, $1, $2, $3, $4, $5, $6, $7, $8,
        $8 == "-" ? "-" : sprintf("%.3f", $8 / $5) }' <<<"$row"
}

circuits_head() {
    printf '%-22s %8s %7s %15s %17s %8s %6s %6s %7s %6s\n' "" EBOPs test adders "adder bits" tables depth cycles yosys ratio
}


# Letter: the front of section hgq's first seed (HGQ_EPOCHS, HGQ_KEEP as there), points spread over it, and one width of 6 bits.
# BL_HARDWARE_YOSYS=0 leaves synthesis out.
figures_hardware() {
    . tools/hardware.sh
    local keep=${HGQ_KEEP:-$t} n held test ebops u_held u_test u_ebops
    [ -r "$shared/data/letter/letter.csv" ] || { echo "skipped: hardware: no data/letter in BITLATHE_SHARED"; return; }
    local long front=$keep/hgq1 uniform
    long="$(letter_words) $(letter_long "${HGQ_EPOCHS:-12000}") --seed 1" uniform=$(letter_uniform 6 no)
    hgq_once "$front" $long || return
    echo "Letter 16-64-32-32-26 as circuits, --pipeline 4; adders and their bits: signed digits alone -> shared; tables as estimated and by yosys (synth_xilinx)"
    shown "$bitlathe" train $long --points -o T/front
    echo
    shown "$bitlathe" train $uniform -o T/uniform
    echo
    circuits_head
    : >"$t/rows"
    front_points "$front/front.json" >"$t/points"
    # Eight of at most 30,000 EBOPs, evenly by the logarithm of their price.
    awk '$4 <= 30000 { line[++n] = $0; x[n] = log($4) } END { for (k = 0; k < 8; k++) { want = x[1] + (x[n] - x[1]) * k / 7; best = 0
        for (i = 1; i <= n; i++) if (!best || (x[i] - want) ^ 2 < (x[best] - want) ^ 2) best = i
        if (best != last) print line[best]; last = best } }' "$t/points" >"$t/spread"
    while read -r n held test ebops <&3; do circuit_row "HGQ point $n" "$test" "$ebops" "$front/points/$n.json"; done 3<"$t/spread"
    awk '{ x = log($1); y = log($6); n++; sx += x; sy += y; xx += x * x; yy += y * y; xy += x * y; s = 1 - $3 / $2; if (n == 1 || s < least) least = s; if (s > most) most = s
           if ($9 != "-") { r = $9 / $6; m++; if (m == 1 || r < lo) lo = r; if (r > hi) hi = r } }
        END { if (n > 2) { v = xx - sx * sx / n; w = yy - sy * sy / n; c = xy - sx * sy / n
              printf "%d points: log-log correlation of EBOPs and tables %.4f (bar 0.98), slope %.3f; sharing takes %.1f to %.1f %% of the adders (bar 30)\n",
                  n, c / sqrt(v * w), c / v, 100 * least, 100 * most
              if (m) printf "yosys over estimate at %d of them: %.3f to %.3f (bar 0.85 to 1.05)\n", m, lo, hi } }' "$t/rows"
    hgq_once "$keep/uniform6no.1" $uniform || return
    front_points "$keep/uniform6no.1/front.json" | tail -n 1 >"$t/u6"
    read -r n u_held u_test u_ebops <"$t/u6"
    : >"$t/rows"
    local BL_HARDWARE_YOSYS=0 # counted above
    circuit_row "6 bits, shared" "$u_test" "$u_ebops" "$keep/uniform6no.1/fixed.json"
    circuit_row "6 bits, digits alone" "$u_test" "$u_ebops" "$keep/uniform6no.1/fixed.json" --unshared
    # The cheapest point that held-out rows see within 0.3 points of it, and the cheapest that test rows do.
    for n in 2 3; do
        awk -v c=$n -v want="$([ $n = 2 ] && echo "$u_held" || echo "$u_test")" '$c >= want - 0.3 { print; exit }' "$t/points" >"$t/like"
        read -r number held test ebops <"$t/like" || { echo "no point of the front is as good as 6 bits"; continue; }
        circuit_row "HGQ point $number" "$test" "$ebops" "$front/points/$number.json"
        awk -v who="$([ $n = 2 ] && echo held-out || echo test)" -v test="$test" -v u="$u_test" '{ l[NR] = $6; d[NR] = $7; c[NR] = $8 }
            END { printf "chosen by %s rows, test %+.2f points: %.2f times fewer tables than 6 bits shared (bar 1.4), %.2f than 6 bits of digits alone (bar 2), depth %d against %d, cycles %d against %d\n",
                  who, test - u, l[1] / l[NR], l[2] / l[NR], d[NR], d[1], c[NR], c[1] }' "$t/rows"
    done
    echo
}
