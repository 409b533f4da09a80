/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * kernel-check --layers: what each pair of widths costs on layers of well-known networks.  The row
 * that is chosen for 8/8, those for narrower pairs where another one is chosen (--rows: instead the other rows that can
 * do 8/8), and oneDNN's int8
 * run in turn, the order moving on; the figures are the median of 8/8 and, for the others, medians
 * of the ratios within a round.  --cold walks over copies of the weights, 64 MiB in all, so that
 * they come from memory, --l3 over 3 MiB for each pair of widths, which is more than the second cache level, and so often before it is
 * timed that the third level has taken all of them; otherwise they are as warm as the call before left them.
 */
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COLD_BYTES = 64 << 20, L3_BYTES = 3 << 20, MAX_PAIRS = 18, ROUNDS = 401 };
/* A victim cache takes lines in by and by: what was pushed out by the others' turns reads at two thirds of its speed at first. */
enum { L3_WALKS = 8 };

/* clang-format off */
typedef struct layer { const char *net; int32_t h, ic, oc, groups, k, stride; } layer;
static const layer layers[] = {
    {"resnet50", 224, 3, 64, 1, 7, 2},     {"resnet50", 56, 64, 64, 1, 1, 1},
    {"resnet50", 56, 64, 64, 1, 3, 1},     {"resnet50", 56, 64, 256, 1, 1, 1},
    {"resnet50", 56, 256, 64, 1, 1, 1},    {"resnet50", 56, 128, 128, 1, 3, 2},
    {"resnet50", 28, 128, 128, 1, 3, 1},   {"resnet50", 28, 128, 512, 1, 1, 1},
    {"resnet50", 28, 512, 128, 1, 1, 1},   {"resnet50", 28, 256, 256, 1, 3, 2},
    {"resnet50", 14, 256, 256, 1, 3, 1},   {"resnet50", 14, 256, 1024, 1, 1, 1},
    {"resnet50", 14, 1024, 256, 1, 1, 1},  {"resnet50", 7, 512, 512, 1, 3, 1},
    {"resnet50", 7, 512, 2048, 1, 1, 1},   {"resnet50", 7, 2048, 512, 1, 1, 1},
    {"resnet50", 1, 2048, 1000, 1, 1, 1},
    {"mobilenet", 224, 3, 32, 1, 3, 2},    {"mobilenet", 112, 32, 32, 32, 3, 1},
    {"mobilenet", 112, 32, 64, 1, 1, 1},   {"mobilenet", 112, 64, 64, 64, 3, 2},
    {"mobilenet", 56, 64, 128, 1, 1, 1},   {"mobilenet", 28, 256, 256, 256, 3, 1},
    {"mobilenet", 28, 256, 256, 1, 1, 1},  {"mobilenet", 14, 512, 512, 512, 3, 1},
    {"mobilenet", 14, 512, 512, 1, 1, 1},  {"mobilenet", 7, 1024, 1024, 1, 1, 1},
    {"mobilenetv2", 56, 144, 144, 144, 3, 1}, {"mobilenetv2", 56, 144, 24, 1, 1, 1},
    {"mobilenetv2", 28, 192, 32, 1, 1, 1}, {"mobilenetv2", 28, 32, 192, 1, 1, 1},
    {"mobilenetv2", 14, 576, 96, 1, 1, 1}, {"mobilenetv2", 7, 960, 320, 1, 1, 1},
    {"mobilenetv2", 7, 320, 1280, 1, 1, 1}, {"mobilenetv2", 1, 1280, 1000, 1, 1, 1},
    {"mobilenetv3", 14, 120, 120, 120, 5, 1}, {"mobilenetv3", 28, 96, 96, 96, 5, 2},
    {"cifar", 32, 3, 16, 1, 3, 1},         {"cifar", 32, 16, 16, 1, 3, 1},
    {"cifar", 32, 16, 32, 1, 3, 2},        {"cifar", 16, 32, 32, 1, 3, 1},
    {"cifar", 8, 64, 64, 1, 3, 1},
    {"grouped", 28, 240, 240, 3, 1, 1},    {"grouped", 14, 256, 256, 32, 3, 1},
    {"grouped", 56, 128, 128, 32, 3, 1},   {"grouped", 28, 256, 256, 32, 3, 1},
    {"grouped", 56, 256, 256, 32, 3, 2},   {"grouped", 14, 512, 512, 32, 3, 1},
    {"grouped", 7, 1024, 1024, 32, 3, 1},  {"grouped", 14, 192, 192, 8, 3, 1},
    {"fc", 1, 512, 1024, 1, 1, 1},         {"fc", 1, 1024, 1024, 1, 1, 1},
    {"fc", 1, 2048, 1024, 1, 1, 1},        {"fc", 1, 4096, 4096, 1, 1, 1},
};
static const int32_t pairs[][2] = { /* weights, activations; the first is what others are compared with */
    {8, 8}, {7, 8}, {7, 7}, {6, 8}, {6, 6}, {4, 8}, {2, 8}, {1, 8}, {8, 4}, {4, 4}, {2, 4}, {1, 4}, {2, 2}, {1, 2}, {1, 1}, {8, 16},
};
/* clang-format on */

typedef struct entry {
    int32_t weight_bits, in_bits;
    const bl_conv_row *row;     /* NULL: the peer */
    bl_conv_args a;
    uint8_t *packed;
    size_t packed_bytes, copies;
    peer *peer;
    double ns[ROUNDS];
} entry;

static void *take(size_t bytes)
{
    void *p = aligned_alloc(64, (bytes + 127) / 64 * 64);
    if (!p) abort();
    return p;
}

static bl_conv_shape shape_of(const layer *l, int32_t weight_bits, int32_t in_bits)
{
    int32_t pad = l->k / 2, out = (l->h + 2 * pad - l->k) / l->stride + 1;
    return (bl_conv_shape){l->h, l->h, l->ic, out, out, l->oc, l->groups, l->k, l->k, l->stride, l->stride,
                           1, 1, pad, pad, in_bits, in_bits, weight_bits, in_bits > 8};
}

/* As trained weights lie: a bell whose deviation is a third of the width's end (four uniform numbers added up). */
static int32_t bell(bl_rng *r, int32_t half)
{
    uint64_t u = bl_rng_u64(r);
    double sum = (double)((u & 0xffff) + (u >> 16 & 0xffff) + (u >> 32 & 0xffff) + (u >> 48)) / 32768 - 4; /* deviation 1.155 */
    return BL_MAX(-half, BL_MIN(half - 1, (int32_t)lrint(sum / 1.155 * half / 3)));
}

static void fill_entry(entry *e, const bl_conv_args *base, const layer *l, size_t cold_bytes)
{
    bl_conv_shape *s = &e->a.s;
    e->a = *base;
    *s = shape_of(l, e->weight_bits, e->in_bits);
    size_t code = e->in_bits > 8 ? 2 : 1, n_in = (size_t)(s->in_h * s->in_w * s->in_c);
    size_t k = (size_t)(s->kernel_h * s->kernel_w * (s->in_c / s->groups)), n = k * (size_t)s->out_c;
    bl_rng r = bl_rng_make(1, l->net, (uint64_t)e->weight_bits);
    uint8_t *in = take(n_in * code);
    int8_t *codes = take(n);
    random_codes(&r, in, e->in_bits, n_in, 0);
    int32_t half = 1 << (e->weight_bits - 1);
    for (size_t i = 0; i < n; i++)
        codes[i] = (int8_t)(e->weight_bits == 1 ? (int32_t)random_between(&r, 0, 1) * 2 - 1 : bell(&r, half));
    e->a.in = in;
    e->a.out = take((size_t)(s->out_h * s->out_w * s->out_c) * code);
    e->a.hi = (1 << s->out_bits) - 1;
    e->a.row_end = s->out_h;
    if (e->row) {
        e->packed_bytes = e->row->packed_bytes(s);
        e->copies = cold_bytes / e->packed_bytes + 1;
        e->packed = take(e->packed_bytes * e->copies);
        for (size_t i = 0; i < e->copies; i++)
            e->row->pack(s, codes, e->a.zero_in, e->a.bias, e->packed + i * e->packed_bytes);
        e->a.work = take(e->row->work_bytes(s));
    } else {
        e->peer = peer_new(&e->a, cold_bytes);
        e->copies = e->peer ? peer_copies(e->peer) : 1;
    }
    free(codes);
}

static void run_entry(entry *e, size_t turn)
{
    if (e->row) {
        e->a.packed = e->packed + turn % e->copies * e->packed_bytes;
        e->row->run(&e->a);
    } else {
        peer_run(e->peer, turn);
    }
}

/* Runs `repeats` times from `turn` on; before that the others' data leave the caches, and copies that are to come from L3
 * go there, the ones that are timed first. */
static double time_entry(entry *e, size_t turn, size_t repeats, bool from_l3)
{
    size_t first = from_l3 ? L3_WALKS * e->copies : 1;
    for (size_t i = 0; i < first; i++) run_entry(e, turn + (from_l3 ? i : repeats));
    uint64_t before = bl_now_ns();
    for (size_t i = 0; i < repeats; i++) run_entry(e, turn + i);
    return (double)(bl_now_ns() - before) / (double)repeats;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* Lower quartiles and their ratios: work of others on the machine only ever adds time, and a median of calls of
 * a millisecond is not safe from it. */
static void report(const layer *l, entry *e, size_t n, size_t rounds)
{
    double macs = (double)e[0].a.s.out_h * e[0].a.s.out_w * l->oc * l->k * l->k * l->ic / l->groups;
    for (size_t i = 0; i < n; i++) qsort(e[i].ns, rounds, sizeof(double), by_value);
    double base = e[0].ns[rounds / 4], us = base / 1e3;
    printf("%-11s %3d %4d->%-4d %s%dx%d/%d  %s %.1f us %.0f GMAC/s", l->net, l->h, l->ic, l->oc,
           l->groups > 1 ? "dw " : "", l->k, l->k, l->stride, e[0].row->name, us, macs / us / 1e3);
    for (size_t i = 1; i < n; i++)
        if (e[i].row)
            printf("  %d/%d %s%s%.2f", e[i].weight_bits, e[i].in_bits, e[i].row == e[0].row ? "" : e[i].row->name,
                   e[i].row == e[0].row ? "" : " ", base / e[i].ns[rounds / 4]);
        else
            printf("  oneDNN takes %.2f", e[i].ns[rounds / 4] / base);
    putchar('\n');
}

static void bench_layer(const layer *l, bl_isa cap, bench_which which, bench_where where, double seconds)
{
    static const size_t bytes[] = {0, L3_BYTES, COLD_BYTES};
    const size_t cold_bytes = bytes[where];
    entry *e = calloc(MAX_PAIRS + 1, sizeof *e);
    bl_conv_args base = {.zero_in = 0, .zero_out = 0}; /* as the peer has them */
    int32_t *bias = take((size_t)l->oc * sizeof *bias);
    float *mult = take((size_t)l->oc * sizeof *mult);
    size_t n = 0;
    if (!e) abort();
    for (int32_t c = 0; c < l->oc; c++) {
        bias[c] = c * 7 - 300;
        mult[c] = (float)(1 / sqrt((double)l->k * l->k * l->ic / l->groups) / (60 + c % 9));
    }
    base.bias = bias;
    base.mult = mult;
    for (size_t i = 0; i < (which == BENCH_ROWS ? 1 : BL_COUNTOF(pairs)); i++) {
        bl_conv_shape s = shape_of(l, pairs[i][0], pairs[i][1]), first = shape_of(l, pairs[0][0], pairs[0][1]);
        const bl_conv_row *row = bl_kernel_choose(BL_C_CONV, &s, cap, NULL)->row;
        bool same = i && row == e[0].row && row->packed_bytes(&s) == row->packed_bytes(&first); /* unpacked at load */
        if (same && which == BENCH_CHOSEN) continue;
        e[n++] = (entry){.weight_bits = pairs[i][0], .in_bits = pairs[i][1], .row = row};
    }
    for (size_t i = 0; which == BENCH_ROWS && i < bl_n_kernels; i++) {
        bl_conv_shape s = shape_of(l, 8, 8);
        const bl_kernel_info *k = bl_kernels[i].isa == BL_ISA_REF ? NULL : bl_kernel_choose(BL_C_CONV, &s, cap, bl_kernels[i].name);
        if (k && k->row != e[0].row) e[n++] = (entry){.weight_bits = 8, .in_bits = 8, .row = k->row};
    }
    e[n++] = (entry){.weight_bits = 8, .in_bits = 8};
    for (size_t i = 0; i < n; i++) fill_entry(&e[i], &base, l, cold_bytes);
    size_t m = n - (e[n - 1].peer == NULL), rounds = 0;
    uint64_t start = bl_now_ns();
    for (size_t i = 0; i < m; i++) run_entry(&e[i], 0);
    uint64_t each = (bl_now_ns() - start) / m + 1, turn = 0;
    unsigned repeats = each < 30000 ? (unsigned)(30000 / each) + 1 : 1;
    while (rounds < ROUNDS && (rounds < 9 || (double)(bl_now_ns() - start) < seconds * 1e9)) {
        for (size_t i = 0; i < m; i++) {
            entry *now = &e[(i + rounds) % m];
            now->ns[rounds] = time_entry(now, turn, repeats, where == BENCH_L3);
        }
        turn += repeats + 1;
        rounds++;
    }
    report(l, e, m, rounds);
    for (size_t i = 0; i < n; i++) {
        peer_free(e[i].peer);
        free((void *)(uintptr_t)e[i].a.in);
        free(e[i].a.out);
        free(e[i].a.work);
        free(e[i].packed);
    }
    free(bias);
    free(mult);
    free(e);
}

void bench_layers(const char *net, bl_isa cap, bench_which which, bench_where where, double seconds)
{
    static const char *const words[] = {"warm", "from L3", "cold"};
    printf("up to %s, weights %s, one thread; ratios: times as fast as the first row\n", bl_isa_name(cap), words[where]);
    size_t n = 0;
    for (size_t i = 0; i < BL_COUNTOF(layers); i++) n += strcmp(net, "all") == 0 || strcmp(net, layers[i].net) == 0;
    for (size_t i = 0; i < BL_COUNTOF(layers); i++)
        if (strcmp(net, "all") == 0 || strcmp(net, layers[i].net) == 0)
            bench_layer(&layers[i], cap, which, where, seconds / (double)n);
}
