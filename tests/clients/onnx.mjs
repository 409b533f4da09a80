// SPDX-License-Identifier: BSD-3-Clause
// The little of an ONNX file that the comparison needs: which operators stand in it.
import fs from 'node:fs';

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
    else if (wire === 1) yield [field, b.subarray(at, at += 8)];
    else if (wire === 5) yield [field, b.subarray(at, at += 4)];
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
