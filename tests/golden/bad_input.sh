#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Damaged, hostile and mistaken input: the exit code says which kind, one line says place, fault and
# remedy, and no half-written file is left.  Everything random is seeded.
. tests/golden/harness.sh
begin "$@"

size=$(stat -c %s $resnet8)
noise_images "$t/x" 16 31
noise_bytes 16 32 10 >"$t/y.u8"
samples=raw:$t/x,u8,16x1x28x28
data="--data $samples --mean 72.93 --std 90.015"
printf '%s\n' 'calibrate = 16' 'sensitivity = sqnr' 'sense = 4' 'target = counted' 'search = knapsack' 'tune = bias-correction' \
    'weight_bits = 4 8' 'act_bits = 8' 'keep_ends = yes' >"$t/quick.recipe"
recipe="--recipe $t/quick.recipe"

patch_at() { # FILE OFFSET HEX
    hex_out "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

# Any of the codes that a damaged file may end in, never a crash, one line at most.
survives() { # NAME COMMAND...
    local name=$1 code lines
    shift
    checks=$((checks + 1))
    "$@" >"$t/out" 2>"$t/err"
    code=$?
    lines=$(wc -l <"$t/err")
    case $code in
    0) [ "$lines" -eq 0 ] || fail "$name" "says on stderr: $(head -c 300 "$t/err")" ;;
    65 | 69) [ "$lines" -eq 1 ] && grep -q '^bitlathe: .' "$t/err" || fail "$name" "code $code, stderr: $(head -c 300 "$t/err")" ;;
    *) fail "$name" "exit code $code: $(head -c 300 "$t/err")" ;;
    esac
}

# ---- a model cut short
for n in 0 1 7 100 1000 5000 $((size / 2)) $((size - 1000)) $((size - 1)); do
    head -c $n $resnet8 >"$t/cut.onnx"
    ok 65 "first $n bytes" "$bitlathe" import "$t/cut.onnx"
done

# ---- 200 models with a few bytes changed, most of them where the structure is
for i in $(seq 200); do
    cp $resnet8 "$t/mutant.onnx"
    random 3
    for _ in $(seq $((r + 1))); do
        random 4
        if [ $r -eq 0 ]; then random $size; at=$r; else random 5000; at=$r; fi
        random 256
        patch_at "$t/mutant.onnx" $at "$(printf %02x $r)"
    done
    verb=import
    [ $((i % 2)) -eq 0 ] || verb=prepare
    survives "mutant $i" "$bitlathe" $verb "$t/mutant.onnx"
done

# ---- messages in messages: prefixes from inside out, each with the length of what it holds
varint() { # N: hex in $v
    local n=$1
    v=
    while [ $n -ge 128 ]; do v+=$(printf %02x $((n % 128 + 128))); n=$((n / 128)); done
    v+=$(printf %02x $n)
}
nest() { # DEPTH TAGS...: hex on stdout
    awk -v depth="$1" -v tags="${*:2}" 'BEGIN {
        n = split(tags, tag, " ")
        for (i = 1; i <= depth; i++) {
            v = ""
            for (l = length_; l >= 128; l = int(l / 128)) v = v sprintf("%02x", l % 128 + 128)
            piece[i] = tag[n - (i - 1) % n] v sprintf("%02x", l)
            length_ += length(piece[i]) / 2
        }
        for (i = depth; i >= 1; i--) printf "%s", piece[i] }'
}
# model.graph.node.attribute.g.node...  and  graph.input.type.sequence_type.elem_type...
hex_out "$(nest 9000 3a 0a 2a 32)" >"$t/deep.onnx" # the outermost tag decides: graph of a model
check "nested file of some 27 kB" test "$(stat -c %s "$t/deep.onnx")" -gt 24000
ok 65 "9000 nested subgraphs" "$bitlathe" import "$t/deep.onnx"
types=$(nest 8999 0a 22)
varint $((${#types} / 2)); types=12$v$types # ValueInfoProto.type
varint $((${#types} / 2)); types=5a$v$types # GraphProto.input
varint $((${#types} / 2)); hex_out "08073a$v$types" >"$t/deep.onnx"
ok 65 "9000 nested types" "$bitlathe" import "$t/deep.onnx"

# ---- files that are something else
printf '<!DOCTYPE html>\n<html><head><title>404</title></head><body>Not found</body></html>\n' >"$t/page.onnx"
ok 65 "an HTML page" "$bitlathe" import "$t/page.onnx"
says "an HTML page" 'page.onnx'
noise_bytes 30000 33 256 >"$t/noise.onnx"
ok 65 "noise" "$bitlathe" import "$t/noise.onnx"
: >"$t/empty"
for verb in import eval run inspect bench; do
    words=
    [ $verb = eval ] && words="--data $samples"
    [ $verb = run ] && words="--in $t/x --out $t/o"
    ok 66 "$verb of a missing file" "$bitlathe" $verb "$t/missing.onnx" $words
    says "$verb of a missing file" 'missing.onnx: cannot be opened'
    ok 66 "$verb of a folder" "$bitlathe" $verb "$t" $words
    says "$verb of a folder" 'is not a regular file; give '
    ok 65 "$verb of an empty file" "$bitlathe" $verb "$t/empty" $words
done
mkdir "$t/aRun"
: >"$t/aRun/model.blp"
ok 66 "eval of a run" "$bitlathe" eval "$t/aRun" --data $samples
says "eval of a run" 'is not a regular file; give .*/aRun/model.blp$'
ok 66 "prepare of a run" "$bitlathe" prepare "$t/aRun"
says "prepare of a run" 'give a file in it$'
ok 64 "samples without a loader" "$bitlathe" eval $resnet8 --data "$t/x.npy,$t/l.csv"
says "samples without a loader" "names no loader; write npy:$t/x.npy,$t/l.csv$"
ok 65 "run with a page as input" "$bitlathe" run $resnet8 --in "$t/page.onnx" --out "$t/o"
ok 66 "export of a missing folder" "$bitlathe" export "$t/missing" -o "$t/none"
ok 66 "report of a folder that is no run" "$bitlathe" report "$t"
ok 66 "a missing recipe" "$bitlathe" quantize $resnet8 $data --recipe "$t/missing.recipe" -o "$t/none"
ok 66 "a missing plan" "$bitlathe" lower $resnet8 --plan "$t/missing.json" -o "$t/none"
printf 'calibrate = many\n' >"$t/bad.recipe"
ok 65 "a recipe with a word for a number" "$bitlathe" quantize $resnet8 $data --recipe "$t/bad.recipe" -o "$t/none"
says "a recipe with a word for a number" 'bad.recipe line 1'
printf 'colour = red\n' >"$t/bad.recipe"
ok 65 "a recipe with an unknown key" "$bitlathe" quantize $resnet8 $data --recipe "$t/bad.recipe" -o "$t/none"
for f in nothing.onnx none; do absent "$f" "$t/$f"; done

# ---- weights that are not numbers: the raw data follow the initializer's own name and a 3-byte prefix
name=stem.0.weight
at=$(grep -abo "$name" $resnet8 | tail -n 1 | cut -d: -f1)
at=$((at + ${#name} + 3 + 4 * 100))
for bits in 0000c07f 0000807f 000080ff; do
    cp $resnet8 "$t/nan.onnx"
    patch_at "$t/nan.onnx" $at $bits
    ok 65 "weight $bits" "$bitlathe" quantize "$t/nan.onnx" $recipe $data -o "$t/nan-run" --no-bench
    says "weight $bits" 'stem.0'
    no_leftovers "weight $bits" "$t"
    absent "weight $bits" "$t/nan-run/model.blp"
done

# ---- samples
ok 65 "samples of another size" "$bitlathe" eval $resnet8 --data raw:"$t/x",u8,64x14x14
says "samples of another size" '14x14'
ok 65 "fewer bytes than the shape says" "$bitlathe" eval $resnet8 --data raw:"$t/x",u8,17x1x28x28
npy_noise "$t/none.npy" "0, 1, 28, 28" 0 1
ok 65 "no samples" "$bitlathe" eval $resnet8 --data npy:"$t/none.npy"
says "no samples" 'no samples'
rm "$t/none.npy"
head -c 15 "$t/y.u8" >"$t/short.u8"
ok 65 "15 labels for 16 samples" "$bitlathe" eval $resnet8 --data $samples,"$t/short.u8"
says "15 labels for 16 samples" '15 labels for 16 samples'
printf 'label\n%s\n' "$(seq 1 17)" >"$t/long.csv"
ok 65 "17 labels for 16 samples" "$bitlathe" eval $resnet8 --data $samples,"$t/long.csv"
noise_bytes 16 34 250 >"$t/wild.u8"
ok 65 "labels beyond the classes" "$bitlathe" eval $resnet8 --data $samples,"$t/wild.u8"
says "labels beyond the classes" 'the network has 10 classes'
ok 66 "missing samples" "$bitlathe" eval $resnet8 --data npy:"$t/missing.npy"
ok 64 "a loader that is none" "$bitlathe" eval $resnet8 --data tape:"$t/x"
ok 64 "--std 0" "$bitlathe" eval $resnet8 --data $samples --std 0
ok 64 "two means for one channel" "$bitlathe" eval $resnet8 --data $samples --mean 1,2
ok 64 "calibration without samples" "$bitlathe" calibrate $resnet8 -o "$t/none"
ok 64 "quantize without samples by a recipe that makes none" "$bitlathe" quantize $resnet8 --recipe mixed -o "$t/none"
printf 'short' >"$t/five"
for verb in quantize calibrate sense search; do
    ok 65 "$verb with bad samples" "$bitlathe" $verb $resnet8 --data raw:"$t/five",u8,16x1x28x28 -o "$t/none"
done
ok 66 "quantize with a missing --eval" "$bitlathe" quantize $resnet8 --data $samples --eval npy:"$t/missing.npy" -o "$t/none"
ok 66 "quantize with a missing --floor-data" "$bitlathe" quantize $resnet8 --data $samples --floor sqnr=20 --floor-data npy:"$t/missing.npy" -o "$t/none"
ok 64 "a floor without labels" "$bitlathe" quantize $resnet8 --data $samples --floor top1=-1 -o "$t/none"
says "a floor without labels" 'give labelled samples with --floor-data'
for bad in "--floor top1=1" "--floor top1" "--floor taste=3" "--floor sqnr=x" "--minimize size" "--floor sqnr=20 --minimize taste" \
    "--floor sqnr=20 --floor sqnr=30" "--floor-limit 0"; do
    ok 64 "quantize $bad" "$bitlathe" quantize $resnet8 --data $samples $bad -o "$t/none"
done
wild=$samples,$t/wild.u8
for words in "--data $wild --floor top1=-1" "--data $samples --floor top1=-1 --floor-data $wild" "--data $samples --eval $wild"; do
    ok 65 "labels beyond the classes: $words" "$bitlathe" quantize $resnet8 $recipe $words --no-bench -o "$t/none"
    says "labels beyond the classes: $words" 'the network has 10 classes'
done
ok 64 "--eval by a metric that is none" "$bitlathe" quantize $resnet8 $recipe --data $samples --eval $samples --metric taste -o "$t/none"
ok 64 "--eval by a metric of autoencoders" "$bitlathe" quantize $resnet8 $recipe --data $samples --eval $samples --metric mse -o "$t/none"
ok 69 "energy that nobody measured" "$bitlathe" quantize $resnet8 --data $samples --target counted --floor sqnr=20 --minimize energy -o "$t/none"
says "energy that nobody measured" 'neither measures nor models energy'
check "what was refused leaves nothing" test ! -e "$t/none"
for name in haq amed; do
    ok 65 "$name rewarded by labels beyond the classes" "$bitlathe" search $resnet8 --recipe $name --data $wild --target counted \
        --set sense=4 --set calibrate=4 --set episodes=2 --budget size=0.6 -o "$t/$name"
    says "$name rewarded by labels beyond the classes" 'the network has 10 classes'
    absent "$name rewarded by labels beyond the classes" "$t/$name/plan.json"
done
npy_noise "$t/in.npy" "1, 1, 14, 14" 196 7
ok 65 "run with an input of another size" "$bitlathe" run $resnet8 --in "$t/in.npy" --out "$t/o"
says "run with an input of another size" '1x1x14x14'
head -c 500 "$t/in.npy" >"$t/cut.npy"
ok 65 "run with a cut input" "$bitlathe" run $resnet8 --in "$t/cut.npy" --out "$t/o"
cp "$t/x" "$t/nan.f32"
npy_noise "$t/nan.npy" "1, 1, 28, 28" 784 8
patch_at "$t/nan.npy" 1128 0000c07f
ok 65 "samples with a NaN" "$bitlathe" eval $resnet8 --data npy:"$t/nan.npy"

# ---- operators that we lack: all of them in one line
LC_ALL=C sed 's/"\x04Relu/"\x04Rely/g; s/"\x03Add/"\x03Abb/g' $resnet8 >"$t/foreign.onnx"
ok 69 "unknown operators" "$bitlathe" import "$t/foreign.onnx"
says "unknown operators" 'Rely'
says "unknown operators" 'Abb'

# ---- records of another network
ok 0 "a run to damage" "$bitlathe" quantize $resnet8 $recipe $data --budget size=0.7 -o "$t/run" --no-bench
ok 65 "a plan of another network" "$bitlathe" lower $mobilenet --plan "$t/run/plan.json" -o "$t/none"
says "a plan of another network" 'another network'
ok 65 "eval under a plan of another network" "$bitlathe" eval $mobilenet $data --plan "$t/run/plan.json"
ok 0 "costs of one network" "$bitlathe" measure $resnet8 $recipe --target here --measure-seconds 0.01 -o "$t/m"
ok 65 "costs of another network" "$bitlathe" quantize $mobilenet $recipe $data --target "$t/m/cost.json" --budget size=0.7 -o "$t/m2"
says "costs of another network" 'no cell for Conv.*; measure this network on the target'
rm -rf "$t/m" "$t/m2"
mkdir "$t/m"
cp "$t/run"/{stats,sens,cost}.json "$t/m"
ok 0 "records of another network in the folder" "$bitlathe" search $mobilenet $recipe $data --budget size=0.7 -o "$t/m"
for f in stats sens cost; do
    checks=$((checks + 1))
    ! cmp -s "$t/m/$f.json" "$t/run/$f.json" || fail "$f of another network" "was taken"
done
ok 0 "the search took its own" "$bitlathe" search $mobilenet $recipe $data --budget size=0.7 -o "$t/m2"
check "the search took its own" cmp "$t/m/plan.json" "$t/m2/plan.json"
sed 's/"version": "1\./"version": "2./' "$t/run/plan.json" >"$t/newer.json"
ok 65 "a plan of a newer major version" "$bitlathe" lower $resnet8 --plan "$t/newer.json" -o "$t/none"
says "a plan of a newer major version" '2\.'
ok 65 "sens.json as a plan" "$bitlathe" lower $resnet8 --plan "$t/run/sens.json" -o "$t/none"
absent "nothing of a refused plan" "$t/none"

# ---- programs: every bit counts
size=$(stat -c %s "$t/run/model.blp")
for i in $(seq 100); do
    cp "$t/run/model.blp" "$t/flipped.blp"
    random $size; at=$r
    [ $((i % 3)) -ne 0 ] || at=$((at % 4096))
    random 8
    old=$(od -An -tu1 -j $at -N 1 "$t/flipped.blp")
    patch_at "$t/flipped.blp" $at "$(printf %02x $((old ^ (1 << r))))"
    ok 65 "bit $r of byte $at" "$bitlathe" inspect "$t/flipped.blp" $([ $at -lt 8 ] && echo --json)
done
for n in 8 12 64 500 $((size / 2)) $((size - 1)); do
    head -c $n "$t/run/model.blp" >"$t/flipped.blp"
    ok 65 "first $n bytes of a program" "$bitlathe" eval "$t/flipped.blp" $data
done
{ cat "$t/run/model.blp"; echo more; } >"$t/flipped.blp"
ok 65 "a program with bytes after its end" "$bitlathe" inspect "$t/flipped.blp"

# ---- places that cannot be written
: >"$t/file"
nowhere=$t/file/below
ok 73 "folder below a file" "$bitlathe" quantize $resnet8 $recipe $data --budget size=0.7 -o "$nowhere" --no-bench
ok 73 "file below a file" "$bitlathe" lower $resnet8 --plan "$t/run/plan.json" --weights "$t/run/weights.blw" -o "$nowhere"
ok 73 "graph below a file" "$bitlathe" import $resnet8 -o "$nowhere"
ok 73 "predictions below a file" "$bitlathe" eval $resnet8 $data --predictions "$nowhere"
ok 73 "values below a file" "$bitlathe" run $resnet8 --in "$t/nan.npy" --out "$nowhere"
ok 73 "export onto a folder" "$bitlathe" export "$t/run" -o "$t/m"
ok 73 "report below a file" "$bitlathe" report "$t/run" -o "$nowhere"
if [ -d /proc/self ]; then
    ok 73 "folder in /proc" "$bitlathe" calibrate $resnet8 $recipe $data -o /proc/bitlathe-run
    ok 73 "file in /proc" "$bitlathe" import $resnet8 -o /proc/bitlathe.json
fi

# ---- what takes long is refused its output before the work, not behind it
noise_bytes 16 33 10 >"$t/taught.u8"
taught="--data raw:$t/x,u8,16x1x28x28,$t/taught.u8 --mean 72.93 --std 90.015"
for out in "$t/m" "$nowhere" "$t/no/such/folder/net.onnx"; do
    ok 73 "train to ${out##*/}" "$bitlathe" train $resnet8 $taught --epochs 1 --batch 8 --micro 8 -o "$out"
    check "train to ${out##*/}: nothing was done" test ! -s "$t/out"
    ok 73 "distil to ${out##*/}" "$bitlathe" distil $resnet8 -o "$out"
done
ok 73 "predictions onto a folder" "$bitlathe" eval $resnet8 $taught --predictions "$t/m"
ok 64 "predictions and scores in one file" "$bitlathe" eval $resnet8 $taught --predictions "$t/p" --scores "$t/p"
absent "predictions and scores in one file" "$t/p"

# ---- words that would be passed over, or measure nothing
ok 64 "two forms of an export" "$bitlathe" export "$t/run" --c --qdq -o "$t/none.c"
ok 64 "a target that is none" "$bitlathe" quantize $resnet8 $data --target moon -o "$t/none"
says "a target that is none" 'unknown target; see .bitlathe list targets'
ok 64 "top-1 without labels" "$bitlathe" eval $resnet8 $data --metric top1
ok 0 "eval without labels" "$bitlathe" eval $resnet8 $data
says "eval without labels" 'note: the data set has no labels: nothing was measured'
ok 64 "quantize --eval without labels" "$bitlathe" quantize $resnet8 $recipe $data --eval $samples -o "$t/none"
says "quantize --eval without labels" 'has no labels: nothing would be measured'
ok 66 "inspect of a run's folder" "$bitlathe" inspect "$t/run"
says "inspect of a run's folder" "give --worst with a run's folder, or one of its files"
ok 64 "inspect of two files" "$bitlathe" inspect $resnet8 $mobilenet
odd=$(printf '%s/odd\377' "$t")
mkdir "$odd" && cp $resnet8 "$odd/net.onnx"
ok 65 "a path that is no text" "$bitlathe" quantize "$odd/net.onnx" $recipe $data -o "$t/none" --no-bench
says "a path that is no text" 'its path is not UTF-8 text, and the run keeps it; rename it'
absent "nothing of what was refused" "$t/none"

# ---- two calls in one folder would mix their plans and programs
if command -v flock >/dev/null; then
    mkdir "$t/held"
    ok 73 "a folder where another quantizes" flock "$t/held" "$bitlathe" quantize $resnet8 $recipe $data -o "$t/held" --no-bench
    says "a folder where another quantizes" 'another bitlathe quantize works in this folder; wait for it'
    absent "nothing written into it" "$t/held/run.json"
    ok 0 "the folder is free again" "$bitlathe" quantize $resnet8 $recipe $data -o "$t/held" --no-bench
else
    skip bad_input_held "no flock"
fi

# ---- no space left
if [ -w /dev/full ]; then
    ok 74 "graph to a full device" "$bitlathe" import $resnet8 -o /dev/full
    ok 74 "predictions to a full device" "$bitlathe" eval $resnet8 $data --predictions /dev/full
    ok 74 "program to a full device" "$bitlathe" lower $resnet8 --plan "$t/run/plan.json" --weights "$t/run/weights.blw" -o /dev/full
    says "program to a full device" 'No space left on device; free some space'
    checks=$((checks + 1))
    "$bitlathe" list ops >/dev/full 2>"$t/err"
    [ $? -eq 74 ] || fail "stdout to a full device" "$(cat "$t/err")"
else
    skip bad_input_dev_full "no /dev/full"
fi
mkdir "$t/small"
if mount -t tmpfs -o size=64k none "$t/small" 2>/dev/null; then
    clean_up() { umount "$t/small" 2>/dev/null; rm -rf "$t"; }
    ok 74 "a program on a full disk" "$bitlathe" lower $mobilenet --plan "$t/m/plan.json" -o "$t/small/model.blp" 
    ok 74 "statistics on a full disk" "$bitlathe" calibrate $resnet8 $recipe $data -o "$t/small/run"
    says "statistics on a full disk" 'No space left on device; free some space'
    ok 74 "C source on a full disk" "$bitlathe" export "$t/run" --c -o "$t/small/net.c"
    check "nothing half written" test -z "$(find "$t/small" -type f ! -name run.json)"
    umount "$t/small"
else
    skip bad_input_full_disk "no tmpfs can be mounted here"
fi

# ---- ceilings and instruction sets
for verb in eval calibrate quantize; do
    words="$data"
    [ $verb = eval ] || words="$data $recipe -o $t/none"
    ok 69 "$verb in 1 MiB" "$bitlathe" $verb $mobilenet $words --memory 1MiB
    says "$verb in 1 MiB" 'raise --memory'
done
rm -rf "$t/none"
ok 64 "unknown instruction set" "$bitlathe" eval $resnet8 $data --isa sse9
says "unknown instruction set" 'avx2'
missing=neon
[ "$(uname -m)" = x86_64 ] || missing=avx2
ok 69 "instruction set of another machine" "$bitlathe" eval $resnet8 $data --isa $missing
checks=$((checks + 1))
BL_ISA=sse9 "$bitlathe" eval $resnet8 $data >"$t/out" 2>"$t/err"
[ $? -eq 64 ] || fail "BL_ISA=sse9" "$(cat "$t/err")"

# ---- a record of another machine, or of this one under another cap: used, and said
measure="$data --limit 4 --weights-bits 8 --act-bits 8 --measure-seconds 0.001 --no-cache"
ok 0 "a record under another cap" "$bitlathe" measure $resnet8 --weights-bits 8 --act-bits 8 --measure-seconds 0.001 --no-cache --isa ref -o "$t/ref"
ok 0 "its own machine" "$bitlathe" search $resnet8 $measure --isa ref --target "$t/ref/cost.json" -o "$t/same"
check "its own machine: no warning" bash -c "! grep -q 'was measured on' $t/err"
sed 's/"cpu": *"[^"]*"/"cpu": "Elsewhere 9000"/' "$t/ref/cost.json" > "$t/elsewhere.json"
ok 65 "a record whose identity was edited" "$bitlathe" search $resnet8 $measure --isa ref --target "$t/elsewhere.json" -o "$t/elsewhere"
if [ "$(uname -m)" = x86_64 ] && grep -qw avx2 /proc/cpuinfo; then
    ok 0 "another cap" "$bitlathe" search $resnet8 $measure --isa avx2 --target "$t/ref/cost.json" -o "$t/other"
    says "another cap" 'was measured on .*(ref, .*, this is .*(avx2, '
fi
cpu=$(json "$t/ref/cost.json" machine.cpu)
for key in cpu tool; do # what another machine, or another version, would have written: one line with both identities
    ok 0 "a record with another $key" "$1/reseal" "$t/ref/cost.json" "$t/elsewhere.json" $key "Elsewhere 9000"
    ok 0 "replay, another $key" "$bitlathe" search $resnet8 $measure --isa ref --target "$t/elsewhere.json" -o "$t/elsewhere"
    check "one warning, another $key" test "$(grep -c 'was measured on' "$t/err")" -eq 1
    case $key in
    cpu) says "replay, another $key" "elsewhere.json was measured on Elsewhere 9000 (ref, .*, this is $cpu (ref, " ;;
    tool) says "replay, another $key" "elsewhere.json was measured on $cpu (ref, version Elsewhere 9000), this is $cpu (ref, " ;;
    esac
    check "planned all the same, another $key" test -s "$t/elsewhere/plan.json"
    ok 0 "price of the plan, another $key" "$bitlathe" measure $resnet8 --weights-bits 8 --act-bits 8 --isa ref --target "$t/elsewhere.json" --plan "$t/elsewhere/plan.json" -o "$t/price"
    says "price of the plan, another $key" 'was measured on .*Elsewhere 9000.*, this is '
done
# In a run's own folder it is of no use: this machine is measured.
mkdir "$t/moved"
cp "$t/elsewhere.json" "$t/moved/cost.json"
ok 0 "a run that was moved here" "$bitlathe" measure $resnet8 --weights-bits 8 --act-bits 8 --measure-seconds 0.001 --no-cache --isa ref -o "$t/moved"
json_is "a run that was moved here" "$t/moved/cost.json" machine.cpu "$cpu"
json_is "a run that was moved here" "$t/moved/cost.json" machine.tool "$(json "$t/ref/cost.json" machine.tool)"
no_leftovers "no temporary files" "$t"
finish
