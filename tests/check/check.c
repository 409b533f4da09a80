/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * kernel-check [--row NAME] [--seconds N] [--seed N] [--one-of N] [--bench | --peaks | --layers NET [--isa ISA]
 * [--cold | --l3] [--all | --rows]]: the program's frame.  The last line
 * is "N passed, N failed, N skipped"; a pass is one case of one row, a skip is a row whose
 * instruction set is not here.  Exit status 0 when nothing failed.
 */
#include "check.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool check_wanted(const check *k, size_t row, bl_contract contract)
{
    const bl_kernel_info *info = &bl_kernels[row];
    return info->contract == contract && info != check_reference(contract) &&
           bl_isa_here(info->isa) && (!k->only || strcmp(k->only, info->name) == 0);
}

const bl_kernel_info *check_reference(bl_contract contract)
{
    for (size_t i = bl_n_kernels; i-- > 0;)
        if (bl_kernels[i].contract == contract) return &bl_kernels[i];
    return NULL;
}

bool check_time_left(const check *k)
{
    return bl_now_ns() < k->deadline_ns;
}

void check_compare(check *k, size_t row, const char *what, const void *got, const void *wanted,
                   size_t bytes, size_t code_bytes, bool intact)
{
    if (intact && memcmp(got, wanted, bytes) == 0) {
        k->passed[row]++;
        return;
    }
    if (k->failed[row]++ > 2) return; /* enough to see what is wrong */
    printf("FAILED: %s: %s: ", bl_kernels[row].name, what);
    if (!intact) {
        printf("bytes beside a tensor written\n");
        return;
    }
    size_t at = 0, different = 0;
    for (size_t i = bytes; i-- > 0;)
        if (((const uint8_t *)got)[i] != ((const uint8_t *)wanted)[i]) {
            at = i;
            different++;
        }
    uint32_t a = 0, b = 0;
    at -= at % code_bytes;
    memcpy(&a, (const uint8_t *)got + at, code_bytes);
    memcpy(&b, (const uint8_t *)wanted + at, code_bytes);
    printf("element %zu is %u, not %u; %zu of %zu bytes differ\n", at / code_bytes, a, b, different,
           bytes);
}

int64_t random_between(bl_rng *r, int64_t lo, int64_t hi)
{
    return lo + (int64_t)bl_rng_below(r, (uint64_t)(hi - lo) + 1);
}

bool random_chance(bl_rng *r, double p)
{
    return bl_rng_unit(r) < p;
}

double random_log(bl_rng *r, double lo, double hi)
{
    return exp(log(lo) + bl_rng_unit(r) * (log(hi) - log(lo)));
}

int32_t random_bits(bl_rng *r)
{
    if (random_chance(r, 0.5)) return 8;
    return (int32_t)(random_chance(r, 0.6) ? random_between(r, 1, 8) : random_between(r, 9, 16));
}

int32_t random_code(bl_rng *r, int32_t bits)
{
    int32_t most = (1 << bits) - 1;
    if (random_chance(r, 0.1)) return random_chance(r, 0.5) ? 0 : most;
    return (int32_t)random_between(r, 0, most);
}

void random_codes(bl_rng *r, void *codes, int32_t bits, size_t n, int pattern)
{
    int32_t most = (1 << bits) - 1;
    for (size_t i = 0; i < n; i++) {
        int32_t q = pattern == 1 ? 0 : pattern == 2 ? most : i % 2 ? most : 0;
        if (pattern == 0) q = random_code(r, bits);
        if (bits > 8)
            ((uint16_t *)codes)[i] = (uint16_t)q;
        else
            ((uint8_t *)codes)[i] = (uint8_t)q;
    }
}

/* Zero point anywhere, bounds the whole range or, for a fused activation, a part of it. */
bl_grid random_grid(bl_rng *r, int32_t bits)
{
    bl_grid g = {.scale = (float)random_log(r, 1e-4, 2),
                 .zero = random_code(r, bits),
                 .lo = 0,
                 .hi = (1 << bits) - 1};
    if (random_chance(r, 0.2)) { /* powers of two make exact ties */
        g.scale = ldexpf(1, (int)random_between(r, -6, 1));
    }
    if (random_chance(r, 0.25)) {
        g.lo = random_code(r, bits);
        g.hi = (int32_t)random_between(r, g.lo, g.hi);
    }
    return g;
}

typedef struct options {
    const char *row;
    double seconds;
    uint64_t seed, one_of;
    bool bench, peaks;
    bench_which which;
    bench_where where;
    const char *layers;
    bl_isa isa;
} options;

static void usage(void)
{
    puts("usage: kernel-check [--row NAME] [--seconds N] [--seed N] [--one-of N] [--bench]\n"
         "       kernel-check --peaks\n"
         "       kernel-check --layers NET [--isa ISA] [--cold | --l3] [--all | --rows] [--seconds N]\n"
         "Compares every kernel with its reference, bit for bit; --one-of N: one of N hand-picked convolutions,\n"
         "for slow emulators, which ones by the seed; --bench times them instead, --layers\n"
         "the chosen ones on layers of NET (resnet50, mobilenet, mobilenetv2, mobilenetv3, cifar,\n"
         "grouped, fc, all), beside oneDNN's int8 where it is built in; --all: every pair of widths,\n"
         "--rows: every row that can do 8/8.");
    exit(64);
}

static options read_options(int argc, char **argv)
{
    static const struct option table[] = {
        {"row", required_argument, NULL, 'r'},
        {"seconds", required_argument, NULL, 's'},
        {"seed", required_argument, NULL, 'e'},
        {"one-of", required_argument, NULL, 'o'},
        {"bench", no_argument, NULL, 'b'},
        {"layers", required_argument, NULL, 'l'},
        {"isa", required_argument, NULL, 'i'},
        {"peaks", no_argument, NULL, 'p'},
        {"cold", no_argument, NULL, 'c'},
        {"l3", no_argument, NULL, '3'},
        {"all", no_argument, NULL, 'a'},
        {"rows", no_argument, NULL, 'w'},
        {NULL, 0, NULL, 0},
    };
    options o = {.seconds = 6, .seed = 1, .one_of = 1, .isa = bl_isa_best()};
    for (int c; (c = getopt_long(argc, argv, "", table, NULL)) != -1;) {
        if (c == 'r')
            o.row = optarg;
        else if (c == 's' && bl_parse_f64(optarg, &o.seconds) && o.seconds >= 0)
            continue;
        else if (c == 'e' && bl_parse_u64(optarg, &o.seed))
            continue;
        else if (c == 'o' && bl_parse_u64(optarg, &o.one_of) && o.one_of > 0)
            continue;
        else if (c == 'i' && bl_isa_parse(optarg, &o.isa))
            continue;
        else if (c == 'l')
            o.layers = optarg;
        else if (c == 'p')
            o.peaks = true;
        else if (c == 'b')
            o.bench = true;
        else if (c == 'c')
            o.where = BENCH_COLD;
        else if (c == '3')
            o.where = BENCH_L3;
        else if (c == 'a')
            o.which = BENCH_WIDTHS;
        else if (c == 'w')
            o.which = BENCH_ROWS;
        else
            usage();
    }
    if (optind < argc) usage();
    bool known = !o.row;
    for (size_t i = 0; i < bl_n_kernels; i++)
        known = known || strcmp(o.row, bl_kernels[i].name) == 0;
    if (!known) {
        printf("kernel-check: no row is called %s\n", o.row);
        exit(64);
    }
    return o;
}

static int report(const check *k)
{
    size_t passed = 0, failed = 0, skipped = 0;
    for (size_t i = 0; i < bl_n_kernels; i++) {
        const bl_kernel_info *info = &bl_kernels[i];
        if (k->only && strcmp(k->only, info->name) != 0) continue;
        if (info == check_reference(info->contract)) continue;
        if (!bl_isa_here(info->isa)) {
            printf("skipped: %s: this CPU or system has no %s\n", info->name,
                   bl_isa_name(info->isa));
            skipped++;
            continue;
        }
        if (k->passed[i] + k->failed[i] == 0) {
            printf("FAILED: %s: not one case fits it\n", info->name);
            failed++;
        }
        printf("%-24s %7zu passed %5zu failed\n", info->name, k->passed[i], k->failed[i]);
        passed += k->passed[i];
        failed += k->failed[i];
    }
    printf("%zu passed, %zu failed, %zu skipped\n", passed, failed, skipped);
    return failed ? 1 : 0;
}

int main(int argc, char **argv)
{
    options o = read_options(argc, argv);
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("kernel-check on %s, seed %llu\n", bl_cpu_name(), (unsigned long long)o.seed);
    if (o.peaks) {
        bench_peaks();
        return 0;
    }
    if (o.layers) {
        bench_layers(o.layers, o.isa, o.which, o.where, o.seconds);
        return 0;
    }
    if (o.bench) {
        bench_rows(o.row, o.seconds);
        return 0;
    }
    static const struct {
        void (*run)(check *);
        bl_contract first, last;
        double share;           /* of the seconds */
    } groups[] = {
        {check_conv, BL_C_CONV, BL_C_CONV, 0.45},       {check_pair, BL_C_ADD, BL_C_MUL, 0.15},
        {check_pool, BL_C_GAP, BL_C_MAXPOOL, 0.15},     {check_move, BL_C_MOVE, BL_C_SOFTMAX, 0.1},
        {check_matmul, BL_C_MATMUL, BL_C_MATMUL, 0.05}, {check_edge, BL_C_QUANTIZE, BL_C_DEQUANTIZE, 0.07},
        {check_layernorm, BL_C_LAYERNORM, BL_C_LAYERNORM, 0.03},
    };
    check k = {.only = o.row, .seed = o.seed, .one_of = o.one_of};
    k.passed = calloc(bl_n_kernels, sizeof *k.passed);
    k.failed = calloc(bl_n_kernels, sizeof *k.failed);
    if (!k.passed || !k.failed) abort();
    guard_watch();
    for (size_t i = 0; i < BL_COUNTOF(groups); i++) {
        bool wanted = false;
        for (size_t row = 0; row < bl_n_kernels; row++)
            for (int c = groups[i].first; c <= (int)groups[i].last; c++) wanted = wanted || check_wanted(&k, row, (bl_contract)c);
        if (!wanted) continue; /* with --row: references alone would take the time */
        k.deadline_ns = bl_now_ns() + (uint64_t)(o.seconds * groups[i].share * 1e9);
        groups[i].run(&k);
    }
    int status = report(&k);
    free(k.passed);
    free(k.failed);
    return status;
}
