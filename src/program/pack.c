/* SPDX-License-Identifier: BSD-3-Clause */
/* Canonical bit-packed weights: what the plan promised is what the file holds. */
#include "program/program.h"

#include <string.h>

size_t bl_packed_bytes(size_t n, int bits)
{
    return (n * (size_t)bits + 7) / 8;
}

void bl_pack_codes(const int8_t *codes, size_t n, int bits, uint8_t *out)
{
    memset(out, 0, bl_packed_bytes(n, bits));
    for (size_t i = 0, at = 0; i < n; i++, at += (size_t)bits) {
        unsigned code = bits == 1 ? codes[i] > 0 : (unsigned)codes[i] & ((1u << bits) - 1);
        unsigned shifted = code << (at % 8);
        out[at / 8] |= (uint8_t)shifted;
        if (shifted > 255) out[at / 8 + 1] |= (uint8_t)(shifted >> 8);
    }
}

void bl_unpack_codes(const uint8_t *packed, size_t n, int bits, int8_t *codes)
{
    for (size_t i = 0, at = 0; i < n; i++, at += (size_t)bits) {
        unsigned word = packed[at / 8];
        if (at % 8 + (size_t)bits > 8) word |= (unsigned)packed[at / 8 + 1] << 8;
        unsigned code = (word >> (at % 8)) & ((1u << bits) - 1);
        if (bits == 1) codes[i] = code ? 1 : -1;
        else codes[i] = (int8_t)((int)(code ^ (1u << (bits - 1))) - (1 << (bits - 1)));
    }
}

size_t bl_conv_weight_bytes(const bl_step_conv *v, size_t n)
{
    return bl_packed_bytes(n, v->index_bits ? v->index_bits : v->s.weight_bits);
}

void bl_conv_codes(const bl_program *p, const bl_step_conv *v, size_t n, int8_t *codes)
{
    const int8_t *table = v->index_bits ? (const int8_t *)p->constants + v->table : NULL;
    int half = v->index_bits ? 1 << (v->index_bits - 1) : 0;

    bl_unpack_codes(p->constants + v->weights, n, v->index_bits ? v->index_bits : v->s.weight_bits, codes);
    size_t k = n / (size_t)BL_MAX(v->s.out_c, 1), group = (size_t)v->group, groups = group ? (k + group - 1) / group : 0;
    for (size_t i = 0; group && i < n; i++) codes[i] = (int8_t)(codes[i] * ((const uint8_t *)table)[i / k * groups + i % k / group]);
    for (size_t i = 0; v->index_bits && !group && i < n; i++) /* one bit unpacks to -1 and 1 */
        codes[i] = table[v->index_bits == 1 ? codes[i] > 0 : codes[i] + half];
}
