// SPDX-License-Identifier: BSD-3-Clause
// The little of an ONNX file that the comparison needs: which operators stand in it, and cutting it
// into operators.
import fs from 'node:fs';

// Numbers of fixed size are kept as they stand, key and all.
function fixed(key, v) {
  return { raw: Buffer.concat([varint(key), v]) };
}

function* fields(b) {
  let at = 0;
  const varint = () => {
    let v = 0, scale = 1;
    for (;;) {
      const byte = b[at++];
      v += (byte & 127) * scale;
      if (byte < 128) return v;
      scale *= 128;
    }
  };
  while (at < b.length) {
    const key = varint();
    const field = Math.floor(key / 8), wire = key % 8;
    if (wire === 0) yield [field, varint()];
    else if (wire === 1) yield [field, fixed(key, b.subarray(at, at += 8))];
    else if (wire === 5) yield [field, fixed(key, b.subarray(at, at += 4))];
    else {
      const n = varint();
      yield [field, b.subarray(at, at += n)];
    }
  }
}

function only(b, field) {
  const found = [];
  for (const [f, v] of fields(b)) if (f === field) found.push(v);
  return found;
}

// Names of operators in order, e.g. ["QuantizeLinear", "QLinearConv", ...].
export function operators(file) {
  const graph = only(fs.readFileSync(file), 7)[0];
  return only(graph, 1).map((node) => only(node, 4)[0].toString());
}

// Which operator gives a tensor, by the tensor's name: of one that a Reshape only renames, who gave what it reads.
export function givers(file) {
  const of = {};
  for (const node of only(only(fs.readFileSync(file), 7)[0], 1)) {
    const op = only(node, 4)[0].toString();
    const from = op === 'Reshape' ? of[only(node, 1)[0].toString()] : undefined;
    for (const name of only(node, 2)) of[name.toString()] = from ?? op;
  }
  return of;
}

function varint(n) {
  const out = [];
  for (; n > 127; n = Math.floor(n / 128)) out.push((n % 128) | 128);
  out.push(n);
  return Buffer.from(out);
}

const whole = (field, v) => Buffer.concat([varint(field * 8), varint(v)]);
const bytes = (field, b) => Buffer.concat([varint(field * 8 + 2), varint(b.length), b]);

// A message with some of its fields changed: change(field, value) gives a list of values, null: as
// it is.
function rewrite(message, change) {
  const out = [];
  for (const [field, v] of fields(message)) {
    const to = change(field, v);
    if (to) for (const one of to) out.push(bytes(field, one));
    else out.push(typeof v === 'number' ? whole(field, v) : v.raw ? v.raw : bytes(field, v));
  }
  return Buffer.concat(out);
}

const names = (ports) => ports.map((port) => only(port, 1)[0].toString());

// The model with every wire in `given` (name -> { type, shape }) cut: who reads it reads an input
// "NAME_given" instead, so that each operator runs on the numbers that it is handed.
export function cut(file, given, to) {
  const inputOf = (name) => {
    const dims = given[name].shape.map((d) => bytes(1, whole(1, d)));
    const tensor = Buffer.concat([whole(1, given[name].type), bytes(2, Buffer.concat(dims))]);
    return Buffer.concat([bytes(1, Buffer.from(`${name}_given`)), bytes(2, bytes(1, tensor))]);
  };
  const node = (n) => rewrite(n, (field, v) =>
    (field === 1 && given[v.toString()] ? [Buffer.from(`${v}_given`)] : null));
  const model = rewrite(fs.readFileSync(file), (field, graph) => {
    if (field !== 7) return null;
    const changed = rewrite(graph, (f, v) => (f === 1 ? [node(v)] : null));
    return [Buffer.concat([changed, ...Object.keys(given).map((name) => bytes(11, inputOf(name)))])];
  });
  fs.writeFileSync(to, model);
}

// Dimensions of an input as `--dim` names them: of no fixed size, each with name and axis.
export function freeDims(file, input) {
  const port = only(only(fs.readFileSync(file), 7)[0], 11)
    .find((p) => only(p, 1)[0].toString() === input);
  const shape = only(only(only(port, 2)[0], 1)[0], 2)[0];
  return only(shape, 1).map((d, axis) => {
    const fixedAt = only(d, 1)[0] > 0 && only(d, 1)[0] < 2 ** 31;
    return { axis, name: fixedAt ? '' : only(d, 2)[0]?.toString() || `${input}:${axis}` };
  });
}

export function outputs(file) {
  return names(only(only(fs.readFileSync(file), 7)[0], 12));
}
