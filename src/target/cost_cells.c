/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Cells of COST as JSON, and one shape's cells kept in a folder of the user: a second model that holds the same
 * shape, or a run that was killed, need not measure it again.  A file that cannot be read is no cell.
 */
#include "target/probe.h"

#include <string.h>
#include <unistd.h>

static json_t *time_json(const bl_cost_time *t)
{
    return json_pack("{s:f, s:f, s:f, s:f}", "q1_ns", t->q1_ns, "median_ns", t->median_ns, "p90_ns", t->p90_ns, "ratio", t->ratio);
}

static const char *const state_keys[BL_N_STATE] = { "l2", "l3", "dram" };

const char *bl_state_name(bl_state s)
{
    static const char *const names[BL_N_STATE] = { "L2", "L3", "DRAM" };
    return names[s];
}

/* The near figures stand in the cell itself. */
json_t *bl_cost_cell_json(const bl_cost_cell *x)
{
    json_t *o = json_pack("{s:s, s:i, s:i, s:i, s:s}", "key", x->key, "w_bits", x->w_bits, "a_in_bits", x->a_in,
                          "a_out_bits", x->a_out, "kernel", x->kernel), *near = time_json(&x->at[BL_STATE_L2]);
    json_object_update(o, near);
    json_decref(near);
    for (int s = BL_STATE_L3; s < BL_N_STATE; s++)
        if (x->at[s].q1_ns > 0) json_object_set_new(o, state_keys[s], time_json(&x->at[s]));
    if (x->dense_ns > 0) json_object_set_new(o, "dense_q1_ns", json_real(x->dense_ns));
    if (x->energy_nj > 0) json_object_set_new(o, "energy_nj", json_real(x->energy_nj));
    if (x->computing_ns > 0) json_object_set_new(o, "computing_ns", json_real(x->computing_ns));
    if (x->packed_bytes) json_object_set_new(o, "packed_bytes", json_integer((json_int_t)x->packed_bytes));
    if (x->noisy) json_object_set_new(o, "noisy", json_true());
    return o;
}

static bl_status read_time(bl_ctx *ctx, const char *place, const char *key, const json_t *o, bl_cost_time *t)
{
    BL_TRY(bl_json_f64(ctx, o, "q1_ns", place, &t->q1_ns));
    BL_TRY(bl_json_f64(ctx, o, "median_ns", place, &t->median_ns));
    BL_TRY(bl_json_f64(ctx, o, "p90_ns", place, &t->p90_ns));
    t->ratio = json_number_value(json_object_get(o, "ratio")); /* absent: 0, not known */
    if (!(t->q1_ns >= 0 && t->median_ns >= 0 && t->p90_ns >= 0 && t->ratio >= 0))
        return bl_fail(ctx, BL_DATA, place, "measure again", "a negative time for %s", key);
    return BL_OK;
}

bl_status bl_cost_cell_read(bl_ctx *ctx, const char *place, const json_t *o, bl_cost *c)
{
    bl_cost_cell x = { 0 };
    int64_t w, in, out, packed = 0;
    BL_TRY(bl_json_str(ctx, o, "key", place, &x.key));
    BL_TRY(bl_json_str(ctx, o, "kernel", place, &x.kernel));
    BL_TRY(bl_json_i64(ctx, o, "w_bits", place, 0, 32, &w));
    BL_TRY(bl_json_i64(ctx, o, "a_in_bits", place, 0, 32, &in));
    BL_TRY(bl_json_i64(ctx, o, "a_out_bits", place, 0, 32, &out));
    BL_TRY(read_time(ctx, place, x.key, o, &x.at[BL_STATE_L2]));
    for (int s = BL_STATE_L3; s < BL_N_STATE; s++) {
        const json_t *far = json_object_get(o, state_keys[s]);
        if (far) BL_TRY(read_time(ctx, place, x.key, far, &x.at[s]));
    }
    if (json_object_get(o, "packed_bytes")) BL_TRY(bl_json_i64(ctx, o, "packed_bytes", place, 0, INT64_MAX, &packed));
    x.dense_ns = json_number_value(json_object_get(o, "dense_q1_ns"));
    x.energy_nj = json_number_value(json_object_get(o, "energy_nj"));
    if (!(x.energy_nj >= 0)) return bl_fail(ctx, BL_DATA, place, "make it again", "a negative energy for %s", x.key);
    x.computing_ns = json_number_value(json_object_get(o, "computing_ns")); /* absent: 0, not known */
    if (!(x.computing_ns >= 0)) return bl_fail(ctx, BL_DATA, place, "make it again", "a negative time for %s", x.key);
    x.noisy = json_is_true(json_object_get(o, "noisy"));
    x.w_bits = (int)w;
    x.a_in = (int)in;
    x.a_out = (int)out;
    x.packed_bytes = (size_t)packed;
    return bl_cost_add(c, &x);
}

/* ---- the folder */

static char *file_of(bl_arena *a, const char *folder, bl_hash key)
{
    return bl_path_join(a, folder, bl_format(a, "%s.json", key.hex));
}

static bl_status recall(bl_ctx *ctx, const char *path, bl_cost *cost)
{
    json_t *r = NULL, *cells, *groups;
    bl_hash hash;
    BL_TRY(bl_record_read(ctx, path, "shape", 1, NULL, &r, &hash));
    bl_status s = bl_json_array(ctx, r, "cells", path, 1 << 20, &cells);
    if (s == BL_OK) s = bl_json_array(ctx, r, "groups", path, 1 << 20, &groups);
    for (size_t i = 0; s == BL_OK && i < json_array_size(cells); i++) s = bl_cost_cell_read(ctx, path, json_array_get(cells, i), cost);
    for (size_t i = 0; s == BL_OK && i < json_array_size(groups); i++) {
        const char *key = NULL;
        double spread = 0;
        s = bl_json_str(ctx, json_array_get(groups, i), "key", path, &key);
        if (s == BL_OK) s = bl_json_f64(ctx, json_array_get(groups, i), "aa_spread", path, &spread);
        if (s == BL_OK) s = bl_cost_add_group(cost, key, spread);
    }
    json_decref(r);
    return s;
}

bl_status bl_cost_recall(bl_ctx *ctx, const char *folder, bl_hash key, bl_cost *cost, bool *found)
{
    size_t cells = cost->n_cells, groups = cost->n_groups;
    bl_arena *a = bl_arena_new(ctx, "recall");
    char *path = a ? file_of(a, folder, key) : NULL;
    *found = path && bl_file_exists(path) && recall(ctx, path, cost) == BL_OK;
    if (!*found) {
        cost->n_cells = cells;
        cost->n_groups = groups;
    }
    bl_arena_free(a);
    return path ? BL_OK : bl_pending(ctx);
}

bl_status bl_cost_remember(bl_ctx *ctx, const char *folder, bl_hash key, const bl_cost *cost, size_t first_cell,
                           size_t first_group)
{
    for (size_t i = first_cell; i < cost->n_cells; i++)
        if (cost->cells[i].noisy) return BL_OK; /* better measured again next time */
    json_t *r = bl_record_new(ctx, "shape", 1, 0), *cells = json_array(), *groups = json_array();
    bl_arena *a = bl_arena_new(ctx, "remember");
    char *path = a ? file_of(a, folder, key) : NULL;
    bl_hash hash;
    for (size_t i = first_cell; i < cost->n_cells; i++) json_array_append_new(cells, bl_cost_cell_json(&cost->cells[i]));
    for (size_t i = first_group; i < cost->n_groups; i++)
        json_array_append_new(groups, json_pack("{s:s, s:f}", "key", cost->groups[i].key, "aa_spread", cost->groups[i].aa_spread));
    json_object_set(r, "machine", cost->machine);
    json_object_set_new(r, "cells", cells);
    json_object_set_new(r, "groups", groups);
    bl_status s = path ? bl_make_dir(ctx, folder) : bl_pending(ctx);
    if (s == BL_OK) s = bl_record_write(ctx, r, path, &hash);
    json_decref(r);
    bl_arena_free(a);
    return s;
}
