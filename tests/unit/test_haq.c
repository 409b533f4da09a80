/* SPDX-License-Identifier: BSD-3-Clause */
/* HAQ: the budget wall on worked cases, the agent's two networks, whole searches with a made-up oracle. */
#include "tiny_search.h"

#include "data/data.h"
#include "search/agent.h"
#include "search/policy.h"

enum { LAYERS_MAX = 64 };

/* ------------------------------------------------------------------ the wall */

typedef struct published {
    double cell[LAYERS_MAX][64];
    const double *layer[LAYERS_MAX];
    int n, n_w[LAYERS_MAX], n_a[LAYERS_MAX];
} published;

/* The published table from `least` bits on; first and last layer hold 8 bits alone. */
static void take_table(bl_ctx *ctx, const char *path, int least, published *p)
{
    bl_map map;
    bl_tensor t;
    assert_ok(ctx, bl_map_file(ctx, path, 0, &map));
    assert_ok(ctx, bl_npy_view(ctx, path, map.data, map.size, &t));
    p->n = (int)t.dim[0];
    for (int l = 0; l < p->n; l++) {
        bool end = l == 0 || l == p->n - 1;
        int from = end ? 8 : least, n = 9 - from;
        p->n_w[l] = p->n_a[l] = n;
        for (int w = 0; w < n; w++)
            for (int a = 0; a < n; a++)
                memcpy(&p->cell[l][w * n + a], (const char *)t.data + 8 * (size_t)((l * 8 + from + w - 1) * 8 + from + a - 1), 8);
        p->layer[l] = p->cell[l];
    }
    bl_unmap(&map);
}

static void worked_cases(void **state)
{
    (void)state;
    char cases[512], cells[512];
    test_shared("data/golden/haq_enforce_cases.json", cases);
    test_shared("data/golden/haq_mobilenetv2_cloud_latency.npy", cells);
    bl_ctx *ctx = test_ctx(1, 0);
    json_t *j, *c;
    size_t i;
    assert_ok(ctx, bl_json_read(ctx, cases, &j));
    assert_int_equal(json_array_size(json_object_get(j, "cases")), 12);
    json_array_foreach(json_object_get(j, "cases"), i, c) {
        static published p;
        bl_layer_pick s[LAYERS_MAX], want[LAYERS_MAX];
        int least = (int)json_integer_value(json_object_get(c, "min_bit")), passes = -1, binding;
        const json_t *start = json_object_get(c, "start"), *result = json_object_get(c, "result");
        take_table(ctx, cells, least, &p);
        double full = 0;
        for (int l = 0; l < p.n; l++) {
            int from = p.n_w[l] == 1 ? 8 : least;
            for (int k = 0; k < 2; k++) {
                const json_t *x = k ? result : start;
                int w = (int)json_integer_value(json_array_get(json_array_get(x, (size_t)l), 0)) - from;
                int a = (int)json_integer_value(json_array_get(json_array_get(x, (size_t)l), 1)) - from;
                (k ? want : s)[l] = from == 8 ? (bl_layer_pick){ 0, 0 } : (bl_layer_pick){ w, a };
            }
            full += p.cell[l][p.n_w[l] * p.n_a[l] - 1];
        }
        bl_wall wall = { .n = p.n, .n_budgets = 1, .n_w = p.n_w, .n_a = p.n_a, .cost = { p.layer },
                         .limit = { json_number_value(json_object_get(c, "ratio")) * full } };
        bool holds = bl_wall_enforce(&wall, s, &passes, &binding);
        for (int l = 0; l < p.n; l++)
            if (s[l].w != want[l].w || s[l].a != want[l].a) fail_msg("case %zu, layer %d: W%d A%d, not W%d A%d", i, l, s[l].w, s[l].a, want[l].w, want[l].a);
        double cost = bl_wall_cost(&wall, 0, s);
        assert_true(fabs(cost - json_number_value(json_object_get(c, "cost"))) <= 1e-9 * cost);
        assert_true(holds == (cost <= wall.limit[0] * (1 + 1e-12)) && (binding < 0) == holds);
        if (holds) assert_int_equal(passes, json_integer_value(json_object_get(c, "passes")));
    }
    json_decref(j);
    test_ctx_free(ctx);
}

/* Two layers of two by two widths: values of the last layer first, then its weights, then the first layer. */
static void wall_by_hand(void **state)
{
    static const double cell[] = { 1, 2, 3, 4 }; /* W0A0 W0A1 W1A0 W1A1 */
    static const double *const layers[] = { cell, cell };
    static const int two[] = { 2, 2 };
    static const struct { double limit; bl_layer_pick want[2]; bool holds; } cases[] = {
        { 8, { { 1, 1 }, { 1, 1 } }, true }, { 7, { { 1, 1 }, { 1, 0 } }, true }, { 5, { { 1, 1 }, { 0, 0 } }, true },
        { 4.5, { { 1, 0 }, { 0, 0 } }, true }, { 2, { { 0, 0 }, { 0, 0 } }, true }, { 1, { { 0, 0 }, { 0, 0 } }, false } };
    (void)state;
    for (size_t i = 0; i < BL_COUNTOF(cases); i++) {
        bl_layer_pick s[] = { { 1, 1 }, { 1, 1 } };
        bl_wall wall = { .n = 2, .n_budgets = 2, .n_w = two, .n_a = two, .cost = { layers, layers }, .limit = { 100, cases[i].limit } };
        int binding;
        assert_true(bl_wall_enforce(&wall, s, NULL, &binding) == cases[i].holds);
        assert_memory_equal(s, cases[i].want, sizeof s);
        assert_int_equal(binding, cases[i].holds ? -1 : 1);
    }
}

/* ------------------------------------------------------------------ the agent */

static bl_agent *agent_new(bl_ctx *ctx, bl_arena *a, uint64_t seed)
{
    bl_agent_options o = bl_agent_options_default();
    bl_agent *g = NULL;
    o.states = 3;
    o.replay = 4096;
    o.seed = seed;
    o.tau = 0.05f;
    o.hidden1 = o.hidden2 = 64;
    o.actor_rate = 1e-3f;
    assert_ok(ctx, bl_agent_new(ctx, a, &o, &g));
    return g;
}

/* One-step episodes whose best action is a known function of the state: the actor finds it. */
static void agent_learns(void **state)
{
    (void)state;
    bl_ctx *ctx = test_ctx(1, 0);
    bl_arena *a = bl_arena_new(ctx, "agent");
    bl_agent *g = agent_new(ctx, a, 7), *twin = agent_new(ctx, a, 7);
    bl_rng r = bl_rng_make(7, "bandit", 0);
    double before = 0, after = 0;
    for (int i = 0; i < 2000; i++) {
        float s[3] = { (float)bl_rng_unit(&r), (float)bl_rng_unit(&r), 1 }, act = (float)bl_rng_unit(&r);
        float best = 0.2f + 0.6f * s[0], reward = -4 * (act - best) * (act - best);
        bl_agent_remember(g, s, act, reward, true, NULL);
        bl_agent_remember(twin, s, act, reward, true, NULL);
    }
    for (int k = 0; k < 2; k++) {
        for (int i = 0; i < 11; i++) {
            float s[3] = { (float)i / 10, 0.5f, 1 };
            *(k ? &after : &before) += fabs(bl_agent_act(g, s) - (0.2 + 0.6 * s[0])) / 11;
        }
        for (int i = 0; !k && i < 1500; i++) bl_agent_learn(g);
    }
    print_message("actor off by %.3f before, %.3f after\n", before, after);
    assert_true(after < 0.08 && after < before / 2);
    const float s[3] = { 0.5f, 0.5f, 1 };
    assert_true(bl_agent_value(g, s, 0.5f) > bl_agent_value(g, s, 0.05f) && bl_agent_value(g, s, 0.5f) > bl_agent_value(g, s, 0.95f));
    for (int i = 0; i < 1500; i++) bl_agent_learn(twin);
    assert_true(bl_agent_act(g, s) == bl_agent_act(twin, s)); /* to the bit */
    bl_arena_free(a);
    test_ctx_free(ctx);
}

/* ------------------------------------------------------------------ whole searches */

typedef struct bench {
    table of;
    int asked, fail_at;
    double right;               /* share of the samples that the float network has right; NaN: no labels */
    bool free_to_exceed;        /* the search asks about policies beyond the budget too */
} bench;

/* The made-up table's objective as KL, with a label's accuracy made of it. */
static bl_status score(void *user, const int *choice, bl_score *out)
{
    bench *b = user;
    if (++b->asked == b->fail_at) return bl_fail(b->of.t->ctx, BL_INTERRUPTED, "oracle", "", "stopped here");
    double v = bl_choice_objective(b->of.t->menu, b->of.sens, choice);
    *out = (bl_score){ .kl = v, .sqnr_db = -10 * log10(v + 1e-9), .top1 = b->right * exp(-v), .drop = b->right - b->right * exp(-v), .cross_entropy = 0.1 + v };
    double total[BL_N_METRIC];
    bl_candidate c[16];
    tiny_candidates(b->of.t, choice, c);
    assert_ok(b->of.t->ctx, bl_price_exact(b->of.t->ctx, b->of.t->g, b->of.t->menu, b->of.cost, c, total));
    assert_true(b->free_to_exceed || total[b->of.budget[0].metric] <= b->of.budget[0].limit * (1 + 1e-9));
    return BL_OK;
}

static bl_cost *on_bismo_edge(tiny *t, uint64_t seed)
{
    bl_cost *cost;

    (void)seed;
    assert_ok(t->ctx, bl_measure(t->ctx, t->g, t->menu, "bismo-edge", NULL, &cost));
    return cost;
}

static bench bench_new(uint64_t seed, double share)
{
    bl_menu_options o = { .w_bits = { 2, 3, 4, 5, 6, 7, 8 }, .n_w = 7, .a_bits = { 2, 3, 4, 5, 6, 7, 8 }, .n_a = 7 };
    bench b = { .of = table_priced(tiny_residual, &o, seed, on_bismo_edge), .right = 0.9 };
    double total[BL_N_METRIC];
    assert_ok(b.of.t->ctx, bl_price_int8(b.of.t->ctx, b.of.t->g, b.of.t->menu, b.of.cost, total));
    b.of.budget[0] = (bl_budget){ .metric = BL_M_LATENCY, .limit = share * total[BL_M_LATENCY], .relative = share };
    return b;
}

/* Pointers to the bench itself, so after it has come to rest. */
static void bench_point(bench *b, const char *reward, int64_t episodes)
{
    b->of.in = (bl_search_input){ .graph = b->of.t->g, .menu = b->of.t->menu, .stats = b->of.t->stats, .sens = b->of.sens, .cost = b->of.cost,
                                  .prices = b->of.prices, .budgets = b->of.budget, .n_budgets = 1, .score = score, .score_user = b,
                                  .episodes = episodes, .reward = reward };
}

static double mean_of(const json_t *rewards, size_t from, size_t to)
{
    double sum = 0;
    for (size_t i = from; i < to; i++) sum += json_number_value(json_array_get(rewards, i)) / (double)(to - from);
    return sum;
}

static void agent_beats_the_dice(void **state)
{
    (void)state;
    bench b = bench_new(11, 0.45);
    bl_search_result drawn, found, again;
    bench_point(&b, "kl", 80);
    assert_ok(b.of.t->ctx, bl_search_random(b.of.t->ctx, &b.of.in, b.of.a, &drawn));
    assert_ok(b.of.t->ctx, bl_search_ddpg(b.of.t->ctx, &b.of.in, b.of.a, &found));
    const json_t *rewards = json_object_get(found.solver, "rewards");
    double first = mean_of(rewards, 0, 21), last = mean_of(rewards, 60, 80);
    print_message("mean reward %.3f in the first 21 episodes, %.3f in the last 20; best %.3f, random %.3f\n", first, last,
                  json_number_value(json_object_get(found.solver, "best_reward")), json_number_value(json_object_get(drawn.solver, "best_reward")));
    assert_true(found.feasible && drawn.feasible && last > first);
    assert_true(json_number_value(json_object_get(found.solver, "best_reward")) >= json_number_value(json_object_get(drawn.solver, "best_reward")));
    for (size_t i = 0; i < 21; i++) /* the same dice until the agent speaks */
        assert_true(json_number_value(json_array_get(rewards, i)) == json_number_value(json_array_get(json_object_get(drawn.solver, "rewards"), i)));
    assert_ok(b.of.t->ctx, bl_search_ddpg(b.of.t->ctx, &b.of.in, b.of.a, &again));
    assert_true(json_equal(found.solver, again.solver));
    assert_memory_equal(found.choice, again.choice, (size_t)b.of.t->menu->n_units * sizeof(int));
    json_decref(drawn.solver);
    json_decref(found.solver);
    json_decref(again.solver);
    table_free(&b.of);
}

/* Neighbours of the best policy are asked about within the budgets: never worse than before, on the list close to the
 * exact solver in a net this small, and the same again. */
static void polished(void **state)
{
    (void)state;
    for (uint64_t seed = 11; seed < 14; seed++) {
        bench b = bench_new(seed, 0.45);
        bl_search_result plain, found, again, exact;
        bench_point(&b, "table", 30);
        assert_ok(b.of.t->ctx, bl_search_random(b.of.t->ctx, &b.of.in, b.of.a, &plain));
        b.of.in.polish = 5000;
        assert_ok(b.of.t->ctx, bl_search_random(b.of.t->ctx, &b.of.in, b.of.a, &found));
        assert_ok(b.of.t->ctx, bl_search_random(b.of.t->ctx, &b.of.in, b.of.a, &again));
        const json_t *p = json_object_get(found.solver, "polish");
        assert_true(json_number_value(json_object_get(p, "reward_before")) == json_number_value(json_object_get(plain.solver, "best_reward")));
        assert_int_equal(json_integer_value(json_object_get(p, "answers")), 5000);
        assert_true(json_integer_value(json_object_get(p, "better")) > 0);
        assert_true(found.objective < plain.objective);
        assert_true(json_equal(found.solver, again.solver));
        assert_memory_equal(found.choice, again.choice, (size_t)b.of.t->menu->n_units * sizeof(int));
        double cost = 0;
        for (int u = 0; u < b.of.t->menu->n_units; u++) cost += b.of.prices->column[BL_M_LATENCY][u][found.choice[u]];
        assert_true(cost <= b.of.budget[0].limit * (1 + 1e-9));
        assert_ok(b.of.t->ctx, bl_search_knapsack(b.of.t->ctx, &b.of.in, b.of.a, &exact));
        print_message("objective %.6f drawn, %.6f polished, %.6f exact\n", plain.objective, found.objective, exact.objective);
        assert_true(found.objective >= exact.objective * (1 - 1e-9) && found.objective <= 1.1 * exact.objective);
        json_decref(plain.solver);
        json_decref(found.solver);
        json_decref(again.solver);
        json_decref(exact.solver);
        table_free(&b.of);
    }
}

static void rewards_by_name(void **state)
{
    static const struct { const char *name; bl_reward_kind kind; } cases[] = {
        { "accuracy", BL_REWARD_ACCURACY }, { "cross-entropy", BL_REWARD_CROSS_ENTROPY }, { "kl", BL_REWARD_KL }, { "sqnr", BL_REWARD_SQNR },
        { "table", BL_REWARD_TABLE }, { "auto", BL_REWARD_ACCURACY }, { NULL, BL_REWARD_ACCURACY } };
    (void)state;
    bench b = bench_new(3, 0.6);
    int narrow[16], wide[16] = { 0 };
    for (int u = 0; u < b.of.t->menu->n_units; u++) narrow[u] = b.of.t->menu->units[u].n_candidates / 2;
    b.of.budget[0].limit = 1e18;
    for (size_t i = 0; i < BL_COUNTOF(cases); i++) {
        bl_reward r;
        bl_score s;
        double of_narrow, of_wide;
        bench_point(&b, cases[i].name, 0);
        assert_ok(b.of.t->ctx, bl_reward_open(b.of.t->ctx, &b.of.in, b.of.a, &r));
        assert_int_equal(r.kind, cases[i].kind);
        assert_true((r.why != NULL) == (!cases[i].name || !strcmp(cases[i].name, "auto")));
        assert_ok(b.of.t->ctx, bl_reward_ask(&r, narrow, &of_narrow, &s));
        assert_ok(b.of.t->ctx, bl_reward_ask(&r, wide, &of_wide, &s));
        assert_true(of_wide > of_narrow);
    }
    bl_reward r;
    bench_point(&b, "taste", 0);
    assert_fails(b.of.t->ctx, bl_reward_open(b.of.t->ctx, &b.of.in, b.of.a, &r), BL_USAGE, "taste");
    bench_point(&b, "table", 0);
    b.of.in.sens = NULL;
    assert_fails(b.of.t->ctx, bl_reward_open(b.of.t->ctx, &b.of.in, b.of.a, &r), BL_USAGE, "table");
    table_free(&b.of);
}

/* Samples that the network was taught with say nothing by points; samples without labels have none. */
static void reward_of_taught_samples(void **state)
{
    static const struct { double right; bl_reward_kind kind; } cases[] = { { 0.97, BL_REWARD_ACCURACY }, { 0.971, BL_REWARD_KL },
                                                                           { 1, BL_REWARD_KL }, { NAN, BL_REWARD_SQNR } };
    (void)state;
    bench b = bench_new(3, 0.6);
    b.of.budget[0].limit = 1e18;
    for (size_t i = 0; i < BL_COUNTOF(cases); i++) {
        bl_reward r;
        b.right = cases[i].right;
        bench_point(&b, "auto", 0);
        assert_ok(b.of.t->ctx, bl_reward_open(b.of.t->ctx, &b.of.in, b.of.a, &r));
        assert_int_equal(r.kind, cases[i].kind);
        assert_non_null(r.why);
        bench_point(&b, "accuracy", 0); /* asked for by name it stays, where there are labels */
        if (isnan(b.right)) assert_fails(b.of.t->ctx, bl_reward_open(b.of.t->ctx, &b.of.in, b.of.a, &r), BL_DATA, "labelled");
        else assert_ok(b.of.t->ctx, bl_reward_open(b.of.t->ctx, &b.of.in, b.of.a, &r));
    }
    table_free(&b.of);
}

static void what_is_refused(void **state)
{
    (void)state;
    bench b = bench_new(5, 0.5);
    bl_search_result found;
    bench_point(&b, "kl", 30);
    b.of.in.n_budgets = 0;
    assert_fails(b.of.t->ctx, bl_search_ddpg(b.of.t->ctx, &b.of.in, b.of.a, &found), BL_USAGE, "--budget");
    bench_point(&b, "kl", 30);
    b.of.in.agent = "tabular";
    assert_fails(b.of.t->ctx, bl_search_ddpg(b.of.t->ctx, &b.of.in, b.of.a, &found), BL_USAGE, "tabular");
    bench_point(&b, "kl", 30);
    b.of.budget[0].metric = BL_M_ENERGY;
    assert_fails(b.of.t->ctx, bl_search_ddpg(b.of.t->ctx, &b.of.in, b.of.a, &found), BL_USAGE, "energy");
    b.of.budget[0].metric = BL_M_LATENCY;
    b.asked = 0;
    b.fail_at = 9;
    assert_fails(b.of.t->ctx, bl_search_ddpg(b.of.t->ctx, &b.of.in, b.of.a, &found), BL_INTERRUPTED, "stopped here");
    table_free(&b.of);
    b = bench_new(5, 1e-6); /* nothing is so fast: the narrowest is what is left */
    bench_point(&b, "table", 25);
    assert_ok(b.of.t->ctx, bl_search_random(b.of.t->ctx, &b.of.in, b.of.a, &found));
    assert_true(!found.feasible && found.binding == 0);
    for (int u = 0; u < b.of.t->menu->n_units; u++)
        assert_int_equal(found.choice[u], b.of.t->menu->units[u].n_layers ? b.of.t->menu->units[u].n_candidates - 1 : 0);
    json_decref(found.solver);
    table_free(&b.of);
}

/* AMED's walk: within its budget, by the best ratio of accuracy to latency, the same again. */
static void walk_of_amed(void **state)
{
    (void)state;
    for (int tight = 0; tight < 2; tight++) {
        bench b = bench_new(23, tight ? 0.5 : 10);
        bl_search_result found, again;
        double most = 0, right, cost;
        size_t i;
        json_t *x;
        bench_point(&b, "cross-entropy", 60);
        b.free_to_exceed = true;
        assert_ok(b.of.t->ctx, bl_search_metropolis(b.of.t->ctx, &b.of.in, b.of.a, &found));
        assert_true(found.feasible && json_array_size(json_object_get(found.solver, "trace")) == 60);
        assert_true(json_integer_value(json_object_get(found.solver, "moves")) > 60);
        right = json_number_value(json_object_get(found.solver, "right"));
        cost = json_number_value(json_object_get(found.solver, "cost_of_int8"));
        json_array_foreach(json_object_get(found.solver, "trace"), i, x)
            if (!tight || json_number_value(json_object_get(x, "cost")) <= 0.5 * (1 + 1e-9))
                most = fmax(most, json_number_value(json_object_get(x, "right")) / json_number_value(json_object_get(x, "cost")));
        assert_true(tight ? cost <= 0.5 * (1 + 1e-9) : right / cost > 0.5 * most);
        assert_ok(b.of.t->ctx, bl_search_metropolis(b.of.t->ctx, &b.of.in, b.of.a, &again));
        assert_true(json_equal(found.solver, again.solver));
        json_decref(found.solver);
        json_decref(again.solver);
        table_free(&b.of);
    }
}

/* Work of a layer is never shorter than its computing, and the side follows from both. */
static void sides_of_the_roofline(void **state)
{
    (void)state;
    static const bl_mac_shape shapes[] = {
        { .m = 1024, .n = 64, .k = 576, .groups = 1, .in = 65536, .out = 65536, .weights = 36864 },
        { .m = 1024, .n = 1, .k = 9, .groups = 64, .in = 65536, .out = 65536, .weights = 576, .depthwise = true },
        { .m = 1, .n = 10, .k = 64, .groups = 1, .in = 64, .out = 10, .weights = 640 },
    };
    for (size_t i = 0; i < BL_COUNTOF(shapes); i++)
        for (int w = 1; w <= 8; w++)
            for (int a = 1; a <= 8; a++) {
                const bl_work work[] = { bl_bismo_work(&bl_bismo_edge, &shapes[i], w, a), bl_bismo_work(&bl_bismo_cloud, &shapes[i], w, a),
                                         bl_bitfusion_work(&bl_bitfusion_haq, &shapes[i], w, a) };
                for (size_t k = 0; k < BL_COUNTOF(work); k++) {
                    assert_true(work[k].computing > 0);
                    assert_true(work[k].cycles >= work[k].computing * (1 - 1e-12));
                }
            }
    /* By hand: 64 parts of 16 rows x 4 parts of 16 columns, 3 parts of 256, 8 x 8 passes, 16 images. */
    bl_work wide = bl_bismo_work(&bl_bismo_cloud, &shapes[0], 8, 8);
    assert_float_equal(wide.computing, 16.0 * 3 * 64 * 4 * 64, 1e-6);
    bl_cost model = { .model = true };
    bl_cost_cell cell = { .at = { { .q1_ns = 124 } }, .computing_ns = 100 };
    assert_string_equal(bl_cost_side(&model, &cell, BL_STATE_L2), "computing");
    cell.q1_ns = 126;
    assert_string_equal(bl_cost_side(&model, &cell, BL_STATE_L2), "moving");
    cell.computing_ns = 0;
    assert_null(bl_cost_side(&model, &cell, BL_STATE_L2));
    bl_cost clock = { .model = false };
    bl_cost_cell far = { .at = { { .q1_ns = 100 }, { .q1_ns = 130 } } };
    assert_string_equal(bl_cost_side(&clock, &far, BL_STATE_L2), "computing");
    assert_string_equal(bl_cost_side(&clock, &far, BL_STATE_L3), "moving");
    assert_string_equal(bl_cost_side(&clock, &far, BL_STATE_DRAM), "moving");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wall_by_hand),
        cmocka_unit_test(worked_cases),
        cmocka_unit_test(agent_learns),
        cmocka_unit_test(agent_beats_the_dice),
        cmocka_unit_test(polished),
        cmocka_unit_test(rewards_by_name),
        cmocka_unit_test(reward_of_taught_samples),
        cmocka_unit_test(what_is_refused),
        cmocka_unit_test(walk_of_amed),
        cmocka_unit_test(sides_of_the_roofline),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
