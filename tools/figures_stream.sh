# shellcheck shell=bash
# SPDX-License-Identifier: BSD-3-Clause
# Section stream of tools/figures: a convolutional network trained by HGQ on Fashion-MNIST, its circuit in Verilator, its
# front beside other recipes' plans of the same network, and the circuit of one of those.

fashion_whole() { # FOLDER ROWS: the last ROWS training pictures and the 10,000 test ones as one IDX file each of pictures and labels
    local hex
    hex=$(printf '%08x' $(($2 + 10000)) | sed 's/../\\x&/g')
    { printf '\0\0\10\3%b\0\0\0\34\0\0\0\34' "$hex"; zcat "$fashion/train-images-idx3-ubyte.gz" | tail -c $((784 * $2)); zcat "$fashion/t10k-images-idx3-ubyte.gz" | tail -c 7840000; } >"$1/pictures"
    { printf '\0\0\10\1%b' "$hex"; zcat "$fashion/train-labels-idx1-ubyte.gz" | tail -c "$2"; zcat "$fashion/t10k-labels-idx1-ubyte.gz" | tail -c 10000; } >"$1/labels"
}

stream_trained() { # FOLDER EPOCHS ROWS: conv3.onnx and the run hgq in it, each only where it is not finished
    local words="--arch conv3 --data idx:$fashion/train-images-idx3-ubyte.gz,$fashion/train-labels-idx1-ubyte.gz --limit 20000 --mean 0 --std 256 --epochs 6 --keep-norms --threads 1"
    echo "Fashion-MNIST, convolutions of 16, 16 and 24 channels and a dense layer: first a float network, then $(($3 - $3 / 5)) pictures learned, $(($3 / 5)) choose, 10,000 test"
    [ -r "$1/conv3.onnx" ] || run "$bitlathe" train $words -o "$1/conv3.onnx" || return
    shown "$bitlathe" train $words -o T/conv3.onnx
    echo
    words="--recipe hgq --data idx:$t/pictures,$t/labels --mean 0 --std 256 --set held_out=$(($3 / 5)) --set test=10000 --set epochs=$2 --set cycles=8"
    words+=" --set look=0 --set batch=128 --set rate=2e-3 --set act_share=channel --set act_i=3 --set act_f=4 --set rate_width=4 --set beta=1e-8 --set beta_end=1e-6"
    words+=" --threads 1 --floor top1=-1"
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
    words="--format verilog --stream --data idx:$fashion/t10k-images-idx3-ubyte.gz,$fashion/t10k-labels-idx1-ubyte.gz --mean 0 --std 256 --limit $2"
    run "$bitlathe" export "$1/hgq/fixed.json" $words -o "$hw" || return
    shown "$bitlathe" export T/hgq/fixed.json $words -o T/hw
    echo
    echo "$(json "$hw/hardware.json" luts) tables and $(json "$hw/hardware.json" flip_flops) flip-flops estimated, $(json "$hw/hardware.json" cycles_a_sample) cycles a picture ($seconds s)"
    have verilator || { echo "skipped: stream in Verilator: it is not installed"; return; }
    wrong=$(simulated_wrong "$hw" verilator)
    echo "Verilator: ${wrong:-no answer} of $2 test pictures wrong: $(grep ' samples, ' "$hw/verilator.log")"
}

stream_untrained() { # FOLDER PICTURES: the float network without training, powers of two as scales
    local words="--data idx:$fashion/train-images-idx3-ubyte.gz,$fashion/train-labels-idx1-ubyte.gz --limit 256 --mean 0 --std 256 --power-of-two --weights-bits 4 --act-bits 4 --threads 1 --no-bench"
    local test="--data idx:$fashion/t10k-images-idx3-ubyte.gz,$fashion/t10k-labels-idx1-ubyte.gz --mean 0 --std 256" wrong
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
}

stream_beside() { # FOLDER: plans of the same network by other recipes, EBOPs as the cost
    local words="--recipes ohq,pmp,haq,uniform --target counted --budget bops=0.7,0.5,0.35,0.2 --set episodes=60 --set calibrate=128 --set sense=32"
    words+=" --data idx:$fashion/train-images-idx3-ubyte.gz,$fashion/train-labels-idx1-ubyte.gz --limit 500 --mean 0 --std 256 --threads 1"
    words+=" --eval idx:$fashion/t10k-images-idx3-ubyte.gz,$fashion/t10k-labels-idx1-ubyte.gz"
    run "$bitlathe" compare "$1/conv3.onnx" "$1/hgq" $words -o "$1/beside" || return
    shown "$bitlathe" compare T/conv3.onnx T/hgq $words -o T/beside
    echo
    cut -c1-110 "$t/out"
}

# STREAM_ROWS (60000) of the training set, STREAM_EPOCHS (16), STREAM_PICTURES (1000) of the test set through Verilator; STREAM_KEEP: a folder that keeps trainings, for a
# second call.
figures_stream() {
    . tools/hardware.sh
    local keep=${STREAM_KEEP:-$t} rows=${STREAM_ROWS:-60000}
    [ -r "$fashion/train-images-idx3-ubyte.gz" ] || { echo "skipped: stream: no $fashion"; return; }
    fashion_whole "$t" "$rows"
    stream_trained "$keep" "${STREAM_EPOCHS:-16}" "$rows" || return
    stream_simulated "$keep" "${STREAM_PICTURES:-1000}"
    stream_beside "$keep"
    stream_untrained "$keep" "${STREAM_PICTURES:-1000}"
    echo
}
