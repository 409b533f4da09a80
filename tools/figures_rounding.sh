# SPDX-License-Identifier: BSD-3-Clause
# Sections of tools/figures, which reads this file: rounding that is learned.

rounding_row() { # NETWORK WxAy TUNE BAR WORDS...
    local w=${2%%A*} a=${2##*A} label="$1 $2 $3 (bar $4)" tune=$3
    network "$1" || return
    shift 4
    pmp_row "$label" --weights-bits ${w#W} --act-bits $a --act-range mse --tune $tune "$@"
}

# All weights but those of the ends rounded by learning, on pictures that nothing was learned from.  ROUNDING_ROWS: an
# expression for some of them.
figures_adaround() {
    echo "AdaRound on 256 calibration samples (ImageNet: 64), ends at 8 bits, ranges mse; points of top-1 against float"
    printf '%-34s %9s %8s %7s %6s %7s  %s\n' network bytes top-1 points s.e. flips command
    local name widths bar tune more
    while read -r name widths bar tune more; do
        [[ "$name $widths $tune $more" =~ ${ROUNDING_ROWS:-.} ]] && rounding_row $name $widths ${tune:-adaround} $bar $more
    done <<END
resnet20_cifar10 W4A8 0.4
resnet20_cifar10 W3A8 1.2
resnet20_cifar10 W2A8 4.5
resnet20_cifar10 W4A4 1.6
resnet20_cifar10 W4A4 1.6 adaround-bias
resnet20_cifar10 W4A4 1.6 adaround-bias --equalise
mobilenetv3s_cifar10 W4A8 0.4
resnet56_cifar10 W4A8 0.4
mobilenet_v1_0.75_224 W6A8 2
mobilenet_v1_0.75_224 W6A8 2 bias-correction
mobilenet_v1_0.75_224 W4A8 10
mobilenet_v1_0.75_224 W6A8 2 adaround-bias --set data=both --set distil_steps=200
mobilenet_v1_0.75_224 W4A8 10 adaround-bias --set data=both --set distil_steps=200
mobilenet_v1_0.75_224 W4A8 4 imitate
mobilenet_v1_0.75_224 W4A8 4 imitate --set data=both --set distil_steps=200
mobilenet_v1_0.75_224 W4A8 4 imitate --crops 5
mobilenet_v1_0.75_224 W4A8 4 imitate:features=50 --crops 5
mobilenet_v1_0.75_224 W4A8 4 imitate:features=50,start=refit --crops 5
mobilenet_v1_0.25_224 W4A8 10 imitate
mobilenet_v1_0.25_224 W4A8 10 imitate --set data=both --set distil_steps=200
mobilenet_v1_0.25_224 W4A8 10 imitate --crops 5
mobilenet_v1_0.25_224 W4A8 10 imitate:features=50 --crops 5
mobilenet_v1_0.25_224 W4A8 10 imitate:features=50,start=refit --crops 5
resnet20_cifar10 W4A8 0.4 refit
resnet20_cifar10 W3A8 1.2 refit
resnet20_cifar10 W2A8 4.5 refit
mobilenetv3s_cifar10 W4A8 0.4 refit
resnet56_cifar10 W4A8 0.4 refit
mobilenet_v1_0.75_224 W4A8 4 refit --crops 5
mobilenet_v1_0.25_224 W4A8 10 refit --crops 5
mobilenet_v2_1.0_224_dequant W4A8 10 refit --crops 5
END
    # Mixed widths in no more bytes than W4A8.
    for name in "0.75 0.64" "0.25 0.77"; do
        network mobilenet_v1_${name% *}_224 || continue
        [[ "mobilenet_v1_${name% *}_224 mixed" =~ ${ROUNDING_ROWS:-.} ]] &&
            pmp_row "mobilenet_v1_${name% *}_224 mixed, imitate" --budget size=${name#* } --weights-bits 3,4,5,6,8 --act-bits 8 --act-range mse \
                --tune imitate:features=50,start=refit --crops 5
    done
    echo
}

# Blocks instead of layers.  ROUNDING_ROWS: an expression for some of the tuners.
figures_brecq() {
    local tune
    echo "BRECQ beside AdaRound, 256 calibration samples, ends at 8 bits, ranges mse; points of top-1 against float"
    printf '%-34s %9s %8s %7s %6s %7s  %s\n' network bytes top-1 points s.e. flips command
    for tune in brecq adaround stitched; do
        [[ $tune =~ ${ROUNDING_ROWS:-.} ]] || continue
        rounding_row resnet20_cifar10 W3A8 $tune 1.2
        rounding_row resnet20_cifar10 W2A8 $tune 4.5
    done
    echo
}

# Scales for groups of inputs beside one an output channel, at the bytes that each takes.
figures_groups() {
    local name bits group
    echo "Weights in groups, values and ends at 8 bits, bias correction; points of top-1 against float"
    printf '%-34s %9s %8s %7s %6s %7s  %s\n' network bytes top-1 points s.e. flips command
    for name in ${GROUPS_NETWORKS:-resnet20_cifar10 mobilenetv3s_cifar10}; do
        network $name || continue
        for bits in 2 3 4; do
            pmp_row "$name W${bits}A8" --recipe uniform --weights-bits $bits --act-bits 8
            for group in 64 32 16; do
                pmp_row "$name W${bits}A8, $group inputs" --recipe uniform --weights-bits $bits --act-bits 8 --weight-group $group
            done
        done
    done
    echo
}
