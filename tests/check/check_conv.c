/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Convolution rows against conv_ref: hand-picked shapes with extreme data, then random ones.  Every
 * run is cut into row ranges at random, as threads would, with a work buffer of garbage.
 */
#include "check.h"

#include <stdio.h>
#include <string.h>

typedef struct conv_case {
    bl_conv_shape s;
    int pattern; /* of the input codes, see random_codes */
    int weights; /* 0 random, 1 all least, 2 all greatest, 3 least and greatest in turn, 4 most far from the ends */
    char text[320];
} conv_case;

/* Input, weights and constants of a case; buffers in guard pages. */
typedef struct conv_data {
    guard in, codes, bias, mult, wanted;
    int32_t zero_in, zero_out, lo, hi;
} conv_data;

static int64_t conv_k(const bl_conv_shape *s)
{
    return (int64_t)s->kernel_h * s->kernel_w * (s->in_c / s->groups);
}

static size_t in_elements(const bl_conv_shape *s)
{
    return (size_t)s->in_h * (size_t)s->in_w * (size_t)s->in_c;
}

static size_t out_bytes(const bl_conv_shape *s)
{
    return (size_t)s->out_h * (size_t)s->out_w * (size_t)s->out_c * (s->out_bits > 8 ? 2 : 1);
}

static void describe(conv_case *c, const char *kind, uint64_t number)
{
    const bl_conv_shape *s = &c->s;
    snprintf(
        c->text, sizeof c->text,
        "%s case %llu: in %dx%dx%d out %dx%dx%d groups %d kernel %dx%d stride %dx%d dilation %dx%d "
        "pad %d,%d bits in %d out %d weights %d acc64 %d patterns %d %d",
        kind, (unsigned long long)number, s->in_h, s->in_w, s->in_c, s->out_h, s->out_w, s->out_c,
        s->groups, s->kernel_h, s->kernel_w, s->stride_h, s->stride_w, s->dilation_h, s->dilation_w,
        s->pad_top, s->pad_left, s->in_bits, s->out_bits, s->weight_bits, s->acc64, c->pattern,
        c->weights);
}

static int8_t weight_code(bl_rng *r, const conv_case *c, size_t i)
{
    int32_t least = -(1 << (c->s.weight_bits - 1)), most = -least - 1;
    if (c->s.weight_bits == 1) most = 1;
    if (c->weights == 1) return (int8_t)least;
    if (c->weights == 2) return (int8_t)most;
    if (c->weights == 3) return (int8_t)(i % 2 ? most : least);
    if (c->s.weight_bits == 1) return random_chance(r, 0.5) ? 1 : -1; /* there is no 0 */
    if (c->weights == 4 && !random_chance(r, 0.02)) return (int8_t)((random_between(r, least, most) + random_between(r, least, most)) / 6);
    return (int8_t)random_between(r, least, most);
}

/* The bias leaves room for the proof of [Q4] unless the shape asks for int64; the multipliers bring
 * the outputs into range, mostly. */
static conv_data make_data(bl_rng *r, const conv_case *c, bool at_end)
{
    const bl_conv_shape *s = &c->s;
    size_t k = (size_t)conv_k(s), oc = (size_t)s->out_c;
    conv_data d;
    d.in = guard_new(in_elements(s) * (s->in_bits > 8 ? 2 : 1), at_end);
    d.codes = guard_new(oc * k, at_end);
    d.bias = guard_new(oc * sizeof(int32_t), at_end);
    d.mult = guard_new(oc * sizeof(float), at_end);
    d.wanted = guard_new(out_bytes(s), at_end);
    random_codes(r, d.in.data, s->in_bits, in_elements(s), c->pattern);
    for (size_t i = 0; i < oc * k; i++) ((int8_t *)d.codes.data)[i] = weight_code(r, c, i);
    d.zero_in = random_chance(r, 0.4) ? 0 : random_code(r, s->in_bits); /* 0: borders need no work */
    int64_t reach = (int64_t)k * ((1 << s->in_bits) - 1) * (1 << (s->weight_bits - 1));
    int64_t room = s->acc64 ? INT32_MAX : BL_MIN((int64_t)1 << 30, INT32_MAX - reach);
    double typical = (double)reach / 4 / sqrt((double)k);
    for (size_t i = 0; i < oc; i++) {
        int64_t span = random_chance(r, 0.1) ? room : BL_MIN(room, (int64_t)typical);
        ((int32_t *)d.bias.data)[i] = (int32_t)random_between(r, -span, span);
        double m = (1 << s->out_bits) / typical * random_log(r, 0.05, 4);
        if (random_chance(r, 0.05)) m *= random_log(r, 1e-6, 1e6);
        ((float *)d.mult.data)[i] = (float)m;
    }
    d.zero_out = random_chance(r, 0.3) ? 0 : random_code(r, s->out_bits); /* 0: as behind a ReLU */
    d.lo = 0;
    d.hi = (1 << s->out_bits) - 1;
    if (random_chance(r, 0.3)) {
        d.lo = random_code(r, s->out_bits);
        d.hi = (int32_t)random_between(r, d.lo, d.hi);
    }
    return d;
}

static bl_conv_args args_of(const conv_case *c, const conv_data *d, void *out)
{
    return (bl_conv_args){
        .s = c->s,
        .in = d->in.data,
        .out = out,
        .bias = (const int32_t *)d->bias.data,
        .mult = (const float *)d->mult.data,
        .zero_in = d->zero_in,
        .zero_out = d->zero_out,
        .lo = d->lo,
        .hi = d->hi,
    };
}

/* Packs and runs one row over the whole output, in ranges of rows; add: NULL or the sum at its end. */
static bool run_row(bl_rng *r, const bl_conv_row *row, const conv_case *c, const conv_data *d,
                    void *out, bool at_end, const bl_conv_add *add)
{
    bl_conv_args a = args_of(c, d, out);
    a.add = add;
    guard packed = guard_new(row->packed_bytes(&c->s), at_end);
    guard work = guard_new(row->work_bytes(&c->s), at_end);
    row->pack(&c->s, (const int8_t *)d->codes.data, d->zero_in, a.bias, packed.data);
    a.packed = packed.data;
    a.work = work.data;
    int32_t parts = row->parts ? (int32_t)row->parts(&c->s) : 1;
    while (a.row_end < c->s.out_h) {
        a.row_begin = a.row_end;
        a.row_end = (int32_t)random_between(r, a.row_begin, c->s.out_h);
        if (random_chance(r, 0.5)) a.row_end = c->s.out_h;
        a.part_begin = a.part_end = 0;
        if (parts < 2 || random_chance(r, 0.5)) {
            row->run(&a);
            continue;
        }
        for (int32_t cut = (int32_t)random_between(r, 1, parts - 1); a.part_end < parts;) {
            a.part_begin = a.part_end;
            a.part_end = a.part_begin ? parts : cut;
            row->run(&a);
        }
    }
    bool intact = guard_free(&packed);
    return guard_free(&work) && intact;
}

/* The row with a sum at its end against the reference's convolution and the reference's Add behind it. */
static void check_sum(check *k, size_t row, const conv_case *c, const conv_data *d, bl_rng *r, bool at_end)
{
    size_t n = out_bytes(&c->s);
    guard with = guard_new(n, at_end), wanted = guard_new(n, at_end), out = guard_new(n, at_end);
    random_codes(r, with.data, c->s.out_bits, n, c->pattern);
    bl_pair_args a = {.a = d->wanted.data, .b = with.data, .out = wanted.data, .a_bits = 8, .b_bits = 8, .out_bits = 8,
                      .rank = 1, .size = {(int64_t)n}, .a_stride = {1}, .b_stride = {1}, .out_stride = {1}, .outer_end = (int64_t)n};
    a.ga = (bl_grid){.scale = (float)random_log(r, 0.01, 1), .zero = random_code(r, 8)};
    a.gb = (bl_grid){.scale = (float)random_log(r, 0.01, 1), .zero = random_code(r, 8)};
    a.gy = (bl_grid){.scale = (float)random_log(r, 0.01, 2), .zero = random_code(r, 8), .lo = random_code(r, 4), .hi = 255 - random_code(r, 4)};
    bool first = random_chance(r, 0.5);
    if (!first) {
        a.a = with.data;
        a.b = d->wanted.data;
    }
    ((const bl_pair_row *)check_reference(BL_C_ADD)->row)->run(&a);
    bl_conv_add add = bl_conv_add_of(&a, first);
    bool kept = run_row(r, bl_kernels[row].row, c, d, out.data, at_end, &add);
    check_compare(k, row, c->text, out.data, wanted.data, n, 1, kept);
    guard_free(&with);
    guard_free(&wanted);
    guard_free(&out);
}

static bool anyone_fits(const check *k, const bl_conv_shape *s)
{
    for (size_t i = 0; i < bl_n_kernels; i++)
        if (check_wanted(k, i, BL_C_CONV) && ((const bl_conv_row *)bl_kernels[i].row)->fits(s)) return true;
    return false;
}

static void check_case(check *k, const conv_case *c, bl_rng *r)
{
    if (!anyone_fits(k, &c->s)) return; /* the reference alone would only take time */
    bool at_end = random_chance(r, 0.5);
    conv_data d = make_data(r, c, at_end);
    guard_case("conv_ref", c->text);
    bool intact = run_row(r, check_reference(BL_C_CONV)->row, c, &d, d.wanted.data, at_end, NULL);
    for (size_t i = 0; i < bl_n_kernels; i++) {
        if (!check_wanted(k, i, BL_C_CONV)) continue;
        const bl_conv_row *row = bl_kernels[i].row;
        if (!row->fits(&c->s)) continue;
        guard_case(row->name, c->text);
        guard out = guard_new(out_bytes(&c->s), at_end);
        bool kept = run_row(r, row, c, &d, out.data, at_end, NULL);
        check_compare(k, i, c->text, out.data, d.wanted.data, out.size, c->s.out_bits > 8 ? 2 : 1,
                      kept && intact);
        guard_free(&out);
        if (row->adds && row->adds(&c->s)) check_sum(k, i, c, &d, r, at_end);
    }
    guard_free(&d.in);
    guard_free(&d.codes);
    guard_free(&d.bias);
    guard_free(&d.mult);
    guard_free(&d.wanted);
}

/* clang-format off */
/* in_h in_w in_c out_h out_w out_c groups, kernel, stride, dilation, pad */
static const bl_conv_shape corners[] = {
    {1, 1, 1, 1, 1, 1, 1,       1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0},
    {1, 1, 1, 4, 4, 1, 1,       1, 1, 1, 1, 1, 1, 2, 2, 0, 0, 0, 0},  /* windows wholly outside */
    {4, 5, 16, 4, 5, 16, 1,     1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0},
    {6, 5, 7, 6, 5, 17, 1,      3, 3, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0},  /* K 63 */
    {6, 5, 64, 6, 5, 15, 1,     1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0},  /* K 64 */
    {5, 7, 65, 5, 7, 33, 1,     1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0},  /* K 65 */
    {7, 7, 16, 7, 7, 16, 1,     3, 3, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0},
    {9, 8, 3, 5, 4, 20, 1,      3, 3, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0},
    {11, 9, 4, 4, 3, 6, 1,      5, 3, 2, 3, 1, 2, 1, 2, 0, 0, 0, 0},
    {3, 3, 5, 3, 3, 4, 1,       5, 5, 1, 1, 1, 1, 2, 2, 0, 0, 0, 0},  /* kernel larger than image */
    {6, 6, 8, 6, 6, 12, 2,      3, 3, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0},
    {6, 5, 9, 3, 3, 9, 3,       3, 3, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0},
    {7, 6, 5, 7, 6, 10, 5,      3, 3, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0},  /* depthwise, multiplier 2 */
    {1, 1, 300, 1, 1, 10, 1,    1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0},  /* fully connected */
    {3, 1, 2000, 3, 1, 21, 1,   1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0},
    {8, 8, 1, 8, 8, 1, 1,       3, 3, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0},
    {8, 7, 24, 8, 7, 24, 24,    3, 3, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0},  /* depthwise from here */
    {9, 9, 33, 5, 5, 33, 33,    3, 3, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0},
    {9, 9, 16, 9, 9, 16, 16,    5, 5, 1, 1, 1, 1, 2, 2, 0, 0, 0, 0},
    {12, 10, 3, 4, 3, 3, 3,     3, 3, 3, 4, 2, 2, 2, 1, 0, 0, 0, 0},
    {1, 20, 40, 1, 18, 40, 40,  1, 3, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0},
    {4, 4, 64, 4, 4, 64, 64,    4, 4, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0},  /* 16 taps: 16-bit bound */
    {6, 6, 32, 3, 3, 32, 32,    1, 1, 2, 2, 1, 1, 0, 0, 0, 0, 0, 0},
    {5, 6, 14, 5, 6, 65, 1,     3, 3, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0},  /* tables of look-ups from here */
    {9, 5, 50, 5, 5, 130, 1,    3, 3, 2, 1, 1, 1, 1, 1, 0, 0, 0, 0},
    {7, 9, 61, 3, 5, 200, 1,    3, 3, 1, 1, 2, 2, 0, 0, 0, 0, 0, 0},
    {1, 1, 300, 1, 1, 70, 1,    1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0},
    {3, 1, 129, 3, 1, 530, 1,   1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0},
    {2, 2, 8, 5, 5, 8, 8,       3, 3, 1, 1, 1, 1, 3, 3, 0, 0, 0, 0},
    {7, 7, 8, 7, 7, 100, 1,     3, 3, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0},  /* tiles that end with a row from here */
    {8, 8, 12, 8, 8, 20, 1,     3, 3, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0},
    {5, 14, 4, 5, 14, 48, 1,    3, 5, 1, 1, 1, 1, 1, 2, 0, 0, 0, 0},
    {9, 32, 8, 5, 16, 40, 1,    3, 3, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0},
    {3, 3, 4, 9, 7, 33, 1,      3, 3, 1, 1, 1, 1, 4, 3, 0, 0, 0, 0},
    {6, 13, 8, 3, 7, 17, 1,     4, 4, 2, 2, 2, 1, 3, 2, 0, 0, 0, 0},
    {9, 13, 16, 9, 13, 96, 1,   1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0},  /* streams of tiles from here */
    {8, 9, 20, 8, 9, 24, 1,     1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0},
    {7, 9, 36, 7, 9, 39, 1,     1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0},
    {12, 15, 12, 12, 15, 13, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0},
    {1, 2, 16, 1, 2, 64, 1,     1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0},  /* weights in registers */
    {1, 3, 16, 1, 3, 96, 1,     1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0},
    {2, 2, 16, 2, 2, 144, 1,    1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0},
    {9, 9, 16, 5, 5, 64, 1,     1, 1, 2, 2, 1, 1, 0, 0, 0, 0, 0, 0},
    {5, 7, 24, 5, 7, 16, 1,     1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0},
    {6, 9, 32, 6, 9, 80, 1,     1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0},
    {3, 3, 31, 3, 3, 10, 1,     1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0},
    {1, 13, 8, 1, 13, 16, 1,    3, 3, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0},  /* of which the middle row lies inside */
    {5, 29, 5, 5, 29, 57, 1,    3, 3, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0},
    {40, 57, 3, 20, 29, 40, 1,  3, 3, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0},
    {13, 25, 3, 7, 13, 16, 1,   3, 3, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0},  /* streams with side planes from here */
    {16, 32, 3, 8, 16, 24, 1,   3, 3, 2, 2, 1, 1, 0, 0, 0, 0, 0, 0},
    {9, 21, 3, 9, 21, 40, 1,    3, 3, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0},
    {10, 38, 3, 5, 19, 48, 1,   3, 3, 2, 2, 1, 1, 0, 1, 0, 0, 0, 0},
    {7, 40, 3, 7, 40, 130, 1,   3, 3, 1, 1, 1, 1, 1, 2, 0, 0, 0, 0},
    {9, 30, 3, 9, 33, 9, 1,     3, 3, 1, 1, 2, 1, 2, 3, 0, 0, 0, 0},
    {19, 600, 3, 10, 300, 8, 1, 3, 3, 2, 2, 1, 1, 1, 0, 0, 0, 0, 0},  /* more than one block of rows */
    {23, 45, 3, 12, 23, 64, 1,  7, 7, 2, 2, 1, 1, 3, 3, 0, 0, 0, 0},
    {12, 24, 3, 12, 24, 23, 1,  7, 7, 1, 1, 1, 1, 3, 3, 0, 0, 0, 0},
    {6, 40, 1, 5, 14, 50, 1,    4, 13, 1, 3, 1, 1, 1, 6, 0, 0, 0, 0},
    {4, 9, 3, 4, 40, 17, 1,     2, 7, 1, 1, 1, 1, 0, 20, 0, 0, 0, 0}, /* windows wholly outside */
    {6, 21, 8, 6, 21, 16, 1,    3, 3, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0},  /* products of eight activations from here */
    {4, 16, 16, 4, 16, 16, 1,   3, 3, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0},
    {5, 14, 24, 5, 14, 80, 1,   3, 3, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0},
    {3, 17, 40, 3, 17, 13, 1,   1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0},
    {7, 9, 16, 4, 5, 9, 1,      3, 3, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0},
    {8, 11, 48, 8, 11, 32, 2,   3, 3, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0},
    {4, 6, 272, 4, 6, 16, 1,    1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0},
    {9, 31, 70, 9, 31, 70, 70,  3, 3, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0},  /* windows that slide from here */
    {11, 30, 100, 6, 15, 100, 100, 5, 5, 2, 2, 1, 1, 2, 2, 0, 0, 0, 0},
    {13, 13, 150, 7, 7, 150, 150, 3, 3, 2, 2, 1, 1, 0, 0, 0, 0, 0, 0},
    {9, 9, 65, 11, 8, 65, 65,   5, 5, 1, 1, 1, 1, 3, 2, 0, 0, 0, 0},
    {9, 7, 64, 9, 7, 64, 64,    3, 3, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0},  /* in two halves of the lanes from here */
    {5, 28, 128, 4, 28, 128, 128, 3, 3, 1, 1, 1, 1, 0, 1, 0, 0, 0, 0},
    {4, 13, 103, 6, 13, 103, 103, 3, 3, 1, 1, 1, 1, 2, 1, 0, 0, 0, 0},
    {25, 6, 33, 25, 6, 33, 33,  3, 3, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0},
    {7, 14, 32, 7, 14, 32, 32,  3, 3, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0},  /* two pixels side by side */
    {3, 40, 32, 3, 40, 32, 32,  3, 3, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0},
    {5, 5, 260, 5, 5, 64, 1,    1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0},  /* tiles of uneven sizes from here */
    {7, 7, 260, 7, 7, 48, 1,    1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0},
    {7, 7, 260, 7, 7, 40, 1,    1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0},
    {7, 7, 260, 7, 7, 16, 1,    1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0},
    {6, 9, 32, 6, 9, 32, 8,     3, 3, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0},  /* groups of 4, 8 and 16 channels from here */
    {7, 8, 72, 5, 6, 72, 9,     3, 3, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0},
    {9, 31, 80, 5, 16, 80, 5,   3, 3, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0},
    {8, 11, 68, 4, 7, 68, 17,   3, 3, 2, 2, 2, 1, 3, 2, 0, 0, 0, 0},
    {9, 13, 48, 9, 13, 48, 3,   3, 3, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0},
    {9, 10, 64, 5, 9, 64, 8,    5, 5, 2, 1, 1, 2, 2, 3, 0, 0, 0, 0},
    {5, 7, 128, 5, 7, 128, 8,   1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0},
    {3, 2, 32, 3, 30, 32, 4,    3, 3, 1, 1, 1, 1, 1, 14, 0, 0, 0, 0}, /* windows wholly outside */
    {1, 1, 70, 1, 1, 250, 1,    1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0},  /* fully connected, whole blocks and a part */
    {2, 4, 128, 2, 4, 1010, 1,  3, 3, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0},  /* a mebibyte of weights and more from here */
    {3, 5, 90, 2, 3, 1296, 1,   3, 3, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0},
    {1, 40, 1024, 1, 39, 1030, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0},
};
static const int32_t widths[][4] = { /* in, out, weights, acc64 */
    {8, 8, 8, 0}, {8, 8, 4, 0}, {4, 4, 2, 0}, {8, 16, 8, 0},
    {8, 8, 1, 0}, {1, 8, 1, 0}, {2, 2, 1, 0}, {4, 8, 1, 0}, {2, 8, 2, 0}, {16, 16, 8, 1}, {16, 8, 5, 1}, {7, 3, 7, 0},
    {6, 6, 6, 0}, {7, 8, 5, 0}, {4, 8, 8, 0}, {5, 8, 7, 0}, {8, 8, 7, 0}, {7, 8, 7, 0},
};
/* clang-format on */

static void check_corners(check *k)
{
    uint64_t number = 0;
    for (size_t i = 0; i < BL_COUNTOF(corners); i++)
        for (size_t w = 0; w < BL_COUNTOF(widths); w++)
            for (int data = 0; data < 5; data++) {
                if (number % k->one_of != k->seed % k->one_of) {
                    number++;
                    continue;
                }
                bl_rng r = bl_rng_make(k->seed, "conv corner", number);
                conv_case c = {
                    .s = corners[i], .pattern = data ? 1 + data % 3 : 0, .weights = data};
                c.s.in_bits = widths[w][0];
                c.s.out_bits = widths[w][1];
                c.s.weight_bits = widths[w][2];
                c.s.acc64 = widths[w][3];
                describe(&c, "corner", number++);
                check_case(k, &c, &r);
            }
}

/* Output size for uneven padding: more at the end than at the start, or less. */
static int32_t out_size(bl_rng *r, int32_t in, int32_t kernel, int32_t stride, int32_t dilation,
                        int32_t *pad)
{
    int32_t reach = (kernel - 1) * dilation + 1;
    *pad = (int32_t)random_between(r, 0, random_chance(r, 0.1) ? reach : reach - 1);
    int32_t end = (int32_t)random_between(r, 0, reach - 1);
    int32_t room = in + *pad + end - reach;
    return room < 0 ? 1 : room / stride + 1;
}

static bl_conv_shape random_shape(bl_rng *r)
{
    bl_conv_shape s = {0};
    int kind = (int)random_between(r, 0, 9);
    s.kernel_h = (int32_t)(kind < 3 ? 1 : random_between(r, 1, 5));
    s.kernel_w = (int32_t)(kind < 3                ? 1
                           : random_chance(r, 0.7) ? s.kernel_h
                                                   : random_between(r, 1, 5));
    s.stride_h = (int32_t)random_between(r, 1, random_chance(r, 0.5) ? 1 : 3);
    s.stride_w = (int32_t)random_between(r, 1, random_chance(r, 0.5) ? 1 : 3);
    s.dilation_h = (int32_t)random_between(r, 1, random_chance(r, 0.8) ? 1 : 3);
    s.dilation_w = (int32_t)random_between(r, 1, random_chance(r, 0.8) ? 1 : 3);
    s.in_h = (int32_t)random_between(r, 1, 12);
    s.in_w = (int32_t)random_between(r, 1, 14);
    s.in_c = (int32_t)random_between(r, 1, random_chance(r, 0.3) ? 100 : 20);
    s.out_c = (int32_t)random_between(r, 1, random_chance(r, 0.3) ? 70 : 20);
    s.groups = 1;
    if (kind >= 7) {
        s.groups = s.in_c = (int32_t)random_between(r, 1, 70);
        s.out_c = s.in_c * (kind == 9 && s.in_c < 12 ? 2 : 1);
    } else if (kind == 6) {
        s.groups = (int32_t)random_between(r, 2, 4);
        s.in_c = s.groups * (int32_t)random_between(r, 1, 20);
        s.out_c = s.groups * (int32_t)random_between(r, 1, 20);
    }
    if (random_chance(r, 0.1)) { /* fully connected, or a kernel as large as the image */
        s.groups = s.dilation_h = s.dilation_w = 1;
        s.in_h = s.kernel_h;
        s.in_w = s.kernel_w;
        s.out_h = s.out_w = 1;
    } else {
        s.out_h = out_size(r, s.in_h, s.kernel_h, s.stride_h, s.dilation_h, &s.pad_top);
        s.out_w = out_size(r, s.in_w, s.kernel_w, s.stride_w, s.dilation_w, &s.pad_left);
    }
    s.in_bits = random_bits(r);
    s.out_bits = random_bits(r);
    s.weight_bits = (int32_t)(random_chance(r, 0.5) ? 8 : random_between(r, 1, 8));
    if (random_chance(r, 0.15)) { /* both narrow, channels enough for look-ups */
        s.weight_bits = (int32_t)random_between(r, 1, 2);
        s.in_bits = (int32_t)random_between(r, 1, 4);
        if (s.groups == 1) s.out_c = (int32_t)random_between(r, 48, 200);
    }
    /* A proof of the int32 bound exists with half of int32 to spare for the bias. */
    s.acc64 = conv_k(&s) * ((1 << s.in_bits) - 1) * (1 << (s.weight_bits - 1)) >= 1 << 30;
    return s;
}

void check_conv(check *k)
{
    check_corners(k);
    for (uint64_t number = 0; check_time_left(k); number++) {
        bl_rng r = bl_rng_make(k->seed, "conv random", number);
        conv_case c = {.s = random_shape(&r)};
        if (random_chance(&r, 0.2)) c.pattern = (int)random_between(&r, 1, 3);
        if (random_chance(&r, 0.3)) c.weights = (int)random_between(&r, 1, 4);
        describe(&c, "random", number);
        check_case(k, &c, &r);
    }
}
