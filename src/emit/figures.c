/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Figures out of records: by path, and gathered into rows (ways to run the network) and layers.  A
 * figure of the wrong type counts as missing, so that a record of a newer minor version or one
 * edited by hand still gives a page.
 */
#include "emit/report_private.h"

#include <string.h>

const json_t *bl_figure_at(const json_t *o, const char *path)
{
    char key[64];
    while (o && *path) {
        size_t n = strcspn(path, ".");
        if (n >= sizeof key) return NULL;
        memcpy(key, path, n);
        key[n] = '\0';
        o = json_object_get(o, key);
        path += n + (path[n] == '.');
    }
    return o;
}

double bl_figure_num(const json_t *o, const char *path)
{
    const json_t *v = bl_figure_at(o, path);
    double x = json_is_number(v) ? json_number_value(v) : NAN;
    return isfinite(x) ? x : NAN;
}

const char *bl_figure_text(const json_t *o, const char *path)
{
    return json_string_value(bl_figure_at(o, path));
}

/* A figure that cannot be below zero. */
static double amount(const json_t *o, const char *path)
{
    double v = bl_figure_num(o, path);
    return v >= 0 ? v : NAN;
}

static bl_row row_read(bl_row_kind kind, const char *name, const json_t *o)
{
    bl_row row = {.kind = kind,
                  .name = name,
                  .top1 = amount(o, "top1"),
                  .top5 = amount(o, "top5"),
                  .auc = amount(o, "auc"),
                  .sqnr_db = bl_figure_num(o, "sqnr_db"),
                  .size_bytes = amount(o, "size_bytes"),
                  .file_bytes = amount(o, "file_bytes"),
                  .memory_bytes = amount(o, "memory_bytes"),
                  .bops = amount(o, "bops"),
                  .latency_ms = amount(o, "latency_ms"),
                  .latency_p10_ms = amount(o, "latency_ms.p10"),
                  .latency_p90_ms = amount(o, "latency_ms.p90"),
                  .latency_q1_ms = amount(o, "latency_ms.q1"),
                  .predicted_ms = amount(o, "predicted_latency_ms")};
    if (isnan(row.latency_ms)) row.latency_ms = amount(o, "latency_ms.median");
    return row;
}

static bl_status gather_rows(bl_report *r, bl_arena *arena)
{
    const json_t *s = r->in.summary, *uniform = bl_figure_at(s, "uniform");
    r->rows = BL_NEW(arena, bl_row, json_array_size(uniform) + 3);
    BL_ALLOC_TRY(r->ctx, r->rows);
    const json_t *flt = bl_figure_at(s, "float"), *int8 = bl_figure_at(s, "int8");
    const json_t *chosen = bl_figure_at(s, "mixed");
    if (json_is_object(flt)) {
        r->flt = &r->rows[r->n_rows];
        r->rows[r->n_rows++] = row_read(BL_ROW_FLOAT, "float", flt);
    }
    if (json_is_object(int8)) {
        r->int8 = &r->rows[r->n_rows];
        r->rows[r->n_rows++] = row_read(BL_ROW_INT8, "int8", int8);
    }
    for (size_t i = 0; i < json_array_size(uniform); i++) {
        const json_t *o = json_array_get(uniform, i);
        const char *name = bl_figure_text(o, "name");
        if (name) r->rows[r->n_rows++] = row_read(BL_ROW_UNIFORM, name, o);
    }
    if (json_is_object(chosen)) {
        r->chosen = &r->rows[r->n_rows];
        r->rows[r->n_rows++] = row_read(BL_ROW_CHOSEN, "mixed", chosen);
    }
    return BL_OK;
}

static int bits(const json_t *o, const char *key)
{
    double v = bl_figure_num(o, key);
    return v >= 1 && v <= 64 ? (int)v : 0;
}

static const char *text_or_empty(const json_t *o, const char *key)
{
    const char *text = bl_figure_text(o, key);
    return text ? text : "";
}

static bl_layer layer_read(const json_t *o)
{
    return (bl_layer){.name = text_or_empty(o, "name"),
                      .op = text_or_empty(o, "op"),
                      .shape = text_or_empty(o, "shape"),
                      .kind = text_or_empty(o, "kind"),
                      .side = text_or_empty(o, "side"),
                      .range = text_or_empty(o, "range"),
                      .range_why = text_or_empty(o, "range_why"),
                      .macs = amount(o, "macs"),
                      .weights = amount(o, "weights"),
                      .size_bytes = amount(o, "size_bytes"),
                      .predicted_us = amount(o, "predicted_us"),
                      .measured_us = amount(o, "measured_us"),
                      .w_bits = bits(o, "w_bits"),
                      .a_in_bits = bits(o, "a_in_bits"),
                      .a_out_bits = bits(o, "a_out_bits")};
}

static bl_status gather_layers(bl_report *r, bl_arena *arena)
{
    const json_t *layers = bl_figure_at(r->in.summary, "layers");
    const json_t *units = bl_figure_at(r->in.plan, "units");
    bool stand_in = json_array_size(layers) == 0;
    const json_t *list = stand_in ? units : layers;
    r->layers = BL_NEW(arena, bl_layer, json_array_size(list));
    BL_ALLOC_TRY(r->ctx, r->layers);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *o = json_array_get(list, i);
        bl_layer layer = layer_read(o);
        if (stand_in) layer.a_in_bits = bits(o, "a_bits");
        if (layer.w_bits || layer.a_in_bits || layer.a_out_bits) r->layers[r->n_layers++] = layer;
    }
    return BL_OK;
}

bl_status bl_report_gather(bl_report *r, bl_arena *arena)
{
    BL_TRY(gather_rows(r, arena));
    return gather_layers(r, arena);
}

bool bl_report_infeasible(const bl_report *r)
{
    const json_t *of_summary = bl_figure_at(r->in.summary, "feasible");
    return json_is_false(of_summary ? of_summary : bl_figure_at(r->in.plan, "feasible"));
}

const char *bl_report_chosen_name(const bl_report *r)
{
    if (bl_figure_text(r->in.summary, "refused")) return "refused plan";
    return bl_report_infeasible(r) ? "nearest plan" : "chosen plan";
}

bool bl_report_narrow(const bl_report *r)
{
    for (size_t i = 0; i < r->n_layers; i++) {
        const bl_layer *l = &r->layers[i];
        if ((l->w_bits && l->w_bits < 8) || (l->a_in_bits && l->a_in_bits < 8)) return true;
    }
    return false;
}

double bl_report_time_ratio(const bl_report *r, bool *measured)
{
    *measured = false;
    if (!r->int8 || !r->chosen) return NAN;
    *measured = r->int8->latency_ms > 0 && r->chosen->latency_ms > 0;
    if (*measured) return r->chosen->latency_ms / r->int8->latency_ms;
    return r->int8->predicted_ms > 0 ? r->chosen->predicted_ms / r->int8->predicted_ms : NAN;
}
