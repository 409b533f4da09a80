/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The front of one HGQ training: of the networks looked at the point stays that no other beats in accuracy on the rows
 * looked at and in exact EBOPs.  Its parameters stay too, so that the training's own forward pass can be had again;
 * the checkpoint keeps all of it.
 */
#include "train/hgq_private.h"

#include "base/container.h"

#include <math.h>
#include <string.h>

enum { POINTS_MAX = 200, HEAD = 1, STATE, MOMENTS, POINTS, KEPT, AVERAGE };

typedef struct head {
    char key[40];
    int64_t step, epoch, cycle, float_steps;
    double integral, beta, float_held, float_test, float_seconds;
    uint64_t n_points;
} head;

bl_status bl_hgq_front_open(bl_hgq *h)
{
    h->most_points = (size_t)BL_MIN(h->o.epochs, POINTS_MAX) + 1;
    BL_ALLOC_TRY(h->ctx, h->point = BL_NEW(h->arena, bl_hgq_point, h->most_points));
    BL_ALLOC_TRY(h->ctx, h->net = BL_NEW(h->arena, bl_fixed_net *, h->most_points));
    BL_ALLOC_TRY(h->ctx, h->kept = bl_alloc(h->arena, h->most_points, (size_t)h->n_params * sizeof(float)));
    BL_ALLOC_TRY(h->ctx, h->now = BL_NEW(h->arena, float, (size_t)h->n_params));
    if (h->o.average > 0) BL_ALLOC_TRY(h->ctx, h->average = BL_NEW(h->arena, float, (size_t)h->n_params));
    BL_ALLOC_TRY(h->ctx, h->moments = BL_NEW(h->arena, float, 2 * (size_t)h->n_params));
    BL_ALLOC_TRY(h->ctx, h->gathered = bl_alloc(h->arena, (size_t)h->batch_most, (size_t)h->per * sizeof(float)));
    return BL_OK;
}

size_t bl_hgq_points(const bl_hgq *h)
{
    return h->n_points;
}

const bl_hgq_point *bl_hgq_point_at(const bl_hgq *h, size_t which)
{
    return &h->point[which];
}

const bl_fixed_net *bl_hgq_net_at(const bl_hgq *h, size_t which)
{
    return h->net[which];
}

/* ------------------------------------------------------------------ keeping */

static float *params_of(bl_hgq *h, size_t which)
{
    return h->kept + which * (size_t)h->n_params;
}

static void move(bl_hgq *h, size_t to, size_t from)
{
    h->point[to] = h->point[from];
    h->net[to] = h->net[from];
    memcpy(params_of(h, to), params_of(h, from), (size_t)h->n_params * sizeof(float));
}

static void drop(bl_hgq *h, size_t which)
{
    bl_fixed_free(h->net[which]);
    for (size_t p = which; p + 1 < h->n_points; p++) move(h, p, p + 1);
    h->n_points--;
    h->visited = 0;
}

static bool beats(const bl_hgq_point *a, const bl_hgq_point *b)
{
    return a->held_accuracy >= b->held_accuracy && a->cost.ebops1 <= b->cost.ebops1;
}

/* One of the two points that lie closest in EBOPs goes, the less accurate. */
static void thin(bl_hgq *h)
{
    size_t closest = 1;
    double least = INFINITY;
    for (size_t p = 1; p + 1 < h->n_points; p++) {
        double gap = log(fmax(h->point[p].cost.ebops1, 1)) - log(fmax(h->point[p - 1].cost.ebops1, 1));
        if (gap < least) {
            least = gap;
            closest = p;
        }
    }
    drop(h, closest - (closest > 1));
}

/* What the training counts is a fifth above the exact price, more or less alike for networks of one training. */
bool bl_hgq_beaten(const bl_hgq *h, const bl_hgq_point *p)
{
    for (size_t k = 0; k < h->n_points; k++)
        if (h->point[k].held_accuracy >= p->held_accuracy && h->point[k].estimate <= 0.98 * p->estimate) return true;
    return false;
}

bl_status bl_hgq_keep(bl_hgq *h, const bl_hgq_point *p, bl_fixed_net *net)
{
    for (size_t k = 0; k < h->n_points; k++)
        if (beats(&h->point[k], p)) {
            bl_fixed_free(net);
            return BL_OK;
        }
    for (size_t k = h->n_points; k-- > 0;)
        if (beats(p, &h->point[k])) drop(h, k);
    size_t at = 0;
    while (at < h->n_points && h->point[at].cost.ebops1 < p->cost.ebops1) at++;
    for (size_t k = h->n_points; k > at; k--) move(h, k, k - 1);
    h->point[at] = *p;
    h->net[at] = net;
    memcpy(params_of(h, at), h->params, (size_t)h->n_params * sizeof(float));
    h->n_points++;
    if (h->n_points == h->most_points) thin(h);
    return BL_OK;
}

/* Steps and looks sum in binary32; ranges, price and accuracy of a point that needs more are taken again. */
static bl_status settle(bl_hgq *h, size_t which)
{
    bl_hgq_point *p = &h->point[which];
    bl_fixed_net *net;
    memcpy(h->params, params_of(h, which), (size_t)h->n_params * sizeof(float));
    h->exact = true;
    bl_status s = bl_hgq_fixed(h, &net);
    if (s == BL_OK) p->held_accuracy = bl_hgq_accuracy(h, BL_HGQ_HELD);
    h->exact = false;
    BL_TRY(s);
    bl_fixed_free(h->net[which]);
    h->net[which] = net;
    bl_fixed_price(net, &p->cost);
    bl_hgq_count_live(net, p);
    h->visited = which + 1;
    return BL_OK;
}

bl_status bl_hgq_settle(bl_hgq *h)
{
    bl_status s = BL_OK;
    bool any = false;
    memcpy(h->now, h->params, (size_t)h->n_params * sizeof(float));
    for (size_t p = 0; p < h->n_points && s == BL_OK; p++) {
        if (h->point[p].cost.acc_bits <= BL_HGQ_PLAIN_BITS) continue;
        any = true;
        s = bl_hgq_exact_open(h);
        if (s == BL_OK) s = settle(h, p);
    }
    memcpy(h->params, h->now, (size_t)h->n_params * sizeof(float));
    for (size_t p = h->n_points; any && p-- > 0;)
        for (size_t k = 0; k < h->n_points; k++)
            if (k != p && beats(&h->point[k], &h->point[p])) {
                drop(h, p);
                break;
            }
    return s;
}

/* ------------------------------------------------------------------ the checkpoint */

bl_status bl_hgq_key(bl_hgq *h, const bl_data *data)
{
    bl_hasher *s = bl_hasher_new(h->arena);
    BL_ALLOC_TRY(h->ctx, s);
    bl_hgq_options o = h->o;
    o.checkpoint = NULL;
    o.told = NULL;
    o.user = NULL;
    bl_hash_text(s, "hgq 1");
    bl_hash_text(s, bl_data_hash(data).hex);
    bl_hash_i64(s, (int64_t)h->ctx->options.seed);
    bl_hash_i64(s, h->n_params);
    bl_hash_bytes(s, h->params, (size_t)h->n_params * sizeof(float));
#define X(field, kind, least, most, help) bl_hash_f64(s, (double)o.field);
#include "train/hgq_settings.def"
#undef X
    bl_hash_i64(s, o.limit);
    for (int n = 0; n < h->n_layers; n++) {
        const bl_hgq_layer *l = &h->layer[n];
        int64_t sizes[] = { l->kind, l->out_c, l->out_h, l->out_w, l->kernel_h, l->kernel_w, l->stride_h, l->stride_w,
                            l->pad_top, l->pad_left, l->relu };
        bl_hash_bytes(s, sizes, sizeof sizes);
    }
    h->key = bl_hash_end(s);
    return BL_OK;
}

bl_status bl_hgq_save(bl_hgq *h)
{
    if (!h->o.checkpoint) return BL_OK;
    size_t bytes = (size_t)h->n_params * sizeof(float);
    head d = { .step = h->step, .epoch = h->epoch, .cycle = h->cycle, .float_steps = h->facts.float_steps,
               .integral = h->integral, .beta = h->beta, .float_held = h->facts.float_held, .float_test = h->facts.float_test,
               .float_seconds = h->facts.float_seconds, .n_points = h->n_points };
    memcpy(d.key, h->key.hex, sizeof h->key.hex);
    memcpy(h->moments, h->m, bytes);
    memcpy(h->moments + h->n_params, h->v, bytes);
    float *average = h->average ? h->average : h->params;
    bl_section sections[] = {
        { HEAD, &d, sizeof d },
        { STATE, h->params, bytes },
        { MOMENTS, h->moments, 2 * bytes },
        { POINTS, h->point, h->n_points * sizeof *h->point },
        { KEPT, h->kept, h->n_points * bytes },
        { AVERAGE, average, bytes },
    };
    return bl_container_write(h->ctx, h->o.checkpoint, "HGQT", 1, 0, sections, BL_COUNTOF(sections));
}

static bool take(const bl_section *all, size_t n, uint32_t id, void *to, size_t bytes)
{
    const bl_section *s = bl_section_find(all, n, id);
    if (!s || s->size != bytes) return false;
    if (bytes) memcpy(to, s->data, bytes);
    return true;
}

static bl_status parse(bl_hgq *h, const bl_map *map)
{
    bl_section all[BL_SECTIONS_MAX];
    size_t n, bytes = (size_t)h->n_params * sizeof(float);
    head d;
    const char *path = h->o.checkpoint;
    BL_TRY(bl_container_parse(h->ctx, path, map->data, map->size, "HGQT", 1, all, &n));
    if (!take(all, n, HEAD, &d, sizeof d) || memcmp(d.key, h->key.hex, sizeof h->key.hex) != 0)
        return bl_fail(h->ctx, BL_DATA, path, "give the same settings again, or remove the file",
                       "it was left by a training with other settings, data or weights");
    if (d.n_points >= h->most_points || d.cycle < 1 || d.cycle > h->o.cycles || d.epoch < 0 || d.epoch > h->o.epochs || d.step < 0 ||
        !take(all, n, STATE, h->now, bytes) || !take(all, n, MOMENTS, h->moments, 2 * bytes) ||
        !take(all, n, POINTS, h->point, d.n_points * sizeof *h->point) || !take(all, n, KEPT, h->kept, d.n_points * bytes) ||
        (h->average && !take(all, n, AVERAGE, h->average, bytes)))
        return bl_fail(h->ctx, BL_DATA, path, "remove the file", "it holds less than a training leaves");
    memcpy(h->m, h->moments, bytes);
    memcpy(h->v, h->moments + h->n_params, bytes);
    h->step = d.step;
    h->epoch = d.epoch;
    h->cycle = d.cycle;
    h->integral = d.integral;
    h->beta = d.beta;
    h->facts.float_steps = d.float_steps;
    h->facts.float_held = d.float_held;
    h->facts.float_test = d.float_test;
    h->facts.float_seconds = d.float_seconds;
    h->quantized = true;
    BL_TRY(bl_hgq_start_widths(h)); /* the input's grid, which follows from the rows; its widths come next */
    for (; h->n_points < d.n_points; h->n_points++) {
        memcpy(h->params, params_of(h, h->n_points), bytes);
        BL_TRY(bl_hgq_fixed(h, &h->net[h->n_points]));
    }
    memcpy(h->params, h->now, bytes);
    return BL_OK;
}

bl_status bl_hgq_load(bl_hgq *h)
{
    bl_map map;
    if (!h->o.checkpoint || !bl_file_exists(h->o.checkpoint)) return BL_OK;
    BL_TRY(bl_map_file(h->ctx, h->o.checkpoint, 0, &map));
    bl_status s = parse(h, &map);
    bl_unmap(&map);
    return s;
}

/* ------------------------------------------------------------------ a point beside its integers */

/* The point's parameters with the ranges that its network has; what comes next is undone by the caller. */
static void visit(bl_hgq *h, size_t which)
{
    memcpy(h->now, h->params, (size_t)h->n_params * sizeof(float));
    memcpy(h->params, params_of(h, which), (size_t)h->n_params * sizeof(float));
    bl_hgq_grids(h);
    h->exact = h->point[which].cost.acc_bits > BL_HGQ_PLAIN_BITS && h->outputs;
    if (h->visited != which + 1) bl_hgq_trace(h);
    h->visited = which + 1;
    bl_hgq_apply_trace(h);
}

static void leave(bl_hgq *h)
{
    memcpy(h->params, h->now, (size_t)h->n_params * sizeof(float));
    h->traced = h->exact = false;
    bl_hgq_grids(h);
}

bl_status bl_hgq_test(bl_hgq *h)
{
    for (size_t p = 0; p < h->n_points && h->test; p++) {
        visit(h, p);
        h->point[p].test_accuracy = bl_hgq_accuracy(h, BL_HGQ_TEST);
        leave(h);
    }
    return BL_OK;
}

typedef struct numbers {
    float *x;
    int64_t *codes, *out, *work;
} numbers;

static void compare_row(bl_hgq *h, const bl_fixed_net *net, const numbers *n, int64_t row, const float *y, const double *wide,
                        bl_hgq_agreement *a)
{
    const bl_fixed_layer *last = &net->layers[net->n_layers - 1];
    int64_t places = (int64_t)h->in_h * h->in_w, differ = 0;
    const float *x = h->x + row * h->per;
    for (int64_t e = 0; e < h->per; e++) n->x[e % h->in_c * places + e / h->in_c] = x[e];
    bl_fixed_input(net, n->x, n->codes);
    bl_fixed_run(net, n->codes, n->out, n->work);
    for (int64_t e = 0; e < last->n_out; e++) differ += ldexp((double)n->out[e], -last->out[e].f) != (wide ? wide[e] : (double)y[e]);
    a->rows++;
    a->outputs += last->n_out;
    a->differ += differ;
    a->rows_differ += differ != 0;
    a->right += bl_fixed_argmax(net, n->out) == h->labels[row];
}

bl_status bl_hgq_agree(bl_hgq *h, size_t which, bl_hgq_part part, bl_hgq_agreement *out)
{
    const bl_fixed_net *net = h->net[which];
    int64_t first, rows = bl_hgq_part_rows(h, part, &first);
    bl_mark mark = bl_arena_mark(h->arena);
    numbers n = { BL_NEW(h->arena, float, (size_t)h->per), BL_NEW(h->arena, int64_t, (size_t)h->per),
                  BL_NEW(h->arena, int64_t, (size_t)h->classes), BL_NEW(h->arena, int64_t, bl_fixed_work(net)) };
    *out = (bl_hgq_agreement){ 0 };
    if (!n.x || !n.codes || !n.out || !n.work) return bl_pending(h->ctx);
    visit(h, which);
    out->wide = h->exact;
    for (int64_t r = 0; r < rows; r += h->batch_most) {
        int64_t m = BL_MIN(h->batch_most, rows - r);
        const float *y = bl_hgq_forward(h, h->x + (first + r) * h->per, m);
        for (int64_t k = 0; k < m; k++) compare_row(h, net, &n, first + r + k, y + k * h->classes, h->exact ? h->outputs + k * h->classes : NULL, out);
    }
    leave(h);
    bl_arena_reset(h->arena, mark);
    return BL_OK;
}
