# SPDX-License-Identifier: BSD-3-Clause
# What the command-line tests share; sourced, not run.  Plain bash and awk, so that nothing but the
# tool itself is on trial:
#   begin "$@"                   build folder, a scratch folder of one's own, bitlathe as $bitlathe
#   ok CODE NAME COMMAND...      runs it; exit code, lines on stderr and leftovers are checked
#   check NAME COMMAND...        a shell condition
#   json FILE a.b.c              a value of a JSON file that this tool wrote
#   finish                       totals and the exit status
set -u
export LC_ALL=C
unset BL_ISA BL_THREADS BL_SEED BL_TRACE BL_FAIL_ALLOC
shared=${BITLATHE_SHARED:-../shared}
fashion=/usr/share/datasets/fashion-mnist
fashion_train="--data idx:$fashion/train-images-idx3-ubyte.gz,$fashion/train-labels-idx1-ubyte.gz --mean 72.93 --std 90.015"
fashion_test="--data idx:$fashion/t10k-images-idx3-ubyte.gz,$fashion/t10k-labels-idx1-ubyte.gz --mean 72.93 --std 90.015"
resnet8=models/resnet8_fmnist.onnx
mobilenet=models/mobilenetv3s_fmnist.onnx
checks=0
failures=0

begin() {
    bitlathe=$1/bitlathe
    [ -x "$bitlathe" ] || { echo "no $bitlathe: build first" >&2; exit 1; }
    t=$(mktemp -d) || exit 1
    trap 'clean_up' EXIT
    trap 'exit 1' INT TERM
}

clean_up() { rm -rf "$t"; }

skip() { # NAME REASON: leaves this part out, by name
    echo "skipped: $1: $2"
}

fail() { # NAME WHAT
    failures=$((failures + 1))
    echo "FAILED $1: $2"
}

check() { # NAME COMMAND...
    local name=$1
    shift
    checks=$((checks + 1))
    "$@" >/dev/null 2>&1 || fail "$name" "$*"
}

# Standard output of the command is left in $t/out, its stderr in $t/err.  An error is one line that
# begins with "bitlathe: "; notes begin with "bitlathe: note: " and are not counted.
ok() { # CODE NAME COMMAND...
    local want=$1 name=$2 code lines
    shift 2
    checks=$((checks + 1))
    "$@" >"$t/out" 2>"$t/err"
    code=$?
    lines=$(grep -c -v '^bitlathe: note: ' "$t/err")
    if [ $code -ne "$want" ]; then
        fail "$name" "exit code $code, not $want: $* | $(head -c 400 "$t/err")"
    elif [ "$want" -eq 0 ]; then
        [ "$lines" -eq 0 ] || fail "$name" "says on stderr: $(head -c 400 "$t/err")"
    elif [ "$lines" -ne 1 ] || ! grep -v '^bitlathe: note: ' "$t/err" | grep -q '^bitlathe: .'; then
        fail "$name" "not one line \"bitlathe: ...\" on stderr: $(head -c 400 "$t/err")"
    fi
}

says() { # NAME PATTERN: the stderr of the last `ok` holds it
    checks=$((checks + 1))
    grep -q -e "$2" "$t/err" || fail "$1" "stderr does not say \"$2\": $(head -c 400 "$t/err")"
}

prints() { # NAME PATTERN: its stdout does
    checks=$((checks + 1))
    grep -q -e "$2" "$t/out" || fail "$1" "stdout does not say \"$2\": $(head -c 400 "$t/out")"
}

no_leftovers() { # NAME FOLDER: no temporary file in it
    checks=$((checks + 1))
    local left
    left=$(find "$2" -name '*.tmp' | head -n 3)
    [ -z "$left" ] || fail "$1" "left behind: $left"
}

absent() { # NAME PATH
    check "$1" test ! -e "$2"
}

# This tool writes one member a line, indented by its depth: a path is followed by the indentation.
# Elements of arrays count from 0.  Prints nothing and fails where there is no such member.
json() { # FILE PATH
    awk -v path="$2" '
    { n = match($0, /[^ ]/) - 1
      line = substr($0, n + 1)
      key = ""
      if (match(line, /^"[^"]*": /)) { key = substr(line, 2, RLENGTH - 4); line = substr(line, RLENGTH + 1) }
      else if (line !~ /^[]}]/ && n > 0) key = count[n]++
      at[n] = key
      count[n + 1] = 0
      whole = ""
      for (i = 1; i <= n; i++) whole = whole (i > 1 ? "." : "") at[i]
      if (whole == path && line !~ /^[]}]/) { sub(/,$/, "", line); gsub(/^"|"$/, "", line); print line; found = 1; exit } }
    END { exit !found }' "$1"
}

json_is() { # NAME FILE PATH VALUE
    checks=$((checks + 1))
    local v
    v=$(json "$2" "$3") || v="(absent)"
    [ "$v" = "$4" ] || fail "$1" "$3 is $v, not $4"
}

json_has() { # NAME FILE PATH...
    local name=$1 file=$2
    shift 2
    for path; do
        checks=$((checks + 1))
        json "$file" "$path" >/dev/null || fail "$name" "no member $path in ${file##*/}"
    done
}

json_lacks() { # NAME FILE PATH
    checks=$((checks + 1))
    ! json "$2" "$3" >/dev/null || fail "$1" "a member $3 that cannot be there"
}

# The stdout of the last `ok` is tests/golden/expected/NAME; BL_GOLDEN_WRITE=1 rewrites that file, and
# the difference is there to be reviewed.
as_expected() { # NAME
    [ -z "${BL_GOLDEN_WRITE:-}" ] || cp "$t/out" "tests/golden/expected/$1"
    checks=$((checks + 1))
    diff "tests/golden/expected/$1" "$t/out" >"$t/diff" || fail "$1" "$(head -n 5 "$t/diff")"
}

# The stdout of the last `ok` is one JSON object: our own reader takes it as a record.
one_object() { # NAME
    cp "$t/out" "$t/object.json"
    checks=$((checks + 1))
    "$bitlathe" inspect "$t/object.json" >"$t/object.out" 2>&1 || fail "$1" "no JSON object: $(head -c 200 "$t/out")"
}

holds() { # NAME AWK-CONDITION: arithmetic that bash lacks
    checks=$((checks + 1))
    awk "BEGIN { exit !($2) }" || fail "$1" "does not hold: $2"
}

# A seeded generator: random N sets $r to 0..N-1.
random_state=1
random() {
    random_state=$(((random_state * 1103515245 + 12345) & 0x7fffffff))
    r=$(((random_state >> 4) % $1))
}

noise_bytes() { # COUNT SEED BELOW: so many bytes, each 0..BELOW-1
    awk -v n="$1" -v s="$2" -v m="$3" 'BEGIN {
        for (i = 0; i < n; i++) { s = (s * 16807) % 2147483647; printf "%c", int(s / 16) % m } }'
}

# Fashion-MNIST-shaped samples that need no data set: blobs on black, ten kinds of them.
noise_images() { # FILE COUNT SEED
    awk -v n="$2" -v s="$3" 'BEGIN {
        for (i = 0; i < n; i++) {
            for (k = 0; k < 4; k++) { s = (s * 16807) % 2147483647; p[k] = int(s / 16) % 28 }
            for (y = 0; y < 28; y++) for (x = 0; x < 28; x++) {
                s = (s * 16807) % 2147483647
                d = (x - p[0]) * (x - p[0]) + (y - p[1]) * (y - p[1])
                e = (x - p[2]) * (x - p[2]) + (y - p[3]) * (y - p[3])
                v = 230 - 3 * (d < e ? d : e)
                printf "%c", v < 0 ? 0 : int(v) + int(s / 16) % 25 } } }' >"$1"
}

hex_out() { # HEX...: as bytes
    printf '%b' "$(printf '%s' "$*" | tr -d ' ' | sed 's/../\\x&/g')"
}

# One float32 array of numbers in (-1, 1) as .npy.
npy_noise() { # FILE SHAPE("1, 1, 28, 28") COUNT SEED
    local header
    header=$(printf "%-117s" "{'descr': '<f4', 'fortran_order': False, 'shape': ($2), }")
    { hex_out 934e554d5059 0100 7600; printf '%s\n' "$header"
      awk -v n="$3" -v s="$4" 'BEGIN {
        for (i = 0; i < n; i++) {
            for (k = 0; k < 4; k++) { s = (s * 16807) % 2147483647; b[k] = int(s / 16) % 256 }
            printf "%c%c%c%c", b[0], b[1], b[2] % 128, b[3] < 128 ? 63 : 191 } }'; } >"$1"
}

# file|words of eval|words of calibration|reference metric, a line for each network of a models.json
networks() { # MODELS.json
    awk -F'"' '
    ($2 == "file" || $2 ~ /\.onnx$/) && ($4 ~ /\.onnx$/ || $2 ~ /\.onnx$/) { file = $2 == "file" ? $4 : $2; e = c = value = "" }
    ($2 == "value" || $2 == "float") && value == "" { value = $3; gsub(/[^0-9.]/, "", value) }
    $2 == "eval_args" { e = $4 }
    $2 == "calib_args" { c = $4 }
    e != "" && c != "" && value != "" { print file "|" e "|" c "|" value; e = c = value = "" }' "$1" |
        sed "s|\.\./shared/|$shared/|g"
}

files_here() { # WORDS: are the files that they name there?
    local f
    for f in $(printf '%s' "$1" | tr ' ,:' '\n' | grep '/'); do [ -e "$f" ] || return 1; done
}

flips() { # A.u16 B.u16: how many predictions differ
    paste <(od -An -v -w2 -tu2 "$1") <(od -An -v -w2 -tu2 "$2") | awk '$1 != $2' | wc -l
}

finish() {
    echo "$checks checks, $failures failed"
    [ $failures -eq 0 ] || exit 1
    exit 0
}
