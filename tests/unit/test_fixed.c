/* SPDX-License-Identifier: BSD-3-Clause */
/* Fixed-point networks: integers against binary64, pruning, prices by hand, the record and damaged ones. */
#include "fixed_build.h"

enum { ROOM = 512 };

static void assert_same_outputs(const bl_fixed_net *net, const bl_fixed_net *reference, bl_rng *r, int samples)
{
    float x[ROOM];
    int64_t codes[ROOM], out[ROOM], work[2 * ROOM];
    double want[ROOM], room[ROOM];
    assert_true(bl_fixed_work(net) <= 2 * ROOM);
    for (int s = 0; s < samples; s++) {
        for (int64_t i = 0; i < net->n_in; i++) x[i] = (float)(6 * bl_rng_normal(r));
        if (s == 0) memset(x, 0, sizeof x);
        bl_fixed_input(net, x, codes);
        bl_fixed_run(net, codes, out, work);
        fixed_forward_f64(reference, x, want, room);
        const bl_fixed_layer *l = &net->layers[net->n_layers - 1];
        for (int64_t e = 0; e < l->n_out; e++)
            if (ldexp((double)out[e], -l->out[e].f) != want[e])
                fail_msg("sample %d, output %lld: %.17g, not %.17g", s, (long long)e, ldexp((double)out[e], -l->out[e].f), want[e]);
    }
}

static void test_integers(void **state)
{
    (void)state;
    bl_ctx *ctx = test_ctx(1, 0);
    for (uint64_t seed = 0; seed < 60; seed++) {
        bl_rng r = bl_rng_make(seed, "fixed", 0);
        bl_fixed_net *net = seed % 3 == 0   ? fixed_windows(ctx, &r, BL_FIXED_MAX_POOL)
                            : seed % 3 == 1 ? fixed_windows(ctx, &r, BL_FIXED_AVERAGE_POOL)
                                            : fixed_dense(ctx, &r, 9, (int[]){ 12, 7, 4 }, 3, 0.3);
        assert_same_outputs(net, net, &r, 40);
        bl_fixed_free(net);
    }
    test_ctx_free(ctx);
}

/* Sparse networks lose elements, weights and bits, and no output changes. */
static void test_prune(void **state)
{
    (void)state;
    bl_ctx *ctx = test_ctx(1, 0);
    double before = 0, after = 0;
    for (uint64_t seed = 0; seed < 60; seed++) {
        bl_rng r = bl_rng_make(seed, "prune", 0), again = r;
        bl_fixed_net *a = fixed_dense(ctx, &r, 9, (int[]){ 14, 10, 6, 4 }, 4, 0.85);
        bl_fixed_net *b = fixed_dense(ctx, &again, 9, (int[]){ 14, 10, 6, 4 }, 4, 0.85);
        bl_fixed_cost first, then;
        bl_fixed_price(a, &first);
        assert_ok(ctx, bl_fixed_prune(ctx, a));
        bl_fixed_price(a, &then);
        assert_true(then.ebops1 <= first.ebops1);
        before += first.ebops1;
        after += then.ebops1;
        assert_same_outputs(a, b, &r, 60);
        bl_fixed_free(a);
        bl_fixed_free(b);
    }
    assert_true(after < 0.8 * before);
    test_ctx_free(ctx);
}

static void weight(bl_fixed_layer *l, int64_t at, int64_t v, int f)
{
    bl_fixed_reduce(&v, &f);
    l->weight[at] = (int32_t)v;
    l->weight_f[at] = (int8_t)f;
}

/* Two inputs of 4 and 3 bits, one of them signed; weights 6 = 11b << 1 and -5 = 101b; then one of 1 bit. */
static void test_price(void **state)
{
    (void)state;
    bl_ctx *ctx = test_ctx(1, 0);
    bl_rng r = bl_rng_make(1, "price", 0);
    bl_fixed_net *net = fixed_dense(ctx, &r, 2, (int[]){ 1, 1 }, 2, 0);
    net->in[0] = (bl_fixed_grid){ 0, 4, 0 };
    net->in[1] = (bl_fixed_grid){ 1, 1, 1 };
    weight(&net->layers[0], 0, 6, 2);
    weight(&net->layers[0], 1, -5, 0);
    weight(&net->layers[1], 0, 1, 3);
    net->layers[0].bias[0] = 3, net->layers[0].bias_f[0] = 0;
    net->layers[1].bias[0] = 0, net->layers[1].bias_f[0] = 0;
    net->layers[0].out[0] = (bl_fixed_grid){ 0, 3, 2 };
    bl_fixed_cost cost;
    assert_ok(ctx, bl_fixed_finish(ctx, net));
    bl_fixed_price(net, &cost);
    assert_true(cost.ebops1 == 4 * 2 + 3 * 3 + 5 * 1);
    assert_true(cost.ebops2 == 4 * 2 + 2 * 3 + 5 * 1 + 2); /* no signs; a bias of two bits */
    assert_int_equal(cost.weights_left, 3);
    bl_fixed_free(net);

    net = fixed_windows(ctx, &r, BL_FIXED_AVERAGE_POOL);
    double want = 0;
    for (int n = 0; n < net->n_layers; n++) { /* product by product */
        const bl_fixed_layer *l = &net->layers[n];
        const bl_fixed_grid *in = bl_fixed_reads(net, n);
        bl_fixed_layer one = *l;
        double x[ROOM];
        for (int64_t w = 0; w < l->n_weights; w++) {
            int32_t unit = 1;
            int8_t zero = 0;
            int bits = l->weight[w] ? 32 - __builtin_clz((unsigned)abs(l->weight[w])) : 0;
            for (int64_t i = 0; i < l->n_in; i++) x[i] = in[i].k + in[i].i + in[i].f > 0 ? in[i].k + in[i].i + in[i].f : 0;
            one.weight = calloc((size_t)l->n_weights, sizeof unit);
            one.weight_f = calloc((size_t)l->n_weights, sizeof zero);
            one.bias = calloc((size_t)l->out_c, sizeof *one.bias);
            one.bias_f = calloc((size_t)l->out_c, sizeof zero);
            one.weight[w] = unit;
            for (int64_t e = 0; e < l->n_out; e++) want += bits * fixed_sum_f64(&one, x, e);
            free(one.weight);
            free(one.weight_f);
            free(one.bias);
            free(one.bias_f);
        }
    }
    bl_fixed_price(net, &cost);
    assert_true(cost.ebops1 == want);
    bl_fixed_free(net);
    test_ctx_free(ctx);
}

/* A sum that could leave 62 bits is refused, not run. */
static void test_proof(void **state)
{
    (void)state;
    bl_ctx *ctx = test_ctx(1, 0);
    bl_rng r = bl_rng_make(1, "proof", 0);
    bl_fixed_net *net = fixed_dense(ctx, &r, 4, (int[]){ 2, 2 }, 2, 0);
    net->in[0] = (bl_fixed_grid){ 1, 31, 0 };
    net->layers[0].weight[0] = INT32_MAX;
    net->layers[0].weight_f[0] = -1;
    assert_fails(ctx, bl_fixed_check(ctx, "here", net), BL_DATA, "62 bits");
    net->layers[0].weight[0] = 3;
    net->layers[0].weight_f[0] = 0;
    assert_ok(ctx, bl_fixed_finish(ctx, net));
    assert_true(net->layers[0].acc_bits >= 33 && net->layers[0].acc_bits <= 63);
    net->layers[0].weight[0] = 4;
    assert_fails(ctx, bl_fixed_check(ctx, "here", net), BL_DATA, "neither odd");
    bl_fixed_free(net);
    test_ctx_free(ctx);
}

static void test_record(void **state)
{
    (void)state;
    bl_ctx *ctx = test_ctx(1, 0);
    bl_rng r = bl_rng_make(5, "record", 0);
    char folder[256], path[400];
    snprintf(path, sizeof path, "%s/fixed.json", test_folder(folder));
    bl_fixed_net *net = fixed_windows(ctx, &r, BL_FIXED_MAX_POOL), *back;
    assert_ok(ctx, bl_fixed_write(ctx, net, path));
    assert_ok(ctx, bl_fixed_read(ctx, path, &back));
    assert_string_equal(net->hash.hex, back->hash.hex);
    assert_same_outputs(back, net, &r, 40);
    bl_fixed_free(back);
    bl_fixed_free(net);
    test_folder_remove(folder);
    test_ctx_free(ctx);
}

/* The last layer's codes are its sums: a record whose grids clip or round them is refused; the grids that
 * bl_fixed_finish gives hold the least and the largest sum, symmetric overflow or not. */
static void test_last_grids(void **state)
{
    (void)state;
    bl_ctx *ctx = test_ctx(1, 0);
    char folder[256], path[400];
    snprintf(path, sizeof path, "%s/fixed.json", test_folder(folder));
    for (int overflow = 0; overflow < BL_FIXED_OVERFLOWS; overflow++) {
        bl_rng r = bl_rng_make(1, "last", 0);
        bl_fixed_net *net = fixed_dense(ctx, &r, 1, (int[]){ 1 }, 1, 0), *back;
        bl_fixed_layer *l = &net->layers[0];
        l->overflow = (bl_fixed_overflow)overflow;
        l->relu = false;
        net->in[0] = (bl_fixed_grid){ 1, 3, 0 }; /* -8 .. 7 */
        net->in_overflow = BL_SAT;
        l->weight[0] = 1;
        l->weight_f[0] = 0;
        l->bias[0] = 0;
        l->bias_f[0] = 0;
        assert_ok(ctx, bl_fixed_finish(ctx, net));
        for (int64_t code = -8; code < 8; code++) {
            int64_t y;
            bl_fixed_layer_run(l, net->in, &code, &y);
            assert_int_equal(y, code * ((int64_t)1 << l->out[0].f));
        }
        assert_ok(ctx, bl_fixed_write(ctx, net, path));
        assert_ok(ctx, bl_fixed_read(ctx, path, &back));
        bl_fixed_free(back);
        bl_fixed_grid right = l->out[0], wrong[] = { { right.k, (int8_t)(right.i - 1), right.f }, { 0, right.i, right.f },
                                                      { right.k, right.i, (int8_t)(right.f - 1) } };
        for (size_t i = 0; i < BL_COUNTOF(wrong); i++) {
            l->out[0] = wrong[i];
            assert_ok(ctx, bl_fixed_write(ctx, net, path));
            assert_fails(ctx, bl_fixed_read(ctx, path, &back), BL_DATA, "does not hold its sum");
        }
        bl_fixed_free(net);
    }
    test_folder_remove(folder);
    test_ctx_free(ctx);
}

/* Numbers of a record replaced by others, one at a time: refused as bad data, or a network that holds. */
static void test_damage(void **state)
{
    (void)state;
    static const char *const bad[] = { "-1", "0", "7", "99999", "-2147483648", "1e300", "\"x\"", "[]", "9223372036854775807", "null" };
    bl_ctx *ctx = test_ctx(1, 0);
    bl_rng r = bl_rng_make(6, "damage", 0);
    char folder[256], path[400], copy[400];
    snprintf(path, sizeof path, "%s/fixed.json", test_folder(folder));
    bl_fixed_net *net = fixed_windows(ctx, &r, BL_FIXED_AVERAGE_POOL), *back;
    assert_ok(ctx, bl_fixed_write(ctx, net, path));
    bl_fixed_free(net);
    json_t *record;
    bl_hash hash;
    int refused = 0;
    for (int n = 0; n < 400; n++) {
        assert_ok(ctx, bl_json_read(ctx, path, &record));
        json_t *layer = json_array_get(json_object_get(record, "layers"), (size_t)bl_rng_below(&r, 4));
        json_t *host = n % 5 ? layer : json_object_get(record, "input");
        size_t skip = (size_t)bl_rng_below(&r, json_object_size(host));
        const char *key;
        json_t *value, *list = NULL, *new = json_loads(bad[bl_rng_below(&r, BL_COUNTOF(bad))], JSON_DECODE_ANY, NULL);
        json_object_foreach(host, key, value)
            if (skip-- == 0) {
                list = value;
                break;
            }
        if (json_array_size(list)) json_array_set_new(list, (size_t)bl_rng_below(&r, json_array_size(list)), new);
        else json_object_set_new(host, key, new);
        snprintf(copy, sizeof copy, "%s/damaged.json", folder);
        json_object_del(record, "hash");
        assert_ok(ctx, bl_record_write(ctx, record, copy, &hash));
        json_decref(record);
        bl_status s = bl_fixed_read(ctx, copy, &back);
        assert_true(s == BL_OK || s == BL_DATA || s == BL_UNAVAILABLE);
        refused += s != BL_OK;
        if (s != BL_OK) continue;
        int64_t *codes = calloc((size_t)back->n_in, sizeof *codes), *work = calloc(bl_fixed_work(back), sizeof *work);
        int64_t *out = calloc((size_t)back->layers[3].n_out, sizeof *out);
        bl_fixed_run(back, codes, out, work);
        free(codes);
        free(work);
        free(out);
        bl_fixed_free(back);
    }
    assert_true(refused > 200);
    test_folder_remove(folder);
    test_ctx_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_integers), cmocka_unit_test(test_prune),  cmocka_unit_test(test_price),
        cmocka_unit_test(test_proof),    cmocka_unit_test(test_record), cmocka_unit_test(test_last_grids), cmocka_unit_test(test_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
