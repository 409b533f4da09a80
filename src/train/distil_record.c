/* SPDX-License-Identifier: BSD-3-Clause */
/* Distilled samples as files: an array, and a record of how it was made beside it. */
#include "train/train.h"

#include <string.h>

#define LIGHT_VALUES 2000000 /* MobileNetV1 0.25 at 224 has 1.3 million, 0.75 has 3.8 */

bl_distil_options bl_distil_options_default(void)
{
    return (bl_distil_options){ .class_weight = 1 };
}

int64_t bl_sample_positions(const bl_graph *graph)
{
    const bl_tensor *x = &graph->values[graph->inputs[0]].t;
    int64_t n = 1;
    for (int i = 2; i < x->rank; i++) n *= x->dim[i];
    return n;
}

/* Numbers that layers make of one sample; the same whatever was fused behind them. */
static int64_t sample_values(const bl_graph *graph)
{
    int64_t n = 0;
    for (int i = 0; i < graph->n_nodes; i++)
        if (graph->nodes[i].op->flags & BL_OP_LAYER) n += bl_tensor_count(&graph->values[graph->nodes[i].out[0]].t);
    return n / BL_MAX(graph->batch, 1);
}

/* As many samples as some minutes are enough for. */
bl_distil_options bl_distil_resolve(const bl_graph *graph, const bl_distil_options *options)
{
    bl_distil_options o = options ? *options : bl_distil_options_default();
    bool large = bl_sample_positions(graph) >= 128 * 128;

    if (!o.samples) o.samples = large && sample_values(graph) > LIGHT_VALUES ? 16 : 32;
    if (!o.steps) o.steps = large ? 200 : 500;
    return o;
}

static const char *method_of(const bl_distil_options *o, int layers)
{
    if (!layers) return "gaussian";
    return o->per_sample ? "batch-norm, sample by sample" : "batch-norm, all samples together";
}

static json_t *reach_json(const bl_distil_options *o)
{
    json_t *a = json_array();
    for (int c = 0; c < o->n_reach; c++) json_array_append_new(a, json_pack("[f, f]", o->reach[c][0], o->reach[c][1]));
    return a;
}

/* Gaussian numbers hang on what their channels reach; others do not. */
static bool same_reach(const json_t *r, const bl_distil_options *o)
{
    const json_t *was = json_object_get(r, "reach");
    if (json_integer_value(json_object_get(r, "layers")) > 0) return true;
    json_t *now = reach_json(o);
    bool same = o->n_reach ? was && json_equal(was, now) : !was;
    json_decref(now);
    return same;
}

static bl_status hash_file(bl_ctx *ctx, const char *path, bl_hash *out)
{
    bl_map map;
    BL_TRY(bl_map_file(ctx, path, 0, &map));
    *out = bl_hash_of(map.size ? map.data : (const void *)"", map.size);
    bl_unmap(&map);
    return BL_OK;
}

bl_status bl_distilled_write(bl_ctx *ctx, const bl_graph *graph, const bl_distil_options *options,
                             const bl_distilled *d, const char *npy, const char *record)
{
    bl_distil_options o = bl_distil_resolve(graph, options);
    bl_hash bytes;
    char *picture;

    BL_TRY(bl_npy_write(ctx, npy, &d->x));
    BL_TRY(hash_file(ctx, npy, &bytes));
    BL_TRY(bl_samples_picture(ctx, d->arena, &d->x, &picture));
    json_t *r = bl_record_new(ctx, "distilled", 1, 0);
    json_object_set_new(r, "made_from", json_pack("{s:s}", "graph", graph->hash.hex));
    json_object_set_new(r, "seed", json_integer((json_int_t)ctx->options.seed));
    json_object_set_new(r, "method", json_string(method_of(&o, d->n_layers)));
    json_object_set_new(r, "samples", json_integer(o.samples));
    json_object_set_new(r, "steps", json_integer(o.steps));
    json_object_set_new(r, "class_weight", bl_json_real(o.class_weight));
    json_object_set_new(r, "per_sample", json_boolean(o.per_sample));
    json_object_set_new(r, "layers", json_integer(d->n_layers));
    if (d->reach) json_object_set_new(r, "reach", reach_json(&o));
    json_object_set_new(r, "loss_first", bl_json_real(d->loss_first));
    json_object_set_new(r, "loss_last", bl_json_real(d->loss_last));
    json_object_set_new(r, "input_mean", bl_json_real(d->offset));
    json_object_set_new(r, "input_deviation", bl_json_real(d->scale));
    json_object_set_new(r, "array", json_string(bytes.hex));
    if (picture) json_object_set_new(r, "picture", json_string(picture));
    bl_status s = bl_record_write(ctx, r, record, NULL);
    json_decref(r);
    return s;
}

static bl_status fits(bl_ctx *ctx, const bl_graph *graph, const bl_distil_options *o, const json_t *r,
                      const char *npy, const char *place, bool *yes)
{
    const char *hash, *array;
    int64_t seed, samples, steps;
    double class_weight;
    bool per_sample;
    json_t *from;
    bl_hash bytes;

    BL_TRY(bl_json_object(ctx, r, "made_from", place, &from));
    BL_TRY(bl_json_str(ctx, from, "graph", place, &hash));
    BL_TRY(bl_json_str(ctx, r, "array", place, &array));
    BL_TRY(bl_json_i64(ctx, r, "seed", place, INT64_MIN, INT64_MAX, &seed));
    BL_TRY(bl_json_i64(ctx, r, "samples", place, 1, INT64_MAX, &samples));
    BL_TRY(bl_json_i64(ctx, r, "steps", place, 1, INT64_MAX, &steps));
    BL_TRY(bl_json_f64(ctx, r, "class_weight", place, &class_weight));
    BL_TRY(bl_json_bool(ctx, r, "per_sample", place, &per_sample));
    *yes = !strcmp(hash, graph->hash.hex) && seed == (int64_t)ctx->options.seed && samples == o->samples &&
           steps == o->steps && class_weight == o->class_weight && per_sample == o->per_sample && same_reach(r, o);
    if (!*yes) return BL_OK;
    BL_TRY(hash_file(ctx, npy, &bytes));
    *yes = !strcmp(bytes.hex, array);
    return BL_OK;
}

bl_status bl_distilled_fits(bl_ctx *ctx, const bl_graph *graph, const bl_distil_options *options,
                            const char *npy, const char *record, bool *yes)
{
    bl_distil_options o = bl_distil_resolve(graph, options);
    json_t *r;

    *yes = false;
    BL_TRY(bl_record_read(ctx, record, "distilled", 1, NULL, &r, NULL));
    bl_status s = fits(ctx, graph, &o, r, npy, record, yes);
    json_decref(r);
    return s;
}
