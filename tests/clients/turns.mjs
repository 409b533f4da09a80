// SPDX-License-Identifier: BSD-3-Clause
// One program by bitlathe under several instruction sets beside its export in ONNX Runtime, interleaved:
//   node turns.mjs CACHE BITLATHE MODEL.blp MODEL.onnx SECONDS THREADS ISA...
// Turns go round in a rotated order.  A turn is one run that is not counted (what lay in caches and how
// fast the clock ran then belong to the turn before), then runs enough for a few milliseconds; its time is
// their median.  The first instruction set runs twice, and so does ONNX Runtime: their own controls.
// `empty` is a network that does nothing with the same input, what a call of the binding costs; it is
// taken off ONNX Runtime's times.  ONNX Runtime's helper threads sleep between its turns
// (session.force_spinning_stop).  Prints one JSON line: rounds, and for each competitor name,
// q1_us, median_us, q3_us, ratio (median over rounds of its time to the first one's).
import { spawn } from 'node:child_process';
import { createRequire } from 'node:module';
import path from 'node:path';
import readline from 'node:readline';

const [cache, bitlathe, blp, onnx, seconds, threads, ...isas] = process.argv.slice(2);
const ort = createRequire(path.resolve(cache, 'package.json'))('onnxruntime-node');
const TURN_NS = 6e6, TURN_RUNS = 200;

const quantile = (x, q) => {
  const sorted = [...x].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))];
};

// Just enough of protobuf for a network of one Shape operator.
const varint = (n) => (n < 128 ? [n] : [(n % 128) | 128, ...varint(Math.floor(n / 128))]);
const number = (field, n) => Buffer.from([...varint(field * 8), ...varint(n)]);
const bytes = (field, ...parts) => {
  const b = Buffer.concat(parts.map((p) => (typeof p === 'string' ? Buffer.from(p) : p)));
  return Buffer.concat([Buffer.from([...varint(field * 8 + 2), ...varint(b.length)]), b]);
};
const value = (field, name, type, shape) => bytes(field, bytes(1, name), bytes(2, bytes(1, number(1, type),
  bytes(2, ...shape.map((d) => bytes(1, number(1, d)))))));
const emptyNetwork = (shape) => Buffer.concat([number(1, 8), bytes(7,
  bytes(1, bytes(1, 'x'), bytes(2, 'y'), bytes(4, 'Shape')), bytes(2, 'empty'),
  value(11, 'x', 1, shape), value(12, 'y', 7, [shape.length])), bytes(8, bytes(1, ''), number(2, 13))]);

async function theirs(name, file) {
  const session = await ort.InferenceSession.create(file, { executionProviders: ['cpu'],
    graphOptimizationLevel: 'all', intraOpNumThreads: Number(threads), interOpNumThreads: 1,
    executionMode: 'sequential', logSeverityLevel: 3,
    extra: { session: { force_spinning_stop: '1' } } });
  const feed = {};
  let shape;
  for (const input of session.inputMetadata) {
    shape = input.shape.map((d) => (typeof d === 'number' ? d : 1));
    const x = new Float32Array(shape.reduce((a, b) => a * b, 1));
    for (let i = 0; i < x.length; i++) x[i] = Math.sin(0.37 * i); // any numbers: no time hangs on them
    feed[input.name] = new ort.Tensor('float32', x, shape);
  }
  return { name, shape, us: [], close: () => session.release(), turn: async (n) => {
    const times = [];
    for (let i = 0; i < n; i++) {
      const start = process.hrtime.bigint();
      await session.run(feed);
      times.push(Number(process.hrtime.bigint() - start));
    }
    return times;
  } };
}

function ours(name, isa) {
  const child = spawn(bitlathe, ['bench', blp, '--turns', '--isa', isa, '--threads', threads],
    { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = readline.createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return { name, us: [], close: () => child.stdin.end(), turn: async (n) => {
    child.stdin.write(`${n}\n`);
    const { value: line, done } = await lines.next();
    if (done) throw new Error(`bitlathe --isa ${isa} gave no time`);
    return line.split(' ').map(Number);
  } };
}

const items = [];
for (const isa of isas) items.push(ours(isa, isa));
items.push(ours(`${isas[0]} again`, isas[0]), await theirs('onnxruntime', onnx), await theirs('onnxruntime again', onnx));
items.push(await theirs('empty', emptyNetwork(items[items.length - 1].shape)));
for (const item of items) { // how many runs a turn holds
  const ns = quantile(await item.turn(5), 0.5);
  item.runs = Math.max(2, Math.min(TURN_RUNS, Math.ceil(TURN_NS / ns)));
}
const end = Date.now() + 1e3 * Number(seconds);
for (let round = 0; round < 7 || Date.now() < end; round++)
  for (let k = 0; k < items.length; k++) { // the order turns from round to round
    const item = items[(k + round) % items.length];
    item.us.push(quantile((await item.turn(item.runs + 1)).slice(1), 0.5) / 1e3);
  }
const empty = quantile(items[items.length - 1].us, 0.5);
for (const item of items)
  if (item.name.startsWith('onnxruntime')) item.us = item.us.map((t) => t - empty);
console.log(JSON.stringify({ threads: Number(threads), rounds: items[0].us.length, empty_us: empty,
  items: items.slice(0, -1).map((item) => ({ name: item.name, q1_us: quantile(item.us, 0.25),
    median_us: quantile(item.us, 0.5), q3_us: quantile(item.us, 0.75),
    ratio: quantile(item.us.map((t, i) => t / items[0].us[i]), 0.5) })) }));
for (const item of items) await item.close();
process.exit(0);
