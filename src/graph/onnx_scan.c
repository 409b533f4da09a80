/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The look at a file before the generated parser may read it.  That parser recurses without a
 * limit (some 8,700 nested messages, a file of 27 kB, overflow an 8 MiB stack) and blows up
 * hostile files 150-fold in memory, so: one loop, an explicit stack, the schema as a table.  Wire
 * types, lengths, varints, field numbers and the text of names are checked, depth is limited, and
 * the memory that parsing will take is summed.
 *
 * Along the way it notes large raw_data payloads.  The parser would copy them; it is given a
 * compact form of the file in which each is replaced by its position.  Enclosing lengths shrink
 * and are written in the same number of bytes (a varint may be padded), so nothing else moves.
 *
 * The meaning of the fields is left to the files after it.
 */
#include "graph/onnx_private.h"

#include <stdio.h>
#include <string.h>

#define CUT_MIN 512u           /* smaller payloads are copied */
#define CUT_FIELD 536870911u   /* TensorProto.left_in_file */
#define CUT_BYTES 22u          /* tag 5, length 1, offset 8, length 8 */
#define FIELD_MAX 536870911u
#define N_NUMBERS 27

typedef enum kind {
    MODEL, OPSET, ENTRY, GRAPH, NODE, ATTRIBUTE, TENSOR, SEGMENT, SPARSE, ANNOTATION, VALUE_INFO,
    SHAPE, DIMENSION, TYPE, TYPE_TENSOR, TYPE_SEQUENCE, TYPE_MAP, TYPE_OPAQUE, TYPE_OPTIONAL,
    FUNCTION, N_KINDS
} kind;

static const struct {
    const char *name;
    size_t bytes;
} kinds[N_KINDS] = {
    [MODEL] = {"ModelProto", sizeof(Onnx__ModelProto)},
    [OPSET] = {"OperatorSetIdProto", sizeof(Onnx__OperatorSetIdProto)},
    [ENTRY] = {"StringStringEntryProto", sizeof(Onnx__StringStringEntryProto)},
    [GRAPH] = {"GraphProto", sizeof(Onnx__GraphProto)},
    [NODE] = {"NodeProto", sizeof(Onnx__NodeProto)},
    [ATTRIBUTE] = {"AttributeProto", sizeof(Onnx__AttributeProto)},
    [TENSOR] = {"TensorProto", sizeof(Onnx__TensorProto)},
    [SEGMENT] = {"Segment", sizeof(Onnx__TensorProto__Segment)},
    [SPARSE] = {"SparseTensorProto", sizeof(Onnx__SparseTensorProto)},
    [ANNOTATION] = {"TensorAnnotation", sizeof(Onnx__TensorAnnotation)},
    [VALUE_INFO] = {"ValueInfoProto", sizeof(Onnx__ValueInfoProto)},
    [SHAPE] = {"TensorShapeProto", sizeof(Onnx__TensorShapeProto)},
    [DIMENSION] = {"Dimension", sizeof(Onnx__TensorShapeProto__Dimension)},
    [TYPE] = {"TypeProto", sizeof(Onnx__TypeProto)},
    [TYPE_TENSOR] = {"TypeProto.Tensor", sizeof(Onnx__TypeProto__Tensor)},
    [TYPE_SEQUENCE] = {"TypeProto.Sequence", sizeof(Onnx__TypeProto__Sequence)},
    [TYPE_MAP] = {"TypeProto.Map", sizeof(Onnx__TypeProto__Map)},
    [TYPE_OPAQUE] = {"TypeProto.Opaque", sizeof(Onnx__TypeProto__Opaque)},
    [TYPE_OPTIONAL] = {"TypeProto.Optional", sizeof(Onnx__TypeProto__Optional)},
    [FUNCTION] = {"FunctionProto", sizeof(Onnx__FunctionProto)},
};

/* What a field holds.  INTS, FLOATS, DOUBLES are repeated: each alone or packed, as the parser
 * takes both.  NAME: text that must be UTF-8 without NUL (the parser would cut it there); TEXT:
 * for people, not looked at. */
typedef enum form {
    UNKNOWN, INT, FLOAT, INTS, FLOATS, DOUBLES, NAME, TEXT, BYTES, RAW, MESSAGE
} form;

typedef struct rule { uint8_t form, child; } rule;

/* Rows as in onnx.proto; what is not here is unknown to us and kept unread by the parser. */
static const rule rules[N_KINDS][N_NUMBERS] = {
    [MODEL] = {[1] = {INT, 0}, [2] = {TEXT, 0}, [3] = {TEXT, 0}, [4] = {TEXT, 0}, [5] = {INT, 0},
               [6] = {TEXT, 0}, [7] = {MESSAGE, GRAPH}, [8] = {MESSAGE, OPSET},
               [14] = {MESSAGE, ENTRY}, [25] = {MESSAGE, FUNCTION}},
    [OPSET] = {[1] = {NAME, 0}, [2] = {INT, 0}},
    [ENTRY] = {[1] = {NAME, 0}, [2] = {TEXT, 0}},
    [GRAPH] = {[1] = {MESSAGE, NODE}, [2] = {NAME, 0}, [5] = {MESSAGE, TENSOR}, [10] = {TEXT, 0},
               [11] = {MESSAGE, VALUE_INFO}, [12] = {MESSAGE, VALUE_INFO},
               [13] = {MESSAGE, VALUE_INFO}, [14] = {MESSAGE, ANNOTATION},
               [15] = {MESSAGE, SPARSE}, [16] = {MESSAGE, ENTRY}},
    [NODE] = {[1] = {NAME, 0}, [2] = {NAME, 0}, [3] = {NAME, 0}, [4] = {NAME, 0},
              [5] = {MESSAGE, ATTRIBUTE}, [6] = {TEXT, 0}, [7] = {NAME, 0}, [8] = {NAME, 0},
              [9] = {MESSAGE, ENTRY}},
    [ATTRIBUTE] = {[1] = {NAME, 0}, [2] = {FLOAT, 0}, [3] = {INT, 0}, [4] = {BYTES, 0},
                   [5] = {MESSAGE, TENSOR}, [6] = {MESSAGE, GRAPH}, [7] = {FLOATS, 0},
                   [8] = {INTS, 0}, [9] = {BYTES, 0}, [10] = {MESSAGE, TENSOR},
                   [11] = {MESSAGE, GRAPH}, [13] = {TEXT, 0}, [14] = {MESSAGE, TYPE},
                   [15] = {MESSAGE, TYPE}, [20] = {INT, 0}, [21] = {NAME, 0},
                   [22] = {MESSAGE, SPARSE}, [23] = {MESSAGE, SPARSE}},
    [TENSOR] = {[1] = {INTS, 0}, [2] = {INT, 0}, [3] = {MESSAGE, SEGMENT}, [4] = {FLOATS, 0},
                [5] = {INTS, 0}, [6] = {BYTES, 0}, [7] = {INTS, 0}, [8] = {NAME, 0}, [9] = {RAW, 0},
                [10] = {DOUBLES, 0}, [11] = {INTS, 0}, [12] = {TEXT, 0}, [13] = {MESSAGE, ENTRY},
                [14] = {INT, 0}, [16] = {MESSAGE, ENTRY}},
    [SEGMENT] = {[1] = {INT, 0}, [2] = {INT, 0}},
    [SPARSE] = {[1] = {MESSAGE, TENSOR}, [2] = {MESSAGE, TENSOR}, [3] = {INTS, 0}},
    [ANNOTATION] = {[1] = {NAME, 0}, [2] = {MESSAGE, ENTRY}},
    [VALUE_INFO] = {[1] = {NAME, 0}, [2] = {MESSAGE, TYPE}, [3] = {TEXT, 0},
                    [4] = {MESSAGE, ENTRY}},
    [SHAPE] = {[1] = {MESSAGE, DIMENSION}},
    [DIMENSION] = {[1] = {INT, 0}, [2] = {NAME, 0}, [3] = {TEXT, 0}},
    [TYPE] = {[1] = {MESSAGE, TYPE_TENSOR}, [4] = {MESSAGE, TYPE_SEQUENCE},
              [5] = {MESSAGE, TYPE_MAP}, [6] = {TEXT, 0}, [7] = {MESSAGE, TYPE_OPAQUE},
              [8] = {MESSAGE, TYPE_TENSOR}, [9] = {MESSAGE, TYPE_OPTIONAL}},
    [TYPE_TENSOR] = {[1] = {INT, 0}, [2] = {MESSAGE, SHAPE}},
    [TYPE_SEQUENCE] = {[1] = {MESSAGE, TYPE}},
    [TYPE_MAP] = {[1] = {INT, 0}, [2] = {MESSAGE, TYPE}},
    [TYPE_OPAQUE] = {[1] = {TEXT, 0}, [2] = {TEXT, 0}},
    [TYPE_OPTIONAL] = {[1] = {MESSAGE, TYPE}},
    [FUNCTION] = {[1] = {NAME, 0}, [4] = {NAME, 0}, [5] = {NAME, 0}, [6] = {NAME, 0},
                  [7] = {MESSAGE, NODE}, [8] = {TEXT, 0}, [9] = {MESSAGE, OPSET}, [10] = {NAME, 0},
                  [11] = {MESSAGE, ATTRIBUTE}, [12] = {MESSAGE, VALUE_INFO}, [13] = {NAME, 0},
                  [14] = {MESSAGE, ENTRY}},
};

typedef struct frame {
    size_t begin, end;
    size_t length_at;       /* of the length before it, in the file */
    size_t saved;           /* bytes cut inside */
    size_t saved_before;    /* bytes cut in the whole file when it began */
    uint64_t fields;
    unsigned length_width;
    kind kind;
} frame;

typedef struct scanner {
    bl_ctx *ctx;
    bl_arena *arena;
    const char *place;
    const uint8_t *data;
    size_t at, saved;
    unsigned top;
    bl_onnx_scan *out;
    frame stack[BL_ONNX_DEPTH_MAX];
} scanner;

static bl_status damaged(const scanner *s, size_t at, const char *format, ...) BL_PRINTF(3, 4);

static bl_status damaged(const scanner *s, size_t at, const char *format, ...)
{
    char what[160];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof(what), format, args);
    va_end(args);
    return bl_fail(s->ctx, BL_DATA, s->place, BL_ONNX_DAMAGED, "byte %zu, in a %s: %s", at,
                   kinds[s->stack[s->top].kind].name, what);
}

/* What an arena spends on one allocation of the parser. */
static uint64_t arena_bytes(uint64_t n)
{
    return n >= 64 ? (n + 127) / 64 * 64 : n + 16;
}

/* A varint of at most `width` bytes before `end`; false when there is none. */
static bool read_varint(scanner *s, size_t end, unsigned width, uint64_t *out)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < width && s->at < end; i++) {
        uint8_t byte = s->data[s->at++];
        v |= (uint64_t)(byte & 0x7F) << (7 * i); /* i = 9: top bits fall off, as in the parser */
        if (byte < 0x80) {
            *out = v;
            return true;
        }
    }
    return false;
}

static uint64_t count_varints(const uint8_t *p, size_t n)
{
    uint64_t count = 0;
    for (size_t i = 0; i < n; i++) count += p[i] < 0x80;
    return count;
}

/* Room for one more; a list of what input dictates grows in an arena. */
static bl_status grow(scanner *s, void **list, size_t n, size_t *max, size_t size)
{
    if (n < *max) return BL_OK;
    size_t more = BL_MAX((size_t)16, *max * 2);
    void *bigger = bl_alloc(s->arena, more, size);
    BL_ALLOC_TRY(s->ctx, bigger);
    if (n > 0) memcpy(bigger, *list, n * size);
    *list = bigger;
    *max = more;
    return BL_OK;
}

static bl_status cut(scanner *s, size_t begin, size_t length)
{
    bl_onnx_scan *o = s->out;
    BL_TRY(grow(s, (void **)&o->cuts, o->n_cuts, &o->max_cuts, sizeof(*o->cuts)));
    o->cuts[o->n_cuts++] = (bl_onnx_cut){begin, s->at, s->at + length};
    size_t saved = s->at + length - begin - CUT_BYTES;
    s->stack[s->top].saved += saved;
    s->saved += saved;
    o->need_bytes += arena_bytes(16);
    return BL_OK;
}

/* Leaves the message that ends here: its parent inherits what was cut. */
static bl_status leave(scanner *s)
{
    bl_onnx_scan *o = s->out;
    const frame *f = &s->stack[s->top--];
    /* The parser notes 32 bytes for each field while it reads one message, in doubling pieces; 16
     * notes lie on its stack. */
    if (f->fields > 16) o->need_bytes += 64 * f->fields + 4096;
    if (f->saved == 0) return BL_OK;
    BL_TRY(grow(s, (void **)&o->patches, o->n_patches, &o->max_patches, sizeof(*o->patches)));
    o->patches[o->n_patches++] = (bl_onnx_patch){f->length_at - f->saved_before,
                                                 f->end - f->begin - f->saved, f->length_width};
    s->stack[s->top].saved += f->saved;
    return BL_OK;
}

static bl_status enter(scanner *s, kind child, size_t length_at, size_t length)
{
    if (s->top + 1 == BL_ONNX_DEPTH_MAX)
        return damaged(s, s->at, "messages lie more than %u deep in each other", BL_ONNX_DEPTH_MAX);
    s->stack[++s->top] = (frame){.begin = s->at, .end = s->at + length, .length_at = length_at,
                                 .length_width = (unsigned)(s->at - length_at),
                                 .saved_before = s->saved, .kind = child};
    s->out->depth = BL_MAX(s->out->depth, s->top + 1);
    s->out->n_messages++;
    s->out->need_bytes += arena_bytes(kinds[child].bytes) + sizeof(void *);
    return BL_OK;
}

/* A length-delimited field whose length was just read; tag_at: where the field begins. */
static bl_status take_bytes(scanner *s, rule r, size_t tag_at, size_t length_at, size_t length)
{
    const uint8_t *p = s->data + s->at;
    uint64_t *need = &s->out->need_bytes;
    switch ((form)r.form) {
    case MESSAGE:
        return enter(s, (kind)r.child, length_at, length);
    case NAME:
        if (!bl_utf8_valid((const char *)p, length))
            return damaged(s, s->at, "a name is not UTF-8 text or holds a zero byte");
        *need += arena_bytes(length + 1) + sizeof(void *);
        break;
    case TEXT:
    case BYTES:
        *need += arena_bytes(length + 1) + sizeof(ProtobufCBinaryData);
        break;
    case RAW:
        if (length >= CUT_MIN)
            BL_TRY(cut(s, tag_at, length));
        else
            *need += arena_bytes(length);
        break;
    case INTS:
        if (length > 0 && p[length - 1] >= 0x80)
            return damaged(s, s->at, "the last number of a list is cut");
        *need += 8 * count_varints(p, length);
        break;
    case FLOATS:
    case DOUBLES: {
        size_t unit = r.form == FLOATS ? 4 : 8;
        if (length % unit != 0) return damaged(s, s->at, "the last number of a list is cut");
        *need += length;
        break;
    }
    case UNKNOWN:
        *need += sizeof(ProtobufCMessageUnknownField) + arena_bytes(length + 5);
        break;
    case INT:
    case FLOAT:
        return damaged(s, tag_at, "a number is stored as bytes");
    }
    s->at += length;
    return BL_OK;
}

static bl_status take_number(scanner *s, rule r, size_t tag_at, unsigned wire)
{
    size_t end = s->stack[s->top].end;
    uint64_t v;
    if (wire == 0 && !read_varint(s, end, 10, &v))
        return damaged(s, tag_at, "a number runs past its end");
    if (wire != 0) {
        size_t size = wire == 1 ? 8 : 4;
        if (end - s->at < size) return damaged(s, tag_at, "a number runs past its end");
        s->at += size;
    }
    bool fits = r.form == UNKNOWN || (wire == 0 && (r.form == INT || r.form == INTS)) ||
                (wire == 1 && r.form == DOUBLES) ||
                (wire == 5 && (r.form == FLOAT || r.form == FLOATS));
    if (!fits) return damaged(s, tag_at, "a field is stored in another form than it has");
    s->out->need_bytes += r.form == UNKNOWN ? sizeof(ProtobufCMessageUnknownField) + 32 : 8;
    return BL_OK;
}

static bl_status take_field(scanner *s)
{
    frame *f = &s->stack[s->top];
    size_t tag_at = s->at;
    uint64_t tag, length;
    f->fields++;
    if (!read_varint(s, f->end, 5, &tag))
        return damaged(s, tag_at, "a field tag runs past its end");
    uint64_t number = tag >> 3;
    if (number == 0 || number > FIELD_MAX || (f->kind == TENSOR && number == CUT_FIELD))
        return damaged(s, tag_at, "no field has the number %llu", (unsigned long long)number);
    rule r = number < N_NUMBERS ? rules[f->kind][number] : (rule){UNKNOWN, 0};
    switch (tag & 7) {
    case 0:
    case 1:
    case 5:
        return take_number(s, r, tag_at, (unsigned)(tag & 7));
    case 2: {
        size_t length_at = s->at;
        if (!read_varint(s, f->end, 5, &length) || length > f->end - s->at)
            return damaged(s, tag_at, "field %llu runs past the end of its message",
                           (unsigned long long)number);
        return take_bytes(s, r, tag_at, length_at, (size_t)length);
    }
    default:
        return damaged(s, tag_at, "field %llu has the unknown wire type %u",
                       (unsigned long long)number, (unsigned)(tag & 7));
    }
}

bl_status bl_onnx_scan_file(bl_ctx *ctx, bl_arena *arena, const char *place, bl_onnx_root root,
                            const uint8_t *data, size_t size, bl_onnx_scan *out)
{
    scanner s = {.ctx = ctx, .arena = arena, .place = place, .data = data, .out = out};
    kind outermost = root == BL_ONNX_TENSOR ? TENSOR : MODEL;
    *out = (bl_onnx_scan){.depth = 1, .n_messages = 1,
                          .need_bytes = arena_bytes(kinds[outermost].bytes)};
    s.stack[0] = (frame){.end = size, .kind = outermost};
    for (uint64_t step = 0;; step++) {
        if ((step & 0xFFFFF) == 0) BL_TRY(bl_check_interrupt(ctx));
        if (s.at < s.stack[s.top].end)
            BL_TRY(take_field(&s));
        else if (s.top > 0)
            BL_TRY(leave(&s));
        else
            break;
    }
    if (s.stack[0].fields > 16) out->need_bytes += 64 * s.stack[0].fields + 4096;
    out->compact_bytes = size - s.saved;
    if (out->n_cuts > 0) out->need_bytes += out->compact_bytes;
    return BL_OK;
}

/* ------------------------------------------------------------------ the compact form */

static void put_u64(uint8_t *to, uint64_t v)
{
    for (int i = 0; i < 8; i++) to[i] = (uint8_t)(v >> (8 * i));
}

/* Exactly `width` bytes: the last but one and all before it say that more follows. */
static void put_padded_varint(uint8_t *to, unsigned width, uint64_t v)
{
    for (unsigned i = 0; i < width; i++, v >>= 7)
        to[i] = (uint8_t)((v & 0x7F) | (i + 1 < width ? 0x80 : 0));
}

void bl_onnx_compact(const bl_onnx_scan *scan, const uint8_t *data, size_t size, uint8_t *out)
{
    size_t from = 0, to = 0;
    for (size_t i = 0; i < scan->n_cuts; i++) {
        const bl_onnx_cut *c = &scan->cuts[i];
        memcpy(out + to, data + from, c->begin - from);
        to += c->begin - from;
        put_padded_varint(out + to, 5, (uint64_t)CUT_FIELD << 3 | 2);
        out[to + 5] = 16;
        put_u64(out + to + 6, c->payload);
        put_u64(out + to + 14, c->end - c->payload);
        to += CUT_BYTES;
        from = c->end;
    }
    memcpy(out + to, data + from, size - from);
    for (size_t i = 0; i < scan->n_patches; i++) {
        const bl_onnx_patch *p = &scan->patches[i];
        put_padded_varint(out + p->at, p->width, p->length);
    }
}
