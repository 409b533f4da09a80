/* SPDX-License-Identifier: BSD-3-Clause */
/* A small trained network whose weights are stored otherwise than as linear codes: its plans, their program and their size. */
#ifndef STORED_NET_H
#define STORED_NET_H

#include "sense/sense.h"
#include "target/target.h"
#include "train_net.h"

typedef struct booked {
    bl_ctx *ctx;
    bl_graph *g, *p;
    bl_data *data;
    bl_menu *menu;
    bl_stats *stats;
    bl_plan *plan;
} booked;

static void open_network(booked *q, unsigned threads, const char *dir)
{
    bl_train_options o = bl_train_options_default();
    o.epochs = 8, o.batch = 32, o.micro = 8, o.held_out = 0, o.rate = 0.05, o.random = true;
    q->ctx = test_ctx(threads, 0);
    taught(q->ctx, &o, dir, &q->data, &q->g, &q->p);
    assert_ok(q->ctx, bl_calibrate(q->ctx, q->p, q->data, NULL, &q->stats));
}

/* Weights of `bits`: linear, in a codebook, or with a multiple for each `group` of inputs. */
static void plan_bits(booked *q, int bits, bool codebook, int group)
{
    bl_menu_options mo = { .w_bits = { bits }, .n_w = 1, .a_bits = { 8 }, .n_a = 1, .codebook = codebook, .weight_group = group };
    bl_grid_options go = { .codebook = codebook, .weight_group = group };
    assert_ok(q->ctx, bl_menu_make(q->ctx, q->p, &mo, &q->menu));
    int *choice = calloc((size_t)q->menu->n_units, sizeof *choice);
    assert_ok(q->ctx, bl_plan_make(q->ctx, q->p, q->menu, q->stats, choice, &go, "test", &q->plan));
    free(choice);
}

static void drop_plan(booked *q)
{
    bl_plan_free(q->plan);
    bl_menu_free(q->menu);
}

static void close_network(booked *q)
{
    bl_stats_free(q->stats);
    bl_data_free(q->data);
    bl_graph_free(q->p);
    bl_graph_free(q->g);
    test_ctx_free(q->ctx);
}

static bool same_content(bl_ctx *ctx, const bl_plan *a, const bl_plan *b)
{
    bl_hash x, y;
    assert_ok(ctx, bl_plan_content(ctx, a, &x));
    assert_ok(ctx, bl_plan_content(ctx, b, &y));
    return !strcmp(x.hex, y.hex);
}

/* The walk and the program, from memory and from its file: the same scores but for steps of the last grid. */
static void check_program(const booked *q, const bl_plan *plan, const bl_weights *w, const char *dir, double size)
{
    char path[128];
    bl_program *program, *again;
    bl_fake *fake;
    bl_eval_options eo = { .scores = true };
    bl_eval_result walk, integers, read;
    float step = plan->quantizers[plan->of_value[q->p->outputs[0]]].scale[0];
    int64_t apart = 0;
    assert_ok(q->ctx, bl_lower(q->ctx, q->p, plan, w, &program));
    if (size > 0) assert_true((double)program->weight_bytes == size);
    snprintf(path, sizeof path, "%s/model.blp", dir);
    assert_ok(q->ctx, bl_program_write(q->ctx, program, path));
    assert_ok(q->ctx, bl_program_open(q->ctx, path, &again));
    assert_ok(q->ctx, bl_fake_new(q->ctx, q->p, plan, w, &fake));
    assert_ok(q->ctx, bl_eval(q->ctx, &(bl_eval_subject){ .graph = q->p, .fake = fake }, q->data, &eo, &walk));
    assert_ok(q->ctx, bl_eval(q->ctx, &(bl_eval_subject){ .program = program }, q->data, &eo, &integers));
    assert_ok(q->ctx, bl_eval(q->ctx, &(bl_eval_subject){ .program = again }, q->data, &eo, &read));
    for (int64_t i = 0; i < walk.n_scores; i++) {
        apart += fabs((double)walk.scores[i] - integers.scores[i]) > 0.5 * (double)step;
        assert_true(fabs((double)walk.scores[i] - integers.scores[i]) < 4.5 * (double)step);
    }
    assert_true(apart <= walk.n_scores / 20);
    assert_memory_equal(integers.scores, read.scores, (size_t)read.n_scores * sizeof(float));
    bl_eval_free(&walk);
    bl_eval_free(&integers);
    bl_eval_free(&read);
    bl_fake_free(fake);
    bl_program_free(again);
    bl_program_free(program);
}

static double exact_size(booked *q, const bl_cost *cost)
{
    double total[BL_N_METRIC];
    assert_ok(q->ctx, bl_price_exact(q->ctx, q->p, q->menu, cost, q->plan->choice, total));
    return total[BL_M_SIZE];
}

/* The plan at hand: priced at `size` bytes, its file says the same, and its program runs as the walk does. */
static void check_plan(booked *q, const char *dir, double size)
{
    char path[128];
    bl_plan *back;
    bl_cost *cost;
    assert_ok(q->ctx, bl_measure(q->ctx, q->p, q->menu, "counted", NULL, &cost));
    assert_true(exact_size(q, cost) == size);
    bl_cost_free(cost);
    snprintf(path, sizeof path, "%s/plan.json", dir);
    assert_ok(q->ctx, bl_plan_write(q->ctx, q->p, q->plan, path));
    assert_ok(q->ctx, bl_plan_read(q->ctx, q->p, path, &back));
    assert_true(same_content(q->ctx, q->plan, back));
    check_program(q, back, NULL, dir, size);
    bl_plan_free(back);
}

#endif
