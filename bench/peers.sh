#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Whole networks at 8 bits, batch 1, beside ONNX Runtime running our own export of the same integers:
#   bench/peers.sh BUILD [NAME...]      NAME: part of a network's name
# Programs and exports: bench/programs.sh.  Ours runs under each instruction set that this CPU has; ONNX Runtime always uses what it likes.  All
# competitors take turns in one run (tests/clients/turns.mjs); the columns "x" are the median ratio of ONNX
# Runtime's time to ours, more than 1 means that ours is faster.  A/A: the worse of the two controls,
# ours against itself and ONNX Runtime against itself.  JSON: BUILD/bench/peers.json.
#   PEER_SECONDS   of each network and thread number (6)       PEER_THREADS  numbers of threads ("1 2")
#   BENCH_PREFIX    what runs the stopwatch, such as "chrt -f 5" on a machine that others use too
# `make bench-peers` installs ONNX Runtime through npm; without it this says so and ends.
cd "$(dirname "$0")/.." || exit 1
[ $# -ge 1 ] || { echo "usage: bench/peers.sh BUILD [NAME...]" >&2; exit 64; }
build=$1 bitlathe=$1/bitlathe
shift
clients=$build/clients out=$build/bench
command -v node > /dev/null || { echo "skipped: bench-peers: no node"; exit 0; }
[ -d "$clients/node_modules/onnxruntime-node" ] ||
    { echo "skipped: bench-peers: ONNX Runtime is not installed (make bench-peers)"; exit 0; }
version=$(cd "$clients" && node -p "require('onnxruntime-node').env.versions.node" 2> /dev/null) ||
    { echo "skipped: bench-peers: onnxruntime-node does not load here"; exit 0; }
mkdir -p "$out"

# Strongest first.
isas=()
for isa in amx avx512vbmi avx512 avxvnni avx2; do
    if "$bitlathe" list kernels --isa $isa > "$out/log" 2>&1; then isas+=($isa); else echo "not here: $isa"; fi
done
[ ${#isas[@]} -gt 0 ] || { echo "skipped: bench-peers: no instruction set of x86-64 here"; exit 0; }
echo "$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1), $(nproc) cores; ONNX Runtime $version; 8 bits, batch 1"
echo "ms: median; x: ONNX Runtime's time to ours, median over rounds of turns"
printf '%-30s %7s %6s %9s' network threads rounds "ORT ms"
for isa in "${isas[@]}"; do printf ' %9s %6s' "$isa ms" x; done
printf ' %6s\n' A/A
export PEER_LINES=$out/peers.lines
. bench/keep.sh
keep_list "$PEER_LINES"
keep_list "$PEER_LINES.txt"
while read -r name; do
    run=$out/$name
    for threads in ${PEER_THREADS:-1 2}; do
        if grep -E "^$name +$threads " "$PEER_LINES.txt"; then continue; fi
        # shellcheck disable=SC2086
        line=$(${BENCH_PREFIX:-} node tests/clients/turns.mjs "$clients" "$bitlathe" "$run/model.blp" "$run/model.qdq.onnx" \
            "${PEER_SECONDS:-6}" "$threads" "${isas[@]}" 2> "$out/log" < /dev/null) ||
            { echo "failed: $name: $(tail -n 1 "$out/log")"; bad=1; continue; }
        node -e '
            const [name, line, ...isas] = process.argv.slice(1), r = JSON.parse(line);
            const of = Object.fromEntries(r.items.map((i) => [i.name, i])), ort = of.onnxruntime;
            const aa = Math.max(Math.abs(of[`${isas[0]} again`].ratio - 1), Math.abs(of["onnxruntime again"].ratio / ort.ratio - 1));
            const ms = (i) => (i.median_us / 1e3).toFixed(3).padStart(9);
            process.stdout.write(name.padEnd(30) + String(r.threads).padStart(8) + String(r.rounds).padStart(7) + " " + ms(ort));
            for (const isa of isas) process.stdout.write(` ${ms(of[isa])} ${(ort.ratio / of[isa].ratio).toFixed(2).padStart(6)}`);
            console.log(` ${(100 * aa).toFixed(1).padStart(5)}%`);
            require("fs").appendFileSync(process.env.PEER_LINES, JSON.stringify({ network: name, ...r }) + "\n");
        ' "$name" "$line" "${isas[@]}" | tee -a "$PEER_LINES.txt"
    done
done < <(bench/programs.sh "$build" "$@")
node -e '
    const fs = require("fs"), [lines, out, cpu, version] = process.argv.slice(1);
    const networks = fs.readFileSync(lines, "utf8").split("\n").filter(Boolean).map((l) => JSON.parse(l));
    fs.writeFileSync(out, JSON.stringify({ cpu, onnxruntime: version, bits: "8/8", batch: 1, networks }, null, 1) + "\n");
' "$out/peers.lines" "$out/peers.json" "$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1)" "$version"
exit ${bad:-0}
