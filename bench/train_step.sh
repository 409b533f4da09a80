#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# One training step of models/resnet8_fmnist.onnx at batch 64 beside PyTorch on the same network:
#   bench/train_step.sh BUILD [ROUNDS] [THREADS]
# Interleaved rounds (7), one thread unless said.  A step's time is the difference of a long and a short run over the
# difference of their steps, so that starting costs nothing; ours reads and normalises its pictures, PyTorch's are
# random numbers that lie there already.  Two figures each: wall clock, and processor time, which a busy machine
# changes less.  PyTorch in its usual order of elements (NCHW) and with channels last.  Skipped by name without torch.
# Then conv3, whose maxima between convolutions are the other half of its way back, ours alone; and
# our ResNet-20 on CIFAR-10's pictures at batch 128, flipped and shifted, and the time of an epoch of 50,000.
cd "$(dirname "$0")/.." || exit 1
[ $# -ge 1 ] || { echo "usage: bench/train_step.sh BUILD [ROUNDS] [THREADS]" >&2; exit 64; }
bitlathe=$1/bitlathe rounds=${2:-7} threads=${3:-1} python=${PYTHON:-/usr/bin/python3} fashion=/usr/share/datasets/fashion-mnist
"$python" -c 'import torch' 2>/dev/null || { echo "skipped: train_step: $python has no torch"; exit 0; }
[ -r $fashion/train-images-idx3-ubyte.gz ] || { echo "skipped: train_step: no $fashion"; exit 0; }
t=$(mktemp -d) || exit 73
trap 'rm -rf "$t"' EXIT

cat >"$t/step.py" <<'PY'
import sys
import torch
import torch.nn as nn
import torch.nn.functional as F

steps, threads, last = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "last"


def conv(i, o, k, s):
    return nn.Sequential(nn.Conv2d(i, o, k, s, k // 2, bias=False), nn.BatchNorm2d(o))


class Block(nn.Module):
    def __init__(self, i, o, s):
        super().__init__()
        self.a, self.b = conv(i, o, 3, s), conv(o, o, 3, 1)
        self.short = None if s == 1 and i == o else conv(i, o, 1, s)

    def forward(self, x):
        y = self.b(F.relu(self.a(x)))
        return F.relu(y + (x if self.short is None else self.short(x)))


torch.manual_seed(0)
torch.set_num_threads(threads)
order = torch.channels_last if last else torch.contiguous_format
net = nn.Sequential(conv(1, 16, 3, 1), nn.ReLU(), Block(16, 16, 1), Block(16, 32, 2), Block(32, 64, 2),
                    nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)).to(memory_format=order)
opt = torch.optim.SGD(net.parameters(), 0.05, momentum=0.9, nesterov=True, weight_decay=5e-4)
x = torch.randn(64, 1, 28, 28).contiguous(memory_format=order)
y = torch.randint(0, 10, (64,))
for _ in range(steps):
    loss = F.cross_entropy(net(x), y)
    opt.zero_grad(set_to_none=True)
    loss.backward()
    opt.step()
PY

ours() { # STEPS
    "$bitlathe" train models/resnet8_fmnist.onnx --data idx:$fashion/train-images-idx3-ubyte.gz,$fashion/train-labels-idx1-ubyte.gz \
        --mean 72.93 --std 90.015 --limit $((64 * $1)) --held-out 0 --epochs 1 --batch 64 --rate 0.05 --threads "$threads" --fresh \
        -o "$t/net.onnx"
}
torch_plain() { OMP_NUM_THREADS=$threads "$python" "$t/step.py" "$1" "$threads" plain; }
torch_last() { OMP_NUM_THREADS=$threads "$python" "$t/step.py" "$1" "$threads" last; }

TIMEFORMAT='%R %U %S'
timed() { # WHO STEPS: wall and processor seconds
    { time "$1" "$2" >"$t/out" 2>&1; } 2>&1 | tail -n 1 | awk '{ print $1, $2 + $3 }'
}
few=10 many=60
echo "one step at batch 64, $threads thread(s), milliseconds; $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)"
for round in $(seq "$rounds"); do
    for who in ours torch_plain torch_last; do
        echo "$who $(timed $who $few) $(timed $who $many)" |
            awk -v n=$((many - few)) '{ print $1, 1000 * ($4 - $2) / n, 1000 * ($5 - $3) / n }' >>"$t/all"
    done
done
median() { # WHO COLUMN
    awk -v who="$1" -v k="$2" '$1 == who { print $k }' "$t/all" | sort -n | awk '{ x[NR] = $1 } END { print x[int((NR + 1) / 2)] }'
}
printf '%-28s %10s %10s %14s\n' program wall processor "times ours"
for who in ours torch_plain torch_last; do
    awk -v who=$who -v w="$(median $who 2)" -v p="$(median $who 3)" -v o="$(median ours 2)" -v q="$(median ours 3)" \
        'BEGIN { printf "%-28s %10.1f %10.1f %6.2f %6.2f\n", who, w, p, w / o, p / q }'
done

conv3() { # STEPS
    "$bitlathe" train --arch conv3 --shape 1,28,28 --classes 10 --mean 72.93 --std 90.015 --limit $((64 * $1)) --held-out 0 --epochs 1 \
        --data idx:$fashion/train-images-idx3-ubyte.gz,$fashion/train-labels-idx1-ubyte.gz --batch 64 --threads "$threads" --fresh -o "$t/net.onnx"
}
for round in $(seq "$rounds"); do
    echo "conv3 $(timed conv3 $few) $(timed conv3 $many)" |
        awk -v n=$((many - few)) '{ print $1, 1000 * ($4 - $2) / n, 1000 * ($5 - $3) / n }' >>"$t/all"
done
printf '%-28s %10.1f %10.1f\n' "conv3" "$(median conv3 2)" "$(median conv3 3)"

cifar=${BITLATHE_SHARED:-../shared}/data/cifar10/train_a.bin
[ -r "$cifar" ] || { echo "skipped: resnet20: no $cifar"; exit 0; }
resnet20() { # STEPS
    "$bitlathe" train --arch resnet20 --data "cifar:$cifar" --mean 125.3,123,113.9 --std 63,62.1,66.7 --flip --pad 4 \
        --limit $((128 * $1)) --held-out 0 --epochs 1 --batch 128 --threads "$threads" --fresh -o "$t/net.onnx"
}
few=4 many=24
for round in $(seq "$rounds"); do
    echo "resnet20 $(timed resnet20 $few) $(timed resnet20 $many)" |
        awk -v n=$((many - few)) '{ print $1, 1000 * ($4 - $2) / n, 1000 * ($5 - $3) / n }' >>"$t/all"
done
awk -v w="$(median resnet20 2)" -v p="$(median resnet20 3)" \
    'BEGIN { printf "%-28s %10.1f %10.1f   an epoch of 50,000: %.0f s, %.0f s of a processor\n", "ResNet-20, batch 128", w, p, w * 0.390625, p * 0.390625 }'
