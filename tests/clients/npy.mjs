// SPDX-License-Identifier: BSD-3-Clause
// NumPy's .npy files: version 1 and 2, C order, little endian.
import fs from 'node:fs';

const kinds = {
  '<f4': Float32Array, '|u1': Uint8Array, '|i1': Int8Array, '<u2': Uint16Array, '<i2': Int16Array,
  '<i4': Int32Array,
};

export function readNpy(file) {
  const bytes = fs.readFileSync(file);
  if (bytes.toString('latin1', 0, 6) !== '\x93NUMPY') throw new Error(`${file}: not a .npy file`);
  const long = bytes[6] >= 2;
  const at = long ? 12 : 10;
  const end = at + (long ? bytes.readUInt32LE(8) : bytes.readUInt16LE(8));
  const head = bytes.toString('latin1', at, end);
  const kind = kinds[/'descr':\s*'([^']+)'/.exec(head)?.[1]];
  if (!kind || !/'fortran_order':\s*False/.test(head)) throw new Error(`${file}: ${head.trim()}`);
  const shape = /'shape':\s*\(([^)]*)\)/.exec(head)[1].split(',').map((s) => s.trim())
    .filter((s) => s).map(Number);
  const n = shape.reduce((a, b) => a * b, 1);
  const data = new kind(n);
  new Uint8Array(data.buffer).set(bytes.subarray(end, end + n * kind.BYTES_PER_ELEMENT));
  return { shape, data };
}

export function writeNpy(file, shape, data) {
  const list = shape.join(', ') + (shape.length === 1 ? ',' : '');
  let head = `{'descr': '<f4', 'fortran_order': False, 'shape': (${list}), }`;
  head += ' '.repeat(63 - ((10 + head.length) % 64)) + '\n';
  const start = Buffer.alloc(10);
  start.write('\x93NUMPY\x01\x00', 'latin1');
  start.writeUInt16LE(head.length, 8);
  fs.writeFileSync(file, Buffer.concat([start, Buffer.from(head, 'latin1'),
    Buffer.from(data.buffer, data.byteOffset, data.byteLength)]));
}
