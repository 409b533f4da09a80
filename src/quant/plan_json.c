/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * plan.json: written so that a person can edit it, read back with every number checked against the
 * network.  Four kinds of quantizer: affine, fixed (HGQ), codebook, grouped.
 */
#include "quant/quant.h"

#include <string.h>

static const char *const kind_names[] = { "affine", "fixed", "codebook", "grouped" };

/* ---- writing */

static json_t *floats_json(const float *x, int n)
{
    json_t *a = json_array();
    for (int i = 0; i < n; i++) json_array_append_new(a, bl_json_real(x[i]));
    return a;
}

static json_t *codes_json(const int8_t *x, int n)
{
    json_t *a = json_array();
    for (int i = 0; i < n; i++) json_array_append_new(a, json_integer(x[i]));
    return a;
}

static json_t *bytes_json(const uint8_t *x, int n)
{
    json_t *a = json_array();
    for (int i = 0; i < n; i++) json_array_append_new(a, json_integer(x[i]));
    return a;
}

static json_t *ints_json(const int32_t *x, int n)
{
    json_t *a = json_array();
    for (int i = 0; i < n; i++) json_array_append_new(a, json_integer(x[i]));
    return a;
}

static json_t *quantizer_json(const bl_graph *g, const bl_quantizer *q)
{
    bool constant = g->values[q->value].t.data != NULL;
    json_t *o = json_pack("{s:s, s:s, s:s, s:i}", "tensor", g->values[q->value].name, "role",
                          q->weight ? "weight" : constant ? "constant" : "activation", "kind",
                          kind_names[q->kind], "bits", q->bits);
    switch (q->kind) {
    case BL_Q_AFFINE:
        json_object_set_new(o, "scale", floats_json(q->scale, q->n_scale));
        json_object_set_new(o, "zero", json_integer(q->zero));
        json_object_set_new(o, "axis", json_integer(q->axis));
        json_object_set_new(o, "narrow", json_boolean(q->narrow));
        break;
    case BL_Q_FIXED:
        json_object_set_new(o, "k", ints_json(q->k, q->n_fixed));
        json_object_set_new(o, "i", ints_json(q->i, q->n_fixed));
        json_object_set_new(o, "f", ints_json(q->f, q->n_fixed));
        json_object_set_new(o, "round", json_string(q->round));
        json_object_set_new(o, "overflow", json_string(q->overflow));
        break;
    case BL_Q_CODEBOOK:
        json_object_set_new(o, "scale", floats_json(q->scale, q->n_scale));
        json_object_set_new(o, "axis", json_integer(q->axis));
        json_object_set_new(o, "table", codes_json(q->table, q->n_table));
        break;
    case BL_Q_GROUPED:
        json_object_set_new(o, "scale", floats_json(q->scale, q->n_scale));
        json_object_set_new(o, "axis", json_integer(q->axis));
        json_object_set_new(o, "group", json_integer(q->group));
        json_object_set_new(o, "narrow", json_boolean(q->narrow));
        json_object_set_new(o, "multiples", bytes_json(q->multiple, q->n_multiple));
        break;
    }
    if (q->range) json_object_set_new(o, "range", json_string(q->range));
    if (q->why) json_object_set_new(o, "range_why", json_string(q->why));
    if (q->rounding) json_object_set_new(o, "rounding", json_string(q->rounding));
    return o;
}

static void set_source(json_t *from, const char *key, const bl_hash *h)
{
    if (h->hex[0]) json_object_set_new(from, key, json_string(h->hex));
}

bl_status bl_plan_write(bl_ctx *ctx, const bl_graph *graph, bl_plan *plan, const char *path)
{
    json_t *r = bl_record_new(ctx, "plan", 1, 0), *from = json_object(), *units = json_array();
    json_t *quantizers = json_array(), *figures = json_object();
    set_source(from, "graph", &plan->graph);
    set_source(from, "stats", &plan->stats);
    set_source(from, "sens", &plan->sens);
    set_source(from, "cost", &plan->cost);
    set_source(from, "weights", &plan->weights);
    json_object_set_new(r, "made_from", from);
    json_object_set_new(r, "recipe", json_string(plan->recipe));
    json_object_set_new(r, "seed", json_integer((json_int_t)plan->seed));
    json_object_set_new(r, "feasible", json_boolean(plan->feasible));
    for (int u = 0; u < plan->n_units; u++)
        json_array_append_new(units, json_pack("{s:s, s:i, s:i}", "name", plan->unit_name[u], "w_bits",
                                               plan->choice[u].w_bits, "a_bits", plan->choice[u].a_bits));
    json_object_set_new(r, "units", units);
    for (int i = 0; i < plan->n_figures; i++)
        json_object_set_new(figures, plan->figures[i].name, bl_json_real(plan->figures[i].value));
    json_object_set_new(r, "predicted", figures);
    if (plan->solver) json_object_set(r, "solver", plan->solver);
    for (int i = 0; i < plan->n_quantizers; i++)
        json_array_append_new(quantizers, quantizer_json(graph, &plan->quantizers[i]));
    json_object_set_new(r, "quantizers", quantizers);
    bl_status s = bl_record_write(ctx, r, path, &plan->hash);
    json_decref(r);
    return s;
}

/* ---- reading */

typedef struct reader {
    bl_ctx *ctx;
    const bl_graph *g;
    const char *path;
    bl_plan *p;
} reader;

static bl_status bad(const reader *r, const char *tensor, const char *what)
{
    return bl_fail(r->ctx, BL_DATA, r->path, "correct the plan or search again", "quantizer of \"%s\": %s", tensor,
                   what);
}

static bl_status read_floats(const reader *r, const json_t *o, const char *key, const char *tensor, int n_max,
                             float **out, int *n)
{
    json_t *a;
    BL_TRY(bl_json_array(r->ctx, o, key, r->path, (size_t)n_max, &a));
    *n = (int)json_array_size(a);
    *out = BL_NEW(r->p->arena, float, (size_t)*n);
    BL_ALLOC_TRY(r->ctx, *out);
    for (int i = 0; i < *n; i++) {
        double v = json_number_value(json_array_get(a, (size_t)i));
        if (!json_is_number(json_array_get(a, (size_t)i)) || !isfinite((float)v))
            return bad(r, tensor, "a number that is none");
        (*out)[i] = (float)v;
    }
    return BL_OK;
}

static bl_status read_ints(const reader *r, const json_t *o, const char *key, const char *tensor, int n_max,
                           int32_t **out, int *n)
{
    json_t *a;
    BL_TRY(bl_json_array(r->ctx, o, key, r->path, (size_t)n_max, &a));
    *n = (int)json_array_size(a);
    *out = BL_NEW(r->p->arena, int32_t, (size_t)*n);
    BL_ALLOC_TRY(r->ctx, *out);
    for (int i = 0; i < *n; i++) {
        const json_t *x = json_array_get(a, (size_t)i);
        if (!json_is_integer(x) || llabs(json_integer_value(x)) > 64) return bad(r, tensor, "a width beyond 64 bits");
        (*out)[i] = (int32_t)json_integer_value(x);
    }
    return BL_OK;
}

static bl_status read_scales(const reader *r, const json_t *o, const char *tensor, bl_quantizer *q)
{
    const bl_tensor *t = &r->g->values[q->value].t;
    int64_t axis;
    BL_TRY(read_floats(r, o, "scale", tensor, 1 << 24, &q->scale, &q->n_scale));
    BL_TRY(bl_json_i64(r->ctx, o, "axis", r->path, -1, t->rank - 1, &axis));
    q->axis = (int)axis;
    int64_t want = axis < 0 ? 1 : t->dim[axis];
    if (q->n_scale != want) return bad(r, tensor, "the number of scales does not fit the axis");
    for (int i = 0; i < q->n_scale; i++)
        if (!(q->scale[i] >= 1e-30f)) return bad(r, tensor, "a scale must be at least 1e-30");
    return BL_OK;
}

static bl_status read_codebook(const reader *r, const json_t *o, const char *tensor, bl_quantizer *q)
{
    json_t *codes;
    if (!q->weight || !bl_codebook_width(q->bits)) return bad(r, tensor, "a codebook is of weights, 1 to 7 bits wide");
    BL_TRY(read_scales(r, o, tensor, q));
    BL_TRY(bl_json_array(r->ctx, o, "table", r->path, (size_t)1 << q->bits, &codes));
    q->n_table = 1 << q->bits;
    q->table = BL_NEW(r->p->arena, int8_t, (size_t)q->n_table);
    BL_ALLOC_TRY(r->ctx, q->table);
    if (json_array_size(codes) != (size_t)q->n_table) return bad(r, tensor, "the table does not fit the width");
    for (int i = 0; i < q->n_table; i++) {
        const json_t *x = json_array_get(codes, (size_t)i);
        if (!json_is_integer(x) || llabs(json_integer_value(x)) > 127) return bad(r, tensor, "codes are integers from -127 to 127");
        q->table[i] = (int8_t)json_integer_value(x);
        if (i && q->table[i] < q->table[i - 1]) return bad(r, tensor, "the codes of a table stand in order");
    }
    return BL_OK;
}

static bl_status read_grouped(const reader *r, const json_t *o, const char *tensor, bl_quantizer *q)
{
    const bl_tensor *t = &r->g->values[q->value].t;
    json_t *multiples;
    int64_t group;
    if (!q->weight || !bl_group_width(q->bits)) return bad(r, tensor, "groups are of weights, 1 to 6 bits wide");
    BL_TRY(read_scales(r, o, tensor, q));
    if (q->axis < 0) return bad(r, tensor, "groups want a scale for every output channel");
    BL_TRY(bl_json_i64(r->ctx, o, "group", r->path, 1, INT32_MAX, &group));
    BL_TRY(bl_json_bool(r->ctx, o, "narrow", r->path, &q->narrow));
    int64_t want = q->n_scale * bl_group_count(bl_tensor_count(t) / BL_MAX(q->n_scale, 1), group);
    BL_TRY(bl_json_array(r->ctx, o, "multiples", r->path, (size_t)want, &multiples));
    if (json_array_size(multiples) != (size_t)want) return bad(r, tensor, "the number of multiples does not fit the groups");
    q->group = (int)group;
    q->n_multiple = (int)want;
    q->multiple = BL_NEW(r->p->arena, uint8_t, (size_t)want);
    BL_ALLOC_TRY(r->ctx, q->multiple);
    for (int i = 0; i < q->n_multiple; i++) {
        const json_t *x = json_array_get(multiples, (size_t)i);
        json_int_t m = json_is_integer(x) ? json_integer_value(x) : 0;
        if (m < 1 || m > bl_group_multiple_most(q->bits, q->narrow)) return bad(r, tensor, "a multiple that leaves 8 bits");
        q->multiple[i] = (uint8_t)m;
    }
    return BL_OK;
}

static bl_status read_affine(const reader *r, const json_t *o, const char *tensor, bl_quantizer *q)
{
    int64_t zero;
    BL_TRY(read_scales(r, o, tensor, q));
    BL_TRY(bl_json_i64(r->ctx, o, "zero", r->path, 0, 65535, &zero));
    if (json_integer_value(json_object_get(o, "group"))) return bad(r, tensor, "groups are a kind of their own: \"grouped\"");
    BL_TRY(bl_json_bool(r->ctx, o, "narrow", r->path, &q->narrow));
    q->zero = (int32_t)zero;
    if (q->weight) {
        if (q->bits > 8) return bad(r, tensor, "weights have at most 8 bits");
        if (q->zero) return bad(r, tensor, "weights are symmetric: zero must be 0");
    } else {
        if (q->bits > 16 || (q->bits > 8 && q->bits != 16)) return bad(r, tensor, "activations have 1 to 8 or 16 bits");
        if (q->n_scale != 1) return bad(r, tensor, "activations have one scale");
        if (q->zero > (int32_t)((1u << q->bits) - 1)) return bad(r, tensor, "the zero point lies outside the codes");
    }
    return BL_OK;
}

static bl_status read_fixed(const reader *r, const json_t *o, const char *tensor, bl_quantizer *q)
{
    int n_i, n_f;
    int max = (int)BL_MIN(bl_tensor_count(&r->g->values[q->value].t), 1 << 24);
    BL_TRY(read_ints(r, o, "k", tensor, max, &q->k, &q->n_fixed));
    BL_TRY(read_ints(r, o, "i", tensor, max, &q->i, &n_i));
    BL_TRY(read_ints(r, o, "f", tensor, max, &q->f, &n_f));
    BL_TRY(bl_json_str(r->ctx, o, "round", r->path, &q->round));
    BL_TRY(bl_json_str(r->ctx, o, "overflow", r->path, &q->overflow));
    q->round = bl_strdup(r->p->arena, q->round);
    q->overflow = bl_strdup(r->p->arena, q->overflow);
    if (!q->round || !q->overflow) return bl_pending(r->ctx);
    if (n_i != q->n_fixed || n_f != q->n_fixed || (q->n_fixed != 1 && q->n_fixed != max))
        return bad(r, tensor, "k, i and f need one number, or one an element");
    return BL_OK;
}

static bool is_layer_weight(const bl_graph *g, int v)
{
    for (int i = 0; i < g->n_nodes; i++)
        if (bl_layer_weight(g, i) == v) return true;
    return false;
}

/* A weight is a layer's, a constant any other one: their codes do not mean the same. */
static bool role_fits(const bl_graph *g, int v, const char *role)
{
    if (g->values[v].t.type != BL_F32) return false;
    if (!g->values[v].t.data) return !strcmp(role, "activation");
    return !strcmp(role, is_layer_weight(g, v) ? "weight" : "constant");
}

/* An optional text; NULL where absent. */
static bl_status read_text(const reader *r, const json_t *o, const char *key, const char **out)
{
    const char *text = json_string_value(json_object_get(o, key));
    *out = text ? bl_strdup(r->p->arena, text) : NULL;
    return text && !*out ? bl_pending(r->ctx) : BL_OK;
}

static bl_status read_quantizer(const reader *r, const json_t *o)
{
    const char *tensor, *role, *kind;
    int64_t bits;
    BL_TRY(bl_json_str(r->ctx, o, "tensor", r->path, &tensor));
    BL_TRY(bl_json_str(r->ctx, o, "role", r->path, &role));
    BL_TRY(bl_json_str(r->ctx, o, "kind", r->path, &kind));
    BL_TRY(bl_json_i64(r->ctx, o, "bits", r->path, 1, 24, &bits));
    int v = bl_graph_find_value(r->g, tensor);
    if (v < 0)
        return bl_fail(r->ctx, BL_DATA, r->path, "give a plan of this network",
                       "tensor \"%s\" is not in the network", tensor);
    if (r->p->of_value[v] >= 0) return bad(r, tensor, "named twice");
    if (r->p->n_quantizers >= r->g->n_values) return bad(r, tensor, "too many quantizers");
    bl_quantizer *q = &r->p->quantizers[r->p->n_quantizers];
    *q = (bl_quantizer){ .value = v, .bits = (int)bits, .weight = !strcmp(role, "weight") };
    if (!role_fits(r->g, v, role)) return bad(r, tensor, "its role does not fit the network");
    size_t k = 0;
    while (k < BL_COUNTOF(kind_names) && strcmp(kind_names[k], kind)) k++;
    if (k == BL_COUNTOF(kind_names)) return bad(r, tensor, "unknown kind");
    q->kind = (bl_qkind)k;
    if (q->kind == BL_Q_AFFINE) BL_TRY(read_affine(r, o, tensor, q));
    else if (q->kind == BL_Q_FIXED) BL_TRY(read_fixed(r, o, tensor, q));
    else if (q->kind == BL_Q_GROUPED) BL_TRY(read_grouped(r, o, tensor, q));
    else BL_TRY(read_codebook(r, o, tensor, q));
    BL_TRY(read_text(r, o, "range", &q->range));
    BL_TRY(read_text(r, o, "range_why", &q->why));
    BL_TRY(read_text(r, o, "rounding", &q->rounding));
    r->p->of_value[v] = r->p->n_quantizers++;
    return BL_OK;
}

static bl_status read_units(const reader *r, const json_t *units)
{
    for (size_t u = 0; u < json_array_size(units); u++) {
        const json_t *o = json_array_get(units, u);
        const char *name;
        int64_t w, a;
        BL_TRY(bl_json_str(r->ctx, o, "name", r->path, &name));
        BL_TRY(bl_json_i64(r->ctx, o, "w_bits", r->path, 0, 16, &w));
        BL_TRY(bl_json_i64(r->ctx, o, "a_bits", r->path, 0, 16, &a));
        r->p->unit_name[u] = bl_strdup(r->p->arena, name);
        BL_ALLOC_TRY(r->ctx, r->p->unit_name[u]);
        r->p->choice[u] = (bl_candidate){ (int)w, (int)a };
        r->p->n_units++;
    }
    return BL_OK;
}

static void read_source(const json_t *from, const char *key, bl_hash *out)
{
    const char *text = json_string_value(json_object_get(from, key));
    if (text && strlen(text) == 32) memcpy(out->hex, text, 33);
}

static bl_status read_plan(reader *r, const json_t *o)
{
    json_t *from, *units, *quantizers, *figures;
    const char *recipe;
    int64_t seed;
    const char *key;
    json_t *value;
    bl_hash graph = { "" };
    BL_TRY(bl_json_object(r->ctx, o, "made_from", r->path, &from));
    read_source(from, "graph", &graph);
    if (strcmp(graph.hex, r->g->hash.hex))
        return bl_fail(r->ctx, BL_DATA, r->path, "give a plan of this network", "the record of another network");
    BL_TRY(bl_json_array(r->ctx, o, "units", r->path, (size_t)r->g->n_values, &units));
    BL_TRY(bl_json_array(r->ctx, o, "quantizers", r->path, (size_t)r->g->n_values, &quantizers));
    r->p = bl_plan_alloc(r->ctx, r->g, json_array_size(quantizers), json_array_size(units));
    BL_ALLOC_TRY(r->ctx, r->p);
    read_source(from, "stats", &r->p->stats);
    read_source(from, "sens", &r->p->sens);
    read_source(from, "cost", &r->p->cost);
    read_source(from, "weights", &r->p->weights);
    BL_TRY(bl_json_str(r->ctx, o, "recipe", r->path, &recipe));
    BL_TRY(bl_json_i64(r->ctx, o, "seed", r->path, 0, INT64_MAX, &seed));
    BL_TRY(bl_json_bool(r->ctx, o, "feasible", r->path, &r->p->feasible));
    r->p->recipe = bl_strdup(r->p->arena, recipe);
    BL_ALLOC_TRY(r->ctx, r->p->recipe);
    r->p->seed = (uint64_t)seed;
    BL_TRY(read_units(r, units));
    BL_TRY(bl_json_object(r->ctx, o, "predicted", r->path, &figures));
    json_object_foreach(figures, key, value)
        if (json_is_number(value)) BL_TRY(bl_plan_figure(r->p, key, json_number_value(value)));
    r->p->solver = json_incref(json_object_get(o, "solver"));
    for (size_t i = 0; i < json_array_size(quantizers); i++)
        BL_TRY(read_quantizer(r, json_array_get(quantizers, i)));
    return BL_OK;
}

bl_status bl_plan_read(bl_ctx *ctx, const bl_graph *graph, const char *path, bl_plan **out)
{
    json_t *o;
    bl_hash hash;
    bool edited = false;
    BL_TRY(bl_record_read(ctx, path, "plan", 1, &edited, &o, &hash));
    reader r = { .ctx = ctx, .g = graph, .path = path };
    bl_status s = read_plan(&r, o);
    json_decref(o);
    if (s != BL_OK) {
        bl_plan_free(r.p);
        return s;
    }
    r.p->hash = hash;
    r.p->edited = edited;
    *out = r.p;
    return BL_OK;
}
