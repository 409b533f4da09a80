/* SPDX-License-Identifier: BSD-3-Clause */
/* bitlathe run: a float network or a program on given inputs; every value by name on request. */
#include "cli/cli.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { KEY_IN = 0x200, KEY_OUT, KEY_ALL, KEY_REFERENCE };

typedef struct state {
    bl_cli cli;
    const char *in[BL_CLI_ARGS_MAX], *out;
    int n_in;
    bool all, reference;
    json_t *index;              /* of --all-values */
} state;

static const struct argp_option options[] = {
    { "in", KEY_IN, "FILE", 0, "input in the graph's order: .npy, .npz or TensorProto .pb (repeat)", 1 },
    { "out", KEY_OUT, "DIR", 0, "writes out0.npy, out1.npy, ...", 1 },
    { "all-values", KEY_ALL, NULL, 0, "also every intermediate value by name, with index.json", 1 },
    { "reference", KEY_REFERENCE, NULL, 0, "plain reference operators", 1 },
    { 0 }
};

static error_t parse(int key, char *arg, void *input)
{
    state *s = input;
    switch (key) {
    case KEY_IN:
        if (s->n_in == BL_CLI_ARGS_MAX) return bl_cli_bad(&s->cli, "--in", arg, "too many inputs");
        s->in[s->n_in++] = arg;
        return 0;
    case KEY_OUT: s->out = arg; return 0;
    case KEY_ALL: s->all = true; return 0;
    case KEY_REFERENCE: s->reference = true; return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

/* ---- inputs */

typedef struct inputs { bl_tensor t[BL_CLI_ARGS_MAX]; int n; } inputs;

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && !strcmp(text + n - m, end);
}

static bl_status copy_tensor(state *s, const bl_tensor *view, inputs *in)
{
    if (in->n == BL_CLI_ARGS_MAX) return bl_fail(s->cli.ctx, BL_USAGE, "--in", "", "too many inputs");
    bl_tensor *t = &in->t[in->n++];
    *t = *view;
    t->data = bl_alloc(s->cli.arena, BL_MAX(bl_tensor_bytes(view), 1), 1);
    BL_ALLOC_TRY(s->cli.ctx, t->data);
    memcpy(t->data, view->data, bl_tensor_bytes(view));
    return BL_OK;
}

static bl_status read_inputs(state *s, inputs *in)
{
    for (int i = 0; i < s->n_in; i++) {
        bl_map map;
        bl_tensor t;
        BL_TRY(bl_map_file(s->cli.ctx, s->in[i], 0, &map));
        bl_status st = BL_OK;
        if (ends_with(s->in[i], ".npz")) {
            bl_npz_member *m;
            int n;
            st = bl_npz_list(s->cli.arena, s->in[i], map.data, map.size, &m, &n);
            for (int k = 0; st == BL_OK && k < n; k++) {
                st = bl_npz_view(s->cli.arena, s->in[i], map.data, &m[k], &t);
                if (st == BL_OK) st = copy_tensor(s, &t, in);
            }
        } else if (ends_with(s->in[i], ".pb")) {
            st = bl_tensor_from_pb(s->cli.ctx, s->in[i], map.data, map.size, s->cli.arena, &t);
            if (st == BL_OK) st = copy_tensor(s, &t, in);
        } else {
            st = bl_npy_view(s->cli.ctx, s->in[i], map.data, map.size, &t);
            if (st == BL_OK) st = copy_tensor(s, &t, in);
        }
        bl_unmap(&map);
        BL_TRY(st);
    }
    return BL_OK;
}

static bool is_number(bl_dtype type)
{
    return type == BL_F32 || type == BL_F64 || type == BL_BOOL || (type >= BL_U8 && type <= BL_I64) || type == BL_U32 || type == BL_U64;
}

/* Numbers of another type are taken as samples are: rounded to float32 or float64, and to integers where they are such
 * numbers.  What NumPy makes is float64 unless told otherwise. */
static bl_status convert_input(state *s, const char *name, bl_tensor *have, bl_dtype type)
{
    const double exact = 0x1p53;
    bool real = type == BL_F32 || type == BL_F64;
    bl_tensor to = *have;
    if (!is_number(have->type) || !is_number(type))
        return bl_fail(s->cli.ctx, BL_DATA, name, "convert the input", "the input is %s, the network wants %s",
                       bl_dtype_name(have->type), bl_dtype_name(type));
    to.type = type;
    to.data = bl_alloc(s->cli.arena, BL_MAX((size_t)bl_tensor_count(&to), 1), bl_dtype_bytes(type));
    BL_ALLOC_TRY(s->cli.ctx, to.data);
    for (int64_t i = 0; i < bl_tensor_count(have); i++) {
        double x = bl_element_f64(have, i);
        bl_element_set(&to, i, x);
        double is = bl_element_f64(&to, i);
        if (real ? isfinite(is) || !isfinite(x) : is == x && fabs(x) <= exact) continue;
        return bl_fail(s->cli.ctx, BL_DATA, name, "give numbers of that type", "%.9g is no number that the network's input of %s takes", x,
                       bl_dtype_name(type));
    }
    bl_note(s->cli.ctx, "%s: %s is taken as the network's %s", name, bl_dtype_name(have->type), bl_dtype_name(type));
    *have = to;
    return BL_OK;
}

static bl_status check_input(state *s, const char *name, bl_tensor *have, bl_dtype type, int rank, const int64_t *dim)
{
    bl_tensor want = { .type = type, .rank = rank };
    memcpy(want.dim, dim, sizeof want.dim);
    if (have->rank != rank || memcmp(have->dim, dim, (size_t)rank * sizeof *dim))
        return bl_fail(s->cli.ctx, BL_DATA, name, "give an input of that shape", "the input is %s, the network wants %s",
                       bl_shape_text(s->cli.arena, have), bl_shape_text(s->cli.arena, &want));
    return have->type == type ? BL_OK : convert_input(s, name, have, type);
}

/* ---- outputs */

static bl_status write_tensor(state *s, const char *name, const bl_tensor *t)
{
    char *path = bl_path_join(s->cli.arena, s->out, name);
    BL_ALLOC_TRY(s->cli.ctx, path);
    return bl_npy_write(s->cli.ctx, path, t);
}

/* A value's name as a file name: odd characters become '_', its number keeps it unique. */
static char *file_name(state *s, const char *name, int number)
{
    char safe[100];
    size_t n = 0;
    for (; name[n] && n < sizeof safe - 1; n++) {
        char c = name[n];
        bool fine = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-';
        safe[n] = fine ? c : '_';
    }
    safe[n] = 0;
    return bl_format(s->cli.arena, "v%04d_%s.npy", number, safe);
}

static bl_status note_value(state *s, const char *name, const char *file, const bl_ptensor *t)
{
    json_t *o = json_pack("{s:s, s:s}", "name", name, "file", file);
    if (t) {
        json_object_set_new(o, "bits", json_integer(t->bits));
        json_object_set_new(o, "scale", json_real((double)t->grid.scale));
        json_object_set_new(o, "zero", json_integer(t->grid.zero));
    }
    json_array_append_new(s->index, o);
    return BL_OK;
}

static bl_status finish_index(state *s)
{
    if (!s->all) return BL_OK;
    json_t *o = json_pack("{s:O}", "values", s->index);
    char *path = bl_path_join(s->cli.arena, s->out, "index.json");
    bl_status st = path ? bl_json_write(s->cli.ctx, path, o) : s->cli.ctx->code;
    json_decref(o);
    return st;
}

/* ---- programs */

/* What running took beside what was promised before anything was taken: equal, as running takes nothing. */
static bl_status say_memory(state *s, const bl_exec *e)
{
    uint64_t promised, taken;
    bl_exec_memory(e, &promised, &taken);
    if (s->cli.json)
        return bl_cli_json(&s->cli, json_pack("{s:s, s:I, s:I}", "out", s->out, "promised_bytes", (json_int_t)promised,
                                              "peak_bytes", (json_int_t)taken));
    printf("memory: %llu bytes promised, %llu taken\n", (unsigned long long)promised, (unsigned long long)taken);
    return BL_OK;
}

typedef struct program_run { state *s; bl_exec *e; const bl_program *p; } program_run;

/* Plain elements are written as they are. */
static bl_status write_raw(program_run *r, uint32_t t)
{
    state *s = r->s;
    const bl_ptensor *x = &r->p->tensors[t];
    bl_tensor out = { .type = (bl_dtype)x->raw, .rank = x->rank, .data = bl_exec_codes(r->e, t) };
    char *file = file_name(s, r->p->strings + x->name, (int)t);
    BL_ALLOC_TRY(s->cli.ctx, file);
    memcpy(out.dim, x->dim, sizeof out.dim);
    BL_TRY(write_tensor(s, file, &out));
    return note_value(s, r->p->strings + x->name, file, NULL);
}

static bl_status write_codes(program_run *r, uint32_t t)
{
    state *s = r->s;
    const bl_ptensor *x = &r->p->tensors[t];
    if (x->raw) return write_raw(r, t);
    bl_tensor out = { .type = x->bits <= 8 ? BL_U8 : BL_U16, .rank = x->rank };
    memcpy(out.dim, x->dim, sizeof out.dim);
    bl_mark mark = bl_arena_mark(s->cli.arena);
    size_t n = (size_t)bl_tensor_count(&out);
    uint16_t *wide = BL_NEW(s->cli.arena, uint16_t, n);
    uint8_t *narrow = BL_NEW(s->cli.arena, uint8_t, n);
    char *file = file_name(s, r->p->strings + x->name, (int)t);
    if (!wide || !narrow || !file) return s->cli.ctx->code;
    bl_exec_read(r->e, t, wide);
    for (size_t i = 0; i < n; i++) narrow[i] = (uint8_t)wide[i];
    out.data = x->bits <= 8 ? (void *)narrow : (void *)wide;
    bl_status st = write_tensor(s, file, &out);
    if (st == BL_OK) st = note_value(s, r->p->strings + x->name, file, x);
    bl_arena_reset(s->cli.arena, mark);
    return st;
}

/* A value made in several steps (Pad, Concat) is whole after its last; shared memory shows it at once. */
static bl_status step_hook(void *user, uint32_t step, uint32_t tensor)
{
    program_run *r = user;
    for (uint32_t later = step + 1; later < r->p->n_steps; later++)
        if (bl_step_writes(r->p, &r->p->steps[later], (int32_t)tensor)) return BL_OK;
    for (uint32_t t = tensor; t < r->p->n_tensors; t++) {
        uint32_t root = t;
        while (r->p->tensors[root].alias >= 0) root = (uint32_t)r->p->tensors[root].alias;
        if (root == tensor && !(r->p->tensors[t].flags & BL_TENSOR_INNER)) BL_TRY(write_codes(r, t));
    }
    return BL_OK;
}

/* An edge holds numbers as float32, whatever the network calls them. */
static void give_input(bl_exec *e, uint32_t i, const bl_tensor *t)
{
    float *to = bl_exec_input(e, i);
    for (int64_t k = 0; k < bl_tensor_count(t); k++) to[k] = (float)bl_element_f64(t, k);
}

static bl_status take_output(state *s, bl_exec *e, const bl_program *p, uint32_t i)
{
    const bl_pedge *edge = &p->edges[p->n_inputs + i];
    bl_tensor t = { .type = bl_edge_type(p, p->n_inputs + i), .rank = edge->rank };
    const float *from = bl_exec_output(e, i);
    memcpy(t.dim, edge->dim, sizeof t.dim);
    t.data = bl_alloc(s->cli.arena, BL_MAX(bl_tensor_bytes(&t), 1), 1);
    BL_ALLOC_TRY(s->cli.ctx, t.data);
    for (int64_t k = 0; k < bl_tensor_count(&t); k++) bl_element_set(&t, k, (double)from[k]);
    return write_tensor(s, bl_format(s->cli.arena, "out%u.npy", i), &t);
}

static bl_status run_program(state *s, const bl_program *p, inputs *in)
{
    bl_exec_options o = { .parallel = true };
    program_run r = { .s = s, .p = p };
    if (in->n != (int)p->n_inputs)
        return bl_fail(s->cli.ctx, BL_USAGE, "--in", "give every input once", "%d inputs for %u", in->n, p->n_inputs);
    for (uint32_t i = 0; i < p->n_inputs; i++)
        BL_TRY(check_input(s, s->in[BL_MIN((int)i, s->n_in - 1)], &in->t[i], bl_edge_type(p, i), p->edges[i].rank, p->edges[i].dim));
    BL_TRY(bl_exec_new(s->cli.ctx, p, &o, &r.e));
    for (uint32_t i = 0; i < p->n_inputs; i++) give_input(r.e, i, &in->t[i]);
    bl_status st = bl_exec_run(r.e, s->all ? step_hook : NULL, &r);
    for (uint32_t i = 0; st == BL_OK && i < p->n_outputs; i++) st = take_output(s, r.e, p, i);
    if (st == BL_OK) st = finish_index(s);
    if (st == BL_OK) st = say_memory(s, r.e);
    bl_exec_free(r.e);
    return st;
}

/* ---- float networks */

typedef struct float_run { state *s; const bl_graph *g; } float_run;

static bl_status value_hook(void *user, int value, bl_tensor *t)
{
    float_run *r = user;
    char *file = file_name(r->s, r->g->values[value].name, value);
    BL_ALLOC_TRY(r->s->cli.ctx, file);
    BL_TRY(write_tensor(r->s, file, t));
    return note_value(r->s, r->g->values[value].name, file, NULL);
}

static bl_status run_graph(state *s, const bl_graph *g, inputs *in)
{
    bl_walk_options o = { .reference = s->reference, .threads = bl_threads(s->cli.ctx) };
    bl_walk *w;
    float_run r = { s, g };
    if (in->n != g->n_inputs)
        return bl_fail(s->cli.ctx, BL_USAGE, "--in", "give every input once", "%d inputs for %d", in->n, g->n_inputs);
    for (int i = 0; i < g->n_inputs; i++) {
        const bl_tensor *want = &g->values[g->inputs[i]].t;
        BL_TRY(check_input(s, s->in[BL_MIN(i, s->n_in - 1)], &in->t[i], want->type, want->rank, want->dim));
    }
    BL_TRY(bl_walk_new(s->cli.ctx, g, &o, &w));
    for (int i = 0; i < g->n_inputs; i++) memcpy(bl_walk_input(w, i)->data, in->t[i].data, bl_tensor_bytes(&in->t[i]));
    bl_status st = bl_walk_run(w, s->all ? value_hook : NULL, &r);
    for (int i = 0; st == BL_OK && i < g->n_outputs; i++)
        st = write_tensor(s, bl_format(s->cli.arena, "out%d.npy", i), bl_walk_value(w, g->outputs[i]));
    bl_walk_free(w);
    if (st == BL_OK) st = finish_index(s);
    return st == BL_OK && s->cli.json ? bl_cli_json(&s->cli, json_pack("{s:s}", "out", s->out)) : st;
}

/* The batch of the given input decides where the model leaves it open. */
static bl_status match_batch(state *s, bl_graph **g, const inputs *in, bl_graph **batched)
{
    *batched = NULL;
    if (!in->n || !in->t[0].rank || in->t[0].dim[0] == (*g)->batch || in->t[0].rank != (*g)->values[(*g)->inputs[0]].t.rank)
        return BL_OK;
    return bl_graph_rebatch(s->cli.ctx, *g, in->t[0].dim[0], batched);
}

static bl_status run(state *s)
{
    bl_graph *g = NULL, *batched = NULL;
    bl_program *p = NULL;
    inputs *in = BL_NEW(s->cli.arena, inputs, 1);
    BL_ALLOC_TRY(s->cli.ctx, in);
    if (!s->out) s->out = s->cli.output;
    if (!s->out || !s->n_in)
        return bl_fail(s->cli.ctx, BL_USAGE, "bitlathe run", "give --in FILE and --out DIR", "no input or no output folder");
    s->cli.as_written = true;
    BL_TRY(bl_cli_model(&s->cli, s->cli.args[0], true, &g, &p));
    bl_status st = read_inputs(s, in);
    if (st == BL_OK) st = bl_make_dir(s->cli.ctx, s->out);
    s->index = json_array();
    if (st == BL_OK && g) st = match_batch(s, &g, in, &batched);
    if (st == BL_OK) st = p ? run_program(s, p, in) : run_graph(s, batched ? batched : g, in);
    json_decref(s->index);
    bl_graph_free(batched);
    bl_program_free(p);
    bl_graph_free(g);
    return st;
}

int bl_cmd_run(int argc, char **argv)
{
    state s = { 0 };
    const bl_verb verb = { "run", "MODEL.onnx|MODEL.blp", "Runs a network on given inputs.",
                           "bitlathe run run/model.blp --in x.npy --out results --all-values", options, parse, false, 1, 1 };
    int code = bl_cli_open(&s.cli, &s, &verb, argc, argv);
    return code ? code : bl_cli_close(&s.cli, run(&s));
}
