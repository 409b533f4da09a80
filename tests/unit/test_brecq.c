/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * BRECQ: weights of a block lie on the plan's grid beside the float ones, the network's output comes nearer to the
 * float one than by nearest rounding, and the result hangs on the seed alone; parts of a network cut out of it give
 * what the whole gives.
 */
#include "tiny_tune.h"

static void test_better_than_nearest_and_on_the_grid(void **state)
{
    (void)state;
    for (int bits = 2; bits <= 4; bits += 2) {
        tiny *t = tiny_new_net(2, tiny_residual, 64);
        tiny_plan_widths(t, bits, 8);
        bl_weights *w = tiny_tune(t, "brecq", 64);
        assert_int_equal(tiny_check_codes(t, w, true), 4);
        double learned = tiny_noise(t, t->data, 64, w), nearest = tiny_noise(t, t->data, 64, NULL);
        if (learned > 0.7 * nearest) fail_msg("%d bits: noise to signal %g learned, %g nearest", bits, learned, nearest);
        bl_weights_free(w);
        tiny_free(t);
    }
}

static void test_threads_do_not_matter(void **state)
{
    (void)state;
    tiny_check_threads(tiny_residual, 64, "brecq", 3, 8);
}

/* The part behind the first layer, fed with what the first layer gives. */
static void test_parts_of_a_network(void **state)
{
    tiny *t = tiny_new_net(1, tiny_residual, 4);
    bl_graph *part = NULL, *none = NULL;
    bl_walk *whole = NULL, *walk = NULL;
    bl_walk_options o = { .keep_all = true };
    int a = t->g->nodes[0].out[0], last = t->g->n_nodes - 1, b = t->g->nodes[1].out[0];
    (void)state;
    assert_ok(t->ctx, bl_graph_between(t->ctx, t->g, 1, last, a, t->g->outputs[0], &part));
    assert_int_equal(part->n_nodes, t->g->n_nodes - 1);
    assert_ok(t->ctx, bl_walk_new(t->ctx, t->g, &o, &whole));
    assert_ok(t->ctx, bl_walk_new(t->ctx, part, &o, &walk));
    bl_tensor *x = bl_walk_input(whole, 0);
    assert_ok(t->ctx, bl_data_read(t->data, 0, 1, x->data));
    assert_ok(t->ctx, bl_walk_run(whole, NULL, NULL));
    memcpy(bl_walk_input(walk, 0)->data, bl_walk_value(whole, a)->data, bl_tensor_bytes(bl_walk_input(walk, 0)));
    assert_ok(t->ctx, bl_walk_run(walk, NULL, NULL));
    const bl_tensor *want = bl_walk_value(whole, t->g->outputs[0]), *is = bl_walk_value(walk, part->outputs[0]);
    assert_memory_equal(is->data, want->data, bl_tensor_bytes(want));
    /* What flows past the cut is refused. */
    assert_int_equal(bl_graph_between(t->ctx, t->g, 2, last, b, t->g->outputs[0], &none), BL_INTERNAL);
    bl_walk_free(walk);
    bl_walk_free(whole);
    bl_graph_free(part);
    tiny_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_better_than_nearest_and_on_the_grid),
        cmocka_unit_test(test_threads_do_not_matter),
        cmocka_unit_test(test_parts_of_a_network),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
