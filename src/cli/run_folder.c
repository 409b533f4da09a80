/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * run.json: what a run's folder keeps for verbs that are given the folder alone - where its network lies, with which words it was
 * opened, and the words of its samples.
 */
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

bool bl_cli_is_folder(const char *path)
{
    struct stat at;
    return stat(path, &at) == 0 && S_ISDIR(at.st_mode);
}

/* ---- writing */

static bool same_graph(const json_t *run, const bl_graph *graph)
{
    const char *hash = json_string_value(json_object_get(run, "graph"));
    return hash && !strcmp(hash, graph->hash.hex);
}

/* What is there already, where it is of this network; NULL: nothing. */
static json_t *earlier(bl_cli *cli, const char *path, const bl_graph *graph)
{
    json_t *run = NULL;
    if (!bl_file_exists(path) || bl_json_read(cli->ctx, path, &run) != BL_OK) return NULL;
    if (same_graph(run, graph)) return run;
    json_decref(run);
    return NULL;
}

/* Words of the samples, and which they were.  A path that is no text is left out: who needs the samples says so. */
static json_t *data_json(const bl_data *data, const char *dir, int64_t limit)
{
    char *folder = realpath(dir, NULL);
    json_t *o = folder ? bl_data_description(data, folder) : NULL;
    free(folder);
    if (o && limit > 0) json_object_set_new(o, "limit", json_integer((json_int_t)limit));
    if (o) json_object_set_new(o, "hash", json_string(bl_data_hash(data).hex));
    return o;
}

static bl_status describe(bl_cli *cli, const char *model, const bl_graph *graph, json_t **out)
{
    char *full = realpath(model, NULL);
    json_t *run = json_pack("{s:s, s:s}", "model", full ? full : model, "graph", graph->hash.hex);
    free(full);
    if (!run) return bl_fail(cli->ctx, BL_DATA, model, "rename it, or the folder that it lies in", "its path is not UTF-8 text, and the run keeps it");
    if (cli->dequantize) json_object_set_new(run, "dequantize", json_true());
    json_t *dims = cli->n_dims ? json_object() : NULL;
    for (size_t i = 0; i < cli->n_dims; i++)
        json_object_set_new(dims, cli->dims[i].name, json_integer(cli->dims[i].size));
    if (dims) json_object_set_new(run, "dims", dims);
    if (cli->equalise) json_object_set_new(run, "equalise", cli->equalise_noise ? json_string("noise") : json_true());
    *out = run;
    return BL_OK;
}

bl_status bl_cli_keep_run(bl_cli *cli, const char *dir, const char *model, const bl_graph *graph, const bl_data *data, int64_t limit)
{
    json_t *run, *before;
    char *path = bl_path_join(cli->arena, dir, "run.json");
    BL_ALLOC_TRY(cli->ctx, path);
    BL_TRY(describe(cli, model, graph, &run));
    bl_status s = bl_make_dir(cli->ctx, dir);
    json_t *samples = s == BL_OK && data ? data_json(data, dir, limit) : NULL;
    if (samples) json_object_set_new(run, "data", samples);
    before = data ? NULL : earlier(cli, path, graph);
    samples = json_object_get(before, "data");
    if (samples) json_object_set(run, "data", samples); /* this stage needs none; others do */
    json_decref(before);
    if (s == BL_OK) s = bl_json_write(cli->ctx, path, run);
    json_decref(run);
    return s;
}

bl_status bl_cli_begin_run(bl_cli *cli, const char *dir, const char *model, const bl_graph *graph, const bl_data *data, int64_t limit)
{
    char *path = bl_path_join(cli->arena, dir, "run.json");
    BL_ALLOC_TRY(cli->ctx, path);
    json_t *before = earlier(cli, path, graph);
    json_decref(before);
    return before ? BL_OK : bl_cli_keep_run(cli, dir, model, graph, data, limit);
}

/* ---- reading */

/* Free dimensions as the run bound them; what this call bound itself stands. */
static bl_status run_dims(bl_cli *cli, const char *place, const json_t *run)
{
    const char *name;
    json_t *size, *dims = json_object_get(run, "dims");
    json_object_foreach(dims, name, size) {
        bool bound = false;
        for (size_t i = 0; i < cli->n_dims; i++) bound |= !strcmp(cli->dims[i].name, name);
        if (bound) continue;
        json_int_t n = json_integer_value(size);
        if (n < 1 || n > INT32_MAX || cli->n_dims == BL_CLI_DIMS_MAX)
            return bl_fail(cli->ctx, BL_DATA, place, "run quantize again, or give --dim yourself",
                           "\"dims\": %s is no size of a dimension, or one too many", name);
        char *own = bl_strdup(cli->arena, name);
        if (!own) return bl_pending(cli->ctx);
        cli->dims[cli->n_dims++] = (bl_dim_binding){ own, n };
    }
    return BL_OK;
}

bl_status bl_cli_run_model(bl_cli *cli, const char *run_json, const char **model)
{
    json_t *run;
    const char *path;
    if (!bl_file_exists(run_json)) return bl_fail(cli->ctx, BL_NOINPUT, run_json, "give the folder of `bitlathe quantize -o`", "is not there");
    BL_TRY(bl_json_read(cli->ctx, run_json, &run));
    bl_status s = bl_json_str(cli->ctx, run, "model", run_json, &path);
    *model = s == BL_OK ? bl_strdup(cli->arena, path) : NULL;
    if (s == BL_OK && !*model) s = bl_pending(cli->ctx);
    if (s == BL_OK) s = run_dims(cli, run_json, run);
    cli->dequantize |= json_is_true(json_object_get(run, "dequantize"));
    const json_t *equalised = json_object_get(run, "equalise");
    cli->equalise_noise |= json_is_string(equalised);
    cli->equalise |= json_is_true(equalised) || json_is_string(equalised);
    json_decref(run);
    return s;
}

/* Words that change what samples are; then they are not those of the run any more. */
static bool preprocesses(const bl_data_options *o)
{
    return o->n_mean || o->n_std || o->resize || o->crop || o->crops || o->bgr || o->nhwc_stored || o->nchw_stored || o->window;
}

static bl_status open_recorded(bl_cli *cli, const char *path, const json_t *words, const bl_graph *graph, bl_data **out)
{
    bl_data_options o = cli->data;
    const char *hash = json_string_value(json_object_get(words, "hash"));
    o.spec = path;
    bl_status s = bl_samples_open(cli->ctx, &o, graph, NULL, out);
    bl_error e = bl_last_error(cli->ctx);
    if (s == BL_NOINPUT) return bl_fail(cli->ctx, s, e.place, "put it back, or give --data", "%s; the samples of %s were there", e.what, path);
    BL_TRY(s);
    if (preprocesses(&cli->data) || (hash && !strcmp(hash, bl_data_hash(*out).hex))) return BL_OK;
    s = bl_fail(cli->ctx, BL_DATA, bl_data_name(*out), "give --data to take them as they are now, or `bitlathe quantize` again",
                "its samples are not those that %s was made from", path);
    bl_data_free(*out);
    *out = NULL;
    return s;
}

bl_status bl_cli_run_data(bl_cli *cli, const char *dir, const bl_graph *graph, bl_data **out, int64_t *limit)
{
    json_t *run;
    *limit = cli->data.limit;
    if (cli->has_data) return bl_cli_data(cli, graph, NULL, out);
    char *path = bl_path_join(cli->arena, dir, "run.json");
    BL_ALLOC_TRY(cli->ctx, path);
    BL_TRY(bl_json_read(cli->ctx, path, &run));
    const json_t *words = json_object_get(run, "data");
    bl_status s = json_is_object(words) ? open_recorded(cli, path, words, graph, out)
                                        : bl_fail(cli->ctx, BL_USAGE, path, "give --data, such as --data npy:samples.npy", "the run keeps no words of its samples");
    int64_t kept = (int64_t)json_integer_value(json_object_get(words, "limit"));
    if (s == BL_OK && !*limit && kept > 0) *limit = kept;
    json_decref(run);
    return s;
}

bool bl_cli_run_keeps_data(bl_cli *cli, const char *run_json)
{
    json_t *run;
    if (bl_json_read(cli->ctx, run_json, &run) != BL_OK) return false;
    bool keeps = json_is_object(json_object_get(run, "data"));
    json_decref(run);
    return keeps;
}

/* ---- weights */

/* plan.json has weights.blw beside it, NAME.plan.json NAME.weights.blw; other names weights.blw. */
static const char *weights_beside(bl_cli *cli, const char *plan)
{
    size_t folder = (size_t)(bl_path_base(plan) - plan), n = strlen(plan), tail = strlen("plan.json");
    bool ours = n >= tail && !strcmp(plan + n - tail, "plan.json");
    return bl_format(cli->arena, "%.*sweights.blw", (int)(ours && n - tail >= folder ? n - tail : folder), plan);
}

bl_status bl_cli_plan_weights(bl_cli *cli, const bl_graph *g, const bl_plan *plan, const char *plan_path, const char *given, bl_weights **out)
{
    bl_ctx *ctx = cli->ctx;
    bool named = plan->weights.hex[0];
    *out = NULL;
    if (!given && !named) return BL_OK;
    if (!given) {
        given = weights_beside(cli, plan_path);
        BL_ALLOC_TRY(ctx, given);
        if (!bl_file_exists(given))
            return bl_fail(ctx, BL_USAGE, plan_path, "give them with --weights weights.blw", "the plan was made for tuned weights");
    }
    BL_TRY(bl_weights_read(ctx, g, given, out));
    if (!strcmp((*out)->hash.hex, plan->weights.hex)) return BL_OK;
    bl_weights_free(*out);
    *out = NULL;
    return bl_fail(ctx, BL_DATA, given, "give the weights that the plan names", "the weights of another plan");
}
