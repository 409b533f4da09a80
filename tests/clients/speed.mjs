// SPDX-License-Identifier: BSD-3-Clause
// Times exports of one network in ONNX Runtime, one thread, interleaved:
//   node speed.mjs CACHE SECONDS NAME=FILE.onnx NAME=FILE.onnx ...
// The first is the yardstick and runs twice a round, as its own control.  Prints one JSON line for
// each: name, median and quartiles in microseconds, the median over rounds of the ratio to the first.
import { createRequire } from 'node:module';
import path from 'node:path';

const [cache, seconds, ...forms] = process.argv.slice(2);
const ort = createRequire(path.resolve(cache, 'package.json'))('onnxruntime-node');
const files = forms.map((f) => [f.slice(0, f.indexOf('=')), f.slice(f.indexOf('=') + 1)]);
const items = [];

async function open(name, file) {
  const session = await ort.InferenceSession.create(file, { executionProviders: ['cpu'],
    graphOptimizationLevel: 'all', intraOpNumThreads: 1, interOpNumThreads: 1, logSeverityLevel: 3 });
  const feed = {};
  for (const input of session.inputMetadata) {
    const shape = input.shape.map((d) => (typeof d === 'number' ? d : 1));
    const x = new Float32Array(shape.reduce((a, b) => a * b, 1));
    for (let i = 0; i < x.length; i++) x[i] = Math.sin(0.37 * i); // any numbers: no time hangs on them
    feed[input.name] = new ort.Tensor('float32', x, shape);
  }
  return { name, session, feed, us: [] };
}

for (const [name, file] of files) items.push(await open(name, file));
items.push(await open(`${files[0][0]} again`, files[0][1]));

const quantile = (x, q) => {
  const sorted = [...x].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))];
};
const now = () => Number(process.hrtime.bigint()) / 1e3;
const end = now() + Number(seconds) * 1e6;
for (let round = -3; round < 5 || now() < end; round++) {
  for (let k = 0; k < items.length; k++) { // the order turns from round to round
    const item = items[(k + round + 3) % items.length];
    const start = now();
    await item.session.run(item.feed);
    if (round >= 0) item.us.push(now() - start); // the first ones warm up
  }
}
for (const item of items)
  console.log(JSON.stringify({ name: item.name, rounds: item.us.length, median_us: quantile(item.us, 0.5),
    q1_us: quantile(item.us, 0.25), q3_us: quantile(item.us, 0.75),
    ratio: quantile(item.us.map((t, i) => t / items[0].us[i]), 0.5) }));
