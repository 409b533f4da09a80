/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The integer program as C99: one .c and one .h, no library but the C one, nothing allocated, the same
 * integers.  The functions of c/runtime.c.in that the program needs come first, then its constants, one
 * struct a step, and a function that calls them in order.  Weights stay packed at their width.
 *
 * Every identifier is made here; names of the model stand in comments alone, cleaned.
 */
#include "emit/c_export.h"

#include <ctype.h>
#include <string.h>
#include <unistd.h>

static const char runtime[] = {
#include "c_runtime_embedded.h"
};

/* ------------------------------------------------------------------ text */

static void put(bl_cexport *c, const char *format, ...) BL_PRINTF(2, 3);
static void put(bl_cexport *c, const char *format, ...)
{
    char text[512];
    va_list a;
    int n;

    va_start(a, format);
    n = vsnprintf(text, sizeof text, format, a);
    va_end(a);
    if (c->status == BL_OK) c->status = bl_writer_put(c->out, text, (size_t)BL_MIN(n, (int)sizeof text - 1));
}

/* What a comment may hold of a foreign text: printable ASCII without its end. */
static void put_comment(bl_cexport *c, const char *text)
{
    char clean[81];
    size_t n = 0;

    for (; *text && n < sizeof clean - 1; text++)
        clean[n++] = isalnum((unsigned char)*text) || strchr(" _.-+:()[]", *text) ? *text : '_';
    clean[n] = 0;
    put(c, "%s", clean);
}

static void put_section(bl_cexport *c, const char *name)
{
    char mark[64];
    const char *start, *end;

    snprintf(mark, sizeof mark, "/*== %s ==*/\n", name);
    start = strstr(runtime, mark);
    if (!start) {
        c->status = bl_fail(c->ctx, BL_INTERNAL, __FILE__, "please report this", "no section %s", name);
        return;
    }
    start += strlen(mark);
    end = strstr(start, "/*== ");
    if (c->status == BL_OK)
        c->status = bl_writer_put(c->out, start, end ? (size_t)(end - start) : strlen(start));
    if (!end) put(c, "\n");
}

/* ------------------------------------------------------------------ constants */

static void put_bytes(bl_cexport *c, const char *type, const char *name, uint32_t i, const void *data, size_t n, int size)
{
    put(c, "static const %s %s%u[%zu] = {", type, name, i, BL_MAX(n, 1));
    for (size_t k = 0; k < n; k++) {
        const char *sep = k % 16 == 0 ? "\n    " : " ";
        if (size == 1) put(c, "%s%u,", sep, ((const uint8_t *)data)[k]);
        else if (size == 2) put(c, "%s%u,", sep, ((const uint16_t *)data)[k]);
        else if (size == 4) put(c, "%s%d,", sep, ((const int32_t *)data)[k]);
        else put(c, "%s%af,", k % 4 == 0 ? "\n    " : " ", (double)((const float *)data)[k]);
    }
    put(c, "%s\n};\n", n ? "" : " 0");
}

/* Indices, and codes in groups, stand for int8 codes; the C file holds those. */
static void put_codes(bl_cexport *c, uint32_t i, const bl_step_conv *v, size_t n)
{
    bl_arena *a = bl_arena_new(c->ctx, "codes");
    int8_t *codes = a ? BL_NEW(a, int8_t, n) : NULL;

    if (!codes) c->status = bl_pending(c->ctx);
    else bl_conv_codes(c->p, v, n, codes);
    if (codes) put_bytes(c, "uint8_t", "weights", i, codes, n, 1);
    bl_arena_free(a);
}

static bool is_wide(const bl_cexport *c, int32_t tensor)
{
    return c->p->tensors[tensor].bits > 8;
}

/* Constants that a step reads, each under the step's number. */
static void step_constants(bl_cexport *c, uint32_t i)
{
    const bl_step *s = &c->p->steps[i];
    const uint8_t *base = c->p->constants;

    if (s->contract == BL_C_CONV) {
        const bl_conv_shape *v = &s->u.conv.s;
        size_t n = (size_t)v->out_c * (size_t)v->kernel_h * (size_t)v->kernel_w * (size_t)(v->in_c / v->groups);
        if (s->u.conv.index_bits)
            put_codes(c, i, &s->u.conv, n);
        else
            put_bytes(c, "uint8_t", "weights", i, base + s->u.conv.weights, bl_packed_bytes(n, v->weight_bits), 1);
        put_bytes(c, "int32_t", "bias", i, base + s->u.conv.bias, (size_t)v->out_c, 4);
        put_bytes(c, "float", "mult", i, base + s->u.conv.mult, (size_t)v->out_c, 8);
    } else if (s->contract == BL_C_TABLE || (s->contract == BL_C_MOVE && s->u.move.has_table)) {
        uint64_t at = s->contract == BL_C_TABLE ? s->u.table.table : s->u.move.table;
        bool wide = is_wide(c, s->out);
        put_bytes(c, wide ? "uint16_t" : "uint8_t", "table", i, base + at, is_wide(c, s->in[0]) ? 65536 : 256, wide ? 2 : 1);
    } else if (s->contract == BL_C_SOFTMAX) {
        put_bytes(c, "float", "exps", i, base + s->u.softmax.table, 256, 8);
    } else if (s->contract == BL_C_LAYERNORM) {
        put_bytes(c, "float", "gain", i, base + s->u.layernorm.gain, (size_t)s->u.layernorm.d, 8);
        put_bytes(c, "float", "shift", i, base + s->u.layernorm.shift, (size_t)s->u.layernorm.d, 8);
    }
}

static bool is_read(const bl_program *p, uint32_t tensor)
{
    for (uint32_t i = 0; i < p->n_steps; i++)
        if (p->steps[i].in[0] == (int32_t)tensor || p->steps[i].in[1] == (int32_t)tensor) return true;
    return false;
}

/* Compilers warn of a constant that nobody reads: a factor of one element is in its step's table. */
static void tensor_constants(bl_cexport *c)
{
    for (uint32_t t = 0; t < c->p->n_tensors; t++) {
        const bl_ptensor *v = &c->p->tensors[t];
        bool wide = v->bits > 8;
        if (!(v->flags & BL_TENSOR_CONSTANT) || !is_read(c->p, t)) continue;
        put_bytes(c, wide ? "uint16_t" : "uint8_t", "constant", t, c->p->constants + v->offset,
                  (size_t)v->bytes / (wide ? 2 : 1), wide ? 2 : 1);
    }
}

/* ------------------------------------------------------------------ steps */

/* A pointer to a tensor's element, as an expression. */
static void put_tensor(bl_cexport *c, int32_t t, int64_t first)
{
    const bl_ptensor *v = &c->p->tensors[t];

    if (v->flags & BL_TENSOR_CONSTANT) put(c, "constant%d + %lld", t, (long long)first);
    else put(c, "m + %llu", (unsigned long long)(v->offset + (uint64_t)(first * (v->bits > 8 ? 2 : 1))));
}

static void put_list(bl_cexport *c, const int64_t *v, int n)
{
    put(c, "{ ");
    for (int k = 0; k < BL_MAX(n, 1); k++) put(c, "%s%lld", k ? ", " : "", n ? (long long)v[k] : 0LL);
    put(c, " }");
}

static void put_lists(bl_cexport *c, int n, const int64_t *a, const int64_t *b, const int64_t *d, const int64_t *e)
{
    const int64_t *all[4] = {a, b, d, e};

    for (int k = 0; k < 4 && all[k]; k++) {
        put_list(c, all[k], n);
        put(c, ", ");
    }
}

static void put_grid(bl_cexport *c, bl_grid g)
{
    put(c, "{ %af, %d, %d, %d }", (double)g.scale, g.zero, g.lo, g.hi);
}

static void struct_conv(bl_cexport *c, uint32_t i)
{
    const bl_step *s = &c->p->steps[i];
    const bl_step_conv *v = &s->u.conv;

    put(c, "static const conv_step step%u = {\n    %d, %d, %d, %d, %d, %d, %d, %d, %d, %d, %d,\n", i, v->s.in_h, v->s.in_w,
        v->s.in_c, v->s.out_h, v->s.out_w, v->s.out_c, v->s.groups, v->s.kernel_h, v->s.kernel_w, v->s.stride_h, v->s.stride_w);
    put(c, "    %d, %d, %d, %d, %d, %d, %d, %d, %d, %d, %d, %d,\n    weights%u, bias%u, mult%u\n};\n", v->s.dilation_h,
        v->s.dilation_w, v->s.pad_top, v->s.pad_left, v->s.in_bits > 8, v->s.out_bits > 8, v->s.weight_bits, v->s.acc64,
        v->zero_in, v->zero_out, v->lo, v->hi, i, i, i);
}

static void struct_pair(bl_cexport *c, uint32_t i)
{
    const bl_step *s = &c->p->steps[i];
    const bl_step_pair *v = &s->u.pair;

    put(c, "static const pair_step step%u = {\n    %d, %d, %d, %d, ", i, v->rank, is_wide(c, s->in[0]), is_wide(c, s->in[1]),
        is_wide(c, s->out));
    put_lists(c, v->rank, v->size, v->a_stride, v->b_stride, v->out_stride);
    put(c, "\n    ");
    put_grid(c, v->ga);
    put(c, ", ");
    put_grid(c, v->gb);
    put(c, ", ");
    put_grid(c, v->gy);
    put(c, "\n};\n");
}

static void struct_pool(bl_cexport *c, uint32_t i)
{
    const bl_step *s = &c->p->steps[i];
    const bl_step_pool *v = &s->u.pool;

    put(c, "static const pool_step step%u = {\n    %d, %d, %d, %d, %d, %d, %d, %d, %d, %d, %d, %d, %d, %d, %d, %d, ", i, v->in_h,
        v->in_w, v->c, v->out_h, v->out_w, v->kernel_h, v->kernel_w, v->stride_h, v->stride_w, v->dilation_h, v->dilation_w,
        v->pad_top, v->pad_left, v->count_include_pad, is_wide(c, s->in[0]), is_wide(c, s->out));
    put_grid(c, v->gx);
    put(c, ", ");
    put_grid(c, v->gy);
    put(c, "\n};\n");
}

static void struct_move(bl_cexport *c, uint32_t i)
{
    const bl_step *s = &c->p->steps[i];
    const bl_step_move *v = &s->u.move;

    put(c, "static const move_step step%u = {\n    %d, %d, %d, ", i, v->rank, is_wide(c, s->in[0]), is_wide(c, s->out));
    put_lists(c, v->rank, v->size, v->in_stride, v->out_stride, NULL);
    if (v->has_table) put(c, "table%u\n};\n", i);
    else put(c, "0\n};\n");
}

static void struct_edge(bl_cexport *c, uint32_t i)
{
    const bl_step *s = &c->p->steps[i];
    const bl_step_edge *v = &s->u.edge;

    put(c, "static const edge_step step%u = {\n    %d, %d, ", i, v->rank,
        is_wide(c, s->contract == BL_C_QUANTIZE ? s->out : s->in[0]));
    put_lists(c, v->rank, v->size, v->in_stride, v->out_stride, NULL);
    put_grid(c, v->g);
    put(c, "\n};\n");
}

static void struct_matmul(bl_cexport *c, uint32_t i)
{
    const bl_step *s = &c->p->steps[i];
    const bl_step_matmul *v = &s->u.matmul;

    put(c, "static const matmul_step step%u = {\n    %d, %d, %d, %d, ", i, v->rank, is_wide(c, s->in[0]), is_wide(c, s->in[1]),
        is_wide(c, s->out));
    put_lists(c, v->rank, v->size, v->a_stride, v->b_stride, v->out_stride);
    put(c, "\n    %lld, %lld, %lld, %lld, %lld, %lld, %lld, %lld, %lld, %d, %d, %d, %d, %d, %af\n};\n", (long long)v->m,
        (long long)v->n, (long long)v->k, (long long)v->a_m, (long long)v->a_k, (long long)v->b_k, (long long)v->b_n,
        (long long)v->out_m, (long long)v->out_n, v->zero_a, v->zero_b, v->zero_out, v->lo, v->hi, (double)v->mult);
}

/* FUNCTION(in, [in2,] out, &stepN); */
static void call_step(bl_cexport *c, uint32_t i, const char *function)
{
    const bl_step *s = &c->p->steps[i];
    bool move = s->contract == BL_C_MOVE;

    put(c, "    %s(", function);
    put_tensor(c, s->in[0], move ? s->u.move.in_first : 0);
    if (s->in[1] >= 0) {
        put(c, ", ");
        put_tensor(c, s->in[1], 0);
    }
    put(c, ", ");
    put_tensor(c, s->out, move ? s->u.move.out_first : 0);
    put(c, ", %s&step%u);", s->contract == BL_C_CONV ? "row, " : "", i);
}

static void call_quantize(bl_cexport *c, uint32_t i, const char *function)
{
    const bl_step *s = &c->p->steps[i];

    put(c, "    %s(in%d, ", function, s->in[0]);
    put_tensor(c, s->out, 0);
    put(c, ", &step%u);", i);
}

static void call_dequantize(bl_cexport *c, uint32_t i, const char *function)
{
    const bl_step *s = &c->p->steps[i];

    put(c, "    %s(", function);
    put_tensor(c, s->in[0], 0);
    put(c, ", out%d, &step%u);", s->out - (int32_t)c->p->n_inputs, i);
}

/* FUNCTION(in, out, */
static void put_in_out(bl_cexport *c, const bl_step *s, const char *function)
{
    put(c, "    %s(", function);
    put_tensor(c, s->in[0], 0);
    put(c, ", ");
    put_tensor(c, s->out, 0);
    put(c, ", ");
}

static void call_table(bl_cexport *c, uint32_t i, const char *function)
{
    const bl_step *s = &c->p->steps[i];

    put_in_out(c, s, function);
    put(c, "%d, %d, table%u, %lld);", is_wide(c, s->in[0]), is_wide(c, s->out), i, (long long)s->u.table.n);
}

static void call_softmax(bl_cexport *c, uint32_t i, const char *function)
{
    const bl_step *s = &c->p->steps[i];

    put_in_out(c, s, function);
    put(c, "%lld, %lld, exps%u, (grid)", (long long)s->u.softmax.rows, (long long)s->u.softmax.d, i);
    put_grid(c, s->u.softmax.gy);
    put(c, ");");
}

static void call_layernorm(bl_cexport *c, uint32_t i, const char *function)
{
    const bl_step *s = &c->p->steps[i];

    put_in_out(c, s, function);
    put(c, "%d, %d, %lld, %lld, gain%u, shift%u, %a, (grid)", is_wide(c, s->in[0]), is_wide(c, s->out),
        (long long)s->u.layernorm.rows, (long long)s->u.layernorm.d, i, i, s->u.layernorm.floor);
    put_grid(c, s->u.layernorm.gy);
    put(c, ");");
}

enum { N_NEEDS = 3 };

/* One row a contract: the sections of the runtime in their order, the struct of constants, the call. */
static const struct {
    bl_contract contract;
    const char *needs[N_NEEDS], *function;
    void (*make)(bl_cexport *c, uint32_t i); /* NULL: no struct */
    void (*call)(bl_cexport *c, uint32_t i, const char *function);
} forms[] = {
    {BL_C_QUANTIZE, {"walk", "edge", "quantize"}, "quantize", struct_edge, call_quantize},
    {BL_C_DEQUANTIZE, {"walk", "edge", "dequantize"}, "dequantize", struct_edge, call_dequantize},
    {BL_C_CONV, {"conv"}, "conv", struct_conv, call_step},
    {BL_C_ADD, {"walk", "pair", "add"}, "add", struct_pair, call_step},
    {BL_C_MUL, {"walk", "pair", "mul"}, "mul", struct_pair, call_step},
    {BL_C_GAP, {"pool", "gap"}, "gap", struct_pool, call_step},
    {BL_C_AVGPOOL, {"pool", "avgpool"}, "avgpool", struct_pool, call_step},
    {BL_C_MAXPOOL, {"pool", "maxpool"}, "maxpool", struct_pool, call_step},
    {BL_C_MOVE, {"walk", "move"}, "move", struct_move, call_step},
    {BL_C_TABLE, {"table"}, "table", NULL, call_table},
    {BL_C_SOFTMAX, {"softmax"}, "softmax", NULL, call_softmax},
    {BL_C_LAYERNORM, {"layernorm"}, "layernorm", NULL, call_layernorm},
    {BL_C_MATMUL, {"walk", "matmul"}, "matmul", struct_matmul, call_step},
};

static int form_of(const bl_step *s)
{
    for (int k = 0; k < (int)BL_COUNTOF(forms); k++)
        if (forms[k].contract == (bl_contract)s->contract) return k;
    return -1;
}

/* ------------------------------------------------------------------ the files */

/* Steps without a C form, all in one message. */
static bl_status check_steps(bl_cexport *c)
{
    char list[512];
    size_t at = 0, n = 0;

    for (uint32_t i = 0; i < c->p->n_steps; i++) {
        const bl_step *s = &c->p->steps[i];
        if (form_of(s) >= 0) continue;
        n++;
        if (at < sizeof list - 100)
            at += (size_t)snprintf(list + at, sizeof list - at, "%s\"%.60s\"", at ? ", " : "", c->p->strings + s->name);
    }
    for (uint32_t t = 0; !n && t < c->p->n_tensors; t++)
        if (c->p->tensors[t].raw)
            return bl_fail(c->ctx, BL_UNAVAILABLE, c->p->strings + c->p->tensors[t].name, "use model.blp",
                           "a tensor that is no code has no C form");
    return n ? bl_fail(c->ctx, BL_UNAVAILABLE, c->path, "use model.blp, or give these operators an integer form",
                       "%zu nodes run in float between codes and have no C form: %s", n, list)
             : BL_OK;
}

static void put_signature(bl_cexport *c, const char *end)
{
    put(c, "void %s_run(%s_memory *memory", c->id, c->id);
    for (uint32_t e = 0; e < c->p->n_inputs; e++) put(c, ", const float *in%u", e);
    for (uint32_t e = 0; e < c->p->n_outputs; e++) put(c, ", float *out%u", e);
    put(c, ")%s\n", end);
}

static void put_head(bl_cexport *c, const char *what)
{
    put(c, "/* %s of ", what);
    put_comment(c, c->g->source ? bl_path_base(c->g->source) : c->id);
    put(c, ", made by bitlathe " BL_VERSION_STRING ", plan %s.\n * C99; compile without -ffast-math", c->plan->hash.hex);
    put(c, " and with -ffp-contract=off. */\n");
}

static void write_header(bl_cexport *c)
{
    put_head(c, "The integer program");
    put(c, "#ifndef %s_H\n#define %s_H\n\n#include <stdint.h>\n\n", c->upper, c->upper);
    put(c, "#ifdef __cplusplus\nextern \"C\" {\n#endif\n\n");
    put(c, "/* Working memory of one run; several may run side by side, each with its own. */\n");
    put(c, "typedef union %s_memory { uint64_t align; uint8_t bytes[%llu]; } %s_memory;\n\n", c->id,
        (unsigned long long)(c->memory_bytes + c->row_bytes), c->id);
    for (uint32_t e = 0; e < c->p->n_inputs + c->p->n_outputs; e++) {
        const bl_pedge *d = &c->p->edges[e];
        bool in = e < c->p->n_inputs;
        int64_t n = 1;
        for (int k = 0; k < d->rank; k++) n *= d->dim[k];
        put(c, "#define %s_%s%u %lld /* floats of ", c->upper, in ? "IN" : "OUT", in ? e : e - c->p->n_inputs, (long long)n);
        put_comment(c, c->p->strings + d->name);
        put(c, ", row-major */\n");
    }
    put(c, "\n");
    put_signature(c, ";");
    put(c, "\n#ifdef __cplusplus\n}\n#endif\n#endif\n");
}

static bool was_put(const bool *used, size_t before, const char *section)
{
    for (size_t k = 0; k < before; k++)
        for (int n = 0; used[k] && n < N_NEEDS; n++)
            if (forms[k].needs[n] && !strcmp(forms[k].needs[n], section)) return true;
    return false;
}

static void put_runtime(bl_cexport *c)
{
    bool used[BL_COUNTOF(forms)] = {false};

    for (uint32_t i = 0; i < c->p->n_steps; i++) used[form_of(&c->p->steps[i])] = true;
    put_section(c, "base");
    for (size_t k = 0; k < BL_COUNTOF(forms); k++)
        for (int n = 0; used[k] && n < N_NEEDS; n++)
            if (forms[k].needs[n] && !was_put(used, k, forms[k].needs[n])) put_section(c, forms[k].needs[n]);
}

static void write_source(bl_cexport *c)
{
    put_head(c, "The integer program");
    put(c, "#include \"%s\"\n\n#include <math.h>\n\n", bl_path_base(c->header));
    put_runtime(c);
    tensor_constants(c);
    for (uint32_t i = 0; i < c->p->n_steps && c->status == BL_OK; i++) {
        int k = form_of(&c->p->steps[i]);
        put(c, "\n/* ");
        put_comment(c, c->p->strings + c->p->steps[i].name);
        put(c, " */\n");
        step_constants(c, i);
        if (forms[k].make) forms[k].make(c, i);
    }
    put(c, "\n");
    put_signature(c, "");
    put(c, "{\n    uint8_t *m = memory->bytes;\n");
    if (c->row_bytes) put(c, "    int8_t *row = (int8_t *)m + %llu;\n", (unsigned long long)c->memory_bytes);
    put(c, "\n");
    for (uint32_t i = 0; i < c->p->n_steps && c->status == BL_OK; i++) {
        int k = form_of(&c->p->steps[i]);
        forms[k].call(c, i, forms[k].function);
        put(c, " /* ");
        put_comment(c, c->p->strings + c->p->steps[i].name);
        put(c, " */\n");
    }
    put(c, "}\n");
}

static bl_status write_file(bl_cexport *c, const char *path, void (*write)(bl_cexport *c))
{
    BL_TRY(bl_writer_open(c->ctx, path, &c->out));
    c->status = BL_OK;
    write(c);
    if (c->status == BL_OK) return bl_writer_close(c->out);
    bl_writer_abort(c->out);
    return c->status;
}

/* net.c gives net.c, net.h and identifiers net_...; letters, digits and _ alone. */
static bl_status make_names(bl_cexport *c, bl_arena *a)
{
    char stem[48];
    const char *base = bl_path_base(c->path);
    size_t n = 0, length = strlen(c->path);

    if (length < 3 || strcmp(c->path + length - 2, ".c"))
        return bl_fail(c->ctx, BL_USAGE, c->path, "give a name that ends in .c", "not the name of a C file");
    for (; base[n] && base[n] != '.' && n < sizeof stem - 2; n++)
        stem[n] = isalnum((unsigned char)base[n]) ? base[n] : '_';
    stem[n] = 0;
    c->id = bl_format(a, "%s%s", isalpha((unsigned char)stem[0]) ? "" : "net_", stem);
    c->header = bl_format(a, "%.*s.h", (int)(length - 2), c->path);
    char *upper = c->id ? bl_strdup(a, c->id) : NULL;
    if (!upper || !c->header) return bl_pending(c->ctx);
    for (char *p = upper; *p; p++) *p = (char)toupper((unsigned char)*p);
    c->upper = upper;
    return BL_OK;
}

static void size_memory(bl_cexport *c)
{
    c->memory_bytes = (c->p->memory_bytes + 7) / 8 * 8;
    for (uint32_t i = 0; i < c->p->n_steps; i++) {
        const bl_conv_shape *v = &c->p->steps[i].u.conv.s;
        if (c->p->steps[i].contract != BL_C_CONV) continue;
        c->row_bytes = BL_MAX(c->row_bytes, (uint64_t)v->kernel_h * (uint64_t)v->kernel_w * (uint64_t)(v->in_c / v->groups));
    }
}

bl_status bl_export_c(bl_ctx *ctx, const bl_graph *graph, const bl_plan *plan, const bl_weights *weights,
                      const bl_export_options *options, const char *path)
{
    bl_cexport c = {.ctx = ctx, .g = graph, .plan = plan, .path = path};
    bl_arena *a = bl_arena_new(ctx, "C export");
    bl_program *p = NULL;
    bl_status s;

    (void)options;
    BL_ALLOC_TRY(ctx, a);
    s = make_names(&c, a);
    if (s == BL_OK) s = bl_lower(ctx, graph, plan, weights, &p);
    c.p = p;
    if (s == BL_OK) s = check_steps(&c);
    if (s == BL_OK) {
        size_memory(&c);
        s = write_file(&c, c.header, write_header);
    }
    if (s == BL_OK) {
        s = write_file(&c, path, write_source);
        if (s != BL_OK) (void)unlink(c.header); /* of no source */
    }
    bl_program_free(p);
    bl_arena_free(a);
    return s;
}
