#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# One step of HGQ (a width for each weight and each activation) on 16-64-32-32-26 at batch 512, beside the step of the
# same network without quantizers, and beside PyTorch with the same quantizers:
#   bench/hgq_step.sh BUILD [ROUNDS] [THREADS]
# Interleaved rounds (7), one thread for PyTorch unless said (ours always trains on one); rows are random numbers on the
# grid of quarters.  Steps alone are timed, 1,300 a round without and 1,300 with quantizers (PyTorch 130 each).
# BENCH_PREFIX: what runs each, such as "chrt -f 5" on a machine that others use too.  PyTorch is skipped by name where
# it is not installed.
cd "$(dirname "$0")/.." || exit 1
[ $# -ge 1 ] || { echo "usage: bench/hgq_step.sh BUILD [ROUNDS] [THREADS]" >&2; exit 64; }
bitlathe=$1/bitlathe rounds=${2:-7} threads=${3:-1} python=${PYTHON:-/usr/bin/python3}
torch=yes
"$python" -c 'import torch' 2>/dev/null || { echo "skipped: hgq_step: $python has no torch"; torch=; }
t=$(mktemp -d) || exit 73
trap 'rm -rf "$t"' EXIT

awk 'BEGIN {
    srand(3)
    for (r = 0; r < 14336; r++) {
        for (c = 0; c < 16; c++) printf "%g,", (int(16 * rand()) - 8) / 4
        print int(26 * rand())
    }
}' >"$t/rows.csv"

cat >"$t/step.py" <<'PY'
import sys
import time
import torch
import torch.nn.functional as F

steps, threads = int(sys.argv[1]), int(sys.argv[2])
torch.manual_seed(0)
torch.set_num_threads(threads)
LN2, BETA, GAMMA, SIZES, BATCH = 0.69314718, 1e-6, 2e-6, [16, 64, 32, 32, 26], 512


class Weight(torch.autograd.Function):
    @staticmethod
    def forward(ctx, w, f):
        s = torch.exp2(torch.round(f))
        q = torch.floor(w * s + 0.5) / s
        ctx.save_for_backward(w - q)
        return q

    @staticmethod
    def backward(ctx, g):
        d, = ctx.saved_tensors
        return g, LN2 * g * d


class Activation(torch.autograd.Function):
    @staticmethod
    def forward(ctx, y, i, f):
        top, step = torch.exp2(torch.round(i)), torch.exp2(-torch.round(f))
        c = torch.minimum(y.clamp(min=0), top - step)
        q = torch.floor(c / step + 0.5) * step
        ctx.save_for_backward(c - q, y > top - step, y < 0, top, step)
        return q

    @staticmethod
    def backward(ctx, g):
        d, over, under, top, step = ctx.saved_tensors
        above = (g * over).sum(0)
        return g * ~(over | under), LN2 * top * above, LN2 * ((g * d).sum(0) + step * above)


def bits(q, f):
    return F.relu(torch.floor(torch.log2(q.detach().abs() + 1e-30)) + 1 + torch.round(f).detach() + f - f.detach())


w = [torch.nn.Parameter(torch.randn(a, b) * (2 / a) ** 0.5) for a, b in zip(SIZES, SIZES[1:])]
b = [torch.nn.Parameter(torch.zeros(n)) for n in SIZES[1:]]
fw = [torch.nn.Parameter(4 - torch.log2(p.detach().abs())) for p in w]
fa = [torch.nn.Parameter(torch.full((n,), 4.0)) for n in SIZES[1:-1]]
ia = [torch.nn.Parameter(torch.full((n,), 3.0)) for n in SIZES[1:-1]]


def step(x, y, opt, quantized):
    ebops, width, h = 0, torch.full((16,), 4.0), x
    for n in range(len(w)):
        q = Weight.apply(w[n], fw[n]) if quantized else w[n]
        h = h @ q + b[n]
        if quantized:
            ebops = ebops + (width @ bits(q, fw[n])).sum()
        if n == len(w) - 1:
            break
        h = Activation.apply(h, ia[n], fa[n]) if quantized else F.relu(h)
        if quantized:
            width = F.relu(torch.round(ia[n]).detach() + torch.round(fa[n]).detach() + ia[n] - ia[n].detach() + fa[n] - fa[n].detach())
    loss = F.cross_entropy(h, y)
    if quantized:
        loss = loss + BETA * ebops + GAMMA * sum(p.sum() for p in fw + fa + ia)
    opt.zero_grad(set_to_none=True)
    loss.backward()
    opt.step()


x = torch.randint(-8, 8, (BATCH, 16)) / 4
y = torch.randint(0, 26, (BATCH,))
for quantized in (False, True):
    opt = torch.optim.AdamW(w + b + (fw + fa + ia if quantized else []), 1e-3, foreach=True)
    for _ in range(20):
        step(x, y, opt, quantized)
    start = time.perf_counter()
    for _ in range(steps):
        step(x, y, opt, quantized)
    print((time.perf_counter() - start) / steps * 1e6)
PY

ours() { # two lines: microseconds of a step without and with quantizers
    $BENCH_PREFIX "$bitlathe" train letter --recipe hgq --data "csv:$t/rows.csv" --set held_out=1024 --set test=0 --set batch=512 \
        --set float_batch=512 --set float_epochs=50 --set epochs=50 --set cycles=1 --set look=0 --threads 1 --fresh -o "$t/run" >"$t/out" ||
        { cat "$t/out"; exit 1; }
    sed -n 's/.*: \([0-9]*\) us a step, .*float \([0-9]*\) us a step of 512.*/\2\n\1/p' "$t/out"
}
theirs() { OMP_NUM_THREADS=$threads $BENCH_PREFIX "$python" "$t/step.py" 130 "$threads"; }

echo "microseconds of a step of 512 rows, 16-64-32-32-26; $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)"
for round in $(seq "$rounds"); do
    for who in ours ${torch:+theirs}; do
        $who | paste -s | awk -v who=$who '{ print who, $1, $2, $2 / $1 }' >>"$t/all"
    done
done
median() { # WHO COLUMN
    awk -v who="$1" -v k="$2" '$1 == who { print $k }' "$t/all" | sort -n | awk '{ x[NR] = $1 } END { print x[int((NR + 1) / 2)] }'
}
printf '%-28s %10s %10s %8s %16s\n' program float HGQ times "HGQ rows/s"
for who in ours ${torch:+theirs}; do
    name="PyTorch, $threads thread(s)"
    [ $who != ours ] || name="bitlathe, 1 thread"
    awk -v name="$name" -v f="$(median $who 2)" -v h="$(median $who 3)" -v r="$(median $who 4)" \
        'BEGIN { printf "%-28s %10.0f %10.0f %8.2f %16.0f\n", name, f, h, r, 512e6 / h }'
done
[ -z "$torch" ] || awk -v a="$(median theirs 3)" -v b="$(median ours 3)" 'BEGIN { printf "HGQ rows a second, bitlathe to PyTorch: %.1f\n", a / b }'
