// SPDX-License-Identifier: BSD-3-Clause
// Networks of wild.json with one float input, each with samples made from its one stored input:
//   node wild.mjs FOLDER TO
// TO/NAME.npy holds the input rolled along its last axis by k/8 of its length, k = 0..7.  Prints a line
// "FILE|words after quantize" for each network, or "skipped|NAME|reason".
import fs from 'node:fs';
import path from 'node:path';

import { freeDims } from './onnx.mjs';
import { readNpy, writeNpy } from './npy.mjs';

const [folder, to] = process.argv.slice(2);
const ROLLED = 8;

// "(u8 - 127) * 0.0078125" and the like: numbers, + - * / and parentheses only.
function formula(text) {
  const body = (text ?? 'u8').replaceAll('u8', 'x');
  if (!/^[-+*/().\dex\s]+$/.test(body)) throw new Error(`formula ${text}`);
  return new Function('x', `return ${body}`);
}

function tiled(x, shape, want) {
  const out = new Float32Array(want.reduce((a, b) => a * b, 1));
  for (let i = 0; i < out.length; i++) {
    let rest = i, at = 0, run = 1;
    for (let d = want.length - 1; d >= 0; d--) {
      at += (rest % want[d]) % shape[d] * run;
      rest = Math.floor(rest / want[d]);
      run *= shape[d];
    }
    out[i] = x[at];
  }
  return out;
}

for (const m of JSON.parse(fs.readFileSync(path.join(folder, 'wild.json'), 'utf8')).models) {
  const name = path.basename(m.file, '.onnx');
  const [input, ...more] = m.inputs;
  if (more.length || input.dtype !== 'float32' || input.shape[0] !== 1) {
    console.log(`skipped|${name}|not one float input of batch 1`);
    continue;
  }
  const { shape, data } = readNpy(path.join(folder, input.file));
  const f = formula(input.value);
  const x = tiled(Float32Array.from(data, (v) => f(v)), shape, input.shape);
  const width = input.shape.at(-1);
  const all = new Float32Array(ROLLED * x.length);
  for (let k = 0; k < ROLLED; k++)
    for (let i = 0; i < x.length; i++) {
      const column = i % width;
      const from = (column + Math.floor(k * width / ROLLED)) % width;
      all[k * x.length + i] = x[i - column + from];
    }
  const file = path.join(to, `${name}.npy`);
  writeNpy(file, [ROLLED, ...input.shape.slice(1)], all);
  const dims = freeDims(path.join(folder, path.basename(m.file)), input.name).slice(1)
    .filter((d) => d.name).map((d) => ` --dim ${d.name}=${input.shape[d.axis]}`).join('');
  console.log(`${path.basename(m.file)}|--data npy:${file}${dims}`);
}
