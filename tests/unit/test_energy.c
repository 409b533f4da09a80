/* SPDX-License-Identifier: BSD-3-Clause */
/* Energy of measured cells: the model's sums, the counter with its wrap, prices of whole choices. */
#include "support.h"

#include "target/energy.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* 1,000 products of 8 bits: 0.3 nJ; each byte by where it lies. */
static void test_model(void **state)
{
    (void)state;
    bl_energy_work w = { .macs = 1000, .w_bits = 8, .a_bits = 8 };
    assert_float_equal(bl_energy_model_nj(&w, BL_STATE_L2), 0.3, 1e-12);
    w.w_bits = 4; /* half the product, all of the addition */
    assert_float_equal(bl_energy_model_nj(&w, BL_STATE_L2), 0.2, 1e-12);
    w = (bl_energy_work){ .w_bits = 8, .a_bits = 8, .weight_bytes = 100 };
    double near = bl_energy_model_nj(&w, BL_STATE_L2), far = bl_energy_model_nj(&w, BL_STATE_L3);
    assert_float_equal(near, 1.25, 1e-12);
    assert_true(near < far && far < bl_energy_model_nj(&w, BL_STATE_DRAM));
    w = (bl_energy_work){ .w_bits = 8, .a_bits = 8, .value_bytes = 100 }; /* values are near, wherever weights are */
    assert_float_equal(bl_energy_model_nj(&w, BL_STATE_DRAM), 1.25, 1e-12);
}

static void write_text(const char *folder, const char *name, const char *text)
{
    char path[512];
    snprintf(path, sizeof path, "%s/intel-rapl:0/%s", folder, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static void test_counter(void **state)
{
    (void)state;
    char folder[256], path[512];
    test_folder(folder);
    snprintf(path, sizeof path, "%s/intel-rapl:0", folder);
    bl_rapl r;
    assert_false(bl_rapl_open(&r, folder)); /* nothing there */
    assert_int_equal(mkdir(path, 0700), 0);
    write_text(folder, "energy_uj", "990\n");
    assert_false(bl_rapl_open(&r, folder)); /* no range */
    write_text(folder, "max_energy_range_uj", "1000\n");
    assert_true(bl_rapl_open(&r, folder));
    uint64_t before, after;
    assert_true(bl_rapl_read(&r, &before));
    write_text(folder, "energy_uj", "15\n");
    assert_true(bl_rapl_read(&r, &after));
    assert_float_equal(bl_rapl_between_nj(&r, before, after), 25e3, 1e-9); /* over the wrap */
    assert_float_equal(bl_rapl_between_nj(&r, 100, 300), 200e3, 1e-9);
    write_text(folder, "energy_uj", "none\n");
    assert_false(bl_rapl_read(&r, &after));
    test_folder_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_model), cmocka_unit_test(test_counter) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
