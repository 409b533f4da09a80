/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Kendall's tau-b against its definition, pair by pair, and on published figures: masks of the OHQ
 * prototype beside HAWQ's Hessian sensitivities of ResNet-18.
 */
#include <math.h>
#include <stdlib.h>

#include "sense/sense.h"
#include "support.h"

static double by_definition(const double *a, const double *b, size_t n)
{
    double order = 0, tied_a = 0, tied_b = 0, all = (double)n * ((double)n - 1) / 2;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < i; j++) {
            int x = (a[i] > a[j]) - (a[i] < a[j]), y = (b[i] > b[j]) - (b[i] < b[j]);
            order += x * y;
            tied_a += !x;
            tied_b += !y;
        }
    return order / sqrt((all - tied_a) * (all - tied_b));
}

static void tau_is_its_definition(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 200; seed++) {
        double a[60], b[60], tau;
        bl_rng r = bl_rng_make(seed, "tau", 0);
        size_t n = 2 + bl_rng_below(&r, 58);
        uint64_t levels = seed % 2 ? 5 : 1000; /* many ties, or few */
        for (size_t i = 0; i < n; i++) {
            a[i] = (double)bl_rng_below(&r, levels);
            b[i] = (double)bl_rng_below(&r, levels) + (seed % 3 ? a[i] : 0);
        }
        a[1] = a[0] + 1; /* not all one */
        b[1] = b[0] - 1;
        tau = bl_kendall_tau_b(a, b, n);
        assert_true(fabs(tau - by_definition(a, b, n)) < 1e-12);
    }
}

static void tau_at_its_ends(void **state)
{
    static const double up[] = { 1, 2, 3, 4, 5 }, down[] = { 9, 7, 5, 3, 1 }, one[] = { 1, 1, 1, 1, 1 };
    double tau;
    (void)state;
    tau = bl_kendall_tau_b(up, up, 5);
    assert_true(fabs(tau - 1) < 1e-12);
    tau = bl_kendall_tau_b(up, down, 5);
    assert_true(fabs(tau + 1) < 1e-12);
    tau = bl_kendall_tau_b(up, one, 5);
    assert_true(isnan(tau));
    tau = bl_kendall_tau_b(up, up, 1);
    assert_true(isnan(tau));
}

/* The prototype's layers of the four stages stand in the order of HAWQ's. */
static size_t masked_kl(const json_t *masks, size_t ratio, double *out)
{
    const json_t *nets = json_object_get(masks, "nets");
    const json_t *row = json_array_get(json_object_get(nets, "resnet18_imagenet"), ratio), *layer;
    size_t i, n = 0;
    json_array_foreach(json_object_get(row, "layers"), i, layer)
        if (strstr(json_string_value(json_object_get(layer, "name")), ".stage"))
            out[n++] = json_number_value(json_object_get(layer, "kl"));
    return n;
}

static double product_of(const json_t *layer)
{
    return json_number_value(json_object_get(layer, "trace")) *
           (json_number_value(json_object_get(layer, "dw2_int4")) - json_number_value(json_object_get(layer, "dw2_int8")));
}

static void masks_rank_as_the_hessian_does(void **state)
{
    char path[512];
    bl_ctx *ctx = *state;
    json_t *masks, *hessian, *layer;
    double kl[32], omega[32], tau;
    size_t i, n = 0;
    assert_ok(ctx, bl_json_read(ctx, test_shared("data/golden/ohq_prototype_mask_kl.json", path), &masks));
    assert_ok(ctx, bl_json_read(ctx, test_shared("data/golden/hawq_resnet18_ilp.json", path), &hessian));
    json_array_foreach(json_object_get(json_object_get(hessian, "resnet18"), "layers"), i, layer) omega[n++] = product_of(layer);
    assert_int_equal(n, 19);
    assert_int_equal(masked_kl(masks, 0, kl), 19); /* three quarters of the weights masked */
    tau = bl_kendall_tau_b(kl, omega, n);
    assert_true(fabs(tau - 147.0 / 171) < 1e-9); /* 0.86 */
    assert_int_equal(masked_kl(masks, 1, kl), 19); /* one quarter */
    tau = bl_kendall_tau_b(kl, omega, n);
    assert_true(fabs(tau - 127.0 / 171) < 1e-9); /* 0.74 */
    json_decref(masks);
    json_decref(hessian);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tau_is_its_definition),
        cmocka_unit_test(tau_at_its_ends),
        cmocka_unit_test(masks_rank_as_the_hessian_does),
    };
    return cmocka_run_group_tests(tests, test_setup, test_teardown);
}
