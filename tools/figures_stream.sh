# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
# Section stream of tools/figures: a convolutional network trained by HGQ on Fashion-MNIST and CIFAR-10, its circuit in Verilator, its
# front beside other recipes' plans of the same network, and the circuit of one of those.

# Sets the words of a data set: the last ROWS training pictures followed by the test ones (whole), training and test alone, how to
# read them, what the network sees, numbers of test pictures.
stream_set() { # NAME ROWS
    local hex cifar=$shared/data/cifar10
    if [ "$1" = cifar ]; then
        set_title="CIFAR-10" set_shape="--shape 3,32,32" set_tests=5000 set_limit=" --floor top1=-1" set_float=$(($2 * 4 / 5)) # what chooses is not learned from
        { tail -c $((3073 * $2)) "$cifar/train_a.bin"; cat "$cifar/test_a.bin"; } >"$t/whole"
        set_whole="cifar:$t/whole" set_train="cifar:$cifar/train_a.bin" set_test="cifar:$cifar/test_a.bin"
        return
    fi
    set_title="Fashion-MNIST" set_shape="" set_tests=10000 set_limit=" --floor top1=-1" set_float=20000
    hex=$(printf '%08x' $(($2 + 10000)) | sed 's/../\\x&/g')
    { printf '\0\0\10\3%b\0\0\0\34\0\0\0\34' "$hex"; zcat "$fashion/train-images-idx3-ubyte.gz" | tail -c $((784 * $2)); zcat "$fashion/t10k-images-idx3-ubyte.gz" | tail -c 7840000; } >"$t/pictures"
    { printf '\0\0\10\1%b' "$hex"; zcat "$fashion/train-labels-idx1-ubyte.gz" | tail -c "$2"; zcat "$fashion/t10k-labels-idx1-ubyte.gz" | tail -c 10000; } >"$t/labels"
    set_whole="idx:$t/pictures,$t/labels" set_train="idx:$fashion/train-images-idx3-ubyte.gz,$fashion/train-labels-idx1-ubyte.gz"
    set_test="idx:$fashion/t10k-images-idx3-ubyte.gz,$fashion/t10k-labels-idx1-ubyte.gz"
}

stream_trained() { # FOLDER EPOCHS ROWS: conv3.onnx and the run hgq in it, each only where it is not finished
    local words="--arch conv3 $set_shape --data $set_train --limit $set_float --mean 0 --std 256 --epochs 6 --keep-norms --threads 1"
    echo "$set_title, convolutions of 16, 16 and 24 channels and a dense layer: first a float network, then $(($3 - $3 / 5)) pictures learned, $(($3 / 5)) choose, $set_tests test"
    mkdir -p "$1"
    [ -r "$1/conv3.onnx" ] || run "$bitlathe" train $words -o "$1/conv3.onnx" || return
    shown "$bitlathe" train $words -o T/conv3.onnx
    echo
    words="--recipe hgq --data $set_whole --mean 0 --std 256 --set held_out=$(($3 / 5)) --set test=$set_tests --set epochs=$2 --set cycles=8"
    words+=" --set look=0 --set batch=128 --set rate=2e-3 --set act_share=channel --set act_i=3 --set act_f=4 --set rate_width=4 --set beta=1e-8 --set beta_end=1e-6"
    words+=" --threads 1$set_limit"
    hgq_once "$1/hgq" "$1/conv3.onnx" $words || return
    shown "$bitlathe" train T/conv3.onnx $words -o T/hgq
    echo
    printf '%10s %9s %7s %9s\n' EBOPs "held out" test "sum bits"
    awk -F'[:,]' '/"held_out_top1"/ { h = $2 } /"test_top1"/ { e = $2 } /"ebops1":/ { c = $2 } /"sum_bits"/ { b = $2 }
        /"live"/ { printf "%10d %9.2f %7.2f %9d\n", c, 100 * h, 100 * e, b }' "$1/hgq/front.json"
}

stream_simulated() { # FOLDER PICTURES
    local front=$1/hgq/front.json hw=$t/hw words wrong
    echo "chosen: point $(($(json "$front" chosen) + 1)), float test $(json "$front" float.test_top1); integers beside the training's forward pass (sums in $(json "$front" integers.test.sums)): $(json "$front" integers.test.differ) of $(json "$front" integers.test.outputs) outputs of the test set differ"
    words="--format verilog --stream --data $set_test --mean 0 --std 256 --limit $2"
    run "$bitlathe" export "$1/hgq/fixed.json" $words -o "$hw" || return
    shown "$bitlathe" export T/hgq/fixed.json $words -o T/hw
    echo
    echo "$(json "$hw/hardware.json" luts) tables and $(json "$hw/hardware.json" flip_flops) flip-flops estimated, $(json "$hw/hardware.json" cycles_a_sample) cycles a picture ($seconds s)"
    have verilator || { echo "skipped: stream in Verilator: it is not installed"; return; }
    wrong=$(simulated_wrong "$hw" verilator)
    echo "Verilator: ${wrong:-no answer} of $2 test pictures wrong: $(grep ' samples, ' "$hw/verilator.log")"
    rm -rf "$hw"
}

stream_untrained() { # FOLDER PICTURES: the float network without training, powers of two as scales
    local words="--data $set_train --limit 256 --mean 0 --std 256 --power-of-two --weights-bits 4 --act-bits 4 --threads 1 --no-bench"
    local test="--data $set_test --mean 0 --std 256" wrong
    run "$bitlathe" quantize "$1/conv3.onnx" $words -o "$t/ptq" || return
    shown "$bitlathe" quantize T/conv3.onnx $words -o T/ptq
    echo
    run "$bitlathe" eval "$t/ptq/model.blp" $test --json || return
    echo "4 bits without training: test $(json "$t/out" top1)"
    run "$bitlathe" export "$t/ptq" --format verilog --stream $test --limit "$2" -o "$t/ptq_hw" || return
    shown "$bitlathe" export T/ptq --format verilog --stream $test --limit "$2" -o T/ptq_hw
    echo
    echo "$(json "$t/ptq_hw/hardware.json" luts) tables estimated ($seconds s)"
    have verilator || return
    wrong=$(simulated_wrong "$t/ptq_hw" verilator)
    echo "Verilator: ${wrong:-no answer} of $2 test pictures wrong: $(grep ' samples, ' "$t/ptq_hw/verilator.log")"
    rm -rf "$t/ptq_hw"
}

stream_beside() { # FOLDER: plans of the same network by other recipes, EBOPs as the cost
    local words="--recipes ohq,pmp,haq,uniform --target counted --budget bops=0.7,0.5,0.35,0.2 --set episodes=60 --set calibrate=128 --set sense=32"
    words+=" --data $set_train --limit 500 --mean 0 --std 256 --threads 1"
    words+=" --eval $set_test"
    run "$bitlathe" compare "$1/conv3.onnx" "$1/hgq" $words -o "$1/beside" || return
    shown "$bitlathe" compare T/conv3.onnx T/hgq $words -o T/beside
    echo
    cut -c1-110 "$t/out"
}

# STREAM_SETS (fashion cifar), STREAM_ROWS (8000) of the training set, STREAM_EPOCHS (8), STREAM_PICTURES (100) of the test set through
# Verilator; STREAM_KEEP: a folder that keeps trainings, for a second call.
figures_stream() {
    . tools/hardware.sh
    local keep=${STREAM_KEEP:-$t} rows=${STREAM_ROWS:-8000} pictures=${STREAM_PICTURES:-100} name
    for name in ${STREAM_SETS:-fashion cifar}; do
        [ $name = cifar ] || [ -r "$fashion/train-images-idx3-ubyte.gz" ] || { echo "skipped: stream: no $fashion"; continue; }
        [ $name = fashion ] || [ -r "$shared/data/cifar10/train_a.bin" ] || { echo "skipped: stream: no data/cifar10 in BITLATHE_SHARED"; continue; }
        stream_set $name "$rows"
        stream_trained "$keep/$name" "${STREAM_EPOCHS:-8}" "$rows" || return
        stream_simulated "$keep/$name" "$pictures"
        [ $name = cifar ] || stream_beside "$keep/$name"
        stream_untrained "$keep/$name" "$pictures"
        echo
    done
}
