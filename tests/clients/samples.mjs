// SPDX-License-Identifier: BSD-3-Clause
// Real samples as float32 network inputs, from the words after --data in models.json.  Only what
// the networks of tools/test-clients need: CIFAR binary, IDX, .npy rows with --layout and --window,
// and JPEG pictures that are wide enough for --crop (decoded by jpeg-js, so a pixel may differ by one
// from libjpeg's: the comparison takes any numbers).
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import zlib from 'node:zlib';

import { readNpy } from './npy.mjs';

function words(text) {
  const out = {};
  const parts = text.split(/\s+/).filter((s) => s);
  for (let i = 0; i < parts.length; i += 2) out[parts[i].replace(/^--/, '')] = parts[i + 1];
  return out;
}

// The middle of a picture, channel by channel.
function picture(decode, file, crop, bgr) {
  const { width, height, data } = decode(fs.readFileSync(file), { useTArray: true });
  if (width < crop || height < crop) throw new Error(`${file}: smaller than ${crop}`);
  const left = (width - crop) >> 1;
  const top = (height - crop) >> 1;
  const out = new Float32Array(3 * crop * crop);
  for (let c = 0; c < 3; c++)
    for (let y = 0; y < crop; y++)
      for (let x = 0; x < crop; x++)
        out[(c * crop + y) * crop + x] = data[((top + y) * width + left + x) * 4 + (bgr ? 2 - c : c)];
  return out;
}

// Rows of raw numbers in channel-first order, and how many channels they have.
function rawRows(w, cache) {
  const data = w.data;
  const colon = data.indexOf(':');
  const kind = data.slice(0, colon);
  const file = data.slice(colon + 1).split(',')[0];
  if (kind === 'cifar') {
    const bytes = fs.readFileSync(file);
    return { n: bytes.length / 3073, channels: 3,
      row: (i) => bytes.subarray(i * 3073 + 1, (i + 1) * 3073) };
  }
  if (kind === 'idx') {
    const raw = fs.readFileSync(file);
    const bytes = file.endsWith('.gz') ? zlib.gunzipSync(raw) : raw;
    const size = bytes.readUInt32BE(8) * bytes.readUInt32BE(12);
    return { n: bytes.readUInt32BE(4), channels: 1,
      row: (i) => bytes.subarray(16 + i * size, 16 + (i + 1) * size) };
  }
  if (kind === 'npy') {
    const { shape, data: all } = readNpy(file);
    const size = all.length / shape[0];
    return { n: shape[0], channels: shape.length === 4 ? shape[3] : 1, shape,
      row: (i) => all.subarray(i * size, (i + 1) * size) };
  }
  if (kind === 'images') {
    const jpeg = createRequire(path.resolve(cache, 'package.json'))('jpeg-js');
    const list = fs.readdirSync(file).filter((f) => f.endsWith('.jpg')).sort();
    return { n: list.length, channels: 3,
      row: (i) => picture(jpeg.decode, path.join(file, list[i]), Number(w.crop), w.channels === 'bgr') };
  }
  throw new Error(`no reader for ${data}`);
}

function toChannelsFirst(row, channels) {
  const pixels = row.length / channels;
  const out = new Float32Array(row.length);
  for (let p = 0; p < pixels; p++)
    for (let c = 0; c < channels; c++) out[c * pixels + p] = row[p * channels + c];
  return out;
}

// `count` samples of `size` numbers, evenly spaced over the set.
export function samples(text, count, size, cache) {
  const w = words(text);
  const rows = rawRows(w, cache);
  const list = (s, otherwise) => (s ?? otherwise).split(',').map(Number);
  const mean = list(w.mean, '0');
  const std = list(w.std, '1');
  const out = [];
  for (let k = 0; k < count; k++) {
    let row = Float32Array.from(rows.row(Math.floor((k * rows.n) / count)));
    if (w.layout === 'nhwc') row = toChannelsFirst(row, rows.channels);
    if (w.window) { // windows over the first axis of a sample: one from its middle
      const step = row.length / rows.shape[1];
      const first = Math.floor((rows.shape[1] - Number(w.window)) / 2);
      row = row.slice(first * step, (first + Number(w.window)) * step);
    }
    const plane = row.length / mean.length;
    for (let i = 0; i < row.length; i++) {
      const c = Math.floor(i / plane);
      row[i] = Math.fround(Math.fround(row[i] - Math.fround(mean[c])) /
        Math.fround(std[std.length > 1 ? c : 0]));
    }
    if (row.length !== size) throw new Error(`${w.data}: ${row.length} numbers, not ${size}`);
    out.push(row);
  }
  return out;
}
