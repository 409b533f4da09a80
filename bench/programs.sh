#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Programs of uniform 8 bits that other benchmarks time, with their exports for ONNX Runtime:
#   bench/programs.sh BUILD [NAME...]      NAME: part of a network's name
# The networks of models/, of the folder of BITLATHE_SHARED (../shared), and the seeded ones (bench/seeded.sh)
# on pictures.  Each goes to BUILD/bench/NAME/model.blp and model.qdq.onnx, and is made again
# only where the network or bitlathe is newer.  Prints the name of each that is there; what is left out is named on
# standard error.
cd "$(dirname "$0")/.." || exit 1
[ $# -ge 1 ] || { echo "usage: bench/programs.sh BUILD [NAME...]" >&2; exit 64; }
build=$1 bitlathe=$1/bitlathe shared=${BITLATHE_SHARED:-../shared}
shift
wanted=("$@")
out=$build/bench
mkdir -p "$out"

# "FILE|words of quantize": the networks of a list beside it, then the seeded ones.
networks() {
    local list images=$shared/data/imagenet_calib
    for list in models/models.json "$shared/models/models.json"; do
        [ -r "$list" ] || { echo "skipped: programs: $list is not here" >&2; continue; }
        command -v node > /dev/null || { echo "skipped: programs: no node to read $list" >&2; continue; }
        node -e '
            const [list, folder, shared] = process.argv.slice(1);
            const all = JSON.parse(require("fs").readFileSync(list, "utf8"));
            const models = Array.isArray(all.models) ? all.models : Object.entries(all).map(([file, m]) => ({ file, ...m }));
            for (const m of models)
                if (m.calib_args) console.log(`${folder}/${m.file}|${m.calib_args.replaceAll("../shared", shared)}`);
        ' "$list" "$(dirname "$list")" "$shared"
    done
    if [ ! -d "$images" ]; then echo "skipped: programs: seeded networks: $images is not here" >&2; return; fi
    while read -r list; do
        echo "$list|--data images:$images,$images/labels.csv --crop 224 --mean 127.5,127.5,127.5 --std 127.5,127.5,127.5"
    done < <(bench/seeded.sh "$build")
}

asked() {
    local name
    [ ${#wanted[@]} -gt 0 ] || return 0
    for name in "${wanted[@]}"; do [[ $1 != *$name* ]] || return 0; done
    return 1
}

while IFS='|' read -r model data; do
    name=$(basename "$model" .onnx) run=$out/$(basename "$model" .onnx)
    asked "$name" || continue
    if [ "$run/model.qdq.onnx" -nt "$model" ] && [ "$run/model.qdq.onnx" -nt "$bitlathe" ] && [ -s "$run/model.blp" ]; then
        echo "$name"
        continue
    fi
    # shellcheck disable=SC2086
    if "$bitlathe" quantize "$model" -o "$run" --recipe uniform --weights-bits 8 --act-bits 8 --limit 8 --no-bench \
            $data > "$out/log" 2>&1 < /dev/null; then
        echo "$name"
    else
        echo "skipped: $name: $(tail -n 1 "$out/log")" >&2
    fi
done < <(networks)
