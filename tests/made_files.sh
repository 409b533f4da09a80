#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# What tools make from the program's own words is the program's of today; the completion completes.
. tests/golden/harness.sh
begin "$@"
build=$1

tools/make-man "$build" >"$t/man" 2>&1
cmp -s "$t/man" man/bitlathe.1 || fail "man/bitlathe.1 is of today" "run: make words"
tools/make-completion "$build" >"$t/completion" 2>&1
cmp -s "$t/completion" completions/bitlathe || fail "completions/bitlathe is of today" "run: make words"
checks=$((checks + 2))
if command -v man >/dev/null; then
    check "man can show it" test "$(MANWIDTH=80 man --warnings -l man/bitlathe.1 2>&1 >/dev/null | wc -l)" -eq 0
else
    skip made_files_man "no man"
fi

# ---- completion, in a shell that knows nothing else
cat >"$t/complete" <<'END'
source completions/bitlathe
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_bitlathe
printf '%s\n' "${COMPREPLY[@]}"
END
completes() { # WANTED-LINES(space separated, sorted) WORDS...: the last word is being typed
    local wanted=$1 got
    shift
    checks=$((checks + 1))
    got=$(bash --norc "$t/complete" "$@" 2>"$t/err" | sort | paste -sd ' ')
    [ "$got" = "$wanted" ] || fail "complete $*" "gives \"$got\", not \"$wanted\""
    [ ! -s "$t/err" ] || fail "complete $*" "$(cat "$t/err")"
}
sorted() { tr ' ' '\n' | sort | paste -sd ' '; }
"$bitlathe" list commands | awk '{ print $1 }' | sort >"$t/verbs"
completes "$(echo "$(paste -sd ' ' "$t/verbs") --help --version" | sorted)" bitlathe ""
completes quantize bitlathe qu
completes "" bitlathe spoons
while read -r v; do
    "$bitlathe" $v --help | grep -oE '^ +(-[a-z?], )?--[a-z0-9-]+' | grep -o -- '--.*' | sort -u | paste -sd ' ' >"$t/options"
    completes "$(cat "$t/options")" bitlathe $v --
done <"$t/verbs"
completes "--threads" bitlathe eval net.onnx --thr
completes "$("$bitlathe" list | sort | paste -sd ' ')" bitlathe list ""
for pair in recipe:recipes target:targets tune:tuners weight-range:observers isa:isas; do
    option=--${pair%:*}
    while read -r name; do
        completes "$name" bitlathe quantize net.onnx $option "$name"
        completes "$name" bitlathe quantize net.onnx $option = "$name"
    done < <("$bitlathe" list ${pair#*:} | awk '{ print $1 }' | awk '{ a[NR] = $1 } END { for (i in a) { n = 0; for (k in a) n += index(a[k], a[i]) == 1; if (n == 1) print a[i] } }')
done
completes "nchw nhwc" bitlathe eval net.onnx --layout ""
completes "models/README.md models/mobilenetv3s_fmnist.onnx models/models.json models/resnet8_fmnist.onnx" bitlathe import models/
completes "models/resnet8_fmnist.onnx" bitlathe bench a.blp models/res
completes "recipes/mixed.recipe" bitlathe quantize net.onnx --recipe recipes/mix
finish
