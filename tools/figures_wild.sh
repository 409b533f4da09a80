# SPDX-License-Identifier: BSD-3-Clause
# Sections of tools/figures, which reads this file: networks found in public repositories, bits by PMP.

# The repository's own files as magika takes a file: its first and its last 1,024 bytes, as a .npy of bytes.
byte_samples() { # PARITY FILE: every other file
    local f n=0
    rm -f "$t/rows"
    for f in $(git ls-files | sort); do
        [ -f "$f" ] && [ "$(stat -c %s "$f")" -ge 2048 ] || continue
        n=$((n + 1))
        [ $((n % 2)) -eq "$1" ] && { head -c 1024 "$f"; tail -c 1024 "$f"; } >>"$t/rows"
    done
    n=$(($(stat -c %s "$t/rows") / 2048))
    { hex_out 934e554d5059 0100 7600; printf '%-117s\n' "{'descr': '|u1', 'fortran_order': False, 'shape': ($n, 2048), }"; cat "$t/rows"; } >"$2"
}

# Pictures of words on uneven grounds, drawn from a seed, as a .npy of bytes (N, 128, 128, 3): letters of 5 x 7 dots, one to three
# pixels a dot, in lines.
text_samples() { # SEED N FILE
    { hex_out 934e554d5059 0100 7600; printf '%-117s\n' "{'descr': '|u1', 'fortran_order': False, 'shape': ($2, 128, 128, 3), }"
      LC_ALL=C awk -v s="$1" -v n="$2" '
        function draw(k) { s = (s * 16807) % 2147483647; return int(s / 2147483647 * k) }
        function dot(v) { v = v < 0 ? 0 : v > 255 ? 255 : int(v); return v }
        function letter(c, x, y, z,    r, k, i, j, row) {
            for (r = 0; r < 7; r++) {
                row = index("0123456789abcdefghijklmnopqrstuv", substr(font[c], r + 1, 1)) - 1
                for (k = 4; k >= 0; k--) {
                    if (row % 2) for (i = 0; i < z; i++) for (j = 0; j < z; j++) ink[y + r * z + i, x + k * z + j] = 1
                    row = int(row / 2)
                }
            }
        }
        BEGIN {
            letters = split("ehhvhhh uhhuhhu ehggghe uhhhhhu vgguggv vgguggg ehgnhhf hhhvhhh e44444e hikokih ggggggv hrllhhh hhpljhh ehhhhhe uhhuggg uhhukih fgge11u v444444 hhhhhhe hhhhha4 hhhllla hha4ahh hhha444 v1248gv ehjlphe 4c4444e eh1248v v12421u 26aiv22 vgu11he", font, " ")
            for (m = 0; m < n; m++) {
                delete ink
                split("", paper)
                for (c = 1; c <= 3; c++) { paper[c] = draw(256); side[c] = draw(161) - 80; down[c] = draw(161) - 80; pen[c] = paper[c] > 127 ? draw(90) : 165 + draw(90) }
                grain = draw(30)
                for (y = 2 + draw(20); y < 120; y += 8 * z + 2 + draw(24)) {
                    z = 1 + draw(3)
                    if (y + 7 * z > 126) break
                    for (x = 2 + draw(30); x + 5 * z < 126; x += 6 * z)
                        if (draw(6)) letter(1 + draw(letters), x, y, z)
                }
                for (y = 0; y < 128; y++) for (x = 0; x < 128; x++) {
                    g = draw(grain + 1) - grain / 2
                    for (c = 1; c <= 3; c++)
                        printf "%c", dot(((y, x) in ink ? pen[c] : paper[c] + side[c] * (x - 64) / 128 + down[c] * (y - 64) / 128) + g)
                }
            }
        }'; } >"$3"
}

# Of two files of float32: share of numbers on the same side of a threshold, and intersection over union of those above;
# STRIDE, AT: only every STRIDE-th number, from the AT-th on.
same_side() { # A B THRESHOLD STRIDE AT
    paste -d ' ' <(od -An -v -w4 -tf4 "$1") <(od -An -v -w4 -tf4 "$2") | awk -v limit="$3" -v stride="$4" -v at="$5" '
        (NR - 1) % stride == at { a = $1 > limit; b = $2 > limit; n++; same += a == b; both += a && b; any += a || b }
        END { printf "%.4f %s", same / n, any ? sprintf("%.3f", both / any) : "-" }'
}

# WILD_ROWS: an expression for some of the plans.
wild_row() { # NAME CALIBRATION EVALUATION LABEL WORDS...
    local name=$1 calibration=$2 words=$3 label=$4 file=$shared/models/wild/$1.onnx dims="" side=none iou=- same sqnr
    shift 4
    [[ $label =~ ${WILD_ROWS:-.} ]] || return 0
    case $name in
    ppocr_det_v2) dims="--dim x:2=128 --dim x:3=128" side="0.3 1 0" ;;  # pixels of text
    ultraface_rfb_320) side="0.7 2 1" ;;                                # anchors with a face
    esac
    local kept=${FIGURES_KEEP:-$t}/$name size
    run "$bitlathe" quantize "$file" $dims $calibration --target counted --no-bench -o "$kept" "$@" --json || return
    size=$(json "$t/out" mixed.size_bytes) || size=$(json "$t/out" int8.size_bytes)
    run "$bitlathe" compare "$file" "$kept/model.blp" $dims $words --json || return
    sqnr=$(figure pairs.0.sqnr_db %.1f)
    same=$(awk "BEGIN { printf \"%.4f\", 1 - $(json "$t/out" pairs.0.flips.total) / $(json "$t/out" samples) }")
    if [ "$side" != none ]; then
        run "$bitlathe" eval "$file" $dims $words --scores "$t/a.f32" --json && run "$bitlathe" eval "$kept/model.blp" $words --scores "$t/b.f32" --json || return
        read -r same iou < <(same_side "$t/a.f32" "$t/b.f32" $side)
    fi
    printf '%-20s %-14s %9.0f %7s %8s %6s  %s\n' "$name" "$label" "$size" "$sqnr" "$same" "$iou" \
        "$(shown "$bitlathe" quantize "$file" $dims $calibration --target counted -o T/run "$@")"
}

# Calibrated on some samples, evaluated on others: magika on files of this repository, the detector of text on words drawn from other
# seeds, that of faces on photographs.
figures_wild_pmp() {
    local half="--recipe pmp --budget size=0.5" pictures name words row
    echo "Networks found in public repositories, PMP at half of int8's size: SQNR of the output on samples that nothing was chosen on, answers as the"
    echo "float network's (magika: classes; ppocr: pixels over 0.3; ultraface: anchors over 0.7), and of those over it, intersection over union"
    printf '%-20s %-14s %9s %7s %8s %6s  %s\n' network plan bytes dB same IoU command
    [ -r "$shared/models/wild/wild.json" ] || { echo "skipped: wild_pmp: the networks are not here"; return; }
    for name in magika_v3_3 ppocr_det_v2 ultraface_rfb_320; do
        [[ $name =~ ${FIGURES_NETWORKS:-.} ]] || continue
        case $name in
        magika*)
            byte_samples 0 "$t/calib.npy"
            byte_samples 1 "$t/eval.npy"
            row="--data npy:$t/calib.npy" words="--data npy:$t/eval.npy" ;;
        ppocr*) # photographs hold no text, so that the network's answer to them is close to nothing
            text_samples 1 64 "$t/calib.npy"
            text_samples 2 100 "$t/eval.npy"
            pictures="--layout nhwc --mean 127.5 --std 127.5"
            row="--data npy:$t/calib.npy $pictures" words="--data npy:$t/eval.npy $pictures" ;;
        *)  pictures="--resize 320 --crop 240x320 --mean 127 --std 128"
            row="--data images:$shared/data/imagenet_calib,$shared/data/imagenet_calib/labels.csv $pictures" words="--data images:$shared/data/imagenet500,$shared/data/imagenet500/labels.csv $pictures --limit 100"
            files_here "$row $words" || { echo "skipped: $name: data are not here"; continue; } ;;
        esac
        wild_row $name "$row" "$words" W8A8 --weights-bits 8 --act-bits 8 --act-range mse
        wild_row $name "$row" "$words" "W4A8 learned" --weights-bits 4 --act-bits 8 --act-range mse --set rounding=adaround --tune stitched
        wild_row $name "$row" "$words" "pmp 0.5" $half
    done
    echo
}
