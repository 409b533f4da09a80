/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which side of the roofline a measured layer is on: weights that come from further away than L2 take time beyond
 * that of computing, and only then can fewer bits of weights help without a kernel that computes faster on them.
 */
#include "target/target.h"

#include <string.h>

#define WAITS 1.25 /* times as long as with near weights: a fifth of the time is waiting for them */

static double ns_at(const bl_cost_cell *x, bl_state state)
{
    while (state > BL_STATE_L2 && !(x->at[state].q1_ns > 0)) state--;
    return x->at[state].q1_ns;
}

const char *bl_cost_side(const bl_cost *cost, const bl_cost_cell *x, bl_state state)
{
    if (cost->model) return !(x->computing_ns > 0) ? NULL : x->q1_ns > WAITS * x->computing_ns ? "moving" : "computing";
    if (!(x->at[BL_STATE_L2].q1_ns > 0)) return NULL;
    return ns_at(x, state) > WAITS * x->at[BL_STATE_L2].q1_ns ? "moving" : "computing";
}

/* Times to be compared: ratios of the same rounds, in which drift cancels; the least of many times as they are would be
 * the luckiest. */
static double share_at(const bl_cost_cell *x, bl_state state)
{
    while (state > BL_STATE_L2 && !(x->at[state].q1_ns > 0)) state--;
    return x->at[state].ratio > 0 ? x->at[state].ratio : x->at[state].q1_ns;
}

/* Where the weights of the network that was checked are. */
static bl_state state_of(const bl_cost *cost)
{
    const char *text = json_string_value(json_object_get(json_array_get(cost->checks, 0), "state"));
    for (int s = 0; text && s < BL_N_STATE; s++)
        if (!strcmp(text, bl_state_name((bl_state)s))) return (bl_state)s;
    return BL_STATE_L2;
}

static json_t *one_shape(const bl_cost *cost, size_t first, bl_state state)
{
    const bl_cost_cell *widest = &cost->cells[first], *best = widest;
    double tie = 0.03;
    for (size_t g = 0; g < cost->n_groups; g++)
        if (!strcmp(cost->groups[g].key, widest->key)) tie = fmax(tie, cost->groups[g].aa_spread);
    for (size_t i = first; i < cost->n_cells; i++) {
        const bl_cost_cell *x = &cost->cells[i];
        if (!strcmp(x->key, widest->key) && !x->noisy && share_at(x, state) < share_at(best, state)) best = x;
    }
    double gain = share_at(widest, state) / share_at(best, state);
    if (!(gain > 1 + tie)) {
        gain = 1;
        best = widest;
    }
    bool waits = ns_at(widest, state) > WAITS * widest->at[BL_STATE_L2].q1_ns;
    return json_pack("{s:s, s:f, s:i, s:i, s:s}", "key", widest->key, "gain", gain, "w_bits", best->w_bits, "a_bits", best->a_in,
                     "bound", waits ? "weights" : "computing");
}

json_t *bl_cost_roofline(const bl_cost *cost)
{
    json_t *all = json_array();
    bl_state state = state_of(cost);
    for (size_t i = 0; i < cost->n_cells; i++) {
        const bl_cost_cell *x = &cost->cells[i];
        size_t before = 0;
        while (before < i && strcmp(cost->cells[before].key, x->key)) before++; /* cells of a shape: the widest first */
        if (before == i && x->w_bits > 0 && x->q1_ns > 0) json_array_append_new(all, one_shape(cost, i, state));
    }
    return all;
}
