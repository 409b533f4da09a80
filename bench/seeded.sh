#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Networks of known shape with weights by lot (ResNet, MobileNet at 224), for times and bits alone:
#   bench/seeded.sh BUILD
# The folder of BITLATHE_SHARED (../shared) has the program that makes them; they stay in BUILD/bench/seeded.  Prints
# their paths.
cd "$(dirname "$0")/.." || exit 1
[ $# -eq 1 ] || { echo "usage: bench/seeded.sh BUILD" >&2; exit 64; }
make=${BITLATHE_SHARED:-../shared}/tools/make_seeded_networks.py to=$1/bench/seeded
[ -r "$make" ] || { echo "skipped: seeded networks: $make is not here" >&2; exit 0; }
if [ ! -e "$to/done" ]; then # its own first line names the Python that has onnx
    mkdir -p "$to"
    if ! "$make" "$to" > "$to.log" 2>&1 && ! "${PYTHON:-python3}" "$make" "$to" > "$to.log" 2>&1; then
        echo "skipped: seeded networks: $(tail -n 1 "$to.log")" >&2
        exit 0
    fi
    : > "$to/done"
fi
ls "$to"/*.onnx
