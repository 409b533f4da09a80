# SPDX-License-Identifier: BSD-3-Clause
# Section of tools/figures, which reads this file: a front of fixed-point networks as circuits.

# One training on Letter (BL_HARDWARE_EPOCHS, 2000), every point of its front exported; yosys for each if it is here.
figures_hardware() {
    . tools/hardware.sh
    local letter=$shared/data/letter/letter.csv epochs=${BL_HARDWARE_EPOCHS:-2000} point f lut carry ff
    [ -r "$letter" ] || { echo "skipped: hardware: no data/letter in BITLATHE_SHARED"; return; }
    awk -F, 'NR == 1 { printf "label"; for (i = 1; i < NF; i++) printf ",x%d", i; print "" }
        { printf "%d", index("ABCDEFGHIJKLMNOPQRSTUVWXYZ", $1) - 1; for (i = 2; i <= NF; i++) printf ",%s", $i; print "" }' "$letter" >"$t/letter.csv"
    run "$bitlathe" train 16-64-32-32-26 --recipe hgq --data "csv:$t/letter.csv" --mean 8 --std 4 --set held_out=2400 --set test=4000 \
        --set epochs="$epochs" --points -o "$t/front" || return
    echo "Letter 16-64-32-32-26, one training of $epochs epochs, $seconds s: each point with --pipeline 4; digits alone (CSD) and shared sums"
    printf '%8s %7s %13s %17s %7s %6s %6s %7s %7s %6s\n' EBOPs test "adders" "adder bits" tables depth cycles yosys CARRY4 ratio
    for point in "$t"/front/points/*.json; do
        run "$bitlathe" export "$point" --format verilog --pipeline 4 -o "$t/hw" || continue
        f=$t/hw/hardware.json
        lut=- carry=- ff=-
        ! have yosys || read -r lut carry ff <<<"$(synthesised "$t/hw" xilinx)"
        awk -v e="$(json "$f" ebops1)" -v test="$(json "$point" figures.test_top1)" -v luts="$(json "$f" luts)" -v depth="$(json "$f" depth)" \
            -v cycles="$(json "$f" cycles)" -v lut="$lut" -v carry="$carry" '
            /"adders":/ && n++ { sub(/,/, ""); a += $2 } /"adder_bits":/ { b += $2 } /"adders_csd":/ { c += $2 } /"adder_bits_csd":/ { d += $2 }
            END { printf "%8d %7.2f %5d -> %5d %6d -> %6d %8d %6d %6d %7s %7s %6s\n", e, 100 * test, c, a, d, b, luts, depth, cycles, lut, carry,
                  lut == "-" ? "-" : sprintf("%.3f", lut / luts) }' "$f" | tee -a "$t/points"
        rm -rf "$t/hw"
    done
    awk '{ x = log($1); y = log($9); n++; sx += x; sy += y; xx += x * x; yy += y * y; xy += x * y }
        END { if (n > 2) { v = xx - sx * sx / n; w = yy - sy * sy / n; c = xy - sx * sy / n
              printf "tables by EBOPs over %d points: log-log correlation %.4f, slope %.3f\n", n, c / sqrt(v * w), c / v } }' "$t/points"
    echo
}
