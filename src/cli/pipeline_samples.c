/* SPDX-License-Identifier: BSD-3-Clause */
/* Where a run's samples come from: --data, the network itself, or both. */
#include "cli/pipeline.h"

#include "train/train.h"

#include <math.h>
#include <string.h>

bool bl_pipeline_distils(const bl_pipeline *p)
{
    return p->recipe.distilled && !p->cli->has_data;
}

static bl_status distil(bl_pipeline *p, const bl_distil_options *o, const char *npy, const char *record)
{
    bl_graph *raw; /* BatchNormalizations are folded in the prepared one */
    bl_distilled *d = NULL;
    BL_TRY(bl_cli_model(p->cli, p->cli->args[0], false, &raw, NULL));
    bl_status s = bl_distil(p->ctx, raw, o, &d);
    bl_graph_free(raw);
    if (s == BL_OK) s = bl_distilled_write(p->ctx, p->graph, o, d, npy, record);
    bl_distilled_free(d);
    return s;
}

/* What --mean and --std make of pixels, stored as 0 to 255, or to 1 where none of their numbers is above 2: nothing else
 * says what a network without BatchNormalization reads. */
static void find_reach(const bl_data_options *data, bl_distil_options *o)
{
    double top = 1;
    int n = BL_MAX(data->n_mean, data->n_std);
    if (n > (int)BL_COUNTOF(o->reach)) return;
    for (int c = 0; c < n; c++)
        if ((c < data->n_mean && data->mean[c] > 2) || (c < data->n_std && data->std[c] > 2)) top = 255;
    for (int c = 0; c < n; c++) {
        double mean = data->n_mean ? data->mean[data->n_mean > 1 ? c : 0] : 0, std = data->n_std ? data->std[data->n_std > 1 ? c : 0] : 1;
        if (!(std > 0) || !isfinite(mean) || !isfinite(std)) return;
        o->reach[c][0] = -mean / std;
        o->reach[c][1] = (top - mean) / std;
    }
    o->n_reach = n;
}

static bl_status find_samples(bl_pipeline *p, const char *npy, const char *record)
{
    bl_distil_options o = bl_distil_options_default();
    bool there = false;
    o.samples = p->recipe.distil_samples;
    o.steps = p->recipe.distil_steps;
    find_reach(&p->cli->data, &o);
    if (bl_file_exists(record) && bl_file_exists(npy)) {
        bl_status s = bl_distilled_fits(p->ctx, p->graph, &o, npy, record, &there);
        if (s != BL_OK && p->cli->verbose) bl_note(p->ctx, "distilled.json is made again: %s", bl_last_error(p->ctx).what);
    }
    if (there) return BL_OK;
    uint64_t start = bl_now_ns();
    BL_TRY(distil(p, &o, npy, record));
    bl_pipeline_time(p, "distil", start);
    return BL_OK;
}

/* The given samples, as many as calibrate, and behind them those of distilled.npy, in one file as the network takes them. */
static bl_status join(bl_pipeline *p, bl_data *given, bl_data *made, bl_arena *a, const char *npy)
{
    int64_t *index, n, size = bl_data_sample_size(given), more = bl_data_samples(made);
    bl_tensor all = p->graph->values[p->graph->inputs[0]].t;
    BL_TRY(bl_data_pick(given, p->recipe.calibrate, a, &index, &n));
    float *x = bl_alloc(a, (size_t)(n + more), (size_t)size * sizeof(float));
    BL_ALLOC_TRY(p->ctx, x);
    for (int64_t i = 0; i < n; i++) BL_TRY(bl_data_read(given, index[i], 1, x + i * size));
    BL_TRY(bl_data_read(made, 0, more, x + n * size));
    all.dim[0] = n + more;
    all.data = x;
    return bl_npy_write(p->ctx, npy, &all);
}

static bl_status add_given(bl_pipeline *p, const char *npy)
{
    bl_data *given = NULL, *made = p->data;
    bl_arena *a = bl_arena_new(p->ctx, "samples");
    bl_status s = a ? bl_cli_data(p->cli, p->graph, NULL, &given) : bl_pending(p->ctx);
    p->data = NULL;
    if (s == BL_OK) s = join(p, given, made, a, npy);
    bl_arena_free(a);
    bl_data_free(given);
    bl_data_free(made);
    BL_TRY(s);
    bl_data_options o = { .spec = bl_format(p->cli->arena, "npy:%s", npy) };
    BL_ALLOC_TRY(p->ctx, o.spec);
    return bl_samples_open(p->ctx, &o, p->graph, NULL, &p->data);
}

static bl_status open_data(bl_pipeline *p)
{
    bool both = p->recipe.beside && p->cli->has_data;
    if (!bl_pipeline_distils(p) && !both) return bl_cli_data(p->cli, p->graph, NULL, &p->data);
    if (!p->dir) return bl_fail(p->ctx, BL_USAGE, p->recipe.name, "give --data, or -o RUNDIR", "no folder for distilled samples");
    char *npy = bl_pipeline_path(p, "distilled.npy"), *record = bl_pipeline_path(p, "distilled.json");
    char *spec = bl_format(p->cli->arena, "npy:%s", npy ? npy : "");
    if (!npy || !record || !spec) return bl_pending(p->ctx);
    if (strchr(npy, ','))
        return bl_fail(p->ctx, BL_USAGE, p->dir, "give a folder without a comma in its name", "words of a data set end at a comma");
    BL_TRY(bl_pipeline_begin(p));
    BL_TRY(find_samples(p, npy, record));
    BL_TRY(bl_json_read(p->ctx, record, &p->samples));
    bl_data_options o = { .spec = spec }; /* as the network takes them: no mean, no scale */
    BL_TRY(bl_samples_open(p->ctx, &o, p->graph, NULL, &p->data));
    if (!both) return BL_OK;
    json_object_set_new(p->samples, "beside_given", json_true());
    return add_given(p, bl_pipeline_path(p, "samples.npy"));
}

bl_status bl_pipeline_data(bl_pipeline *p)
{
    if (p->data) return BL_OK;
    BL_TRY(open_data(p));
    return p->begun && !p->cli->rank ? bl_pipeline_begin(p) : BL_OK; /* their words are known only now */
}
