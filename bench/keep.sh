#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Sourced by tools/bench and by what it runs: results that BENCH_KEEP=1 leaves standing.  FILE.of names the binary they are of.
# shellcheck disable=SC2154 # build: the caller's
binary_sum() {
    cat "$build/bitlathe" "$build/kernel-check" 2> /dev/null | cksum
}
kept() { # FILE: is it there, of this binary, and to be kept?
    [ -n "${BENCH_KEEP:-}" ] && [ -e "$1" ] && [ "$(cat "$1.of" 2> /dev/null)" = "$(binary_sum)" ]
}
keep() { # FILE
    binary_sum > "$1.of"
}
# A list that grows line by line: empty it unless it is kept.
keep_list() { # FILE
    kept "$1" || : > "$1"
    keep "$1"
}
