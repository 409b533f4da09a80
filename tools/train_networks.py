#!/usr/bin/env python3
"""Train the two small networks in models/ on Fashion-MNIST and write them as ONNX.

The tool needs only PyTorch (1.13 or near it) with numpy, and the four
Fashion-MNIST files of Debian's package dataset-fashion-mnist.

  resnet8       a plain residual network: 3x3 stem with 16 channels, three
                residual blocks with 16, 32 and 64 channels (stride 1, 2, 2),
                1x1 convolutions as shortcuts where the shape changes, global
                average pool, one dense layer.
  mobilenetv3s  a small MobileNetV3: 3x3 stem, six inverted residual blocks
                with 3x3 or 5x5 depthwise convolutions, squeeze-and-excite,
                ReLU in the early blocks and hard-swish in the later ones, a
                last 1x1 convolution, global average pool, two dense layers.

What it does, in order:

  1. From the 60,000 training images it sets 5,000 aside (the same ones for
     the same seed), only to print how training goes. The weights are always
     those of the last epoch; nothing is chosen by looking at those images.
  2. It trains on the other 55,000 images with stochastic gradient descent
     (Nesterov momentum 0.9, weight decay 5e-4 on the weights, one-cycle
     learning rate, label smoothing 0.05, batches of 128). Every image is
     flipped left to right at random and shifted by up to two pixels.
  3. It writes the ONNX file (opset 13). Batch normalization stays a node of
     its own, convolutions before it have no bias, hard-swish is HardSigmoid
     followed by Mul. Input "input" is float32 [N,1,28,28], output "logits".
  4. With --test it counts, once and at the very end, how many of the 10,000
     test images the final weights get right; with --record it writes that
     and other facts about the file into a JSON file.

Pixels are prepared as (pixel - 72.93) / 90.015 in float32.

The same seed, number of threads, processor and PyTorch give the same weights;
another processor or PyTorch may give slightly different ones.

Examples:
  python3 tools/train_networks.py --model resnet8 --epochs 24 --seed 0 \\
      --out models/resnet8_fmnist.onnx --test --record models/models.json
  python3 tools/train_networks.py --model mobilenetv3s --epochs 14 --seed 0 \\
      --out models/mobilenetv3s_fmnist.onnx --test --record models/models.json
"""

import argparse
import gzip
import hashlib
import json
import os
import time

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

MEAN = 72.93
STD = 90.015
BATCH = 128
HELD_OUT = 5000
DATA_DIR = "/usr/share/datasets/fashion-mnist"

ARCHITECTURE = {
    "resnet8": "residual network: 3x3 conv 16, basic blocks 16/32/64 with "
               "stride 1/2/2, 1x1 conv shortcuts, global average pool, "
               "dense 64-10",
    "mobilenetv3s": "MobileNetV3-small-like: 3x3 conv 16, six inverted "
                    "residual blocks (depthwise 3x3 and 5x5, "
                    "squeeze-and-excite, ReLU then hard-swish), 1x1 conv 120, "
                    "global average pool, dense 120-160-10",
}


# ---------------------------------------------------------------- networks

def conv_bn(cin, cout, k, stride=1, groups=1):
    """A convolution without bias and the batch normalization after it."""
    return [nn.Conv2d(cin, cout, k, stride, k // 2, groups=groups, bias=False),
            nn.BatchNorm2d(cout)]


class BasicBlock(nn.Module):
    def __init__(self, cin, cout, stride):
        super().__init__()
        self.conv1, self.bn1 = conv_bn(cin, cout, 3, stride)
        self.conv2, self.bn2 = conv_bn(cout, cout, 3)
        self.shortcut = None
        if stride != 1 or cin != cout:
            self.shortcut = nn.Sequential(*conv_bn(cin, cout, 1, stride))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        s = x if self.shortcut is None else self.shortcut(x)
        return F.relu(y + s)


class ResNet8(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(*conv_bn(1, 16, 3), nn.ReLU())
        self.block1 = BasicBlock(16, 16, 1)
        self.block2 = BasicBlock(16, 32, 2)
        self.block3 = BasicBlock(32, 64, 2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(64, 10)

    def forward(self, x):
        x = self.block3(self.block2(self.block1(self.stem(x))))
        return self.fc(self.flatten(self.pool(x)))


class SqueezeExcite(nn.Module):
    """Scale every channel by a factor computed from all channels' means."""

    def __init__(self, ch, mid):
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.down = nn.Conv2d(ch, mid, 1)
        self.up = nn.Conv2d(mid, ch, 1)

    def forward(self, x):
        return x * F.hardsigmoid(self.up(F.relu(self.down(self.pool(x)))))


class InvertedResidual(nn.Module):
    def __init__(self, cin, k, mid, cout, se, act, stride):
        super().__init__()
        layers = []
        if mid != cin:
            layers += conv_bn(cin, mid, 1) + [act()]
        layers += conv_bn(mid, mid, k, stride, groups=mid) + [act()]
        if se:
            layers.append(SqueezeExcite(mid, se))
        layers += conv_bn(mid, cout, 1)
        self.layers = nn.Sequential(*layers)
        self.residual = stride == 1 and cin == cout

    def forward(self, x):
        y = self.layers(x)
        return x + y if self.residual else y


class MobileNetV3S(nn.Module):
    def __init__(self):
        super().__init__()
        re, hs = nn.ReLU, nn.Hardswish
        self.stem = nn.Sequential(*conv_bn(1, 16, 3), hs())
        self.blocks = nn.Sequential(
            #                in  k  mid out se  act stride
            InvertedResidual(16, 3, 16, 16, 8, re, 1),
            InvertedResidual(16, 3, 48, 24, 0, re, 2),
            InvertedResidual(24, 3, 64, 24, 0, re, 1),
            InvertedResidual(24, 5, 72, 32, 16, hs, 2),
            InvertedResidual(32, 5, 96, 32, 24, hs, 1),
            InvertedResidual(32, 5, 96, 40, 24, hs, 1))
        self.last = nn.Sequential(*conv_bn(40, 120, 1), hs())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(120, 160)
        self.act = hs()
        self.fc2 = nn.Linear(160, 10)

    def forward(self, x):
        x = self.flatten(self.pool(self.last(self.blocks(self.stem(x)))))
        return self.fc2(self.act(self.fc1(x)))


NETWORKS = {"resnet8": ResNet8, "mobilenetv3s": MobileNetV3S}


def init_weights(net):
    for m in net.modules():
        if isinstance(m, nn.Conv2d):
            nn.init.kaiming_normal_(m.weight, mode="fan_out",
                                    nonlinearity="relu")
            if m.bias is not None:
                nn.init.zeros_(m.bias)
        elif isinstance(m, nn.Linear):
            nn.init.normal_(m.weight, 0.0, (1.0 / m.in_features) ** 0.5)
            nn.init.zeros_(m.bias)
        elif isinstance(m, nn.BatchNorm2d):
            # Two biases that are added to each other get the same gradient.
            # From an equal start they would stay equal to the last bit, and
            # the exporter would merge them with an Identity node.
            nn.init.normal_(m.bias, 0.0, 0.01)


# -------------------------------------------------------------------- data

def read_idx(path):
    """Read a gzip-compressed IDX file of unsigned bytes."""
    with gzip.open(path, "rb") as f:
        raw = f.read()
    if raw[0] or raw[1] or raw[2] != 8:
        raise SystemExit("%s: not an IDX file of unsigned bytes" % path)
    ndim = raw[3]
    dims = np.frombuffer(raw, ">u4", ndim, 4).astype(int)
    data = np.frombuffer(raw, np.uint8, offset=4 + 4 * ndim)
    return torch.from_numpy(data.reshape(dims).copy())


def load(data_dir, part):
    images = read_idx(os.path.join(data_dir, part + "-images-idx3-ubyte.gz"))
    labels = read_idx(os.path.join(data_dir, part + "-labels-idx1-ubyte.gz"))
    return images, labels.long()


def prepare(images):
    """Bytes [n,28,28] to the network's input, float32 [n,1,28,28]."""
    return ((images.float() - MEAN) / STD).unsqueeze(1)


class Augment:
    """Random shifts by up to two pixels and left-right flips, by the batch."""

    def __init__(self, images, gen):
        padded = F.pad(images, (2, 2, 2, 2))
        # every 28x28 window of every padded image, as a view: [n,5,5,28,28]
        self.windows = padded.unfold(1, 28, 1).unfold(2, 28, 1)
        self.gen = gen

    def __call__(self, index):
        n = len(index)
        shift = torch.randint(0, 5, (2, n), generator=self.gen)
        flip = torch.rand(n, generator=self.gen) < 0.5
        x = self.windows[index, shift[0], shift[1]]
        return torch.where(flip[:, None, None], x.flip(-1), x)


def predict(net, images, memory_format):
    net.eval()
    out = []
    with torch.no_grad():
        for part in images.split(500):
            x = prepare(part).contiguous(memory_format=memory_format)
            out.append(net(x).argmax(1))
    return torch.cat(out)


# ------------------------------------------------------------------ export

def export(net, path):
    """Write the network as ONNX, in a way that never leaves half a file."""
    was_training = net.training
    net.eval()
    tmp = path + ".tmp"
    torch.onnx.export(
        net, torch.zeros(1, 1, 28, 28), tmp, opset_version=13,
        training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False,
        input_names=["input"], output_names=["logits"],
        dynamic_axes={"input": {0: "N"}, "logits": {0: "N"}}, verbose=False)
    with open(tmp, "rb") as f:
        if b"Identity" in f.read():
            raise SystemExit("%s: the exporter left an Identity node" % tmp)
    os.replace(tmp, path)
    net.train(was_training)


def record(args, net, top1):
    """Put the facts about the exported file into the JSON file."""
    with open(args.out, "rb") as f:
        blob = f.read()
    name = os.path.basename(args.out)
    arg = ("--data idx:" + DATA_DIR + "/%s-images-idx3-ubyte.gz,"
           + DATA_DIR + "/%s-labels-idx1-ubyte.gz"
           + " --mean %g --std %g" % (MEAN, STD))
    entry = {
        "architecture": ARCHITECTURE[args.model],
        "training": {
            "data": "Fashion-MNIST training images, 55,000 used to train, "
                    "5,000 held out to watch progress",
            "epochs": args.epochs,
            "seed": args.seed,
            "script": "tools/train_networks.py",
        },
        "params": sum(p.numel() for p in net.parameters()),
        "sha256": hashlib.sha256(blob).hexdigest(),
        "bytes": len(blob),
        "input": "input float32 [N,1,28,28]",
        "output": "logits float32 [N,10]",
        "preprocessing": "(pixel - %g) / %g in float32, pixel 0..255"
                         % (MEAN, STD),
        "eval_args": arg % ("t10k", "t10k"),
        "calib_args": arg % ("train", "train"),
        "metric": {
            "name": "top1",
            "data": "the 10,000 Fashion-MNIST test images",
            "float": top1,
        },
    }
    table = {}
    if os.path.exists(args.record):
        with open(args.record) as f:
            table = json.load(f)
    table[name] = entry
    with open(args.record + ".tmp", "w") as f:
        json.dump(table, f, indent=2, sort_keys=False)
        f.write("\n")
    os.replace(args.record + ".tmp", args.record)


# ---------------------------------------------------------------- training

def train(args):
    torch.manual_seed(args.seed)
    gen = torch.Generator().manual_seed(args.seed + 1)
    memory_format = (torch.channels_last if args.channels_last
                     else torch.contiguous_format)

    images, labels = load(args.data_dir, "train")
    split = torch.Generator().manual_seed(args.seed)
    order = torch.randperm(len(images), generator=split)
    held, kept = order[:HELD_OUT], order[HELD_OUT:]
    held_images, held_labels = images[held], labels[held]
    images, labels = images[kept], labels[kept]
    augment = Augment(images, gen)

    net = NETWORKS[args.model]()
    init_weights(net)
    net = net.to(memory_format=memory_format)
    decay = [p for p in net.parameters() if p.ndim > 1]
    plain = [p for p in net.parameters() if p.ndim <= 1]
    opt = torch.optim.SGD(
        [{"params": decay, "weight_decay": 5e-4},
         {"params": plain, "weight_decay": 0.0}],
        lr=args.lr, momentum=0.9, nesterov=True)
    steps = len(images) // BATCH
    sched = torch.optim.lr_scheduler.OneCycleLR(
        opt, args.lr, total_steps=steps * args.epochs, pct_start=0.25,
        cycle_momentum=False, div_factor=10, final_div_factor=1000)
    print("%s: %d parameters, %d steps per epoch" % (
        args.model, sum(p.numel() for p in net.parameters()), steps),
        flush=True)

    start = time.time()
    for epoch in range(1, args.epochs + 1):
        net.train()
        perm = torch.randperm(len(images), generator=gen)
        total = 0.0
        for step in range(steps):
            index = perm[step * BATCH:(step + 1) * BATCH]
            x = prepare(augment(index)).contiguous(
                memory_format=memory_format)
            loss = F.cross_entropy(net(x), labels[index],
                                   label_smoothing=0.05)
            opt.zero_grad(set_to_none=True)
            loss.backward()
            opt.step()
            sched.step()
            total += loss.item()
        right = predict(net, held_images, memory_format) == held_labels
        print("epoch %d/%d  loss %.4f  held out %.2f %%  %.0f s" % (
            epoch, args.epochs, total / steps,
            100.0 * right.float().mean().item(), time.time() - start),
            flush=True)
        if args.snapshot and (epoch % args.snapshot_every == 0 or epoch == 1):
            export(net, args.snapshot)
    export(net, args.out)
    return net, memory_format


def main():
    ap = argparse.ArgumentParser(
        description="Train a small network on Fashion-MNIST and write it as "
                    "ONNX.")
    ap.add_argument("--model", choices=sorted(NETWORKS), required=True)
    ap.add_argument("--out", required=True, help="ONNX file to write")
    ap.add_argument("--epochs", type=int, default=20)
    ap.add_argument("--seed", type=int, default=0)
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--lr", type=float, default=0.2,
                    help="highest learning rate (default 0.2)")
    ap.add_argument("--channels-last", type=int, choices=(0, 1), default=1,
                    help="memory layout while training (default 1)")
    ap.add_argument("--data-dir", default=DATA_DIR)
    ap.add_argument("--test", action="store_true",
                    help="measure the final weights on the test images")
    ap.add_argument("--record", metavar="JSON",
                    help="write the facts about the file there")
    ap.add_argument("--predictions", metavar="FILE",
                    help="with --test: the predicted classes of the test "
                         "images, little-endian 16 bit")
    ap.add_argument("--snapshot", metavar="FILE",
                    help="also write the current weights there, as ONNX")
    ap.add_argument("--snapshot-every", type=int, default=3, metavar="EPOCHS")
    args = ap.parse_args()

    torch.set_num_threads(args.threads)
    net, memory_format = train(args)
    top1 = None
    if args.test:
        images, labels = load(args.data_dir, "t10k")
        pred = predict(net, images, memory_format)
        top1 = int((pred == labels).sum()) / len(labels)
        print("test %.2f %%" % (100.0 * top1), flush=True)
        if args.predictions:
            pred.numpy().astype("<u2").tofile(args.predictions)
    if args.record:
        record(args, net, top1)


if __name__ == "__main__":
    main()
