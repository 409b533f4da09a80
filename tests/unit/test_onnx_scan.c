/* SPDX-License-Identifier: BSD-3-Clause */
/* The look at ONNX bytes before the parser: what it refuses, what it sums, what it cuts out. */
#include "onnx_build.h"

#include "graph/onnx_private.h"

typedef struct fixture {
    bl_ctx *ctx;
    bl_arena *arena;
    bl_onnx_scan scan;
    uint64_t parsed_bytes;
} fixture;

static int setup(void **state)
{
    fixture *f = calloc(1, sizeof(*f));
    f->ctx = test_ctx(1, 0);
    f->arena = bl_arena_new(f->ctx, "test");
    *state = f;
    return f->arena ? 0 : -1;
}

static int teardown(void **state)
{
    fixture *f = *state;
    bl_arena_free(f->arena);
    test_ctx_free(f->ctx);
    free(f);
    return 0;
}

static bl_status scan(fixture *f, const void *data, size_t size)
{
    return bl_onnx_scan_file(f->ctx, f->arena, "file", BL_ONNX_MODEL, data, size, &f->scan);
}

/* A field of bytes before what `buf` holds at its end: the message grows towards the front. */
typedef struct growing { uint8_t *end, *start; } growing;

static void wrap(growing *g, unsigned field)
{
    size_t n = (size_t)(g->end - g->start);
    uint8_t head[16];
    size_t used = 0;
    for (uint32_t tag = field << 3 | 2;; tag >>= 7) {
        head[used++] = (uint8_t)((tag & 0x7F) | (tag > 0x7F ? 0x80 : 0));
        if (tag <= 0x7F) break;
    }
    for (;; n >>= 7) {
        head[used++] = (uint8_t)((n & 0x7F) | (n > 0x7F ? 0x80 : 0));
        if (n <= 0x7F) break;
    }
    g->start -= used;
    memcpy(g->start, head, used);
}

/* ------------------------------------------------------------------ good files */

static void takes_a_model(void **state)
{
    fixture *f = *state;
    onnx_build *b = ob_small_network(f->ctx);
    size_t size;
    const uint8_t *bytes = ob_pack(b, &size);
    assert_ok(f->ctx, scan(f, bytes, size));
    /* model, graph, value, type, tensor type, shape, dimension */
    assert_int_equal(f->scan.depth, 7);
    assert_int_equal(f->scan.n_cuts, 0);
    assert_int_equal(f->scan.compact_bytes, size);
    ob_free(b);
}

static void takes_an_empty_model(void **state)
{
    fixture *f = *state;
    assert_ok(f->ctx, scan(f, "", 0));
    assert_int_equal(f->scan.n_messages, 1);
}

static void takes_unknown_fields(void **state)
{
    fixture *f = *state;
    /* 1000: varint 5; 26: eight bytes; 27: four bytes; 28: three bytes */
    static const uint8_t bytes[] = {0xC0, 0x3E, 5,    0xD1, 1, 1, 2, 3, 4, 5, 6, 7, 8,
                                    0xDD, 1,    1,    2,    3, 4, 0xE2, 1, 3, 7, 8, 9};
    assert_ok(f->ctx, scan(f, bytes, sizeof(bytes)));
}

/* Sums what the parser asks for. */
static void *counting_alloc(void *user, size_t size)
{
    fixture *f = user;
    f->parsed_bytes += size;
    return bl_alloc(f->arena, 1, size);
}

static void counting_free(void *user, void *p)
{
    (void)user;
    (void)p;
}

static Onnx__ModelProto *parse(fixture *f, const uint8_t *bytes, size_t size)
{
    ProtobufCAllocator allocator = {counting_alloc, counting_free, f};
    f->parsed_bytes = 0;
    return onnx__model_proto__unpack(&allocator, size, bytes);
}

/* Never less than the parser takes, and not far above. */
static void estimates_what_parsing_takes(void **state)
{
    fixture *f = *state;
    onnx_build *b = ob_new(f->ctx, 13);
    ob_input(b, "x", "N,8");
    for (int i = 0; i < 3000; i++) {
        char from[32], to[32];
        snprintf(from, sizeof(from), "value%d", i);
        snprintf(to, sizeof(to), "value%d", i + 1);
        Onnx__NodeProto *n = ob_node(b, "Relu", from, to);
        if (i % 3 == 0) ob_ints_attr(n, b, "pads", "1,2,3,4,5,6,7,8");
        if (i % 5 == 0) ob_floats(b, from, "60", NULL);
    }
    size_t size;
    const uint8_t *bytes = ob_pack(b, &size);
    assert_ok(f->ctx, scan(f, bytes, size));
    assert_non_null(parse(f, bytes, size));
    assert_in_range(f->scan.need_bytes, f->parsed_bytes, 2 * f->parsed_bytes);
    ob_free(b);
}

/* ------------------------------------------------------------------ large payloads */

static void cuts_large_payloads(void **state)
{
    fixture *f = *state;
    onnx_build *b = ob_small_network(f->ctx);
    ob_floats(b, "large", "20,100", NULL);
    ob_floats(b, "larger", "50,100,9", NULL);
    Onnx__NodeProto *n = ob_node(b, "Constant", "", "inside");
    Onnx__TensorProto *t = ob_tensor(b, "", BL_F32, "700");
    uint8_t *payload = ob_alloc(b, 2800, 1);
    for (int i = 0; i < 2800; i++) payload[i] = (uint8_t)(i * 7);
    ob_raw(b, t, payload, 2800);
    ob_attr(n, b, "value", BL_ATTR_TENSOR)->t = t;
    size_t size;
    const uint8_t *bytes = ob_pack(b, &size);
    assert_ok(f->ctx, scan(f, bytes, size));
    assert_int_equal(f->scan.n_cuts, 3);
    assert_int_equal(f->scan.compact_bytes, size - 2800 - 8000 - 180000 - 3 - 3 - 4 + 3 * 22);
    uint8_t *compact = BL_NEW(f->arena, uint8_t, f->scan.compact_bytes);
    assert_non_null(compact);
    bl_onnx_compact(&f->scan, bytes, size, compact);
    Onnx__ModelProto *m = parse(f, compact, f->scan.compact_bytes);
    assert_non_null(m);
    assert_string_equal(m->graph->output[0]->name, "y"); /* what lies behind the cuts is in place */
    const Onnx__TensorProto *found[] = {m->graph->node[m->graph->n_node - 1]->attribute[0]->t,
                                        m->graph->initializer[m->graph->n_initializer - 2],
                                        m->graph->initializer[m->graph->n_initializer - 1]};
    static const uint64_t lengths[] = {2800, 8000, 180000};
    for (int i = 0; i < 3; i++) {
        uint64_t at[2];
        assert_false(found[i]->has_raw_data);
        assert_int_equal(found[i]->left_in_file.len, 16);
        memcpy(at, found[i]->left_in_file.data, 16);
        assert_int_equal(at[1], lengths[i]);
        assert_true(at[0] < size && at[1] <= size - at[0]);
        if (i == 0) assert_memory_equal(bytes + at[0], payload, 2800);
    }
    ob_free(b);
}

static void refuses_a_forged_cut(void **state)
{
    fixture *f = *state;
    uint8_t buf[64];
    growing g = {buf + 64, buf + 64 - 16};
    memset(g.start, 0, 16);
    wrap(&g, 536870911); /* TensorProto.left_in_file */
    wrap(&g, 5);         /* GraphProto.initializer */
    wrap(&g, 7);         /* ModelProto.graph */
    assert_fails(f->ctx, scan(f, g.start, (size_t)(g.end - g.start)), BL_DATA, "536870911");
}

/* ------------------------------------------------------------------ bad files */

/* Some 9,000 messages in 27 kB: types inside of types, which overflow the stack of the parser. */
static void refuses_deep_nesting(void **state)
{
    fixture *f = *state;
    static uint8_t buf[64 << 10];
    growing g = {buf + sizeof(buf), buf + sizeof(buf)};
    int levels = 0;
    while (g.end - g.start < 27000) {
        wrap(&g, levels % 2 == 0 ? 4 : 1); /* TypeProto.sequence_type, Sequence.elem_type */
        levels++;
    }
    if (levels % 2 == 0) wrap(&g, 4);
    wrap(&g, 2);  /* ValueInfoProto.type */
    wrap(&g, 11); /* GraphProto.input */
    wrap(&g, 7);
    assert_true(levels > 6500);
    assert_fails(f->ctx, scan(f, g.start, (size_t)(g.end - g.start)), BL_DATA, "more than 64 deep");
    bl_graph *graph;
    assert_fails(
        f->ctx,
        bl_import_bytes(f->ctx, "deep.onnx", g.start, (size_t)(g.end - g.start), NULL, &graph),
        BL_DATA, "more than 64 deep");
}

/* Subgraphs in each other, as far as is allowed and one further. */
static void counts_depth(void **state)
{
    fixture *f = *state;
    static uint8_t buf[4096];
    for (int further = 0; further < 2; further++) {
        growing g = {buf + sizeof(buf), buf + sizeof(buf)};
        if (further) wrap(&g, 5); /* a tensor */
        wrap(&g, 5);              /* in an attribute */
        wrap(&g, 1);              /* in a node */
        for (int i = 0; i < 20; i++) {
            wrap(&g, 6); /* in a graph */
            wrap(&g, 5); /* in an attribute */
            wrap(&g, 1); /* in a node */
        }
        wrap(&g, 7); /* in a graph, in the model: 64 and 65 */
        size_t size = (size_t)(g.end - g.start);
        if (further)
            assert_fails(f->ctx, scan(f, g.start, size), BL_DATA, "more than 64 deep");
        else
            assert_ok(f->ctx, scan(f, g.start, size));
        assert_int_equal(f->scan.depth, 64);
    }
}

static void refuses_damage(void **state)
{
    fixture *f = *state;
    static const struct {
        const char *bytes;
        size_t n;
        const char *says;
    } cases[] = {
        {"\x0B", 1, "wire type 3"}, /* a group begins */
        {"\x0C", 1, "wire type 4"}, /* a group ends */
        {"\x0E\x01", 2, "wire type 6"},
        {"\x0F\x01", 2, "wire type 7"},
        {"\x00\x01", 2, "number 0"},
        {"\x80", 1, "tag runs past"},
        {"\x80\x80\x80\x80\x80\x01", 6, "tag runs past"},
        {"\xFF\xFF\xFF\xFF\x7F\x01", 6, "no field has the number"},
        {"\x08", 1, "number runs past"}, /* ir_version without a value */
        {"\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 12, "number runs past"},
        {"\x0D\x01\x02\x03", 4, "number runs past"}, /* four bytes, three there */
        {"\x09\x01\x02\x03\x04\x05\x06\x07", 8, "number runs past"},
        {"\x0D\x01\x02\x03\x04", 5, "another form"}, /* ir_version as fixed32 */
        {"\x0A\x01\x01", 3, "stored as bytes"},      /* ir_version as bytes */
        {"\x38\x01", 2, "another form"},             /* graph as a number */
        {"\x3A\x05\x01", 3, "past the end of its message"},
        {"\x3A\xFF\xFF\xFF\xFF\x0F", 6, "past the end of its message"}, /* length -1 */
        {"\x3A\x80\x80\x80\x80\x80\x01", 7, "past the end of its message"},
        {"\x3A\x02\x0A\x05", 4, "field 1 runs past"},     /* inner end, not the file's */
        {"\x3A\x05\x0A\x03\x0A\x01\xFF", 7, "not UTF-8"}, /* node input \xFF */
        {"\x3A\x05\x0A\x03\x0A\x01\x00", 7, "zero byte"},
        {"\x3A\x05\x2A\x03\x0A\x01\x80", 7, "list is cut"},     /* packed dims, unfinished */
        {"\x3A\x06\x2A\x04\x22\x02\x01\x02", 8, "list is cut"}, /* half a float */
    };
    for (size_t i = 0; i < BL_COUNTOF(cases); i++)
        assert_fails(f->ctx, scan(f, cases[i].bytes, cases[i].n), BL_DATA, cases[i].says);
}

/* Only a cut between two fields of the model itself leaves something whole. */
static void every_prefix_ends_well(void **state)
{
    fixture *f = *state;
    onnx_build *b = ob_small_network(f->ctx);
    ob_floats(b, "large", "20,100", NULL);
    size_t size;
    const uint8_t *bytes = ob_pack(b, &size);
    int taken = 0;
    for (size_t n = 0; n < size; n++) {
        bl_mark mark = bl_arena_mark(f->arena);
        uint8_t *exact = malloc(n ? n : 1); /* so that a sanitizer sees one byte too many */
        memcpy(exact, bytes, n);
        taken += scan(f, exact, n) == BL_OK;
        free(exact);
        bl_arena_reset(f->arena, mark);
    }
    assert_in_range(taken, 1, 8); /* between top-level fields only */
    ob_free(b);
}

/* Each field of each kind of message, stored in a form that it does not have, is refused: so the
 * table has a row for it. */
static void knows_every_field(void **state)
{
    fixture *f = *state;
    const ProtobufCMessageDescriptor *const kinds[] = {
        &onnx__model_proto__descriptor,      &onnx__graph_proto__descriptor,
        &onnx__node_proto__descriptor,       &onnx__attribute_proto__descriptor,
        &onnx__tensor_proto__descriptor,     &onnx__sparse_tensor_proto__descriptor,
        &onnx__value_info_proto__descriptor, &onnx__type_proto__descriptor,
        &onnx__function_proto__descriptor,
    };
    /* Fields that lead from a model to the kind. */
    static const unsigned paths[][5] = {
        {0}, {7}, {7, 1}, {7, 1, 5}, {7, 5}, {7, 15}, {7, 11}, {7, 11, 2}, {25},
    };
    for (size_t i = 0; i < BL_COUNTOF(kinds); i++)
        for (unsigned k = 0; k < kinds[i]->n_fields; k++) {
            const ProtobufCFieldDescriptor *field = &kinds[i]->fields[k];
            uint8_t buf[64];
            growing g = {buf + 64, buf + 64};
            bool bytes = field->type == PROTOBUF_C_TYPE_STRING ||
                         field->type == PROTOBUF_C_TYPE_BYTES ||
                         field->type == PROTOBUF_C_TYPE_MESSAGE;
            if (field->id == 536870911) continue;
            /* Bytes where a number is due and a number where bytes are due: only a row tells. */
            if (bytes || field->label == PROTOBUF_C_LABEL_REPEATED) {
                *--g.start = 0;
                uint32_t tag = field->id << 3; /* varint */
                if (field->type == PROTOBUF_C_TYPE_INT64 || field->type == PROTOBUF_C_TYPE_INT32 ||
                    field->type == PROTOBUF_C_TYPE_UINT64)
                    tag |= 5;
                if (tag & 5) {
                    g.start -= 3;
                    memset(g.start, 0, 3);
                }
                if (tag > 0x7F) *--g.start = (uint8_t)(tag >> 7);
                *--g.start = (uint8_t)((tag & 0x7F) | (tag > 0x7F ? 0x80 : 0));
            } else
                wrap(&g, field->id);
            for (int step = 4; step >= 0; step--)
                if (paths[i][step]) wrap(&g, paths[i][step]);
            if (scan(f, g.start, (size_t)(g.end - g.start)) != BL_DATA)
                fail_msg("%s.%s has no row", kinds[i]->short_name, field->name);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(takes_a_model, setup, teardown),
        cmocka_unit_test_setup_teardown(takes_an_empty_model, setup, teardown),
        cmocka_unit_test_setup_teardown(takes_unknown_fields, setup, teardown),
        cmocka_unit_test_setup_teardown(estimates_what_parsing_takes, setup, teardown),
        cmocka_unit_test_setup_teardown(cuts_large_payloads, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_a_forged_cut, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_deep_nesting, setup, teardown),
        cmocka_unit_test_setup_teardown(counts_depth, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_damage, setup, teardown),
        cmocka_unit_test_setup_teardown(every_prefix_ends_well, setup, teardown),
        cmocka_unit_test_setup_teardown(knows_every_field, setup, teardown),
    };
    return cmocka_run_group_tests_name("onnx_scan", tests, NULL, NULL);
}
