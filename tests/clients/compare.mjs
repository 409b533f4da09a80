// SPDX-License-Identifier: BSD-3-Clause
// Runs one network in ONNX Runtime and in our executor and counts differing integers.
//   node compare.mjs CACHE BITLATHE RUN ALL_OUTPUTS.onnx DATA_WORDS SAMPLES [CLASSES]
// CLASSES: of so many samples, where that is more, the class that comes first is compared, nothing else.
// CACHE holds node_modules with onnxruntime-node; RUN holds model.blp and model.qdq.onnx.
// Prints one JSON line: values, elements, differing, worst, outputs_differ, float_layers, first,
// same_top1 (of top1_samples); where something differs also alone_elements, alone_differing, alone_first:
// every operator by itself, ONNX Runtime's given the very codes that ours had; alone_integers of the
// differing values came out of an integer kernel there, alone_operators names who gave them.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';

import { readNpy, writeNpy } from './npy.mjs';
import { cut, givers, operators } from './onnx.mjs';
import { samples } from './samples.mjs';

const [cache, bitlathe, run, allOutputs, words, count, classes] = process.argv.slice(2);
const ort = createRequire(path.resolve(cache, 'package.json'))('onnxruntime-node');

async function open(file, optimize = 'all') {
  const optimized = path.join(run, `${path.basename(file, '.onnx')}.optimized.onnx`);
  fs.rmSync(optimized, { force: true });
  const session = await ort.InferenceSession.create(file, {
    executionProviders: ['cpu'], graphOptimizationLevel: optimize, intraOpNumThreads: 1,
    logSeverityLevel: 3, optimizedModelFilePath: optimized,
    extra: { session: { qdq_matmulnbits_accuracy_level: '1' } }, // [Q15]: else activations get rounded
  });
  // A layer that is left in float would not compute our integers, or only by luck.
  const layer = /^(Fused)?(Conv|Gemm|MatMul)$/;
  const floats = operators(optimized).filter((op) => layer.test(op)).length;
  const of = givers(optimized);
  fs.rmSync(optimized, { force: true });
  return { session, floats, of };
}

function sameBits(a, b) {
  return Buffer.compare(Buffer.from(a.buffer, a.byteOffset, a.byteLength),
    Buffer.from(b.buffer, b.byteOffset, b.byteLength)) === 0;
}

function argmax(x) {
  let best = 0;
  for (let i = 1; i < x.length; i++) if (x[i] > x[best]) best = i;
  return best;
}

const plain = await open(path.join(run, 'model.qdq.onnx'));
const all = await open(allOutputs);
const input = plain.session.inputMetadata[0];
const shape = input.shape.map((d) => (typeof d === 'number' ? d : 1));
const size = shape.reduce((a, b) => a * b, 1);
const out = path.join(run, 'values');
const result = { values: 0, elements: 0, differing: 0, worst: 0, outputs_differ: 0,
  float_layers: Math.max(plain.floats, all.floats), first: '', samples: 0, same_top1: 0,
  top1_samples: 0 };
// Our outputs for a sample, and with `every` its values, in `out`.
function execute(x, every) {
  writeNpy(path.join(run, 'x.npy'), shape, x);
  fs.rmSync(out, { recursive: true, force: true });
  execFileSync(bitlathe, ['run', path.join(run, 'model.blp'), '--in', path.join(run, 'x.npy'),
    '--out', out, ...every], { stdio: ['ignore', 'ignore', 'inherit'] });
}

function compareFirst(theirs) {
  result.top1_samples++;
  result.same_top1 += argmax(readNpy(path.join(out, 'out0.npy')).data) ===
    argmax(theirs[plain.session.outputNames[0]].data);
}

const seen = new Set();
const runs = []; // of each sample: our codes by name, its input

for (const x of samples(words, Number(count), size, cache)) {
  const feed = { [input.name]: new ort.Tensor('float32', x, shape) };
  const theirs = await all.session.run(feed);
  const theirPlain = await plain.session.run(feed);
  execute(x, ['--all-values']);
  const codes = {};
  const index = JSON.parse(fs.readFileSync(path.join(out, 'index.json'), 'utf8'));
  for (const value of index.values) {
    const their = theirs[`${value.name}_quantized`];
    if (!their) continue; // a constant, or inside of one of our steps
    const { data: ours, shape: dims } = readNpy(path.join(out, value.file));
    codes[`${value.name}_quantized`] = { data: ours, shape: dims };
    if (ours.length !== their.data.length)
      throw new Error(`${value.name}: ${ours.length} codes here, ${their.data.length} there`);
    seen.add(value.name);
    result.elements += ours.length;
    for (let i = 0; i < ours.length; i++) {
      const step = Math.abs(ours[i] - their.data[i]);
      if (step === 0) continue;
      result.differing++;
      result.worst = Math.max(result.worst, step);
      result.first ||= value.name;
    }
  }
  runs.push({ feed, codes });
  result.samples++;
  compareFirst(theirPlain);
  plain.session.outputNames.forEach((name, i) => {
    const ours = readNpy(path.join(out, `out${i}.npy`)).data;
    if (!sameBits(ours, theirPlain[name].data) || !sameBits(ours, theirs[name].data))
      result.outputs_differ++;
  });
}
if (Number(classes) > result.samples) {
  result.top1_samples = result.same_top1 = 0;
  for (const x of samples(words, Number(classes), size, cache)) {
    const theirs = await plain.session.run({ [input.name]: new ort.Tensor('float32', x, shape) });
    execute(x, []);
    compareFirst(theirs);
  }
}
result.values = seen.size;
result.expected = all.session.outputNames.length - plain.session.outputNames.length;
fs.rmSync(out, { recursive: true, force: true });

if (result.differing) {
  const file = path.join(run, 'alone.onnx');
  const given = {};
  for (const [name, v] of Object.entries(runs[0].codes))
    given[name] = { type: v.data instanceof Uint8Array ? 2 : 4, shape: v.shape };
  cut(allOutputs, given, file);
  const alone = await open(file);
  const names = new Set();
  Object.assign(result, { alone_elements: 0, alone_differing: 0, alone_worst: 0, alone_first: '',
    alone_integers: 0 });
  for (const { feed, codes } of runs) {
    const all = { ...feed };
    for (const [name, v] of Object.entries(codes))
      all[`${name}_given`] = new ort.Tensor(v.data instanceof Uint8Array ? 'uint8' : 'uint16', v.data, v.shape);
    const wanted = Object.fromEntries(Object.entries(all).filter(([name]) =>
      alone.session.inputNames.includes(name)));
    const theirs = await alone.session.run(wanted);
    for (const [name, v] of Object.entries(codes)) {
      result.alone_elements += v.data.length;
      for (let i = 0; i < v.data.length; i++) {
        const step = Math.abs(v.data[i] - theirs[name].data[i]);
        if (step === 0) continue;
        result.alone_differing++;
        result.alone_worst = Math.max(result.alone_worst, step);
        result.alone_first ||= name;
        // Float operators end in a QuantizeLinear; Sigmoid's table is made by a float Sigmoid.
        const giver = alone.of[name];
        names.add(giver);
        if (!/^(QuantizeLinear|QLinearSigmoid)$/.test(giver)) result.alone_integers++;
      }
    }
  }
  result.alone_operators = [...names].join(' ');
}
console.log(JSON.stringify(result));
