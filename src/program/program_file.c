/* SPDX-License-Identifier: BSD-3-Clause */
/* model.blp: PROGRAM in its binary file form, and its description for `inspect`. */
#include "base/container.h"
#include "program/program.h"

#include <string.h>

enum { HEAD = 1, STEPS = 2, TENSORS = 3, EDGES = 4, STRINGS = 5, CONSTANTS = 6, META = 7, ISLANDS = 8, PORTS = 9, ATTRS = 10, ROWS = 11 };

typedef struct head {
    char graph[32], plan[32];
    uint64_t memory_bytes, weight_bytes;
    uint32_t n_inputs, n_outputs, step_bytes, tensor_bytes;
} head;
_Static_assert(sizeof(head) == 96, "the head is stored as it stands");
_Static_assert(sizeof(bl_step) == 312, "a step is stored as it stands");
_Static_assert(sizeof(bl_ptensor) == 184, "a tensor is stored as it stands");
_Static_assert(sizeof(bl_pedge) == 80, "an edge is stored as it stands");
_Static_assert(sizeof(bl_pisland) == 48, "an island is stored as it stands");
_Static_assert(sizeof(bl_pport) == 104, "a port is stored as it stands");
_Static_assert(sizeof(bl_pattr) == 120, "an attribute is stored as it stands");

bl_status bl_program_write(bl_ctx *ctx, const bl_program *p, const char *path)
{
    head h = { .memory_bytes = p->memory_bytes, .weight_bytes = p->weight_bytes, .n_inputs = p->n_inputs,
               .n_outputs = p->n_outputs, .step_bytes = sizeof(bl_step), .tensor_bytes = sizeof(bl_ptensor) };
    memcpy(h.graph, p->graph.hex, 32);
    memcpy(h.plan, p->plan.hex, 32);
    bl_section s[] = {
        { HEAD, &h, sizeof h },
        { STEPS, p->steps, (uint64_t)p->n_steps * sizeof *p->steps },
        { TENSORS, p->tensors, (uint64_t)p->n_tensors * sizeof *p->tensors },
        { EDGES, p->edges, (uint64_t)(p->n_inputs + p->n_outputs) * sizeof *p->edges },
        { STRINGS, p->strings, p->strings_bytes },
        { CONSTANTS, p->constants, p->constants_bytes },
        { META, p->meta, p->meta_bytes },
        { 0 }, { 0 }, { 0 }, { 0 },
    };
    size_t n = 7; /* what is not there is not spoken of */
    if (p->n_islands) {
        s[n++] = (bl_section){ ISLANDS, p->islands, (uint64_t)p->n_islands * sizeof *p->islands };
        s[n++] = (bl_section){ PORTS, p->ports, (uint64_t)p->n_ports * sizeof *p->ports };
        s[n++] = (bl_section){ ATTRS, p->attrs, (uint64_t)p->n_attrs * sizeof *p->attrs };
    }
    if (p->row_text) s[n++] = (bl_section){ ROWS, p->row_text, p->row_text_bytes };
    return bl_container_write(ctx, path, "PROG", 1, 0, s, n);
}

static bl_status damaged(bl_ctx *ctx, const char *place, const char *what)
{
    return bl_fail(ctx, BL_DATA, place, "make the program again from its plan", "%s", what);
}

static bl_status read_sections(bl_ctx *ctx, const char *place, const bl_section *s, size_t n, bl_program *p)
{
    const bl_section *part[META + 1];
    for (uint32_t id = HEAD; id <= META; id++) {
        part[id] = bl_section_find(s, n, id);
        if (!part[id]) return damaged(ctx, place, "a section is missing");
    }
    head h;
    if (part[HEAD]->size < sizeof h) return damaged(ctx, place, "the head is too short");
    memcpy(&h, part[HEAD]->data, sizeof h);
    if (h.step_bytes != sizeof(bl_step) || h.tensor_bytes != sizeof(bl_ptensor) || part[STEPS]->size % sizeof(bl_step) ||
        part[TENSORS]->size % sizeof(bl_ptensor) || part[STEPS]->size / sizeof(bl_step) > UINT32_MAX ||
        part[TENSORS]->size / sizeof(bl_ptensor) > INT32_MAX ||
        part[EDGES]->size != ((uint64_t)h.n_inputs + h.n_outputs) * sizeof(bl_pedge))
        return damaged(ctx, place, "a section has a wrong size");
    memcpy(p->graph.hex, h.graph, 32);
    memcpy(p->plan.hex, h.plan, 32);
    p->memory_bytes = h.memory_bytes;
    p->weight_bytes = h.weight_bytes;
    p->n_inputs = h.n_inputs;
    p->n_outputs = h.n_outputs;
    p->steps = part[STEPS]->data;
    p->n_steps = (uint32_t)(part[STEPS]->size / sizeof(bl_step));
    p->tensors = part[TENSORS]->data;
    p->n_tensors = (uint32_t)(part[TENSORS]->size / sizeof(bl_ptensor));
    p->edges = part[EDGES]->data;
    p->strings = part[STRINGS]->data;
    p->strings_bytes = part[STRINGS]->size;
    p->constants = part[CONSTANTS]->data;
    p->constants_bytes = part[CONSTANTS]->size;
    p->meta = part[META]->data;
    p->meta_bytes = part[META]->size;
    return BL_OK;
}

/* A list of its own that a program without islands lacks. */
static bl_status read_list(bl_ctx *ctx, const char *place, const bl_section *s, size_t n, uint32_t id, size_t size,
                           const void **list, uint32_t *count)
{
    const bl_section *part = bl_section_find(s, n, id);
    *list = part ? part->data : NULL;
    if (part && (part->size % size || part->size / size > INT32_MAX)) return damaged(ctx, place, "a section has a wrong size");
    *count = part ? (uint32_t)(part->size / size) : 0;
    return BL_OK;
}

static bl_status read_islands(bl_ctx *ctx, const char *place, const bl_section *s, size_t n, bl_program *p)
{
    const void *list;
    BL_TRY(read_list(ctx, place, s, n, ISLANDS, sizeof *p->islands, &list, &p->n_islands));
    p->islands = list;
    BL_TRY(read_list(ctx, place, s, n, PORTS, sizeof *p->ports, &list, &p->n_ports));
    p->ports = list;
    BL_TRY(read_list(ctx, place, s, n, ATTRS, sizeof *p->attrs, &list, &p->n_attrs));
    p->attrs = list;
    return BL_OK;
}

/* data is 64-byte aligned (a mapping, or an arena's block). */
static bl_status parse(bl_ctx *ctx, const char *place, const void *data, size_t size, bl_program *p)
{
    bl_section s[BL_SECTIONS_MAX];
    size_t n;
    BL_TRY(bl_container_parse(ctx, place, data, size, "PROG", 1, s, &n));
    p->hash = bl_hash_of(data, size);
    BL_TRY(read_sections(ctx, place, s, n, p));
    BL_TRY(read_islands(ctx, place, s, n, p));
    BL_TRY(bl_program_validate(ctx, place, p));
    const bl_section *rows = bl_section_find(s, n, ROWS);
    return rows ? bl_program_rows_read(ctx, place, p, rows->data, rows->size) : BL_OK;
}

static bl_status program_new(bl_ctx *ctx, bl_program **out)
{
    bl_arena *a = bl_arena_new(ctx, "program");
    BL_ALLOC_TRY(ctx, a);
    *out = BL_NEW(a, bl_program, 1);
    if (!*out) {
        bl_arena_free(a);
        return bl_pending(ctx);
    }
    (*out)->arena = a;
    return BL_OK;
}

bl_status bl_program_open(bl_ctx *ctx, const char *path, bl_program **out)
{
    bl_program *p;
    BL_TRY(program_new(ctx, &p));
    bl_status s = bl_map_file(ctx, path, 0, &p->map);
    if (s == BL_OK) s = parse(ctx, path, p->map.data, p->map.size, p);
    if (s != BL_OK) bl_program_free(p);
    else *out = p;
    return s;
}

bl_status bl_program_parse(bl_ctx *ctx, const char *place, const void *data, size_t size, bl_program **out)
{
    bl_program *p;
    BL_TRY(program_new(ctx, &p));
    uint8_t *copy = bl_alloc(p->arena, BL_MAX(size, 64), 1);
    bl_status s = copy ? BL_OK : bl_pending(ctx);
    if (s == BL_OK) {
        memcpy(copy, data, size);
        s = parse(ctx, place, copy, size, p);
    }
    if (s != BL_OK) bl_program_free(p);
    else *out = p;
    return s;
}

static json_t *dims_json(int rank, const int64_t *dim)
{
    json_t *a = json_array();
    for (int d = 0; d < rank; d++) json_array_append_new(a, json_integer(dim[d]));
    return a;
}

static json_t *edges_json(const bl_program *p, uint32_t first, uint32_t n)
{
    json_t *a = json_array();
    for (uint32_t i = first; i < first + n; i++)
        json_array_append_new(a, json_pack("{s:s, s:o}", "name", p->strings + p->edges[i].name, "shape",
                                           dims_json(p->edges[i].rank, p->edges[i].dim)));
    return a;
}

json_t *bl_program_json(bl_ctx *ctx, const bl_program *p)
{
    (void)ctx;
    json_t *steps = json_array(), *tensors = json_array();
    for (uint32_t i = 0; i < p->n_steps; i++) {
        const bl_step *s = &p->steps[i];
        json_t *o = json_pack("{s:s, s:s, s:i, s:i, s:i}", "name", p->strings + s->name, "kernel",
                              bl_step_kind(s), "in", s->in[0], "in2", s->in[1], "out", s->out);
        if (s->contract == BL_C_CONV) {
            json_object_set_new(o, "weight_bits", json_integer(s->u.conv.s.weight_bits));
            json_object_set_new(o, "accumulator_bits", json_integer(s->u.conv.s.acc64 ? 64 : 32));
        }
        if (s->contract == BL_STEP_ISLAND)
            json_object_set_new(o, "op", json_string(p->strings + p->islands[s->u.island.island].op));
        if (p->row && p->row[i]) json_object_set_new(o, "row", json_string(p->row[i]));
        json_array_append_new(steps, o);
    }
    for (uint32_t t = 0; t < p->n_tensors; t++) {
        const bl_ptensor *x = &p->tensors[t];
        if (x->raw) {
            json_array_append_new(tensors, json_pack("{s:s, s:s, s:o, s:I}", "name", p->strings + x->name, "type",
                bl_dtype_name((bl_dtype)x->raw), "shape", dims_json(x->rank, x->dim), "offset", (json_int_t)x->offset));
            continue;
        }
        json_array_append_new(tensors, json_pack("{s:s, s:i, s:o, s:f, s:i, s:b, s:I}", "name", p->strings + x->name,
            "bits", x->bits, "shape", dims_json(x->rank, x->dim), "scale", (double)x->grid.scale, "zero", x->grid.zero,
            "constant", (x->flags & BL_TENSOR_CONSTANT) != 0, "offset", (json_int_t)x->offset));
    }
    return json_pack("{s:s, s:s, s:s, s:o?, s:o, s:o, s:I, s:I, s:I, s:o, s:o, s:o}", "format", "program", "graph", p->graph.hex,
                     "plan", p->plan.hex, "meta", json_loads(p->meta, 0, NULL), "inputs", edges_json(p, 0, p->n_inputs),
                     "outputs", edges_json(p, p->n_inputs, p->n_outputs), "weight_bytes", (json_int_t)p->weight_bytes,
                     "memory_bytes", (json_int_t)p->memory_bytes, "constant_bytes", (json_int_t)p->constants_bytes,
                     "islands", bl_islands_json(p), "steps", steps, "tensors", tensors);
}
