/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Writes the seeds of tests/fuzz/corpus: make-seeds FOLDER.  Everything is made here, from small
 * networks and by the library itself, so that the corpus can be made again when a format changes.
 */
#include "test_data_files.h"
#include "tiny_cost.h"
#include "fixed_build.h"

#include "search/search.h"

#if __has_include(<jpeglib.h>)
#include <jpeglib.h>
#endif

static const char *root;

static void seed(const char *target, const char *name, const char *head, size_t n_head, const void *bytes, size_t n)
{
    char path[600];
    snprintf(path, sizeof path, "%s/%s", root, target);
    mkdir(path, 0777);
    snprintf(path, sizeof path, "%s/%s/%s", root, target, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    if (n_head) assert_int_equal(fwrite(head, 1, n_head, f), n_head);
    if (n) assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

/* The file at path, which is then removed. */
static void seed_file(const char *target, const char *name, const char *head, size_t n_head, const char *path)
{
    static uint8_t bytes[1 << 20];
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    size_t n = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    unlink(path);
    seed(target, name, head, n_head, bytes, n);
}

/* ------------------------------------------------------------------ ONNX */

static void seed_model(const char *name, onnx_build *b)
{
    size_t size;
    const uint8_t *bytes = ob_pack(b, &size);
    seed("onnx", name, NULL, 0, bytes, size);
    ob_free(b);
}

static void common_attributes(Onnx__NodeProto *n, onnx_build *b)
{
    static const char *const pooled[] = { "AveragePool", "MaxPool", "Conv", "ConvTranspose" };
    for (size_t i = 0; i < BL_COUNTOF(pooled); i++)
        if (!strcmp(n->op_type, pooled[i])) {
            ob_ints_attr(n, b, "kernel_shape", "2,2");
            ob_ints_attr(n, b, "pads", "0,0,1,1");
            ob_ints_attr(n, b, "strides", "1,2");
            return;
        }
    if (!strncmp(n->op_type, "Arg", 3) || strstr(n->op_type, "Concat") || strstr(n->op_type, "oftmax") ||
        strstr(n->op_type, "Split") || !strcmp(n->op_type, "Gather"))
        ob_int_attr(n, b, "axis", 1);
    if (!strcmp(n->op_type, "Transpose")) ob_ints_attr(n, b, "perm", "0,2,3,1");
    if (strstr(n->op_type, "DepthTo") || strstr(n->op_type, "ToDepth")) ob_int_attr(n, b, "blocksize", 2);
    if (!strcmp(n->op_type, "Cast")) ob_int_attr(n, b, "to", BL_I64);
}

/* One node on inputs, on constants (then it is computed while the graph is prepared), and with
 * integers behind its first operand. */
static void seed_operator(bl_ctx *ctx, const char *op)
{
    for (int form = 0; form < 5; form++) {
        char name[80];
        const char *second[] = { "x", "x,x", "w,k", "w,i", "w,i,j" };
        onnx_build *b = ob_new(ctx, 13);
        ob_input(b, "x", "N,4,2,3");
        ob_floats(b, "w", "1,4,2,3", NULL);
        ob_floats(b, "k", "4,4,2,2", NULL);
        ob_int64s(b, "i", "1,2,1,1");
        ob_int64s(b, "j", "2,3,4,5");
        common_attributes(ob_node(b, op, second[form], "y"), b);
        ob_output(b, "y");
        snprintf(name, sizeof name, "op-%s-%d", op, form);
        /* Only what is read: the others teach nothing. */
        bl_graph *g = NULL;
        if (ob_import(b, &g) == BL_OK) {
            bl_graph_free(g);
            seed_model(name, b);
        } else ob_free(b);
    }
}

static void onnx_seeds(bl_ctx *ctx)
{
    seed_model("small", ob_small_network(ctx));
    seed_model("residual", tiny_residual(ctx));
    seed_model("dense", tiny_dense(ctx, true));
    for (uint64_t i = 0; i < 6; i++) {
        char name[32];
        snprintf(name, sizeof name, "random-%d", (int)i);
        seed_model(name, tiny_random(ctx, i));
    }
    for (size_t i = 0; i < bl_n_ops; i++) seed_operator(ctx, bl_ops[i]->name);
}

/* ------------------------------------------------------------------ programs, weights, records */

/* Islands of every kind: numbers, texts and tensors as attributes, constants as they are and as codes, an
 * absent input, plain elements between them, two outputs. */
static onnx_build *island_net(bl_ctx *ctx)
{
    onnx_build *b = ob_new(ctx, 17);
    float scales[] = { 1, 1, 1.5f }, half = 0.5f;
    ob_input(b, "x", "1,3,8");
    ob_positive(b, "v8", "8");
    ob_floats(b, "k", "2,3,3", NULL);
    ob_floats(b, "scales", "3", scales);
    ob_floats(b, "half", "", &half);
    ob_node(b, "LayerNormalization", "x,v8", "n");
    ob_ints_attr(ob_node(b, "Conv", "n,k", "c"), b, "pads", "1,1");
    Onnx__AttributeProto *a = ob_attr(ob_node(b, "Resize", "c,,scales", "r"), b, "mode", BL_ATTR_STRING);
    a->has_s = 1;
    a->s.data = (uint8_t *)ob_text(b, "linear");
    a->s.len = 6;
    ob_node(b, "Greater", "r,half", "mask");
    ob_node(b, "Where", "mask,r,half", "y");
    ob_int_attr(ob_node(b, "ArgMax", "y", "best"), b, "axis", 2);
    ob_output(b, "y");
    ob_value(b, "best", BL_I64, "1,2,1");
    ob_output(b, "best");
    return b;
}

/* group: inputs that share a scale; 0: all of a channel, -1: a codebook. */
static void seed_program(bl_ctx *ctx, const char *folder, const char *name, onnx_build *b, int w_bits, int group)
{
    static bl_value_stats value[512];
    char path[300];
    int choice[256] = { 0 };
    bl_graph *g = ob_prepared(b);
    bl_menu *m = NULL;
    bl_plan *plan = NULL;
    bl_program *p = NULL;
    bl_menu_options mo = { .w_bits = { w_bits }, .n_w = 1, .a_bits = { 8 }, .n_a = 1, .codebook = group < 0, .weight_group = BL_MAX(group, 0) };
    bl_grid_options o = { .act_range = "minmax", .weight_range = "minmax", .codebook = group < 0, .weight_group = BL_MAX(group, 0) };
    for (size_t v = 0; v < BL_COUNTOF(value); v++) value[v] = (bl_value_stats){ .lo = -3, .hi = 4, .count = 1 };
    const bl_stats stats = { .n_values = BL_COUNTOF(value), .value = value };
    snprintf(path, sizeof path, "%s/p", folder);
    assert_ok(ctx, bl_menu_make(ctx, g, &mo, &m));
    assert_ok(ctx, bl_plan_make(ctx, g, m, &stats, choice, &o, "seed", &plan));
    assert_ok(ctx, bl_lower(ctx, g, plan, NULL, &p));
    assert_ok(ctx, bl_program_write(ctx, p, path));
    seed_file("program", name, NULL, 0, path);
    bl_program_free(p);
    bl_plan_free(plan);
    bl_menu_free(m);
    bl_graph_free(g);
}

static onnx_build *dense_net(bl_ctx *ctx)
{
    return tiny_dense(ctx, true);
}

static void record_seeds(void)
{
    tiny *t = tiny_new_net(1, dense_net, 3);
    char path[300];
    bl_weights *w = NULL;
    snprintf(path, sizeof path, "%.256s/r", t->folder);
    assert_ok(t->ctx, bl_menu_make(t->ctx, t->g, NULL, &t->menu));
    bl_sens *sens = tiny_sens(t, 1);
    bl_cost *counted = tiny_counted(t);
    bl_grid_options o = { .act_range = "mse", .weight_range = "mse" };
    assert_ok(t->ctx, bl_plan_make(t->ctx, t->g, t->menu, t->stats, t->choice, &o, "seed", &t->plan));
    for (int v = 0; v < t->stats->n_values; v++) { /* a short histogram */
        uint64_t *bins = t->stats->value[v].bins;
        for (int i = 40; bins && i < BL_HIST_BINS; i++) bins[0] += bins[i], bins[i] = 0;
    }
    assert_ok(t->ctx, bl_stats_write(t->ctx, t->g, t->stats, path));
    seed_file("record", "stats", "\0", 1, path);
    assert_ok(t->ctx, bl_sens_write(t->ctx, t->menu, sens, path));
    seed_file("record", "sens", "\1", 1, path);
    assert_ok(t->ctx, bl_cost_write(t->ctx, counted, path));
    seed_file("record", "cost-counted", "\2", 1, path);
    counted->has_latency = true;
    for (int i = 0; i < t->g->n_nodes; i++) {
        const char *key = bl_node_key(counted->arena, t->g, i);
        for (int bits = 4; bits <= 8; bits += 4) {
            bl_cost_cell cell = { .key = key, .w_bits = bits, .a_in = 8, .a_out = 8, .kernel = "k", .q1_ns = 100 + bits,
                                  .median_ns = 110, .p90_ns = 120, .ratio = 1 };
            assert_ok(t->ctx, bl_cost_add(counted, &cell));
        }
        assert_ok(t->ctx, bl_cost_add_group(counted, key, 0.01));
    }
    assert_ok(t->ctx, bl_cost_write(t->ctx, counted, path));
    seed_file("record", "cost-timed", "\2", 1, path);
    assert_ok(t->ctx, bl_plan_write(t->ctx, t->g, t->plan, path));
    seed_file("record", "plan", "\3", 1, path);
    bl_plan *grouped;
    bl_menu_options mo = { .w_bits = { 3 }, .n_w = 1, .a_bits = { 8 }, .n_a = 1, .weight_group = 3 };
    bl_menu *narrow;
    const int only[64] = { 0 };
    o.weight_group = 3;
    assert_ok(t->ctx, bl_menu_make(t->ctx, t->g, &mo, &narrow));
    assert_ok(t->ctx, bl_plan_make(t->ctx, t->g, narrow, t->stats, only, &o, "seed", &grouped));
    assert_ok(t->ctx, bl_plan_write(t->ctx, t->g, grouped, path));
    seed_file("record", "plan-groups", "\3", 1, path);
    bl_plan_free(grouped);
    bl_menu_free(narrow);
    bl_tune_input in = { .graph = t->g, .plan = t->plan, .data = t->data, .samples = 3 };
    assert_ok(t->ctx, bl_tune(t->ctx, bl_tuners[0], &in, &w));
    assert_ok(t->ctx, bl_weights_write(t->ctx, t->g, w, path));
    seed_file("weights", "tuned", NULL, 0, path);
    bl_weights_free(w);
    bl_sens_free(sens);
    bl_cost_free(counted);
    tiny_free(t);
}

/* ------------------------------------------------------------------ fixed-point networks */

static void fixed_seeds(bl_ctx *ctx, const char *folder)
{
    char path[600];
    snprintf(path, sizeof path, "%s/fixed.json", folder);
    for (uint64_t i = 0; i < 4; i++) {
        char name[32];
        bl_rng r = bl_rng_make(1, "seed", i);
        bl_fixed_net *net = i < 2 ? fixed_dense(ctx, &r, 4, (const int[]){ 5, 3 }, 2, 0.2 * (double)i)
                                  : fixed_windows(ctx, &r, i == 2 ? BL_FIXED_MAX_POOL : BL_FIXED_AVERAGE_POOL);
        assert_ok(ctx, bl_fixed_write(ctx, net, path));
        snprintf(name, sizeof name, "%s-%d", i < 2 ? "dense" : "windows", (int)i % 2);
        seed_file("fixed", name, NULL, 0, path);
        bl_fixed_free(net);
    }
}

/* ------------------------------------------------------------------ texts */

static void text_seeds(void)
{
    static const char trials[] = "{\"plan\":\"\2\",\"frame\":\"\1\",\"sqnr_db\":20.5,\"top1\":0.5,\"agreement\":1,"
                                 "\"seconds\":0.1}\n{\"plan\":\"0123456789abcdef0123456789abcdef\",\"frame\":\"\1\","
                                 "\"sqnr_db\":-1e9,\"top1\":null}\n{\"plan\":\"\2\",\"fra";
    static const char problem[] = "{\"version\":1,\"budgets\":[{\"name\":\"size\",\"limit\":7}],\"units\":["
        "{\"name\":\"u\",\"options\":[{\"name\":\"a\",\"objective\":1,\"costs\":[2]},{\"name\":\"b\",\"objective\":0,\"costs\":[4]}]},"
        "{\"name\":\"v\",\"options\":[{\"name\":\"a\",\"objective\":2.5,\"costs\":[3]},{\"name\":\"b\",\"objective\":0,\"costs\":[5]}]},"
        "{\"name\":\"w\",\"options\":[{\"name\":\"c\",\"objective\":0,\"costs\":[1]}]}],\"ties\":[[\"u\",\"v\"]]}";
    static const char words[] = "size=0.6\nsize=300KiB\nlatency=2ms\nlatency=0.8\nbops=1e9\nmean=1,2,3\nstd=0.5\nresize=8\n"
                                "crop=4\nchannels=bgr\nlayout=nhwc\nwindow=5\nlimit=10\n";
    seed("trials", "three", NULL, 0, trials, sizeof trials - 1);
    seed("trials", "empty", NULL, 0, "\n", 1);
    seed("problem", "tied", NULL, 0, problem, sizeof problem - 1);
    seed("problem", "table-1", NULL, 0, "\3\1\144\2\1\5\5\1\4\3\3\1\1\7\2\2", 16);
    seed("problem", "table-2", NULL, 0, "\7\3\12\24\36\5\11\12\13\14\5\4\3\2\1\6\7\10\11\5\1\1\1\1\2\2\2\2\3\3\3\3", 32);
    seed("recipe", "words", NULL, 0, words, sizeof words - 1);
    for (size_t i = 0; i < bl_recipe_count(); i++)
        seed("recipe", bl_recipe_name(i), NULL, 0, bl_recipe_text(i), strlen(bl_recipe_text(i)));
}

/* ------------------------------------------------------------------ data */

/* Words by number as in fuzz_data.c; flags; the second file. */
static void seed_data(fixture *f, const char *name, int form, int flags, const void *second, size_t n)
{
    const char head[4] = { (char)form, (char)flags, (char)n, (char)(n >> 8) };
    put(f, second, n);
    seed("data", name, head, sizeof head, f->bytes, f->n);
    f->n = 0;
}

static void put_idx_samples(fixture *f, int n)
{
    put_idx(f, 8, 3, (const int[]){ n, 2, 2 });
    for (int i = 0; i < 4 * n; i++) put_le(f, pattern((size_t)i), 1);
}

static void put_jpeg(fixture *f)
{
#ifdef JPEG_LIB_VERSION
    struct jpeg_compress_struct c = { 0 };
    struct jpeg_error_mgr e;
    unsigned char *out = NULL;
    unsigned long n = 0;
    uint8_t row[3 * 8];
    JSAMPROW rows[1] = { row };
    c.err = jpeg_std_error(&e);
    jpeg_create_compress(&c);
    jpeg_mem_dest(&c, &out, &n);
    c.image_width = c.image_height = 8;
    c.input_components = 3;
    c.in_color_space = JCS_RGB;
    jpeg_set_defaults(&c);
    jpeg_start_compress(&c, TRUE);
    for (int y = 0; y < 8; y++) {
        for (int i = 0; i < 24; i++) row[i] = pattern((size_t)(24 * y + i));
        jpeg_write_scanlines(&c, rows, 1);
    }
    jpeg_finish_compress(&c);
    jpeg_destroy_compress(&c);
    put(f, out, n);
    free(out);
#else
    put(f, "\xff\xd8\xff", 3);
#endif
}

static void data_seeds(fixture *f)
{
    static uint8_t member[4096];
    const char *csv = "label\n3\n0\n1\n", *files = "file,label\na,2\na,0\n";
    const char *description = "{\"loader\":\"npy\",\"words\":[\"b.npy\"],\"mean\":[1],\"std\":2,\"layout\":\"nchw\","
                              "\"channels\":\"rgb\",\"window\":0}";
    put_cifar(f, 1);
    seed_data(f, "cifar", 0, 0, "", 0);
    put_idx_samples(f, 3);
    seed_data(f, "idx", 1, 0, "", 0);
    put_idx_samples(f, 3);
    to_gzip(f);
    seed_data(f, "idx-gzip", 1, 0, "", 0);
    put_idx(f, 13, 2, (const int[]){ 1, 4 });
    for (int i = 0; i < 16; i++) put_be(f, i % 4 ? 0 : 0x40, 1);
    seed_data(f, "idx-float", 1, 0, "", 0);
    put_idx_samples(f, 3);
    seed_data(f, "idx-labels", 2, 0, "\0\0\10\1\0\0\0\3\7\0\1", 11);
    put_npy_u8(f, "(3, 4)", 12);
    seed_data(f, "npy", 3, 0, "", 0);
    put_npy_u8(f, "(3, 4)", 12);
    memcpy(member, f->bytes, f->n);
    size_t n = f->n;
    seed_data(f, "npy-labels", 5, 0x80, csv, strlen(csv));
    put_npy_u8(f, "(3,)", 3);
    memcpy(member + n, f->bytes, f->n);
    size_t n_y = f->n;
    f->n = 0;
    put_npy_u8(f, "(3, 4)", 12);
    seed_data(f, "npy-npy", 4, 16, member + n, n_y);
    for (int packed = 0; packed < 2; packed++) {
        const zip_member m[] = { { "x.npy", member, n, packed }, { "y.npy", member + n, n_y, packed } };
        put_zip(f, m, 2);
        seed_data(f, packed ? "npz-deflated" : "npz-stored", 3, 0, "", 0);
    }
    const char *rows = "label,a,b,c,d\n1,0.5,1,2,3e1\n0,\"4\",5,6,7\n";
    put(f, rows, strlen(rows));
    seed_data(f, "csv", 6, 0, "", 0);
    const char *table = "% jets\n@relation t\n@attribute 'a b' numeric\n@attribute c REAL\n@attribute d integer\n@attribute e numeric\n"
                        "@attribute class {g, 'q',w}\n@data\n1,2,3,4,g\n0.5,-1,2,3e1,'w'\n";
    put(f, table, strlen(table));
    seed_data(f, "arff", 11, 0, "", 0);
    for (int i = 0; i < 96; i++) put_le(f, i % 4 == 3 ? 0x3f : pattern((size_t)i), 1);
    seed_data(f, "raw-float", 7, 0x80, "\1\2", 2);
    for (int i = 0; i < 24; i++) put_le(f, pattern((size_t)i), 1);
    seed_data(f, "raw-int16", 8, 0, csv, strlen(csv));
    put_png(f, 4, 4, 2, 0);
    seed_data(f, "png", 9, 0, files, strlen(files));
    put_png(f, 7, 5, 6, 0);
    seed_data(f, "png-resized", 9, 12, files, strlen(files));
    put_png(f, 4, 4, 0, 0);
    seed_data(f, "png-grey", 9, 0x82, files, strlen(files));
    put_jpeg(f);
    seed_data(f, "jpeg", 9, 12, files, strlen(files));
    put(f, description, strlen(description));
    seed_data(f, "described", 10, 0, member, n);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: make-seeds FOLDER\n");
        return 64;
    }
    root = argv[1];
    void *state;
    fixture_setup(&state);
    fixture *f = state;
    mkdir(root, 0777);
    onnx_seeds(f->ctx);
    seed_program(f->ctx, f->folder, "residual", tiny_residual(f->ctx), 4, 0);
    seed_program(f->ctx, f->folder, "groups", tiny_residual(f->ctx), 3, 5);
    seed_program(f->ctx, f->folder, "codebook", tiny_residual(f->ctx), 2, -1);
    seed_program(f->ctx, f->folder, "dense", tiny_dense(f->ctx, true), 8, 0);
    seed_program(f->ctx, f->folder, "islands", island_net(f->ctx), 4, 0);
    for (uint64_t i = 0; i < 6; i++) {
        char name[32];
        snprintf(name, sizeof name, "random-%d", (int)i);
        seed_program(f->ctx, f->folder, name, tiny_random(f->ctx, i), 1 + (int)i, 0);
    }
    fixed_seeds(f->ctx, f->folder);
    record_seeds();
    text_seeds();
    data_seeds(f);
    fixture_teardown(&state);
    return 0;
}
