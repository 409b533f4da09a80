#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Layers of well-known networks, one thread, beside oneDNN's int8 and beside what a core can do at most:
#   bench/kernels.sh BUILD
# Everything comes out of kernel-check: its peaks, then its layers with warm weights, with weights from memory (fully connected: from L3 too), and
# with AVX-VNNI and AVX2 alone (oneDNN held there too).  "of peak": multiply-accumulates a second of the layer to those of the
# instruction; taps that meet the border's zeros are left out, so a layer may pass 100 %.  "of stream": fully connected
# layers, bytes of weights a second to what memory gives.  JSON: BUILD/bench/kernels.json.
#   KERNEL_SECONDS  of each part (14)
#   BENCH_PREFIX    what runs the stopwatch, such as "chrt -f 5" on a machine that others use too
cd "$(dirname "$0")/.." || exit 1
[ $# -eq 1 ] || { echo "usage: bench/kernels.sh BUILD" >&2; exit 64; }
check=$1/kernel-check out=$1/bench seconds=${KERNEL_SECONDS:-14}
[ -x "$check" ] || { echo "skipped: kernels: no kernel-check in $1"; exit 0; }
mkdir -p "$out"
. bench/keep.sh
part() { # NAME ARG...
    local name=$1
    shift
    if kept "$out/kernels.$name"; then return; fi
    rm -f "$out/kernels.$name.of"
    ${BENCH_PREFIX:-} "$check" "$@" > "$out/kernels.$name" 2> "$out/log" || { echo "failed: kernels: $name: $(tail -n 1 "$out/log")"; exit 1; }
    keep "$out/kernels.$name"
}
part peaks --peaks
here=(warm l3 cold)
"$1/bitlathe" list kernels --isa amx > /dev/null 2>&1 || echo "not here: amx"
part warm --layers all --seconds "$seconds"
part l3 --layers fc --l3 --seconds "$(awk "BEGIN { print $seconds / 4 }")"
part cold --layers all --cold --seconds "$seconds"
if "$1/bitlathe" list kernels --isa avxvnni > /dev/null 2>&1; then
    here+=(avxvnni)
    DNNL_MAX_CPU_ISA=AVX2_VNNI part avxvnni --layers all --isa avxvnni --seconds "$seconds"
fi
if "$1/bitlathe" list kernels --isa avx2 > /dev/null 2>&1; then
    here+=(avx2)
    DNNL_MAX_CPU_ISA=AVX2 part avx2 --layers all --isa avx2 --seconds "$seconds"
fi
sed 1d "$out/kernels.peaks"
for name in "${here[@]}"; do
    echo
    case $name in
    warm) echo "weights warm"; unit="vpdpbusd zmm" ;;
    l3) echo "fully connected, weights from L3"; unit="vpdpbusd zmm" ;;
    cold) echo "weights from memory"; unit="vpdpbusd zmm" ;;
    avxvnni) echo "AVX-VNNI, weights warm"; unit="vpdpbusd ymm" ;;
    avx2) echo "AVX2, weights warm"; unit="vpmaddwd and vpaddd ymm" ;;
    esac
    grep -q "^peak $unit" "$out/kernels.peaks" || unit="vpmaddwd and vpaddd ymm"
    printf '%-12s %4s %-12s %-9s %9s %7s %8s %9s %8s  %s\n' network side channels kernel us GMAC/s "of peak" "of stream" oneDNN row
    awk -v unit="$unit" -v list="$out/kernels.$name.lines" -v state="$name" '
        FNR == NR { if (index($0, "peak " unit) == 1) peak = $(NF - 1)
                    if ($0 ~ /^stream from memory/) stream["cold"] = $4
                    if ($0 ~ /^stream from L3/) stream["l3"] = $4
                    next }
        / us / && / GMAC\/s/ {
            net = $1; side = $2; channels = $3; at = 4
            if ($at == "dw") { kernel = "dw " $(at + 1); at += 2 } else kernel = $(at++)
            row = $at; us = $(at + 1); rate = $(at + 3)
            peer = "-"; for (i = at; i < NF; i++) if ($i == "oneDNN") peer = $(i + 2)
            split(channels, c, "->"); share = "-"
            if (side == 1 && stream[state]) share = sprintf("%.0f %%", 100 * c[1] * c[2] / us / 1e3 / stream[state])
            printf "%-12s %4s %-12s %-9s %9s %7s %8s %9s %8s  %s\n", net, side, channels, kernel, us, rate, peak ? sprintf("%.0f %%", 100 * rate / peak) : "-", share, peer, row
            printf "{\"state\":\"%s\",\"network\":\"%s\",\"side\":%s,\"channels\":\"%s\",\"kernel\":\"%s\",\"us\":%s,\"gmac_s\":%s,\"of_peak\":%s,\"onednn_takes\":%s,\"row\":\"%s\"}\n", state, net, side, channels, kernel, us, rate, peak ? rate / peak : "null", peer == "-" ? "null" : peer, row > list
        }' "$out/kernels.peaks" "$out/kernels.$name"
done
{
    printf '{"cpu":"%s","peaks":[' "$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1)"
    awk '/^(peak|stream)/ { n = $1 == "peak" ? $(NF - 1) : $4; sub(/ +[0-9.]+ G.*/, ""); printf "%s{\"what\":\"%s\",\"rate\":%s}", k++ ? "," : "", $0, n }' "$out/kernels.peaks"
    printf '],\n"layers":[\n'
    for name in "${here[@]}"; do cat "$out/kernels.$name.lines"; done | sed '$!s/$/,/'
    printf ']}\n'
} > "$out/kernels.json"
