/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The whole straight way on a small network, files included, with each allocation failing in turn:
 * always an error with a sentence, nothing leaked, no half-written file; and what lies there under its final
 * name can be read.
 */
#include "tiny_cost.h"

#include "search/search.h"

#include <dirent.h>

typedef struct way {
    bl_ctx *ctx;
    const uint8_t *model;
    size_t model_bytes;
    char folder[256], spec[600];
    float y[3];                 /* of the last way that came through */
    /* All that the way makes, freed in the end whatever happens. */
    bl_graph *read, *g;
    bl_data *data;
    bl_menu *menu;
    bl_stats *stats, *stats_back;
    bl_sens *sens, *sens_back;
    bl_cost *cost, *cost_back;
    bl_plan *plan, *plan_back;
    bl_weights *weights, *weights_back;
    bl_program *program, *program_back;
    bl_exec *exec;
} way;

static const char *const files[] = { "stats.json", "sens.json", "cost.json", "plan.json", "weights.blw", "model.blp",
                                     "model.qdq.onnx" };
enum { STATS, SENS, COST, PLAN, WEIGHTS, PROGRAM, QDQ };

static const char *file(const way *w, int which)
{
    static char path[8][300];
    snprintf(path[which], sizeof path[which], "%.256s/%s", w->folder, files[which]);
    return path[which];
}

static bl_status look(way *w)
{
    bl_ctx *ctx = w->ctx;
    const bl_data_options o = { .spec = w->spec };
    BL_TRY(bl_import_bytes(ctx, "tiny.onnx", w->model, w->model_bytes, NULL, &w->read));
    BL_TRY(bl_prepare(ctx, w->read, &w->g));
    BL_TRY(bl_samples_open(ctx, &o, w->g, NULL, &w->data));
    BL_TRY(bl_menu_make(ctx, w->g, &(bl_menu_options){ .w_bits = { 4, 8 }, .n_w = 2, .a_bits = { 8 }, .n_a = 1 }, &w->menu));
    BL_TRY(bl_calibrate(ctx, w->g, w->data, NULL, &w->stats));
    BL_TRY(bl_stats_write(ctx, w->g, w->stats, file(w, STATS)));
    return bl_stats_read(ctx, w->g, file(w, STATS), &w->stats_back);
}

static bl_status choose(way *w)
{
    static const char *const budget[] = { "size=0.7" };
    bl_ctx *ctx = w->ctx;
    const bl_sense_options so = { .samples = 2, .grids = { .act_range = "minmax", .weight_range = "minmax" } };
    const bl_sense_input si = { .graph = w->g, .menu = w->menu, .stats = w->stats_back, .data = w->data, .options = &so };
    BL_TRY(bl_sense(ctx, &si, &w->sens));
    BL_TRY(bl_sens_write(ctx, w->menu, w->sens, file(w, SENS)));
    BL_TRY(bl_sens_read(ctx, w->g, w->menu, file(w, SENS), &w->sens_back));
    BL_TRY(bl_measure(ctx, w->g, w->menu, "counted", NULL, &w->cost));
    BL_TRY(bl_cost_write(ctx, w->cost, file(w, COST)));
    BL_TRY(bl_cost_read(ctx, file(w, COST), &w->cost_back));
    const bl_search_request q = { .graph = w->g, .menu = w->menu, .stats = w->stats_back, .sens = w->sens_back,
                                  .cost = w->cost_back, .budgets = budget, .n_budgets = 1, .grids = so.grids };
    BL_TRY(bl_search(ctx, &q, &w->plan));
    BL_TRY(bl_plan_write(ctx, w->g, w->plan, file(w, PLAN)));
    return bl_plan_read(ctx, w->g, file(w, PLAN), &w->plan_back);
}

static bl_status run(way *w)
{
    bl_ctx *ctx = w->ctx;
    const bl_tune_input ti = { .graph = w->g, .plan = w->plan_back, .data = w->data, .samples = 2 };
    BL_TRY(bl_tune(ctx, bl_tuner_find("bias-correction"), &ti, &w->weights));
    BL_TRY(bl_weights_write(ctx, w->g, w->weights, file(w, WEIGHTS)));
    BL_TRY(bl_weights_read(ctx, w->g, file(w, WEIGHTS), &w->weights_back));
    BL_TRY(bl_export_qdq(ctx, w->g, w->plan_back, w->weights_back, NULL, file(w, QDQ)));
    BL_TRY(bl_lower(ctx, w->g, w->plan_back, w->weights_back, &w->program));
    BL_TRY(bl_program_write(ctx, w->program, file(w, PROGRAM)));
    BL_TRY(bl_program_open(ctx, file(w, PROGRAM), &w->program_back));
    BL_TRY(bl_exec_open(ctx, w->program_back, false, &w->exec));
    for (int i = 0; i < 4; i++) bl_exec_input(w->exec, 0)[i] = (float)(i - 1);
    BL_TRY(bl_exec_run(w->exec, NULL, NULL));
    memcpy(w->y, bl_exec_output(w->exec, 0), sizeof w->y);
    return BL_OK;
}

static bl_status whole_way(way *w)
{
    bl_status s = look(w);
    if (s == BL_OK) s = choose(w);
    if (s == BL_OK) s = run(w);
    bl_exec_free(w->exec);
    bl_program_free(w->program_back);
    bl_program_free(w->program);
    bl_weights_free(w->weights_back);
    bl_weights_free(w->weights);
    bl_plan_free(w->plan_back);
    bl_plan_free(w->plan);
    bl_cost_free(w->cost_back);
    bl_cost_free(w->cost);
    bl_sens_free(w->sens_back);
    bl_sens_free(w->sens);
    bl_stats_free(w->stats_back);
    bl_stats_free(w->stats);
    bl_menu_free(w->menu);
    bl_data_free(w->data);
    bl_graph_free(w->g);
    bl_graph_free(w->read);
    memset(&w->read, 0, sizeof *w - offsetof(way, read));
    return s;
}

/* Every file there has a final name and reads back as the whole that the undisturbed way wrote. */
static void check_files(const way *w, const uint64_t *whole, long n, bool remove)
{
    struct dirent *e;
    DIR *d = opendir(w->folder);
    assert_non_null(d);
    while ((e = readdir(d)) != NULL) {
        size_t k = 0;
        while (k < BL_COUNTOF(files) && strcmp(files[k], e->d_name)) k++;
        if (k == BL_COUNTOF(files)) {
            if (e->d_name[0] != '.' || strlen(e->d_name) > 2) fail_msg("allocation %ld left %s", n, e->d_name);
            continue;
        }
        bl_map map;
        assert_ok(w->ctx, bl_map_file(w->ctx, file(w, (int)k), 0, &map));
        if (bl_checksum(map.data, map.size) != whole[k]) fail_msg("allocation %ld: %s differs", n, e->d_name);
        bl_unmap(&map);
        if (remove) unlink(file(w, (int)k));
    }
    closedir(d);
}

static void each_allocation_fails(void **state)
{
    way w = { .ctx = test_ctx(1, 0) };
    uint64_t whole[BL_COUNTOF(files)], before, now;
    float want[3];
    (void)state;
    if (access("/dev/shm", W_OK) == 0) setenv("TMPDIR", "/dev/shm", 0);
    char other[256];
    bl_map map;
    test_folder(w.folder);
    snprintf(w.spec, sizeof w.spec, "raw:%s/x,f32,2x4", test_folder(other));
    char samples[300];
    snprintf(samples, sizeof samples, "%.256s/x", other);
    const float x[8] = { 1, -1, 0.5f, 2, -0.5f, 0.25f, 1, -2 };
    FILE *f = fopen(samples, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(x, 1, sizeof x, f), sizeof x);
    fclose(f);
    onnx_build *b = tiny_dense(w.ctx, true);
    w.model = ob_pack(b, &w.model_bytes);
    bl_memory_use(w.ctx, &before, NULL);
    assert_ok(w.ctx, whole_way(&w));
    memcpy(want, w.y, sizeof want);
    for (size_t k = 0; k < BL_COUNTOF(files); k++) {
        assert_ok(w.ctx, bl_map_file(w.ctx, file(&w, (int)k), 0, &map));
        whole[k] = bl_checksum(map.data, map.size);
        bl_unmap(&map);
        unlink(file(&w, (int)k));
    }
    long n = 1;
    for (;; n++) {
        w.ctx->fail_alloc = n;
        bl_status s = whole_way(&w);
        bool failed = w.ctx->fail_alloc <= 0;
        w.ctx->fail_alloc = -1;
        bl_memory_use(w.ctx, &now, NULL);
        if (now != before) fail_msg("allocation %ld failed and %lld bytes leaked", n, (long long)(now - before));
        check_files(&w, whole, n, true);
        if (!failed) break;
        if (s != BL_UNAVAILABLE || !bl_last_error(w.ctx).what[0] || !bl_last_error(w.ctx).place[0])
            fail_msg("allocation %ld: %d: %s: %s", n, (int)s, bl_last_error(w.ctx).place, bl_last_error(w.ctx).what);
    }
    assert_memory_equal(w.y, want, sizeof want);
    print_message("%ld allocations failed in turn\n", n - 1);
    assert_true(n > 500);
    ob_free(b);
    test_folder_remove(w.folder);
    test_folder_remove(other);
    test_ctx_free(w.ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(each_allocation_fails) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
