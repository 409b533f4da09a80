/* SPDX-License-Identifier: BSD-3-Clause */
/* bitlathe eval FIXED.json: a fixed-point network on a data set, by integers alone. */
#include "cli/cli.h"

#include <math.h>
#include <string.h>

enum { CHUNK = 64 };

typedef struct rows {
    bl_ctx *ctx;
    const bl_fixed_net *net;
    bl_data *data;
    int64_t n, classes;
    float *x;                   /* room of each worker */
    int64_t *numbers;
    size_t numbers_each;
    uint16_t *predictions;
    float *scores;              /* NULL: not asked for */
    int64_t *right, *right5;    /* by chunk */
} rows;

static void one_row(rows *r, int64_t row, int64_t *codes, size_t chunk)
{
    int64_t *out = codes + r->net->n_in, best;
    const bl_fixed_layer *last = &r->net->layers[r->net->n_layers - 1];
    int label = bl_data_label(r->data, row / bl_data_windows(r->data)), above = 0;
    bl_fixed_run(r->net, codes, out, out + r->classes);
    best = bl_fixed_argmax(r->net, out);
    r->predictions[row] = (uint16_t)best;
    for (int64_t c = 0; c < r->classes && r->scores; c++) r->scores[row * r->classes + c] = ldexpf((float)out[c], -last->out[c].f);
    if (label < 0) return; /* no labels: bl_labels_check has seen the others */
    for (int64_t c = 0; c < r->classes; c++) {
        double v = ldexp((double)out[c], -last->out[c].f), own = ldexp((double)out[label], -last->out[label].f);
        above += v > own || (v == own && c < label);
    }
    r->right[chunk] += best == label;
    r->right5[chunk] += above < 5;
}

static bl_status chunk_run(void *arg, size_t chunk, unsigned worker)
{
    rows *r = arg;
    float *x = r->x + (size_t)worker * (size_t)r->net->n_in;
    int64_t *codes = r->numbers + worker * r->numbers_each;
    for (int64_t row = (int64_t)chunk * CHUNK; row < BL_MIN(r->n, ((int64_t)chunk + 1) * CHUNK); row++) {
        BL_TRY(bl_data_read(r->data, row, 1, x));
        bl_fixed_input(r->net, x, codes);
        one_row(r, row, codes, chunk);
    }
    return BL_OK;
}

static bl_status evaluate(bl_cli *cli, rows *r, bool scores, bl_eval_result *out)
{
    size_t n = (size_t)r->n, chunks = (n + CHUNK - 1) / CHUNK, workers = bl_threads(cli->ctx);
    uint64_t start = bl_now_ns();
    if (bl_data_labelled(r->data)) BL_TRY(bl_labels_check(cli->ctx, r->data, 0, r->n / bl_data_windows(r->data), r->classes));
    r->numbers_each = (size_t)(r->net->n_in + r->classes) + bl_fixed_work(r->net);
    BL_ALLOC_TRY(cli->ctx, r->x = bl_alloc(cli->arena, workers, (size_t)r->net->n_in * sizeof(float)));
    BL_ALLOC_TRY(cli->ctx, r->numbers = bl_alloc(cli->arena, workers, r->numbers_each * sizeof(int64_t)));
    BL_ALLOC_TRY(cli->ctx, r->right = BL_NEW(cli->arena, int64_t, 2 * chunks));
    BL_ALLOC_TRY(cli->ctx, r->predictions = BL_NEW(cli->arena, uint16_t, n));
    if (scores) BL_ALLOC_TRY(cli->ctx, r->scores = bl_alloc(cli->arena, n, (size_t)r->classes * sizeof(float)));
    r->right5 = r->right + chunks;
    BL_TRY(bl_parallel_for(cli->ctx, chunks, chunk_run, r));
    int64_t right = 0, right5 = 0;
    for (size_t c = 0; c < chunks; c++) right += r->right[c], right5 += r->right5[c];
    bool labelled = bl_data_labelled(r->data);
    *out = (bl_eval_result){ .samples = r->n, .n_inputs = r->n, .n_scores = r->n * r->classes, .auc = NAN, .mse = NAN,
                             .top1 = labelled ? (double)right / (double)r->n : NAN,
                             .top5 = labelled && r->classes > 5 ? (double)right5 / (double)r->n : NAN,
                             .predictions = r->predictions, .scores = r->scores, .seconds = (double)(bl_now_ns() - start) * 1e-9 };
    return BL_OK;
}

bool bl_cli_is_record(bl_cli *cli, const char *path)
{
    bl_map map;
    if (!bl_file_exists(path) || bl_map_file(cli->ctx, path, 0, &map) != BL_OK) return false;
    bool yes = map.size && map.data[0] == '{';
    bl_unmap(&map);
    return yes;
}

bl_status bl_cli_eval_net(bl_cli *cli, const bl_fixed_net *net, bl_data *data, bool scores, bl_eval_result *out)
{
    rows r = { .ctx = cli->ctx, .net = net, .data = data, .n = bl_data_first(data, cli->data.limit),
               .classes = net->layers[net->n_layers - 1].n_out };
    return evaluate(cli, &r, scores, out);
}

bl_status bl_cli_eval_fixed(bl_cli *cli, const char *path, bool scores, bl_eval_result *out)
{
    bl_fixed_net *net;
    bl_data *data = NULL;
    if (!cli->has_data) return bl_fail(cli->ctx, BL_USAGE, cli->program, "give --data", "no data set");
    BL_TRY(bl_fixed_read(cli->ctx, path, &net));
    bool flat = net->in_h == 1 && net->in_w == 1;
    bl_tensor input = { .type = BL_F32, .rank = flat ? 2 : 4, .dim = { 1, net->in_c, net->in_h, net->in_w } };
    bl_status s = bl_data_open(cli->ctx, &cli->data, &input, &data);
    if (s == BL_OK) s = bl_cli_eval_net(cli, net, data, scores, out);
    bl_data_free(data);
    bl_fixed_free(net);
    return s;
}
