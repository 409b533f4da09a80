/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Hardware models: BISMO and Bit Fusion against the published table, the tables derived from the closed forms and
 * the published milliseconds and millijoules; shapes as a network has them; tables as COST records.
 */
#include "tiny_cost.h"

#include "data/data.h"

enum { LAYERS_MAX = 64 };

/* Skips the test where the file is not here. */
static json_t *golden(bl_ctx **ctx, const char *name)
{
    char path[512];
    json_t *j = NULL;
    test_shared(name, path);
    *ctx = test_ctx(1, 0);
    assert_ok(*ctx, bl_json_read(*ctx, path, &j));
    return j;
}

static double number(const json_t *o, const char *key)
{
    return json_number_value(json_object_get(o, key));
}

static int layers_of(const json_t *published, const char *list, bl_mac_shape *out)
{
    const json_t *layers = json_object_get(published, list), *l;
    size_t i;
    assert_in_range(json_array_size(layers), 1, LAYERS_MAX);
    json_array_foreach(layers, i, l) {
        int64_t cin = (int64_t)number(l, "cin"), cout = (int64_t)number(l, "cout"), k2 = (int64_t)(number(l, "k") * number(l, "k"));
        int64_t m = (int64_t)(number(l, "out_hw") * number(l, "out_hw")), step = (int64_t)number(l, "stride");
        bool dw = !strcmp(json_string_value(json_object_get(l, "kind")), "dw");
        out[i] = (bl_mac_shape){ .m = m, .n = dw ? 1 : cout, .k = dw ? k2 : cin * k2, .groups = dw ? cout : 1,
                                 .in = cin * m * step * step, .out = cout * m, .weights = dw ? cout * k2 : cin * cout * k2,
                                 .depthwise = dw };
    }
    return (int)json_array_size(layers);
}

typedef bl_work work_fn(const void *accelerator, const bl_mac_shape *s, int w, int a);
static bl_work bismo(const void *p, const bl_mac_shape *s, int w, int a) { return bl_bismo_work(p, s, w, a); }
static bl_work fusion(const void *p, const bl_mac_shape *s, int w, int a) { return bl_bitfusion_work(p, s, w, a); }

/* A stored table beside a form: mean and largest relative error of cells, largest of whole uniform networks. */
static void beside(bl_ctx *ctx, const char *file, const bl_mac_shape *s, int n, work_fn *form, const void *accelerator, bool energy,
                   double *mean, double *cell, double *network)
{
    char path[512], name[200];
    bl_map map;
    bl_tensor t;
    double sum[8][8] = { { 0 } }, want[8][8] = { { 0 } };
    *mean = *cell = *network = 0;
    snprintf(name, sizeof name, "data/golden/%s", file);
    test_shared(name, path);
    assert_ok(ctx, bl_map_file(ctx, path, 0, &map));
    assert_ok(ctx, bl_npy_view(ctx, path, map.data, map.size, &t));
    assert_true(t.type == BL_F64 && t.rank == 3 && t.dim[0] == n && t.dim[1] == 8 && t.dim[2] == 8);
    for (int l = 0; l < n; l++)
        for (int w = 1; w <= 8; w++)
            for (int a = 1; a <= 8; a++) {
                double have, stored;
                bl_work work = form(accelerator, &s[l], w, a);
                memcpy(&stored, (const char *)t.data + 8 * (size_t)((l * 8 + w - 1) * 8 + a - 1), 8);
                have = energy ? work.energy_nj * 1e-9 : work.cycles;
                double error = fabs(have / stored - 1);
                *mean += error / (64.0 * n);
                *cell = fmax(*cell, error);
                sum[w - 1][a - 1] += have;
                want[w - 1][a - 1] += stored;
            }
    for (int i = 0; i < 64; i++) *network = fmax(*network, fabs(sum[i / 8][i % 8] / want[i / 8][i % 8] - 1));
    bl_unmap(&map);
}

static void published_table(void **state)
{
    (void)state;
    bl_ctx *ctx;
    bl_mac_shape s[LAYERS_MAX];
    double mean, cell, network;
    json_t *j = golden(&ctx, "data/golden/haq_published.json");
    int n = layers_of(j, "mobilenetv2_layers", s);
    beside(ctx, "haq_mobilenetv2_cloud_latency.npy", s, n, bismo, &bl_bismo_cloud, false, &mean, &cell, &network);
    print_message("BISMO cloud, MobileNetV2: mean error %.2f %%, whole networks at most %.2f %%\n", 100 * mean, 100 * network);
    assert_true(mean <= 0.01 && network <= 0.008);
    json_decref(j);
    test_ctx_free(ctx);
}

static void derived_tables(void **state)
{
    static const struct { const char *file, *layers; work_fn *form; const void *accelerator; bool energy; } cases[] = {
        { "derived_mobilenetv1_cloud_latency.npy", "mobilenetv1_layers", bismo, &bl_bismo_cloud, false },
        { "derived_mobilenetv1_edge_latency.npy", "mobilenetv1_layers", bismo, &bl_bismo_edge, false },
        { "derived_mobilenetv2_edge_latency.npy", "mobilenetv2_layers", bismo, &bl_bismo_edge, false },
        { "derived_mobilenetv1_bitfusion_latency.npy", "mobilenetv1_layers", fusion, &bl_bitfusion_haq, false },
        { "derived_mobilenetv1_bitfusion_energy.npy", "mobilenetv1_layers", fusion, &bl_bitfusion_haq, true },
        { "derived_mobilenetv2_bitfusion_latency.npy", "mobilenetv2_layers", fusion, &bl_bitfusion_haq, false },
        { "derived_mobilenetv2_bitfusion_energy.npy", "mobilenetv2_layers", fusion, &bl_bitfusion_haq, true } };
    (void)state;
    bl_ctx *ctx;
    json_t *j = golden(&ctx, "data/golden/haq_published.json");
    for (size_t i = 0; i < BL_COUNTOF(cases); i++) {
        bl_mac_shape s[LAYERS_MAX];
        double mean, cell, network;
        int n = layers_of(j, cases[i].layers, s);
        beside(ctx, cases[i].file, s, n, cases[i].form, cases[i].accelerator, cases[i].energy, &mean, &cell, &network);
        if (!(cell <= 1e-12)) fail_msg("%s: a cell is off by %g", cases[i].file, cell);
    }
    json_decref(j);
    test_ctx_free(ctx);
}

static bl_work uniform(const bl_mac_shape *s, int n, work_fn *form, const void *accelerator, int w, int a)
{
    bl_work sum = { 0 };
    for (int l = 0; l < n; l++) {
        bl_work x = form(accelerator, &s[l], w, a);
        sum.cycles += x.cycles;
        sum.energy_nj += x.energy_nj;
    }
    return sum;
}

/* Latencies that HAQ's tables 3 to 5 give for uniform networks; bounds: those of the fits. */
static void published_milliseconds(void **state)
{
    static const struct { const char *net, *hw; double least, most; } bounds[] = {
        { "mobilenetv1", "edge", -0.0085, 0.0005 }, { "mobilenetv1", "cloud", -0.0005, 0.0175 }, { "mobilenetv2", "edge", 0.0325, 0.0815 },
        { "mobilenetv2", "cloud", -0.0075, 0.0045 } }; /* the last one of the published table itself */
    (void)state;
    bl_ctx *ctx;
    json_t *j = golden(&ctx, "data/golden/haq_published.json"), *row;
    bl_mac_shape v1[LAYERS_MAX], v2[LAYERS_MAX];
    int n1 = layers_of(j, "mobilenetv1_layers", v1), n2 = layers_of(j, "mobilenetv2_layers", v2), seen = 0;
    size_t i;
    assert_true(bl_bismo_cloud.clock_mhz == number(j, "clock_MHz"));
    json_array_foreach(json_object_get(j, "latency_bismo"), i, row) {
        const char *net = json_string_value(json_object_get(row, "net")), *hw = json_string_value(json_object_get(row, "hw"));
        int bits = (int)number(row, "bits");
        if (!bits) continue; /* HAQ's own policies are not published */
        const bl_bismo *p = !strcmp(hw, "edge") ? &bl_bismo_edge : &bl_bismo_cloud;
        bool first = !strcmp(net, "mobilenetv1");
        double cycles = uniform(first ? v1 : v2, first ? n1 : n2, bismo, p, bits, bits).cycles;
        char key[16];
        snprintf(key, sizeof key, "w%da%d", bits, bits);
        if (!first && p == &bl_bismo_cloud) cycles = number(json_object_get(j, "table_totals_cycles"), key);
        double ms = cycles / (p->clock_mhz * 1e3);
        double error = ms / number(row, "ms") - 1;
        for (size_t b = 0; b < BL_COUNTOF(bounds); b++)
            if (!strcmp(bounds[b].net, net) && !strcmp(bounds[b].hw, hw)) {
                if (!(error >= bounds[b].least && error <= bounds[b].most)) fail_msg("%s %s %d bits: %.2f ms, %+.2f %%", net, hw, bits, ms, 100 * error);
                seen++;
            }
    }
    assert_int_equal(seen, 16);
    for (int energy = 0; energy < 2; energy++)
        json_array_foreach(json_object_get(j, energy ? "energy_bitfusion_mobilenetv1" : "latency_bitfusion_mobilenetv1"), i, row) {
            int w = (int)number(row, "w_bits"), a = (int)number(row, "a_bits");
            if (!w) continue;
            bl_work x = uniform(v1, n1, fusion, &bl_bitfusion_haq, w, a);
            double have = energy ? x.energy_nj * 1e-6 : x.cycles / (bl_bitfusion_haq.clock_mhz * 1e3);
            double error = have / number(row, energy ? "mJ" : "ms") - 1;
            if (!(fabs(error) <= (energy ? 0.0605 : 0.0515))) fail_msg("W%dA%d: %.2f, %+.2f %%", w, a, have, 100 * error);
            seen++;
        }
    assert_int_equal(seen, 24);
    json_decref(j);
    test_ctx_free(ctx);
}

/* The same layers out of an ONNX file, and the published table as a COST record. */
static void shapes_of_a_network(void **state)
{
    (void)state;
    bl_ctx *ctx;
    char path[512], table[512], text[600];
    test_shared("models/mobilenet_v2_1.0_224_dequant.onnx", path);
    test_shared("data/golden/haq_mobilenetv2_cloud_latency.npy", table);
    json_t *j = golden(&ctx, "data/golden/haq_published.json");
    bl_mac_shape want[LAYERS_MAX], have;
    int n = layers_of(j, "mobilenetv2_layers", want), l = 0;
    bl_graph *raw = NULL, *g = NULL;
    bl_menu *menu = NULL;
    bl_cost *cost = NULL;
    assert_ok(ctx, bl_import(ctx, path, NULL, &raw));
    assert_ok(ctx, bl_prepare(ctx, raw, &g));
    bl_graph_free(raw);
    for (int i = 0; i < g->n_nodes; i++) {
        bool layer;
        assert_ok(ctx, bl_mac_shape_of(ctx, g, i, &have, &layer));
        if (!layer) continue;
        assert_true(l < n);
        assert_true(have.m == want[l].m && have.n == want[l].n && have.k == want[l].k && have.groups == want[l].groups);
        assert_true(have.depthwise == want[l].depthwise && have.out == want[l].out && have.weights == want[l].weights && !have.product);
        l++;
    }
    assert_int_equal(l, n);
    bl_menu_options all = { .w_bits = { 8, 4 }, .n_w = 2, .a_bits = { 8, 4 }, .n_a = 2 };
    assert_ok(ctx, bl_menu_make(ctx, g, &all, &menu));
    snprintf(text, sizeof text, "%s@1000", table);
    assert_true(bl_cost_is_table(text) && bl_cost_is_table(table) && !bl_cost_is_table("cost.json"));
    assert_ok(ctx, bl_cost_read_table(ctx, g, menu, text, &cost));
    double total[BL_N_METRIC];
    assert_ok(ctx, bl_price_int8(ctx, g, menu, cost, total));
    const json_t *totals = json_object_get(j, "table_totals_cycles");
    assert_true(fabs(total[BL_M_LATENCY] - number(totals, "w8a8")) < 1e-3 && isnan(total[BL_M_ENERGY]));
    bl_candidate *c = calloc((size_t)menu->n_units, sizeof *c);
    for (int u = 0; u < menu->n_units; u++) c[u] = (bl_candidate){ menu->units[u].n_layers ? 4 : 0, 8 };
    assert_ok(ctx, bl_price_exact(ctx, g, menu, cost, c, total));
    assert_true(fabs(total[BL_M_LATENCY] - number(totals, "w4a8")) < 1e-3);
    free(c);
    bl_cost_free(cost);
    bl_menu_free(menu);
    bl_graph_free(g);
    json_decref(j);
    test_ctx_free(ctx);
}

/* Prices of a small network add up, at every target; records come back the same. */
static void targets_price_a_network(void **state)
{
    static const char *const names[] = { "bismo-cloud", "bismo-edge", "bitfusion", "bitfusion-isca" };
    (void)state;
    tiny *t = tiny_new_net(1, tiny_residual, 4);
    bl_menu_options o = { .w_bits = { 8, 5, 2 }, .n_w = 3, .a_bits = { 16, 8, 3 }, .n_a = 3 };
    assert_ok(t->ctx, bl_menu_make(t->ctx, t->g, &o, &t->menu));
    for (size_t i = 0; i < BL_COUNTOF(names); i++) {
        bl_cost *cost = NULL, *back = NULL;
        bl_prices *prices = NULL;
        char path[400];
        bl_rng r = bl_rng_make(3, "choices", i);
        assert_ok(t->ctx, bl_measure(t->ctx, t->g, t->menu, names[i], NULL, &cost));
        snprintf(path, sizeof path, "%s/cost.json", t->folder);
        assert_ok(t->ctx, bl_cost_write(t->ctx, cost, path));
        assert_ok(t->ctx, bl_cost_read(t->ctx, path, &back));
        bl_cost_free(cost);
        assert_true(back->model && back->has_latency && back->has_energy == (i >= 2));
        assert_ok(t->ctx, bl_prices_make(t->ctx, t->g, t->menu, back, &prices));
        assert_true((prices->column[BL_M_ENERGY] != NULL) == (i >= 2));
        for (int trial = 0; trial < 20; trial++) {
            double total[BL_N_METRIC], sum[2] = { 0 };
            bl_candidate c[16];
            int choice[16];
            for (int u = 0; u < t->menu->n_units; u++) {
                choice[u] = (int)bl_rng_below(&r, (uint64_t)t->menu->units[u].n_candidates);
                sum[0] += prices->column[BL_M_LATENCY][u][choice[u]];
                if (i >= 2) sum[1] += prices->column[BL_M_ENERGY][u][choice[u]];
            }
            tiny_candidates(t, choice, c);
            assert_ok(t->ctx, bl_price_exact(t->ctx, t->g, t->menu, back, c, total));
            assert_true(fabs(total[BL_M_LATENCY] - sum[0]) <= 1e-9 * sum[0]);
            if (i >= 2) assert_true(fabs(total[BL_M_ENERGY] - sum[1]) <= 1e-9 * sum[1] && sum[1] > 0);
            else assert_true(isnan(total[BL_M_ENERGY]));
        }
        bl_prices_free(prices);
        bl_cost_free(back);
    }
    tiny_free(t);
}

/* By hand: 3 x 3, 16 to 32 channels on 8 x 8 positions, cloud. */
static void by_hand(void **state)
{
    (void)state;
    const bl_mac_shape s = { .m = 64, .n = 32, .k = 144, .groups = 1, .in = 1024, .out = 2048, .weights = 4608 };
    /* 4 parts of 16 rows of values, 2 of weights, one pass over K; c = 4: loads of 32 cycles for each part of the
     * values, 32 for each of the weights; values stay: 4 x 32 + max(4 x 4, 32); weights stay: 64 + 3 x 2 x 4 */
    assert_true(bl_bismo_work(&bl_bismo_cloud, &s, 2, 2).cycles == 16 * fmax(128, fmin(160, 88)));
    bl_work x = bl_bitfusion_work(&bl_bitfusion_haq, &s, 4, 4);
    assert_true(x.cycles == fmax(16.0 * 64 * 1 * 2, (4608 * 4 + 16 * 3072 * 4) / 512.0)); /* ceil(144 / (32 x 4)) */
    assert_true(bl_bitfusion_work(&bl_bitfusion_haq, &s, 3, 3).cycles == x.cycles);
    assert_true(bl_bitfusion_work(&bl_bitfusion_haq, &s, 5, 7).cycles == bl_bitfusion_work(&bl_bitfusion_haq, &s, 8, 8).cycles);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_hand),
        cmocka_unit_test(published_table),
        cmocka_unit_test(derived_tables),
        cmocka_unit_test(published_milliseconds),
        cmocka_unit_test(shapes_of_a_network),
        cmocka_unit_test(targets_price_a_network),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
