/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * model.blp as foreign bytes: there and back, every single bit flipped, every length, versions, fields
 * that are wrong under right checksums, and thousands of seeded patches, of which those accepted run.
 */
#include "tiny_graph.h"

#include "base/container.h"

enum { HEAD = 1, STEPS, TENSORS, EDGES, STRINGS, CONSTANTS, META }; /* sections, as program_file.c has them */

typedef struct file {
    bl_ctx *ctx;
    char folder[256], path[300];
    uint8_t *bytes, *copy;      /* copy: to be changed */
    size_t size;
} file;

static void load(file *f)
{
    free(f->bytes);
    free(f->copy);
    f->bytes = test_slurp(f->path, &f->size);
    f->copy = test_slurp(f->path, NULL);
}

/* Lowers at the given widths (0: seeded ones for each unit) and writes the file. */
static void write_program(file *f, onnx_build *b, int w_bits, int a_bits, uint64_t seed)
{
    bl_menu_options m = { .w_bits = { 1, 2, 3, 4, 5, 6, 7, 8 }, .n_w = 8, .a_bits = { 2, 4, 6, 8 }, .n_a = 4 };
    if (w_bits) m = (bl_menu_options){ .w_bits = { w_bits }, .n_w = 1, .a_bits = { a_bits }, .n_a = 1 };
    bl_grid_options o = { .act_range = "minmax", .weight_range = "minmax" };
    bl_graph *g = ob_prepared(b);
    bl_arena *a = bl_arena_new(f->ctx, "test");
    bl_value_stats *value = BL_NEW(a, bl_value_stats, (size_t)g->n_values);
    bl_stats stats = { .n_values = g->n_values, .value = value };
    bl_rng r = bl_rng_make(seed, "widths", 0);
    bl_menu *menu = NULL;
    bl_plan *plan = NULL;
    bl_program *p = NULL;
    int choice[256] = { 0 };
    for (int v = 0; v < g->n_values; v++) value[v] = (bl_value_stats){ .lo = -3, .hi = 4, .count = 1 };
    assert_ok(f->ctx, bl_menu_make(f->ctx, g, &m, &menu));
    for (int u = 0; u < menu->n_units; u++) choice[u] = (int)bl_rng_below(&r, (uint64_t)menu->units[u].n_candidates);
    assert_ok(f->ctx, bl_plan_make(f->ctx, g, menu, &stats, choice, &o, "test", &plan));
    assert_ok(f->ctx, bl_lower(f->ctx, g, plan, NULL, &p));
    assert_ok(f->ctx, bl_program_write(f->ctx, p, f->path));
    load(f);
    bl_program_free(p);
    bl_plan_free(plan);
    bl_menu_free(menu);
    bl_arena_free(a);
    bl_graph_free(g);
}

static int setup(void **state)
{
    file *f = calloc(1, sizeof *f);
    assert_non_null(f);
    if (access("/dev/shm", W_OK) == 0) setenv("TMPDIR", "/dev/shm", 0);
    f->ctx = test_ctx(1, 48 << 20);
    snprintf(f->path, sizeof f->path, "%.256s/model.blp", test_folder(f->folder));
    write_program(f, tiny_dense(f->ctx, true), 3, 8, 1);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    file *f = *state;
    test_folder_remove(f->folder);
    test_ctx_free(f->ctx);
    free(f->bytes);
    free(f->copy);
    free(f);
    return 0;
}

/* ------------------------------------------------------------------ checksums made right again */

static uint64_t get64(const uint8_t *at)
{
    uint64_t v;
    memcpy(&v, at, sizeof v);
    return v;
}

static uint32_t get32(const uint8_t *at)
{
    uint32_t v;
    memcpy(&v, at, sizeof v);
    return v;
}

static void put64(uint8_t *at, uint64_t v)
{
    memcpy(at, &v, sizeof v);
}

/* container.h: sections, then the body, then the header. */
static void seal(file *f)
{
    for (uint32_t i = 0; i < get32(f->copy + 20); i++) {
        uint8_t *e = f->copy + 64 + 32 * i;
        put64(e + 24, bl_checksum(f->copy + get64(e + 8), get64(e + 16)));
    }
    put64(f->copy + 32, bl_checksum(f->copy + 64, f->size - 64));
    put64(f->copy + 56, bl_checksum(f->copy, 56));
}

static uint8_t *section(file *f, uint32_t id, size_t *size)
{
    for (uint32_t i = 0; i < get32(f->copy + 20); i++) {
        uint8_t *e = f->copy + 64 + 32 * i;
        if (get32(e) != id) continue;
        *size = get64(e + 16);
        return f->copy + get64(e + 8);
    }
    fail_msg("no section %u", id);
    return NULL;
}

static bl_status parse(file *f, bl_program **out)
{
    *out = NULL;
    return bl_program_parse(f->ctx, "model.blp", f->copy, f->size, out);
}

/* ------------------------------------------------------------------ there and back */

static void assert_same_programs(const bl_program *a, const bl_program *b)
{
    assert_int_equal(a->n_steps, b->n_steps);
    assert_int_equal(a->n_tensors, b->n_tensors);
    assert_int_equal(a->n_inputs, b->n_inputs);
    assert_int_equal(a->n_outputs, b->n_outputs);
    assert_int_equal(a->memory_bytes, b->memory_bytes);
    assert_int_equal(a->weight_bytes, b->weight_bytes);
    assert_memory_equal(a->steps, b->steps, a->n_steps * sizeof *a->steps);
    assert_memory_equal(a->tensors, b->tensors, a->n_tensors * sizeof *a->tensors);
    assert_memory_equal(a->edges, b->edges, (a->n_inputs + a->n_outputs) * sizeof *a->edges);
    assert_int_equal(a->strings_bytes, b->strings_bytes);
    assert_memory_equal(a->strings, b->strings, a->strings_bytes);
    assert_int_equal(a->constants_bytes, b->constants_bytes);
    assert_memory_equal(a->constants, b->constants, a->constants_bytes);
    assert_string_equal(a->meta, b->meta);
    assert_string_equal(a->graph.hex, b->graph.hex);
    assert_string_equal(a->plan.hex, b->plan.hex);
}

static void there_and_back(void **state)
{
    file *f = *state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        bl_program *mapped = NULL, *copied = NULL;
        write_program(f, tiny_random(f->ctx, seed), 0, 0, seed);
        assert_ok(f->ctx, bl_program_open(f->ctx, f->path, &mapped));
        assert_ok(f->ctx, parse(f, &copied));
        assert_same_programs(mapped, copied);
        assert_string_equal(mapped->hash.hex, copied->hash.hex);
        assert_non_null(strstr(mapped->meta, "\"recipe\""));
        char again[320];
        snprintf(again, sizeof again, "%s.again", f->path);
        assert_ok(f->ctx, bl_program_write(f->ctx, mapped, again));
        file g = { .ctx = f->ctx };
        snprintf(g.path, sizeof g.path, "%.299s", again);
        load(&g);
        assert_int_equal(g.size, f->size);
        assert_memory_equal(g.bytes, f->bytes, g.size);
        free(g.bytes);
        free(g.copy);
        json_t *j = bl_program_json(f->ctx, mapped);
        assert_int_equal(json_array_size(json_object_get(j, "tensors")), mapped->n_tensors);
        json_decref(j);
        bl_program_free(mapped);
        bl_program_free(copied);
    }
    seal(f); /* our own checksums are those of bl_container_write */
    assert_memory_equal(f->copy, f->bytes, f->size);
}

static void every_bit_counts(void **state)
{
    file *f = *state;
    bl_program *p = NULL;
    for (size_t at = 0; at < f->size; at++)
        for (int bit = 0; bit < 8; bit++) {
            f->copy[at] ^= (uint8_t)(1 << bit);
            bl_status s = parse(f, &p);
            f->copy[at] ^= (uint8_t)(1 << bit);
            if (s != BL_DATA) fail_msg("byte %zu bit %d: %d", at, bit, (int)s);
            assert_null(p);
        }
    print_message("%zu bits flipped one at a time\n", 8 * f->size);
    assert_ok(f->ctx, parse(f, &p));
    bl_program_free(p);
}

static void every_length_is_too_short(void **state)
{
    file *f = *state;
    bl_program *p = NULL;
    for (size_t n = 0; n < f->size; n++) {
        if (bl_program_parse(f->ctx, "model.blp", f->copy, n, &p) != BL_DATA) fail_msg("%zu bytes", n);
        assert_null(p);
    }
    uint8_t *longer = calloc(1, f->size + 64);
    memcpy(longer, f->copy, f->size);
    assert_fails(f->ctx, bl_program_parse(f->ctx, "model.blp", longer, f->size + 64, &p), BL_DATA, "bytes instead of");
    free(longer);
    FILE *out = fopen(f->path, "wb"); /* an empty file, and none */
    fclose(out);
    assert_fails(f->ctx, bl_program_open(f->ctx, f->path, &p), BL_DATA, "cut off");
    unlink(f->path);
    assert_fails(f->ctx, bl_program_open(f->ctx, f->path, &p), BL_NOINPUT, "model.blp");
}

static void kinds_and_versions(void **state)
{
    file *f = *state;
    bl_program *p = NULL;
    memcpy(f->copy + 8, "WGTS", 4);
    seal(f);
    assert_fails(f->ctx, parse(f, &p), BL_DATA, "another kind");
    memcpy(f->copy + 8, "PROG", 4);
    f->copy[12] = 2; /* major */
    seal(f);
    assert_fails(f->ctx, parse(f, &p), BL_DATA, "format version 2.0");
    assert_non_null(strstr(bl_last_error(f->ctx).remedy, "newer bitlathe"));
    f->copy[12] = 1;
    f->copy[14] = 9; /* minor */
    seal(f);
    assert_ok(f->ctx, parse(f, &p));
    bl_program_free(p);
    memcpy(f->copy, "BITLATHF", 8);
    seal(f);
    assert_fails(f->ctx, parse(f, &p), BL_DATA, "not a bitlathe file");
    memcpy(f->copy, f->bytes, f->size);
    f->copy[20] = 200; /* sections */
    put64(f->copy + 56, bl_checksum(f->copy, 56));
    assert_fails(f->ctx, parse(f, &p), BL_DATA, "section table");
    for (uint32_t id = HEAD; id <= META; id++) { /* one section under an unknown name */
        memcpy(f->copy, f->bytes, f->size);
        for (uint32_t i = 0; i < 7; i++)
            if (get32(f->copy + 64 + 32 * i) == id) f->copy[64 + 32 * i] = 77;
        seal(f);
        assert_fails(f->ctx, parse(f, &p), BL_DATA, "missing");
    }
    memcpy(f->copy, f->bytes, f->size);
    put64(f->copy + 64 + 8, 0xffffffffffffffc0u); /* a section beyond the file */
    put64(f->copy + 56, bl_checksum(f->copy, 56));
    put64(f->copy + 32, bl_checksum(f->copy + 64, f->size - 64));
    put64(f->copy + 56, bl_checksum(f->copy, 56));
    assert_fails(f->ctx, parse(f, &p), BL_DATA, "outside the file");
}

/* ------------------------------------------------------------------ wrong fields, right checksums */

typedef struct patch {
    uint32_t part;              /* section */
    uint32_t contract;          /* STEPS: the first step of this kind; else the item's number */
    size_t offset, bytes;
    int64_t value;
    const char *what;           /* NULL: harmless */
} patch;

#define STEP(contract, field, value, what)                                                        \
    { STEPS, contract, offsetof(bl_step, field), sizeof(((bl_step *)0)->field), value, what }
#define TENSOR(i, field, value, what)                                                             \
    { TENSORS, i, offsetof(bl_ptensor, field), sizeof(((bl_ptensor *)0)->field), value, what }
#define EDGE(i, field, value, what)                                                               \
    { EDGES, i, offsetof(bl_pedge, field), sizeof(((bl_pedge *)0)->field), value, what }

static void apply(file *f, const patch *p)
{
    size_t size, item = p->part == STEPS ? sizeof(bl_step) : p->part == TENSORS ? sizeof(bl_ptensor) : sizeof(bl_pedge);
    uint8_t *at = section(f, p->part, &size);
    size_t i = p->contract;
    if (p->part == STEPS)
        for (i = 0; get32(at + i * item) != p->contract; i++) assert_true((i + 1) * item < size);
    if (p->part == HEAD) i = 0;
    assert_true(i * item + p->offset + p->bytes <= size);
    memcpy(at + i * item + p->offset, &p->value, p->bytes);
}

static int64_t float_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static void run_program(bl_ctx *ctx, const bl_program *p, bl_rng *r)
{
    bl_exec *e = NULL;
    bl_status s = bl_exec_new(ctx, p, NULL, &e);
    if (s != BL_OK) {
        assert_int_equal(s, BL_UNAVAILABLE); /* more memory than the ceiling */
        return;
    }
    for (uint32_t i = 0; i < p->n_inputs; i++) {
        size_t n = 1;
        for (int d = 0; d < p->edges[i].rank; d++) n *= (size_t)p->edges[i].dim[d];
        for (size_t k = 0; k < n; k++) {
            uint64_t what = bl_rng_below(r, 16);
            bl_exec_input(e, i)[k] = what == 0 ? NAN : what == 1 ? INFINITY : what == 2 ? -1e30f : (float)bl_rng_normal(r);
        }
    }
    assert_ok(ctx, bl_exec_run(e, NULL, NULL));
    bl_exec_free(e);
}

static void check_patches(file *f, const patch *patches, size_t n)
{
    bl_rng r = bl_rng_make(1, "inputs", 0);
    for (size_t i = 0; i < n; i++) {
        bl_program *p = NULL;
        memcpy(f->copy, f->bytes, f->size);
        apply(f, &patches[i]);
        seal(f);
        bl_status s = parse(f, &p);
        if (!patches[i].what) {
            assert_ok(f->ctx, s);
            run_program(f->ctx, p, &r);
            bl_program_free(p);
            continue;
        }
        if (s != BL_DATA || !strstr(bl_last_error(f->ctx).what, patches[i].what))
            fail_msg("patch %zu (section %u offset %zu = %lld) gave %d: %s", i, patches[i].part, patches[i].offset,
                     (long long)patches[i].value, (int)s, s ? bl_last_error(f->ctx).what : "accepted");
    }
}

static void wrong_convolutions(void **state)
{
    static const patch patches[] = {
        STEP(BL_C_CONV, u.conv.s.in_h, 0, "impossible shape"),
        STEP(BL_C_CONV, u.conv.s.in_h, -5, "impossible shape"),
        STEP(BL_C_CONV, u.conv.s.in_h, 1000, "larger than its tensors"),
        STEP(BL_C_CONV, u.conv.s.in_w, 1 << 24, "larger than its tensors"),
        STEP(BL_C_CONV, u.conv.s.in_c, INT32_MAX, "impossible shape"),
        STEP(BL_C_CONV, u.conv.s.out_h, 7, "beside its input"),
        STEP(BL_C_CONV, u.conv.s.out_c, 1 << 20, "larger than its tensors"),
        STEP(BL_C_CONV, u.conv.s.out_c, 0, "impossible shape"),
        STEP(BL_C_CONV, u.conv.s.groups, 0, "impossible shape"),
        STEP(BL_C_CONV, u.conv.s.groups, 2, "impossible shape"),
        STEP(BL_C_CONV, u.conv.s.kernel_h, 0, "impossible shape"),
        STEP(BL_C_CONV, u.conv.s.kernel_h, 4096, "outside the file"),
        STEP(BL_C_CONV, u.conv.s.stride_w, 0, "impossible shape"),
        STEP(BL_C_CONV, u.conv.s.dilation_h, -1, "impossible shape"),
        STEP(BL_C_CONV, u.conv.s.pad_top, -1, "beside its input"),
        STEP(BL_C_CONV, u.conv.s.pad_left, INT32_MAX, "beside its input"),
        STEP(BL_C_CONV, u.conv.s.in_bits, 16, "impossible shape"),
        STEP(BL_C_CONV, u.conv.s.out_bits, 16, "impossible shape"),
        STEP(BL_C_CONV, u.conv.s.weight_bits, 9, "impossible shape"),
        STEP(BL_C_CONV, u.conv.s.weight_bits, 0, "impossible shape"),
        STEP(BL_C_CONV, u.conv.s.acc64, 2, "impossible shape"),
        STEP(BL_C_CONV, u.conv.s.acc64, 1, NULL),
        STEP(BL_C_CONV, u.conv.weights, 1 << 30, "outside the file"),
        STEP(BL_C_CONV, u.conv.weights, 1, "outside the file"),
        STEP(BL_C_CONV, u.conv.weights, -64, "outside the file"),
        STEP(BL_C_CONV, u.conv.bias, INT64_MAX - 63, "outside the file"),
        STEP(BL_C_CONV, u.conv.mult, 4, "outside the file"),
        STEP(BL_C_CONV, u.conv.zero_in, 256, "bounds outside"),
        STEP(BL_C_CONV, u.conv.zero_in, -1, "bounds outside"),
        STEP(BL_C_CONV, u.conv.zero_out, 256, "bounds outside"),
        STEP(BL_C_CONV, u.conv.lo, 256, "bounds outside"),
        STEP(BL_C_CONV, u.conv.hi, -1, "bounds outside"),
        STEP(BL_C_CONV, u.conv.hi, 256, "bounds outside"),
        STEP(BL_C_CONV, contract, 99, "unknown kind"),
        STEP(BL_C_CONV, in[0], -1, "unknown tensor"),
        STEP(BL_C_CONV, in[0], 1000, "unknown tensor"),
        STEP(BL_C_CONV, in[1], -2, "unknown tensor"),
        STEP(BL_C_CONV, out, INT32_MIN, "unknown tensor"),
        STEP(BL_C_CONV, name, 1 << 30, "a name outside"),
        STEP(BL_C_CONV, name, 0, NULL),
        STEP(BL_C_CONV, out, 0, "lies over its input"),
    };
    check_patches(*state, patches, BL_COUNTOF(patches));
    file *f = *state; /* biases that overflow with the weights */
    bl_program *p = NULL;
    size_t size;
    memcpy(f->copy, f->bytes, f->size);
    uint8_t *steps = section(f, STEPS, &size), *constants = section(f, CONSTANTS, &size);
    bl_step s;
    memcpy(&s, steps + sizeof s, sizeof s);
    assert_int_equal(s.contract, BL_C_CONV);
    int32_t bias = INT32_MIN;
    memcpy(constants + s.u.conv.bias, &bias, sizeof bias);
    seal(f);
    assert_fails(f->ctx, parse(f, &p), BL_DATA, "may overflow");
}

static void wrong_tensors_and_edges(void **state)
{
    const patch patches[] = {
        TENSOR(0, bits, 0, "unknown width"),
        TENSOR(0, bits, 12, "unknown width"),
        TENSOR(0, rank, 9, "unknown rank"),
        TENSOR(0, rank, -1, "unknown rank"),
        TENSOR(0, name, 1 << 20, "a name outside"),
        TENSOR(0, alias, 0, "shares unknown"),
        TENSOR(1, alias, 1, "shares unknown"),
        TENSOR(1, alias, -2, "shares unknown"),
        TENSOR(1, offset, 1 << 20, "outside the memory"),
        TENSOR(1, offset, -1, "outside the memory"),
        TENSOR(1, bytes, INT64_MAX, "outside the memory"),
        TENSOR(1, bytes, 0, "larger than its memory"),
        TENSOR(1, dim[0], 0, "larger than its memory"),
        TENSOR(1, dim[1], INT64_MAX, "larger than its memory"),
        TENSOR(1, dim[1], -3, "larger than its memory"),
        TENSOR(1, stride[1], -1, "negative stride"),
        TENSOR(1, stride[1], INT64_MAX, "larger than its memory"),
        TENSOR(1, grid.scale, 0, "a grid that is none"),
        TENSOR(1, grid.scale, float_bits(NAN), "a grid that is none"),
        TENSOR(1, grid.scale, float_bits(-1), "a grid that is none"),
        TENSOR(1, grid.scale, float_bits(INFINITY), "a grid that is none"),
        TENSOR(1, grid.zero, 256, "a grid that is none"),
        TENSOR(1, grid.lo, 200, NULL),
        TENSOR(1, grid.hi, 256, "a grid that is none"),
        TENSOR(1, flags, BL_TENSOR_CONSTANT, "a constant would be written"),
        EDGE(0, rank, 9, "impossible input or output"),
        EDGE(0, rank, -1, "impossible input or output"),
        EDGE(0, dim[1], 0, "impossible input or output"),
        EDGE(0, dim[1], 1, "elements outside"),
        EDGE(0, dim[1], (int64_t)1 << 41, "impossible input or output"),
        EDGE(1, dim[1], 2, "elements outside"),
        EDGE(0, name, 1 << 20, "impossible input or output"),
        EDGE(0, tensor, 1000, "impossible input or output"),
        STEP(BL_C_QUANTIZE, in[0], 1, "unknown input"),
        STEP(BL_C_QUANTIZE, in[0], -1, "unknown input"),
        STEP(BL_C_QUANTIZE, out, 1000, "unknown input"),
        STEP(BL_C_DEQUANTIZE, out, 0, "unknown input"),
        STEP(BL_C_DEQUANTIZE, out, 2, "unknown input"),
        STEP(BL_C_QUANTIZE, u.edge.rank, 0, "impossible shape"),
        STEP(BL_C_QUANTIZE, u.edge.rank, 9, "impossible shape"),
        STEP(BL_C_QUANTIZE, u.edge.size[1], 100, "elements outside"),
        STEP(BL_C_QUANTIZE, u.edge.in_stride[1], -1, "elements outside"),
        STEP(BL_C_QUANTIZE, u.edge.out_stride[1], INT64_MAX, "elements outside"),
        STEP(BL_C_QUANTIZE, u.edge.g.scale, 0, "a grid that is none"),
        STEP(BL_C_QUANTIZE, u.edge.g.hi, 999, "a grid that is none"),
        STEP(BL_C_SOFTMAX, u.softmax.d, 4, "larger than its tensors"),
        STEP(BL_C_SOFTMAX, u.softmax.d, 0, "larger than its tensors"),
        STEP(BL_C_SOFTMAX, u.softmax.rows, INT64_MAX, "larger than its tensors"),
        STEP(BL_C_SOFTMAX, u.softmax.table, 1 << 20, "outside the file"),
        STEP(BL_C_SOFTMAX, u.softmax.gy.scale, float_bits(2), "a grid that is none"),
        { HEAD, 0, 64, 8, 63, "impossible memory" },
        { HEAD, 0, 64, 8, INT64_MAX, "impossible memory" },
        { HEAD, 0, 64, 8, 0, "outside the memory" },
        { HEAD, 0, 64, 8, (int64_t)1 << 40, NULL },
        { HEAD, 0, 80, 4, 0, "wrong size" },
        { HEAD, 0, 80, 4, -1, "wrong size" },
        { HEAD, 0, 88, 4, 311, "wrong size" },
    };
    check_patches(*state, patches, BL_COUNTOF(patches));
}

static void wrong_normalisations(void **state)
{
    static const patch patches[] = {
        STEP(BL_C_LAYERNORM, u.layernorm.d, 25, "larger than its tensors"),
        STEP(BL_C_LAYERNORM, u.layernorm.d, 0, "larger than its tensors"),
        STEP(BL_C_LAYERNORM, u.layernorm.d, 12, NULL),
        STEP(BL_C_LAYERNORM, u.layernorm.rows, INT64_MAX, "larger than its tensors"),
        STEP(BL_C_LAYERNORM, u.layernorm.rows, -1, "larger than its tensors"),
        STEP(BL_C_LAYERNORM, u.layernorm.gain, 1 << 20, "outside the file"),
        STEP(BL_C_LAYERNORM, u.layernorm.shift, 4, "outside the file"),
        STEP(BL_C_LAYERNORM, u.layernorm.gy.scale, 0, "a grid that is none"),
        STEP(BL_C_LAYERNORM, u.layernorm.gy.hi, 256, "a grid that is none"),
        STEP(BL_C_LAYERNORM, u.layernorm.floor, 0x7ff8000000000000, "a grid that is none"),
        STEP(BL_C_LAYERNORM, u.layernorm.floor, 0, NULL),
        STEP(BL_C_LAYERNORM, out, 0, "lies over its input"),
    };
    file *f = *state;
    onnx_build *b = ob_new(f->ctx, 17);
    ob_input(b, "x", "N,2,12");
    ob_positive(b, "scale", "12");
    ob_floats(b, "bias", "12", NULL);
    ob_node(b, "LayerNormalization", "x,scale,bias", "y");
    ob_output(b, "y");
    write_program(f, b, 8, 8, 1);
    check_patches(f, patches, BL_COUNTOF(patches));
}

/* Another dimension without strides keeps a step inside its tensors, as often as it likes. */
static void steps_write_once(void **state)
{
    file *f = *state;
    bl_program *p = NULL;
    size_t size;
    int seen = 0;
    memcpy(f->copy, f->bytes, f->size);
    uint8_t *steps = section(f, STEPS, &size);
    for (size_t i = 0; i < size / sizeof(bl_step); i++) {
        bl_step s, before;
        memcpy(&s, steps + i * sizeof s, sizeof s);
        before = s;
        int32_t *rank = s.contract == BL_C_ADD ? &s.u.pair.rank : s.contract == BL_C_MOVE ? &s.u.move.rank : &s.u.edge.rank;
        int64_t *sizes = s.contract == BL_C_ADD ? s.u.pair.size : s.contract == BL_C_MOVE ? s.u.move.size : s.u.edge.size;
        bool has = s.contract == BL_C_ADD || s.contract == BL_C_MOVE || s.contract == BL_C_QUANTIZE || s.contract == BL_C_DEQUANTIZE;
        if (!has || *rank == (s.contract == BL_C_ADD ? 6 : BL_MAX_RANK)) continue;
        sizes[(*rank)++] = (int64_t)1 << 40;
        memcpy(steps + i * sizeof s, &s, sizeof s);
        seal(f);
        assert_fails(f->ctx, parse(f, &p), BL_DATA, "elements outside");
        memcpy(steps + i * sizeof s, &before, sizeof s);
        seen++;
    }
    assert_true(seen >= 2);
    seal(f);
    assert_ok(f->ctx, parse(f, &p));
    bl_program_free(p);
}

/* ------------------------------------------------------------------ thousands of patches */

static void patch_at_random(file *f, bl_rng *r)
{
    static const uint32_t parts[] = { STEPS, STEPS, STEPS, STEPS, STEPS, TENSORS, TENSORS, TENSORS, EDGES, HEAD, CONSTANTS, STRINGS };
    static const int32_t favourites[] = { 0, 1, -1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 31, 63, 64, 255, 256, 4096, 65535, 1 << 20,
                                          1 << 24, INT32_MAX, INT32_MIN };
    size_t size;
    uint8_t *at = section(f, parts[bl_rng_below(r, BL_COUNTOF(parts))], &size);
    if (size < 4) return;
    size_t word = (size_t)bl_rng_below(r, size / 4) * 4, other = (size_t)bl_rng_below(r, size / 4) * 4;
    uint32_t v = get32(at + word);
    for (int tries = 0; v == 0 && tries < 3; tries++) v = get32(at + (word = (size_t)bl_rng_below(r, size / 4) * 4));
    switch (bl_rng_below(r, 5)) {
    case 0: v = (uint32_t)favourites[bl_rng_below(r, BL_COUNTOF(favourites))]; break;
    case 1: v += (uint32_t)bl_rng_below(r, 5) - 2; break;
    case 2: v ^= 1u << bl_rng_below(r, 32); break;
    case 3: v = get32(at + other); break;
    default: v = (uint32_t)bl_rng_u64(r); break;
    }
    memcpy(at + word, &v, 4);
}

static void random_patches_never_crash(void **state)
{
    enum { PATCHES = 20000, NETS = 40 };
    file *f = *state;
    bl_rng r = bl_rng_make(7, "patches", 0);
    int accepted = 0;
    for (int i = 0; i < PATCHES; i++) {
        bl_program *p = NULL;
        if (i % (PATCHES / NETS) == 0) {
            uint64_t seed = (uint64_t)(i / (PATCHES / NETS));
            write_program(f, tiny_random(f->ctx, 100 + seed), 0, 0, seed);
        }
        memcpy(f->copy, f->bytes, f->size);
        for (uint64_t n = 1 + bl_rng_below(&r, 3); n > 0; n--) patch_at_random(f, &r);
        seal(f);
        bl_status s = parse(f, &p);
        if (s != BL_OK) {
            assert_int_equal(s, BL_DATA);
            continue;
        }
        accepted++;
        run_program(f->ctx, p, &r);
        json_decref(bl_program_json(f->ctx, p));
        bl_program_free(p);
    }
    print_message("%d of %d patched programs accepted and run\n", accepted, PATCHES);
    assert_true(accepted > PATCHES / 50 && accepted < PATCHES * 9 / 10);
}

#define EACH(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH(there_and_back),     EACH(every_bit_counts),        EACH(every_length_is_too_short), EACH(kinds_and_versions),
        EACH(wrong_convolutions), EACH(wrong_tensors_and_edges), EACH(wrong_normalisations), EACH(steps_write_once), EACH(random_patches_never_crash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
