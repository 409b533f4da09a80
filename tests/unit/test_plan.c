/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * PLAN: grids of a choice, the three kinds of quantizer there and back through plan.json, a file
 * changed by hand, and every kind of nonsense that such a file may hold.
 */
#include "tiny_graph.h"

typedef struct net {
    tiny *t;
    char path[400], copy[400];
} net;

static void plan_of(tiny *t, int w_bits, int a_bits, const bl_grid_options *o)
{
    if (!t->menu) {
        bl_menu_options m = { .w_bits = { 1, 2, 3, 4, 5, 6, 7, 8 }, .n_w = 8, .a_bits = { 1, 2, 3, 4, 5, 6, 7, 8, 16 }, .n_a = 9 };
        assert_ok(t->ctx, bl_menu_make(t->ctx, t->g, &m, &t->menu));
    }
    for (int u = 0; u < t->menu->n_units; u++) {
        const bl_unit *unit = &t->menu->units[u];
        t->choice[u] = 0;
        for (int c = 0; c < unit->n_candidates; c++)
            if (unit->candidates[c].a_bits == a_bits && (unit->candidates[c].w_bits == w_bits || !unit->n_layers))
                t->choice[u] = c;
    }
    bl_plan_free(t->plan);
    t->plan = NULL;
    assert_ok(t->ctx, bl_plan_make(t->ctx, t->g, t->menu, t->stats, t->choice, o, "by hand", &t->plan));
}

static int setup(void **state)
{
    net *n = calloc(1, sizeof *n);
    assert_non_null(n);
    n->t = tiny_new_net(1, tiny_residual, 9);
    snprintf(n->path, sizeof n->path, "%s/plan.json", n->t->folder);
    snprintf(n->copy, sizeof n->copy, "%s/copy.json", n->t->folder);
    plan_of(n->t, 4, 8, NULL);
    *state = n;
    return 0;
}

static int teardown(void **state)
{
    net *n = *state;
    tiny_free(n->t);
    free(n);
    return 0;
}

static const bl_quantizer *grid_of(const bl_plan *p, const bl_graph *g, const char *name)
{
    int v = bl_graph_find_value(g, name);
    assert_true(v >= 0 && p->of_value[v] >= 0);
    return &p->quantizers[p->of_value[v]];
}

static void assert_same_quantizers(const bl_plan *a, const bl_plan *b)
{
    assert_int_equal(a->n_quantizers, b->n_quantizers);
    for (int i = 0; i < a->n_quantizers; i++) {
        const bl_quantizer *p = &a->quantizers[i], *q = &b->quantizers[i];
        assert_int_equal(p->kind, q->kind);
        assert_int_equal(p->value, q->value);
        assert_int_equal(p->weight, q->weight);
        assert_int_equal(p->bits, q->bits);
        if (p->range) assert_string_equal(p->range, q->range);
        else assert_null(q->range);
        assert_int_equal(p->n_scale, q->n_scale);
        assert_int_equal(p->n_fixed, q->n_fixed);
        assert_int_equal(p->n_table, q->n_table);
        if (p->kind == BL_Q_AFFINE) {
            assert_int_equal(p->axis, q->axis);
            assert_int_equal(p->zero, q->zero);
            assert_int_equal(p->narrow, q->narrow);
            assert_memory_equal(p->scale, q->scale, (size_t)p->n_scale * sizeof(float));
        } else if (p->kind == BL_Q_FIXED) {
            assert_memory_equal(p->k, q->k, (size_t)p->n_fixed * sizeof(int32_t));
            assert_memory_equal(p->i, q->i, (size_t)p->n_fixed * sizeof(int32_t));
            assert_memory_equal(p->f, q->f, (size_t)p->n_fixed * sizeof(int32_t));
            assert_string_equal(p->round, q->round);
            assert_string_equal(p->overflow, q->overflow);
        } else {
            assert_memory_equal(p->table, q->table, (size_t)p->n_table);
        }
    }
}

static void grids_of_a_choice(void **state)
{
    net *n = *state;
    const bl_graph *g = n->t->g;
    for (int a = 1; a <= 16; a += a == 8 ? 8 : 1)
        for (int w = 1; w <= 8; w++) {
            bl_grid_options o = { .act_range = "minmax", .weight_range = "minmax", .narrow = w % 2, .per_tensor = w > 6 };
            plan_of(n->t, w, a, &o);
            const bl_plan *p = n->t->plan;
            assert_int_equal(p->n_units, n->t->menu->n_units);
            for (int v = 0; v < g->n_values; v++) {
                const bl_value *x = &g->values[v];
                if (p->of_value[v] < 0) continue;
                const bl_quantizer *q = &p->quantizers[p->of_value[v]];
                assert_int_equal(q->bits, q->weight ? w : a);
                for (int i = 0; i < q->n_scale; i++) assert_true(q->scale[i] >= 1e-8f && isfinite(q->scale[i]));
                if (q->weight) {
                    assert_int_equal(q->zero, 0);
                    assert_int_equal(q->narrow, w % 2);
                    assert_int_equal(q->n_scale, w > 6 ? 1 : x->t.dim[0]);
                    continue;
                }
                const bl_quantizer *r = &p->quantizers[p->of_value[n->t->menu->units[n->t->menu->unit_of_value[v]].values[0]]];
                assert_true(q->scale[0] == r->scale[0] && q->zero == r->zero); /* one grid a unit */
                assert_true(q->zero >= 0 && q->zero < 1 << a);
                assert_true(bl_fake_quantize(0, bl_affine_grid(q)) == 0);
                /* the grid holds the whole range but half a step at the ends */
                const bl_value_stats *s = &n->t->stats->value[v];
                bl_grid grid = bl_affine_grid(q);
                assert_true((double)bl_dequantize(0, grid) <= s->lo + 0.51 * (double)grid.scale);
                assert_true((double)bl_dequantize(grid.hi, grid) >= s->hi - 0.51 * (double)grid.scale);
            }
        }
    bl_plan *none = NULL;
    bl_grid_options bad = { .act_range = "best" };
    assert_fails(n->t->ctx, bl_plan_make(n->t->ctx, g, n->t->menu, n->t->stats, n->t->choice, &bad, "", &none), BL_USAGE,
                 "unknown range");
    n->t->choice[0] = 99;
    assert_fails(n->t->ctx, bl_plan_make(n->t->ctx, g, n->t->menu, n->t->stats, n->t->choice, NULL, "", &none), BL_INTERNAL,
                 "choice");
    assert_null(none);
}

static void there_and_back(void **state)
{
    net *n = *state;
    bl_plan *back = NULL;
    n->t->plan->feasible = false;
    n->t->plan->seed = UINT64_C(77);
    n->t->plan->solver = json_pack("{s:f, s:s}", "gap", 0.25, "proof", "search");
    assert_ok(n->t->ctx, bl_plan_figure(n->t->plan, "size_bytes", 1234.5));
    assert_ok(n->t->ctx, bl_plan_figure(n->t->plan, "bops", 1e12));
    assert_ok(n->t->ctx, bl_plan_figure(n->t->plan, "bops", 2e12));
    assert_ok(n->t->ctx, bl_plan_write(n->t->ctx, n->t->g, n->t->plan, n->path));
    assert_ok(n->t->ctx, bl_plan_read(n->t->ctx, n->t->g, n->path, &back));
    assert_false(back->edited);
    assert_false(back->feasible);
    assert_int_equal(back->seed, 77);
    assert_string_equal(back->recipe, "by hand");
    assert_string_equal(back->hash.hex, n->t->plan->hash.hex);
    assert_int_equal(back->n_figures, 2);
    assert_true(back->figures[1].value == 2e12);
    assert_true(json_equal(back->solver, n->t->plan->solver));
    assert_int_equal(back->n_units, n->t->plan->n_units);
    for (int u = 0; u < back->n_units; u++) {
        assert_string_equal(back->unit_name[u], n->t->plan->unit_name[u]);
        assert_memory_equal(&back->choice[u], &n->t->plan->choice[u], sizeof *back->choice);
    }
    assert_same_quantizers(n->t->plan, back);
    assert_ok(n->t->ctx, bl_plan_write(n->t->ctx, n->t->g, back, n->copy));
    char *one = test_slurp(n->path, NULL), *two = test_slurp(n->copy, NULL);
    assert_string_equal(one, two);
    free(one);
    free(two);
    bl_hash a, b;
    assert_ok(n->t->ctx, bl_plan_content(n->t->ctx, n->t->plan, &a));
    assert_ok(n->t->ctx, bl_plan_content(n->t->ctx, back, &b));
    assert_string_equal(a.hex, b.hex);
    back->quantizers[1].zero ^= 1;
    assert_ok(n->t->ctx, bl_plan_content(n->t->ctx, back, &b));
    assert_string_not_equal(a.hex, b.hex);
    bl_plan_free(back);
    bl_graph *other = ob_prepared(tiny_dense(n->t->ctx, false));
    back = NULL;
    assert_fails(n->t->ctx, bl_plan_read(n->t->ctx, other, n->path, &back), BL_DATA, "another network");
    assert_null(back);
    bl_graph_free(other);
}

static void fixed_and_codebook(void **state)
{
    net *n = *state;
    bl_plan *back = NULL;
    bl_quantizer *q = (bl_quantizer *)(uintptr_t)grid_of(n->t->plan, n->t->g, "c.w"), *x = &n->t->plan->quantizers[0];
    int32_t k[16], i[16], f[16];
    int8_t table[8] = { -127, -20, -3, 0, 9, 9, 40, 127 };
    float scale = 1.0f / 3;
    for (int e = 0; e < 16; e++) k[e] = e % 2, i[e] = e - 8, f[e] = 12 - e;
    *q = (bl_quantizer){ .kind = BL_Q_FIXED, .value = q->value, .weight = true, .bits = 24, .n_fixed = 16, .k = k, .i = i,
                         .f = f, .round = "RND", .overflow = "SAT_SYM", .axis = -1 };
    *x = (bl_quantizer){ .kind = BL_Q_FIXED, .value = x->value, .bits = 9, .n_fixed = 1, .k = k + 1, .i = i + 9, .f = f,
                         .round = "TRN", .overflow = "WRAP", .range = "traced", .axis = -1 };
    q = (bl_quantizer *)(uintptr_t)grid_of(n->t->plan, n->t->g, "b.w");
    *q = (bl_quantizer){ .kind = BL_Q_CODEBOOK, .value = q->value, .weight = true, .bits = 3, .n_table = 8, .table = table,
                         .n_scale = 1, .scale = &scale, .axis = -1 };
    assert_ok(n->t->ctx, bl_plan_write(n->t->ctx, n->t->g, n->t->plan, n->path));
    assert_ok(n->t->ctx, bl_plan_read(n->t->ctx, n->t->g, n->path, &back));
    assert_same_quantizers(n->t->plan, back);
    bl_hash a, b;
    assert_ok(n->t->ctx, bl_plan_content(n->t->ctx, back, &a));
    ((bl_quantizer *)(uintptr_t)grid_of(back, n->t->g, "b.w"))->table[3] = 1;
    assert_ok(n->t->ctx, bl_plan_content(n->t->ctx, back, &b));
    assert_string_not_equal(a.hex, b.hex);
    /* Fixed point has no form here: a sentence, no crash. */
    bl_program *program = NULL;
    bl_fake *fake = NULL;
    assert_fails(n->t->ctx, bl_lower(n->t->ctx, n->t->g, back, NULL, &program), BL_UNAVAILABLE, "affine");
    assert_fails(n->t->ctx, bl_fake_new(n->t->ctx, n->t->g, back, NULL, &fake), BL_UNAVAILABLE, "kind of quantizer");
    bl_plan_free(back);
}

/* The file as JSON, changed by `edit` ("quantizer key value" or a top-level "key value"). */
static json_t *loaded(net *n)
{
    json_t *r = NULL;
    assert_ok(n->t->ctx, bl_json_read(n->t->ctx, n->path, &r));
    return r;
}

static json_t *named(json_t *r, const char *tensor)
{
    json_t *list = json_object_get(r, "quantizers"), *q;
    size_t i;
    json_array_foreach(list, i, q)
        if (!strcmp(json_string_value(json_object_get(q, "tensor")), tensor)) return q;
    fail_msg("no quantizer of \"%s\"", tensor);
    return NULL;
}

static void changed_by_hand(void **state)
{
    net *n = *state;
    bl_plan *back = NULL;
    assert_ok(n->t->ctx, bl_plan_write(n->t->ctx, n->t->g, n->t->plan, n->path));
    json_t *r = loaded(n);
    json_object_set_new(named(r, "c"), "zero", json_integer(7));
    json_array_set_new(json_object_get(named(r, "c"), "scale"), 0, json_real(0.1)); /* not a binary32 */
    assert_ok(n->t->ctx, bl_json_write(n->t->ctx, n->copy, r));
    json_decref(r);
    assert_ok(n->t->ctx, bl_plan_read(n->t->ctx, n->t->g, n->copy, &back));
    assert_true(back->edited);
    assert_string_not_equal(back->hash.hex, n->t->plan->hash.hex);
    assert_int_equal(grid_of(back, n->t->g, "c")->zero, 7);
    assert_true(grid_of(back, n->t->g, "c")->scale[0] == 0.1f);
    bl_program *program = NULL;
    assert_ok(n->t->ctx, bl_lower(n->t->ctx, n->t->g, back, NULL, &program));
    bl_program_free(program);
    bl_plan_free(back);
}

static void nonsense(void **state)
{
    static const struct { const char *tensor, *key, *json, *what; } cases[] = {
        { "c", "scale", "[0]", "at least 1e-30" },        { "c", "scale", "[-0.5]", "at least" },
        { "c", "scale", "[1e-40]", "at least" },          { "c", "scale", "[1e39]", "a number that is none" },
        { "c", "scale", "[null]", "a number that is none" }, { "c", "scale", "[\"1\"]", "a number that is none" },
        { "c", "scale", "[]", "number of scales" },       { "c", "scale", "[1, 1]", "number of scales" },
        { "c", "scale", "1", "scale" },                   { "c", "scale", NULL, "scale" },
        { "c", "zero", "256", "outside the codes" },      { "c", "zero", "-1", "zero" },
        { "c", "zero", "65536", "zero" },                 { "c", "zero", "1.5", "zero" },
        { "c", "bits", "0", "bits" },                     { "c", "bits", "25", "bits" },
        { "c", "bits", "9", "1 to 8 or 16" },             { "c", "bits", "24", "1 to 8 or 16" },
        { "c", "bits", "\"8\"", "bits" },                 { "c", "bits", "-8", "bits" },
        { "c", "axis", "1", "number of scales" },         { "c", "axis", "4", "axis" },
        { "c", "axis", "-2", "axis" },                    { "c", "group", "16", "groups are a kind" },
        { "c", "narrow", "1", "narrow" },                 { "c", "kind", "\"float\"", "unknown kind" },
        { "c", "kind", "7", "kind" },                     { "c", "kind", "\"fixed\"", "\"k\"" },
        { "c", "kind", "\"codebook\"", "of weights" },      { "c", "tensor", "\"d\"", "not in the network" },
        { "c", "tensor", "\"sum\"", "named twice" },      { "c", "tensor", "7", "tensor" },
        { "c", "role", "\"weight\"", "role" },            { "c", "role", "\"constant\"", "role" },
        { "c", "role", "\"nothing\"", "role" },           { "c", "role", NULL, "role" },
        { "c", "tensor", "\"from\"", "role" },            { "c.w", "role", "\"activation\"", "role" },
        { "c.w", "role", "\"constant\"", "role" },        { "c.w", "bits", "9", "at most 8" },
        { "c.w", "zero", "1", "symmetric" },              { "c.w", "axis", "-1", "number of scales" },
        { "c.w", "scale", "[1,1,1]", "number of scales" }, { "c.w", "scale", "[1,1,1,0]", "at least" },
        { "c.w", "tensor", "\"a.b\"", "role" } };
    net *n = *state;
    bl_ctx *ctx = n->t->ctx;
    assert_ok(ctx, bl_plan_write(ctx, n->t->g, n->t->plan, n->path));
    for (size_t i = 0; i < BL_COUNTOF(cases); i++) {
        json_t *r = loaded(n);
        bl_plan *back = NULL;
        if (cases[i].json)
            json_object_set_new(named(r, cases[i].tensor), cases[i].key, json_loads(cases[i].json, JSON_DECODE_ANY, NULL));
        else json_object_del(named(r, cases[i].tensor), cases[i].key);
        assert_ok(ctx, bl_json_write(ctx, n->copy, r));
        json_decref(r);
        assert_fails(ctx, bl_plan_read(ctx, n->t->g, n->copy, &back), BL_DATA, cases[i].what);
        assert_null(back);
    }
}

static void nonsense_of_other_kinds(void **state)
{
    static const struct { const char *json, *what; } cases[] = {
        { "{\"kind\":\"fixed\",\"k\":[1],\"i\":[65],\"f\":[1],\"round\":\"RND\",\"overflow\":\"SAT\"}", "64 bits" },
        { "{\"kind\":\"fixed\",\"k\":[1],\"i\":[0.5],\"f\":[1],\"round\":\"RND\",\"overflow\":\"SAT\"}", "64 bits" },
        { "{\"kind\":\"fixed\",\"k\":[1],\"i\":[1,2],\"f\":[1],\"round\":\"RND\",\"overflow\":\"SAT\"}", "one number" },
        { "{\"kind\":\"fixed\",\"k\":[1,1],\"i\":[1,2],\"f\":[1,2],\"round\":\"RND\",\"overflow\":\"SAT\"}", "one number" },
        { "{\"kind\":\"fixed\",\"k\":[1],\"i\":[1],\"f\":[1],\"overflow\":\"SAT\"}", "round" },
        { "{\"kind\":\"fixed\",\"k\":[1],\"i\":[1],\"f\":[1],\"round\":\"RND\",\"overflow\":3}", "overflow" },
        { "{\"kind\":\"codebook\",\"table\":[]}", "does not fit" },
        { "{\"kind\":\"codebook\",\"bits\":1,\"table\":[1,2,3]}", "more than 2" },
        { "{\"kind\":\"codebook\",\"bits\":2,\"table\":[1,2,3]}", "does not fit" },
        { "{\"kind\":\"codebook\",\"bits\":17,\"table\":[1,2,3]}", "1 to 7 bits" },
        { "{\"kind\":\"codebook\",\"bits\":1,\"table\":[1,2],\"scale\":[]}", "scales" },
        { "{\"kind\":\"codebook\",\"bits\":1,\"table\":[1,1e99]}", "integers" },
        { "{\"kind\":\"codebook\",\"bits\":1,\"table\":[1,1.5]}", "integers" },
        { "{\"kind\":\"codebook\",\"bits\":1,\"table\":[-128,0]}", "integers" },
        { "{\"kind\":\"codebook\",\"bits\":1,\"table\":[3,2]}", "in order" },
        { "{\"kind\":\"grouped\",\"bits\":8,\"group\":16,\"multiples\":[1,1,1,1]}", "1 to 6 bits" },
        { "{\"kind\":\"grouped\",\"bits\":4,\"group\":0,\"multiples\":[1,1,1,1]}", "group" },
        { "{\"kind\":\"grouped\",\"bits\":4,\"group\":1048576,\"multiples\":[1,1,1]}", "does not fit" },
        { "{\"kind\":\"grouped\",\"bits\":4,\"group\":1048576,\"multiples\":[1,1,1,1,1]}", "more than 4" },
        { "{\"kind\":\"grouped\",\"bits\":4,\"group\":1048576,\"multiples\":[1,1,1,0]}", "leaves 8 bits" },
        { "{\"kind\":\"grouped\",\"bits\":4,\"group\":1048576,\"multiples\":[1,1,1,19]}", "leaves 8 bits" },
        { "{\"kind\":\"grouped\",\"bits\":4,\"group\":1048576,\"multiples\":[1,1,1,1.5]}", "leaves 8 bits" },
        { "{\"kind\":\"grouped\",\"bits\":4,\"group\":16,\"multiples\":[1],\"axis\":-1,\"scale\":[1]}", "every output channel" } };
    net *n = *state;
    bl_ctx *ctx = n->t->ctx;
    assert_ok(ctx, bl_plan_write(ctx, n->t->g, n->t->plan, n->path));
    for (size_t i = 0; i < BL_COUNTOF(cases); i++) {
        json_t *r = loaded(n), *change = json_loads(cases[i].json, 0, NULL);
        bl_plan *back = NULL;
        assert_non_null(change);
        json_object_update(named(r, "c.w"), change);
        json_decref(change);
        assert_ok(ctx, bl_json_write(ctx, n->copy, r));
        json_decref(r);
        assert_fails(ctx, bl_plan_read(ctx, n->t->g, n->copy, &back), BL_DATA, cases[i].what);
        assert_null(back);
    }
}

static void nonsense_around(void **state)
{
    static const struct { const char *key, *json, *what; } cases[] = {
        { "bitlathe", "\"stats\"", "kind" },      { "version", "\"2.0\"", "version 2.0" }, { "version", "\"x\"", "version" },
        { "made_from", "{}", "another network" }, { "made_from", "7", "made_from" },       { "units", "{}", "units" },
        { "units", "[7]", "name" },               { "units", "[{\"name\":\"x\",\"w_bits\":17,\"a_bits\":8}]", "w_bits" },
        { "quantizers", "[7]", "tensor" },        { "quantizers", "null", "quantizers" },  { "seed", "-1", "seed" },
        { "seed", "\"1\"", "seed" },              { "feasible", "1", "feasible" },         { "recipe", "null", "recipe" },
        { "predicted", "[]", "predicted" } };
    net *n = *state;
    bl_ctx *ctx = n->t->ctx;
    assert_ok(ctx, bl_plan_write(ctx, n->t->g, n->t->plan, n->path));
    for (size_t i = 0; i < BL_COUNTOF(cases); i++) {
        json_t *r = loaded(n);
        bl_plan *back = NULL;
        json_object_set_new(r, cases[i].key, json_loads(cases[i].json, JSON_DECODE_ANY, NULL));
        assert_ok(ctx, bl_json_write(ctx, n->copy, r));
        json_decref(r);
        assert_fails(ctx, bl_plan_read(ctx, n->t->g, n->copy, &back), BL_DATA, cases[i].what);
        assert_null(back);
    }
    json_t *r = loaded(n); /* 1.7 is read, unknown keys are passed over, no quantizers make an empty plan */
    bl_plan *back = NULL;
    bl_program *program = NULL;
    json_object_set_new(r, "version", json_string("1.7"));
    json_object_set_new(r, "mood", json_string("good"));
    json_array_clear(json_object_get(r, "quantizers"));
    assert_ok(ctx, bl_json_write(ctx, n->copy, r));
    json_decref(r);
    assert_ok(ctx, bl_plan_read(ctx, n->t->g, n->copy, &back));
    assert_int_equal(back->n_quantizers, 0);
    assert_fails(ctx, bl_lower(ctx, n->t->g, back, NULL, &program), BL_DATA, "no grid");
    bl_plan_free(back);
}

static void damaged_bytes(void **state)
{
    net *n = *state;
    bl_plan *back = NULL;
    bl_rng r = bl_rng_make(5, "damage", 0);
    assert_ok(n->t->ctx, bl_plan_write(n->t->ctx, n->t->g, n->t->plan, n->path));
    char *text = test_slurp(n->path, NULL);
    size_t size = strlen(text);
    for (int i = 0; i < 600; i++) {
        size_t at = (size_t)bl_rng_below(&r, size);
        char old = text[at];
        text[at] = i % 3 ? (char)(32 + bl_rng_below(&r, 95)) : (char)bl_rng_u64(&r);
        test_dump(n->copy, text, i % 7 ? size : at);
        bl_status s = bl_plan_read(n->t->ctx, n->t->g, n->copy, &back);
        if (s != BL_OK) {
            assert_int_equal(s, BL_DATA);
        } else { /* a plan edited by hand: still one that lowers, or says why not */
            bl_program *program = NULL;
            if (text[at] != old && !back->edited) assert_same_quantizers(n->t->plan, back);
            s = bl_lower(n->t->ctx, n->t->g, back, NULL, &program);
            if (s == BL_OK) bl_program_free(program);
            else if (s != BL_DATA && s != BL_UNAVAILABLE) fail_msg("lowering gave %d", (int)s);
            bl_plan_free(back);
        }
        text[at] = old;
    }
    free(text);
}

/* ------------------------------------------------------------------ [Q4]: biases on their grids */

static void biases_that_do_not_fit(void **state)
{
    net *n = *state;
    bl_ctx *ctx = n->t->ctx;
    for (int form = 0; form < 4; form++) { /* a number a channel, one for all, per tensor, one weight of two layers */
        onnx_build *b = ob_new(ctx, 13);
        float w[9] = { 1e-6f, 0, 0, 0, 1, 0, 0, 0, 0 }, bias[3] = { 5e4f, 5e4f, 5e4f }, small[3] = { 1, 1, 1 };
        ob_input(b, "x", "N,3");
        ob_floats(b, "w", "3,3", w);
        ob_floats(b, "b", form == 1 ? "1" : "3", bias);
        ob_floats(b, "s", "3", small);
        ob_int_attr(ob_node(b, "Gemm", form == 3 ? "x,w,s" : "x,w,b", "h"), b, "transB", 1);
        ob_node(b, "Sigmoid", "h", "g");
        ob_int_attr(ob_node(b, "Gemm", "g,w,b", "y"), b, "transB", 1);
        ob_output(b, "y");
        tiny t = { .ctx = ctx, .g = ob_prepared(b) };
        memcpy(t.folder, n->t->folder, sizeof t.folder);
        t.data = tiny_data(&t, 8, 3, false);
        assert_ok(ctx, bl_calibrate(ctx, t.g, t.data, NULL, &t.stats));
        bl_grid_options o = { .per_tensor = form == 2 };
        plan_of(&t, 8, 8, &o);
        const bl_quantizer *q = grid_of(t.plan, t.g, "w");
        float plain = 1e-6f / 127;
        if (form != 2) assert_true(q->scale[0] > 2 * plain);
        for (int l = 0; l < t.g->n_nodes; l++) {
            int v = bl_layer_bias(t.g, l);
            if (v < 0) continue;
            float sx = grid_of(t.plan, t.g, t.g->values[t.g->nodes[l].in[0]].name)->scale[0];
            int64_t count = bl_tensor_count(&t.g->values[v].t);
            for (int c = 0; c < 3; c++)
                assert_true(fabsf(((const float *)t.g->values[v].t.data)[count > 1 ? c : 0]) /
                                (sx * q->scale[q->n_scale > 1 ? c : 0]) <= 1073741824.0f);
        }
        bl_program *program = NULL;
        assert_ok(ctx, bl_lower(ctx, t.g, t.plan, NULL, &program));
        bl_program_free(program);
        /* a plan made without care is refused by name */
        ((bl_quantizer *)(uintptr_t)q)->scale[0] = 1e-12f;
        program = NULL;
        assert_fails(ctx, bl_lower(ctx, t.g, t.plan, NULL, &program), BL_UNAVAILABLE, "does not fit 31 bits");
        bl_plan_free(t.plan);
        bl_menu_free(t.menu);
        bl_stats_free(t.stats);
        bl_data_free(t.data);
        bl_graph_free(t.g);
    }
}

static void one_weight_of_two_layers(void **state)
{
    net *n = *state;
    bl_ctx *ctx = n->t->ctx;
    for (int form = 0; form < 3; form++) { /* same axis; another axis; also an operand of Add */
        onnx_build *b = ob_new(ctx, 13);
        ob_input(b, "x", "N,4");
        ob_floats(b, "w", form == 1 ? "4,5" : "4,4", NULL);
        ob_int_attr(ob_node(b, "Gemm", "x,w", "h"), b, "transB", 0);
        ob_node(b, "Sigmoid", "h", "g");
        ob_int_attr(ob_node(b, "Gemm", "g,w", form == 2 ? "z" : "y"), b, "transB", form == 1);
        if (form == 2) ob_node(b, "Add", "z,w", "y");
        ob_output(b, "y");
        tiny t = { .ctx = ctx, .g = ob_prepared(b) };
        memcpy(t.folder, n->t->folder, sizeof t.folder);
        t.data = tiny_data(&t, 8, 3, false);
        assert_ok(ctx, bl_calibrate(ctx, t.g, t.data, NULL, &t.stats));
        bl_menu_options o = { .w_bits = { 8, 4, 2 }, .n_w = 3, .a_bits = { 8 }, .n_a = 1 };
        assert_ok(ctx, bl_menu_make(ctx, t.g, &o, &t.menu));
        t.choice[tiny_unit_of(t.menu, t.g, "x")] = 2;
        t.choice[tiny_unit_of(t.menu, t.g, "g")] = 1;
        if (form == 2) {
            assert_fails(ctx, bl_plan_make(ctx, t.g, t.menu, t.stats, t.choice, NULL, "", &t.plan), BL_UNAVAILABLE, "a weight");
        } else {
            bl_program *program = NULL;
            assert_ok(ctx, bl_plan_make(ctx, t.g, t.menu, t.stats, t.choice, NULL, "", &t.plan));
            const bl_quantizer *q = grid_of(t.plan, t.g, "w");
            assert_int_equal(q->bits, 4); /* the wider of 2 and 4, with its scales along its axis */
            assert_int_equal(q->axis, form == 1 ? 0 : 1);
            assert_int_equal(q->n_scale, 4);
            if (form == 0) assert_ok(ctx, bl_lower(ctx, t.g, t.plan, NULL, &program));
            else assert_fails(ctx, bl_lower(ctx, t.g, t.plan, NULL, &program), BL_UNAVAILABLE, "along axis");
            bl_program_free(program);
        }
        bl_plan_free(t.plan);
        bl_menu_free(t.menu);
        bl_stats_free(t.stats);
        bl_data_free(t.data);
        bl_graph_free(t.g);
    }
}

static float filler;

/* x, a border of `filler` around its rectified values, a convolution that reads it. */
static onnx_build *bordered(bl_ctx *ctx)
{
    onnx_build *b = ob_new(ctx, 13);
    ob_input(b, "x", "N,3,6,6");
    ob_floats(b, "w", "4,3,3,3", NULL);
    ob_floats(b, "filler", "", &filler);
    ob_int64s(b, "pads", "0,0,1,1,0,0,1,1");
    ob_node(b, "Relu", "x", "r");
    ob_node(b, "Pad", "r,pads,filler", "padded");
    ob_node(b, "Conv", "padded,w", "y");
    ob_output(b, "y");
    return b;
}

/* The filler of a border has a code of its own, whatever the range estimator cuts; a mask far outside has not. */
static void fillers_have_codes(void **state)
{
    static const float fillers[] = { 7.5f, -7.5f, -0.25f, 0, 1e9f, -1e9f };
    (void)state;
    for (size_t i = 0; i < BL_COUNTOF(fillers); i++) {
        filler = fillers[i];
        tiny *t = tiny_new_net(1, bordered, 8);
        bl_program *program = NULL;
        plan_of(t, 8, 8, NULL);
        int v = bl_graph_find_value(t->g, "padded"), r = bl_graph_find_value(t->g, "r");
        bl_grid g = bl_affine_grid(&t->plan->quantizers[t->plan->of_value[v]]);
        bool mask = fabsf(filler) > 1e6f;
        double top = t->stats->value[r].hi;
        assert_true(mask || fabsf(bl_fake_quantize(filler, g) - filler) <= 0.501f * g.scale);
        assert_true((double)g.scale * 255 <= top + (mask ? 0 : 7.5) + 1e-3); /* no wider than needed */
        assert_ok(t->ctx, bl_lower(t->ctx, t->g, t->plan, NULL, &program));
        bl_program_free(program);
        tiny_free(t);
    }
}

/* x rectified, then bounded by channel, then read. */
static onnx_build *bounded(bl_ctx *ctx)
{
    onnx_build *b = ob_new(ctx, 13);
    ob_input(b, "x", "N,3,6,6");
    ob_floats(b, "w", "4,3,3,3", NULL);
    ob_floats(b, "bound", "3,1,1", (float[]){ 0.5f, 0.25f, 0.125f });
    ob_node(b, "Relu", "x", "r");
    ob_node(b, "Min", "r,bound", "m");
    ob_node(b, "Conv", "m,w", "y");
    ob_output(b, "y");
    return b;
}

/* Only what a bound lets through has codes. */
static void bounds_save_codes(void **state)
{
    (void)state;
    tiny *t = tiny_new_net(1, bounded, 8);
    bl_grid_options o = { .act_range = "minmax" };
    plan_of(t, 8, 8, &o);
    int r = bl_graph_find_value(t->g, "r");
    bl_grid g = bl_affine_grid(&t->plan->quantizers[t->plan->of_value[r]]), m = bl_affine_grid(grid_of(t->plan, t->g, "m"));
    assert_true(t->stats->value[r].hi > 1);
    assert_true(fabs((double)g.scale * 255 - 0.5) < 1e-3);
    assert_true(g.scale == m.scale && g.zero == m.zero);
    tiny_free(t);
}

#define EACH(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH(grids_of_a_choice),   EACH(there_and_back),  EACH(fixed_and_codebook),     EACH(changed_by_hand),
        EACH(nonsense),            EACH(nonsense_of_other_kinds), EACH(nonsense_around), EACH(damaged_bytes),
        EACH(biases_that_do_not_fit), EACH(one_weight_of_two_layers),
        cmocka_unit_test(fillers_have_codes),
        cmocka_unit_test(bounds_save_codes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
