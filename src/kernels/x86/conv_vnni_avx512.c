/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Convolution with vpdpbusd on tiles of up to 6 positions x 64 channels or 8 x 48 (conv_vnni_tiles.h): four
 * activations are broadcast to all channels of a vector, so no sum across a vector is left to do.  Direct: see
 * direct.h.
 *
 * 16-bit activations are two byte planes, q = 256 h + l, that take two positions of a tile.  Their
 * sums and those of acc64 shapes leave the registers in natural order and are joined in int64;
 * TILE_K_MAX products of a byte fit int32.  All other sums are taken modulo 2^32 [Q4].
 *
 * Packed: folded biases (int32 or int64) of whole vectors, then weights as [group][channel block]
 * [run][4 activations][vector][16 channels][4]; of a single vector where it pays
 * [run][8 activations][even, odd channels][8 channels][8].  First layers, whose runs leave one activation over, have
 * those of all runs behind the runs, four at a time (conv_vnni_side.h).
 */
#include "kernels/rows.h"

#if defined(__x86_64__)
#include "kernels/plain/direct.h"
#include "kernels/x86/conv_vnni_resident.h"
#include "kernels/x86/conv_vnni_side.h"

enum { VNNI_K_MAX = 65793, VNNI_EDGE_W = 32, VNNI_NEAR = 192 << 10, VNNI_NEAR_WEIGHTS = 12 << 10, VNNI_STREAM_STEPS = 64 };

typedef struct vnni_plan {
    direct_plan d;
    size_t vectors;             /* of a group's channels */
    size_t blocks;              /* of a group's vectors */
    size_t even, evens;         /* vectors and blocks but for a half one; sizes differ by one, evenly spread */
    bool full_first;            /* instead: blocks of VNNI_Z, what is left in the last one */
    bool half;                  /* the last block has one vector and half of one */
    size_t side;                /* side planes for the last bytes of the runs (conv_vnni_side.h), or 0 */
    size_t side_plane;          /* bytes of one */
    size_t side_lead;           /* bytes before the slab */
    bool paired;                /* blocks of one vector have products of eight activations */
    size_t steps;               /* of 4 activations, in all runs */
    bool wide;                  /* sums joined in int64 */
    bool mixed;                 /* channels in the order of requant_store64 and 32 */
    int64_t out_w;
    size_t edge;                /* positions of a tile that ends with a row of outputs: 7 or 8; or 0 */
    size_t left, right;         /* bytes of a run outside the image at the first, the last output of a row */
    size_t bias_bytes, weight_bytes, group_bytes, mult_bytes;
} vnni_plan;

/* Tiles that end with the rows of outputs pay where rows are short and tiles fill them. */
static void vnni_edges(const bl_conv_shape *s, vnni_plan *p)
{
    int64_t last = (int64_t)(s->out_w - 1) * s->stride_w + s->kernel_w - s->pad_left - s->in_w;
    if (p->d.in_place || p->d.planes == 2 || s->groups > 1 || s->dilation_w > 1 || p->d.icg % 4 ||
        s->out_w > VNNI_EDGE_W || (s->out_w % 7 && s->out_w % 8))
        return;
    p->left = (size_t)BL_MIN(BL_MAX(s->pad_left, 0), s->kernel_w) * p->d.icg;
    p->right = (size_t)BL_MIN(BL_MAX(last, 0), s->kernel_w) * p->d.icg;
    if (p->left + p->right == 0 || p->left + p->right > p->d.run) return;
    p->edge = s->out_w % 8 ? 7 : 8;
}

/* Short K: sums become bytes so often that it must go beside the products, and best by whole vectors of bytes. */
static bool vnni_streams_pay(const vnni_plan *p)
{
    return p->mixed && p->d.run_step >= 12 && p->steps <= VNNI_STREAM_STEPS;
}

/* Side planes: a fourth of the runs.  Their streams end with the rows of outputs, where a tile does some positions again,
 * and have no end that adds. */
static void vnni_sides(const bl_conv_shape *s, vnni_plan *p)
{
    bool two = p->d.runs == 3 && p->d.run / 4 == 2, any = p->d.run / 4 >= VNNI_FIRST;
    size_t spacing = (size_t)s->stride_w * (size_t)s->in_c, width = (size_t)s->out_w;
    size_t sides = (p->d.runs + 3) / 4, steps = p->d.runs * (p->d.run / 4) + sides;
    size_t done = (width + SIDE_WIDEST - 1) / SIDE_WIDEST * SIDE_WIDEST;
    if (s->groups > 1 || p->d.run % 4 != 1 || !(two || any) || width < SIDE_WIDEST || done * steps >= width * p->steps ||
        (spacing != SIDE_ODD && spacing != SIDE_EVEN) || !vnni_streams_pay(p))
        return;
    p->side = sides;
    p->steps = steps;
    p->side_lead = (4 - (p->d.run - 1)) % 64; /* side_put() */
    p->side_plane = bl_round64((size_t)p->d.block_rows * width * 4 + 64);
    p->d.slab_row = bl_round64(p->d.slab_row);
    p->d.slab_plane = (size_t)((p->d.block_rows - 1) * s->stride_h + p->d.reach_h) * p->d.slab_row;
    p->d.slab_bytes = bl_round64(p->side_lead + p->d.slab_plane + SIDE_SLACK);
}

static vnni_plan vnni_plan_of(const bl_conv_shape *s)
{
    vnni_plan p = {.d = direct_plan_of(s, 4)};
    p.out_w = s->out_w;
    vnni_edges(s, &p);
    size_t most = p.edge ? VNNI_Z - 1 : VNNI_Z;
    p.vectors = (p.d.ocg + 15) / 16;
    p.wide = s->acc64 || p.d.planes == 2;
    p.mixed = !p.wide && s->out_bits <= 8;
    p.half = p.mixed && !p.edge && p.vectors > 1 && (p.d.ocg - 1) % 16 < 8;
    p.even = p.vectors - (p.half ? 2 : 0);
    p.evens = (p.even + most - 1) / most;
    p.steps = p.d.runs * p.d.run_step / 4;
    vnni_sides(s, &p);
    p.paired = p.mixed && p.d.icg % 8 == 0 && p.d.run_step >= 8 * VNNI_FIRST && p.steps > VNNI_FEW;
    p.full_first = vnni_streams_pay(&p) && !p.edge;
    if (p.evens > 1 && !p.full_first) p.evens += p.evens % 2; /* two threads find halves */
    p.blocks = p.evens + p.half;
    p.bias_bytes = p.d.groups * p.vectors * 16 * (p.wide ? sizeof(int64_t) : sizeof(int32_t));
    p.group_bytes = p.vectors * p.steps * 64;
    p.weight_bytes = p.d.groups * p.group_bytes;
    p.mult_bytes = p.d.groups * p.vectors * 16 * sizeof(float);
    return p;
}

static bool vnni_fits(const bl_conv_shape *s)
{
    bool wide = s->acc64 || s->in_bits > 8;
    return !wide || bl_conv_taps(s) <= VNNI_K_MAX;
}

static size_t vnni_packed_bytes(const bl_conv_shape *s)
{
    vnni_plan p = vnni_plan_of(s);
    return bl_round64(p.bias_bytes) + p.weight_bytes;
}

static size_t vnni_work_bytes(const bl_conv_shape *s)
{
    vnni_plan p = vnni_plan_of(s);
    return p.mult_bytes + (p.side ? p.d.slab_bytes + p.side * p.side_plane : direct_work_bytes(&p.d));
}

/* Vectors of block b, and its first one. */
static size_t vnni_block(const vnni_plan *p, size_t b, size_t *first)
{
    if (p->half && b + 1 == p->blocks) {
        *first = p->vectors - 2;
        return 2;
    }
    if (p->full_first) {
        *first = b * VNNI_Z;
        return BL_MIN((size_t)VNNI_Z, p->even - *first);
    }
    *first = b * p->even / p->evens;
    return (b + 1) * p->even / p->evens - *first;
}

static bool vnni_is_half(const vnni_plan *p, size_t b)
{
    return p->half && b + 1 == p->blocks;
}

static size_t vnni_form(const vnni_plan *p, size_t b, size_t z)
{
    return vnni_is_half(p, b) ? VNNI_HALF : z == 1 && p->paired ? VNNI_PAIRED : z;
}

/* Place of channel c of block b, of z vectors, among its z * 16 elements: as the ends of tiles want them. */
static size_t vnni_place(const vnni_plan *p, size_t b, size_t z, size_t c)
{
    if (!p->mixed || z == 1 || vnni_is_half(p, b)) return c;
    return c / 4 % z * 16 + c / (4 * z) * 4 + c % 4;
}

/* Step of activation i of run r, and its place among the step's four. */
static size_t vnni_step(const vnni_plan *p, size_t r, size_t i, size_t *place)
{
    bool aside = p->side && i + 1 == p->d.run;
    *place = aside ? r % 4 : i % 4;
    return aside ? p->d.runs * (p->d.run / 4) + r / 4 : r * ((p->side ? p->d.run : p->d.run_step) / 4) + i / 4;
}

static void vnni_pack(const bl_conv_shape *s, const int8_t *codes, int32_t zero_in,
                      const int32_t *bias, void *packed)
{
    vnni_plan p = vnni_plan_of(s);
    size_t k = (size_t)bl_conv_taps(s);
    memset(packed, 0, vnni_packed_bytes(s));
    for (size_t g = 0; g < p.d.groups; g++)
        for (size_t b = 0, first; b < p.blocks; b++) {
            size_t z = vnni_block(&p, b, &first);
            int8_t *w = (int8_t *)packed + bl_round64(p.bias_bytes) + g * p.group_bytes +
                        first * p.steps * 64;
            size_t n = BL_MIN(z * 16, p.d.ocg - first * 16);
            bool paired = vnni_form(&p, b, z) == VNNI_PAIRED;
            for (size_t c = 0; c < n; c++) {
                size_t place = vnni_place(&p, b, z, c), at = (g * p.vectors + first) * 16 + place;
                size_t channel = g * p.d.ocg + first * 16 + c;
                const int8_t *from = codes + channel * k;
                bool twice = vnni_is_half(&p, b) && c >= 16; /* for two positions side by side */
                int64_t sum = 0;
                for (size_t r = 0; r < p.d.runs; r++)
                    for (size_t i = 0; i < p.d.run; i++) {
                        size_t four, step = vnni_step(&p, r, i, &four);
                        int8_t *to = paired ? w + step / 2 * 128 + c % 2 * 64 + c / 2 * 8 + step % 2 * 4
                                            : w + step * z * 64 + place * 4;
                        to[four] = from[r * p.d.run + i];
                        if (twice) w[step * z * 64 + (place + 8) * 4 + four] = from[r * p.d.run + i];
                        sum += from[r * p.d.run + i];
                    }
                int64_t folded = bias[channel] - zero_in * sum;
                if (p.wide)
                    ((int64_t *)packed)[at] = folded;
                else
                    ((uint32_t *)packed)[at] = (uint32_t)(uint64_t)folded;
                if (twice) ((uint32_t *)packed)[at + 8] = (uint32_t)(uint64_t)folded;
            }
        }
}

/* Multipliers of one block in the order of its vectors: z * 16 of them, n of which are channels'. */
static void vnni_mult_block(const vnni_plan *p, size_t b, size_t z, size_t n, const float *from, float *to)
{
    if (!p->mixed || z == 1 || vnni_is_half(p, b)) {
        memcpy(to, from, n * sizeof *to);
        if (n < z * 16) memset(to + n, 0, (z * 16 - n) * sizeof *to);
        if (vnni_is_half(p, b)) memcpy(to + 24, to + 16, 32); /* of two positions side by side */
        return;
    }
    if (n == z * 16) { /* vnni_place() of four at a time: no division, for this is done in every run */
        for (size_t quarter = 0; quarter < 4; quarter++)
            for (size_t v = 0; v < z; v++, from += 4) memcpy(to + v * 16 + quarter * 4, from, 16);
        return;
    }
    memset(to, 0, z * 16 * sizeof *to);
    for (size_t c = 0; c < n; c++) to[vnni_place(p, b, z, c)] = from[c];
}

/* Multipliers of blocks begin to end - 1, each block's at its own place. */
static void vnni_mult(const bl_conv_args *a, const vnni_plan *p, size_t begin, size_t end, float *to)
{
    size_t g = begin / p->blocks, b = begin % p->blocks;
    for (size_t part = begin, first; part < end; part++) {
        size_t z = vnni_block(p, b, &first);
        vnni_mult_block(p, b, z, BL_MIN(z * 16, p->d.ocg - first * 16), a->mult + g * p->d.ocg + first * 16,
                        to + (g * p->vectors + first) * 16);
        if (++b < p->blocks) continue;
        b = 0;
        g++;
    }
}

/* A tile of one to three positions reads as many weights as one of p, and waits for its own sums: n positions are split into tiles
 * of p and some of p - 1 where that leaves nothing over.  How many of p - 1. */
static size_t vnni_lesser(size_t n, size_t p)
{
    size_t over = n % p, lesser = over > 0 && over * 2 <= p ? p - over : 0;
    return lesser * (p - 1) <= n ? lesser : 0;
}

static void vnni_some(vnni_job *j, const size_t *at, size_t positions, size_t to)
{
    tile_fn *const *row = vnni_tiles[j->kind][j->form];
    size_t p = j->form == 4 ? 6 : 8, i = 0;
    if (j->form != VNNI_HALF && j->planes == 1) {
        tile_fn *less = j->form == 4 ? row[p - 1] : vnni_edge_tiles[j->kind][j->form][0];
        j->left = j->right = 0; /* no position of that tile lies outside */
        for (size_t n = vnni_lesser(positions, p); n > 0; n--, i += p - 1, j->ahead += j->ahead_tile)
            less(j, at + i, to + i * j->pixel);
    }
    for (; i < positions; j->ahead += j->ahead_tile) {
        while (p > positions - i || !row[p]) p--;
        row[p](j, at + i, to + i / (size_t)j->planes * j->pixel);
        i += p;
    }
}

static void vnni_positions(vnni_job *j, const size_t *at, size_t positions, size_t to)
{
    size_t p = 0;
    stream_fn *stream = j->evenly && j->run_begin < j->run_end ? vnni_stream(j, &p) : NULL;
    for (size_t i = 0, n; i < positions && stream; i += n) {
        n = BL_MIN(j->evenly, positions - i);
        size_t tiles = n / p, left = n - tiles * p;
        if (tiles) stream(j, at[i], tiles, to + i * j->pixel);
        j->ahead += tiles * j->ahead_tile;
        vnni_some(j, at + i + n - left, left, to + (i + n - left) * j->pixel);
    }
    if (!stream) vnni_some(j, at, positions, to);
}

/* One output row of p.edge positions a tile. */
static void vnni_edge_row(vnni_job *j, const vnni_plan *p, const size_t *at, size_t to)
{
    size_t width = (size_t)p->out_w;
    tile_fn *tile = vnni_edge_tiles[j->kind][j->form][p->edge - 7];
    for (size_t i = 0; i < width; i += p->edge, j->ahead += j->ahead_tile) {
        j->left = i == 0 ? p->left : 0;
        j->right = i + p->edge == width ? p->right : 0;
        tile(j, at + i, to + i * j->pixel);
    }
}

/* Kernel rows of output row oy that lie inside the image, [*begin, *end). */
static void vnni_rows_inside(const bl_conv_shape *s, int64_t oy, int64_t *begin, int64_t *end)
{
    int64_t iy = oy * s->stride_h - s->pad_top, d = s->dilation_h;
    *begin = BL_MIN(BL_MAX((-iy + d - 1) / d, 0), s->kernel_h);
    *end = BL_MAX(BL_MIN((s->in_h - iy + d - 1) / d, s->kernel_h), *begin);
}

/* Where the border holds zeros, kernel rows outside the image are left out: rows of outputs that read the
 * same ones go together.  Columns are left out too where tiles end with the rows. */
static void vnni_rows(vnni_job *j, const vnni_plan *p, const bl_conv_shape *s, const direct_block *d,
                      int64_t oy, int64_t rows, size_t to)
{
    size_t width = (size_t)p->out_w, per_row = p->d.runs / (size_t)s->kernel_h;
    const int8_t *w = j->w;
    for (int64_t y = 0, n; y < rows; y += n) {
        int64_t begin, end, b, e;
        vnni_rows_inside(s, oy + y, &begin, &end);
        for (n = 1; y + n < rows; n++) {
            vnni_rows_inside(s, oy + y + n, &b, &e);
            if (b != begin || e != end) break;
        }
        j->run_begin = (size_t)begin * per_row;
        j->run_end = (size_t)end * per_row;
        j->w = w + j->run_begin * (j->run_step / 4) * j->z * 64;
        const size_t *at = d->at + (size_t)y * width;
        size_t first = to + (size_t)y * width * j->pixel;
        if (!p->edge) vnni_positions(j, at, (size_t)n * width, first);
        for (int64_t i = 0; p->edge && i < n; i++)
            vnni_edge_row(j, p, at + (size_t)i * width, first + (size_t)i * width * j->pixel);
    }
}

/* Block `part` of the channels, over positions that are read in chunks. */
static void vnni_start(vnni_job *j, const vnni_plan *p, const bl_conv_args *a, const float *mult, size_t part, size_t end,
                       size_t positions)
{
    const int8_t *weights = (const int8_t *)a->packed + bl_round64(p->bias_bytes);
    size_t g = part / p->blocks, first;
    j->z = vnni_block(p, part % p->blocks, &first);
    j->form = vnni_form(p, part % p->blocks, j->z);
    size_t vector = g * p->vectors + first, bytes = j->z * p->steps * 64;
    j->w = weights + vector * p->steps * 64;
    j->bias = (const int32_t *)a->packed + vector * 16 * (p->wide ? 2 : 1);
    j->mult = mult + vector * 16;
    j->channels = BL_MIN(j->z * 16, p->d.ocg - first * 16);
    j->mask = j->channels >= 64 ? ~0ull : (1ull << j->channels) - 1;
    /* The next block is as large as this one, nearly. */
    size_t each = p->edge ? p->edge : j->evenly ? vnni_stream_positions[j->form] : j->form == 4 ? 6 : 8;
    size_t tiles = positions / each + 1;
    j->ahead = (const char *)j->w + bytes;
    j->ahead_tile = part + 1 < end ? bytes / tiles + 1 : 0;
    size_t steps = j->form == VNNI_PAIRED ? p->steps / 2 : p->steps;
    size_t fetching = j->evenly && steps > VNNI_FIRST ? steps - VNNI_FIRST : steps;
    j->ahead_step = j->ahead_tile / fetching + (j->ahead_tile > 0);
    if (part + 1 == end) j->ahead = (const char *)j->w;
}

/* Positions that follow each other at one distance: all of them, or those of a row. */
static size_t vnni_evenly(const vnni_plan *p, const bl_conv_shape *s)
{
    if (!vnni_streams_pay(p)) return 0;
    bool all = p->d.in_place && s->stride_h == 1 && s->stride_w == 1 && s->kernel_h == 1 && s->kernel_w == 1 &&
               s->out_w == s->in_w;
    return all ? SIZE_MAX : (size_t)s->out_w;
}

/* Positions that pass through all blocks of channels at a time: all of them, or where the weights stay in the first cache level
 * as many as stay in the second one with a share of it to spare (fewer would start streams more often); whole rows where
 * streams end with them. */
static size_t vnni_chunk(const vnni_plan *p, const bl_conv_shape *s, size_t evenly, size_t positions)
{
    enum { ROUND = 24 };
    if (p->d.groups > 1 || p->blocks < 2 || p->weight_bytes > VNNI_NEAR_WEIGHTS) return positions;
    size_t near = VNNI_NEAR / (p->d.run + (size_t)s->out_c), unit = evenly > 0 && evenly < positions ? evenly : ROUND;
    return BL_MAX(near / unit, 1) * unit * p->d.planes;
}

/* Rows of outputs by streams with side planes. */
static void vnni_run_side(const bl_conv_args *a, const vnni_plan *p, vnni_job *j, const float *mult, size_t end, uint8_t *work)
{
    const bl_conv_shape *s = &a->s;
    uint8_t *slab = work + p->side_lead, *planes = work + p->d.slab_bytes;
    size_t width = (size_t)s->out_w, run_at[VNNI_STREAM_STEPS];
    side_rows of = {.down = (size_t)s->stride_h * p->d.slab_row, .plane = p->side_plane, .width = width};
    for (size_t r = 0; r < p->d.runs; r++) run_at[r] = r * (size_t)s->dilation_h * p->d.slab_row;
    j->run_at = run_at;
    for (int64_t oy = a->row_begin, rows; oy < a->row_end; oy += rows) {
        rows = BL_MIN(p->d.block_rows, a->row_end - oy);
        side_slab(a, &p->d, oy, rows, slab);
        for (size_t y = 0; y < (size_t)rows; y++)
            for (size_t k = 0; k < p->side; k++)
                side_put(slab + y * of.down + p->d.run - 1, run_at + 4 * k, p->d.runs - 4 * k, j->spacing, width,
                         planes + k * p->side_plane + y * width * 4);
        size_t chunk = vnni_chunk(p, s, width, (size_t)rows * width) / width;
        for (size_t y = 0; y < (size_t)rows; y += chunk)
            for (size_t part = (size_t)a->part_begin, first; part < end; part++) {
                vnni_block(p, part, &first);
                vnni_start(j, p, a, mult, part, end, width);
                of.in = slab + y * of.down;
                of.side = planes + y * width * 4;
                of.rows = BL_MIN(chunk, (size_t)rows - y);
                side_fn *stream = side_stream_of(p->d.run, j->spacing, j->kind, j->form);
                stream(j, &of, ((size_t)oy + y) * width * j->pixel + first * 16);
            }
    }
}

static void vnni_run(const bl_conv_args *a)
{
    const bl_conv_shape *s = &a->s;
    vnni_plan p = vnni_plan_of(s);
    float *mult = a->work;
    uint8_t *work = (uint8_t *)a->work + p.mult_bytes;
    bool inside = p.d.in_place || p.d.planes == 2 || a->zero_in != 0; /* every window is read whole */
    vnni_job j = {.run_end = p.d.runs, .run_step = p.side ? p.d.run - 1 : p.d.run_step, .wide = p.wide,
                  .kind = !p.mixed ? VNNI_KEEP : a->add ? VNNI_PLUS : requant_kind(a),
                  .add = a->add,
                  .planes = (int32_t)p.d.planes, .out_bits = s->out_bits, .out = a->out,
                  .pixel = (size_t)s->out_c, .q = requant_of(a), .evenly = vnni_evenly(&p, s),
                  .spacing = (size_t)s->stride_w * (size_t)s->in_c};
    size_t end = a->part_end ? (size_t)a->part_end : p.d.groups * p.blocks;
    direct_block d = {0};
    vnni_mult(a, &p, (size_t)a->part_begin, end, mult);
    if (p.side) {
        vnni_run_side(a, &p, &j, mult, end, work);
        return;
    }
    for (int64_t oy = a->row_begin; oy < a->row_end; oy += p.d.block_rows) {
        int64_t rows = BL_MIN(p.d.block_rows, a->row_end - oy);
        if (d.positions) direct_next(a, &p.d, oy, rows, work, &d);
        else d = direct_start(a, &p.d, oy, rows, work);
        j.run_at = d.run_at;
        size_t chunk = inside ? vnni_chunk(&p, s, j.evenly, d.positions) : d.positions;
        for (size_t i = 0; i < d.positions; i += chunk) {
            size_t n = BL_MIN(chunk, d.positions - i);
            for (size_t part = (size_t)a->part_begin; part < end; part++) {
                size_t g = part / p.blocks, first;
                vnni_block(&p, part % p.blocks, &first);
                vnni_start(&j, &p, a, mult, part, end, d.positions);
                j.in = d.in + g * p.d.icg;
                size_t to = ((size_t)(oy * s->out_w) + i / p.d.planes) * j.pixel + g * p.d.ocg + first * 16;
                if (inside) vnni_positions(&j, d.at + i, n, to);
                else vnni_rows(&j, &p, s, &d, oy, rows, to);
            }
        }
    }
}

static size_t vnni_parts(const bl_conv_shape *s)
{
    vnni_plan p = vnni_plan_of(s);
    return p.d.groups * p.blocks;
}

/* Where every vector of bytes would leave a quarter empty (24 or 96 channels), a pass of its own is faster. */
static bool vnni_adds(const bl_conv_shape *s)
{
    vnni_plan p = vnni_plan_of(s);
    return p.mixed && !p.side && !p.half && (p.full_first || p.even != 3 * p.evens);
}

const bl_conv_row bl_k_conv_vnni_avx512 = {
    "conv_vnni_avx512", BL_ISA_AVX512, vnni_fits, vnni_packed_bytes, vnni_pack, vnni_work_bytes,
    vnni_run, vnni_parts, vnni_adds, false,
};
#endif
