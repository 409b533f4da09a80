/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of the ONNX reader share.  The way through: onnx_read -> onnx_scan -> generated
 * parser -> onnx_graph (onnx_input, onnx_node, onnx_tensor). */
#ifndef BL_ONNX_PRIVATE_H
#define BL_ONNX_PRIVATE_H

#include "graph/graph_private.h"
#include "onnx.pb-c.h"

#define BL_ONNX_FILE_MAX UINT64_C(0x7fffffff) /* the format's own limit */
#define BL_ONNX_DEPTH_MAX 64u
#define BL_ONNX_DAMAGED "the file is damaged or no ONNX model: fetch or export it again"

/* ------------------------------------------------------------------ onnx_scan.c */

/* File bytes begin..end: one raw_data field, its payload payload..end. */
typedef struct bl_onnx_cut { size_t begin, payload, end; } bl_onnx_cut;
/* Length of a message that holds cuts: `width` bytes at `at` in the compact form. */
typedef struct bl_onnx_patch { size_t at, length; unsigned width; } bl_onnx_patch;

typedef struct bl_onnx_scan {
    uint64_t need_bytes;    /* what the parser will take from an arena, compact form included */
    uint64_t n_messages;
    unsigned depth;         /* of the deepest message; the model itself is 1 */
    size_t compact_bytes;
    size_t n_cuts, n_patches, max_cuts, max_patches;
    bl_onnx_cut *cuts;      /* in file order */
    bl_onnx_patch *patches;
} bl_onnx_scan;

typedef enum bl_onnx_root { BL_ONNX_MODEL, BL_ONNX_TENSOR } bl_onnx_root;

/* Reads a whole file, a ModelProto or TensorProto, once without recursion and believes nothing. */
bl_status bl_onnx_scan_file(bl_ctx *ctx, bl_arena *arena, const char *place, bl_onnx_root root,
                            const uint8_t *data, size_t size, bl_onnx_scan *out);
/* The file without its large payloads: compact_bytes to `out`.  Tensors that lost one say in
 * left_in_file where it lies: offset and length, little-endian uint64. */
void bl_onnx_compact(const bl_onnx_scan *scan, const uint8_t *data, size_t size, uint8_t *out);

/* ------------------------------------------------------------------ reading into a graph */

typedef struct bl_onnx {
    bl_ctx *ctx;
    const char *place;      /* path as given */
    const char *folder;     /* where external data may lie; NULL: nowhere */
    const uint8_t *data;    /* the file */
    size_t size;
    bool borrow;            /* constants may point into data */
    const bl_import_options *options;
    const Onnx__ModelProto *model;
    bl_arena *scratch;
    bl_graph *graph;        /* under construction */
    bl_names values;        /* name to value number */
    bool widened;           /* something was float16 or bfloat16 and is float32 now */
} bl_onnx;

/* Place "PATH: SUBJECT". */
bl_status bl_onnx_fail(const bl_onnx *in, bl_status code, const char *subject, const char *remedy,
                       const char *format, ...) BL_PRINTF(5, 6);

/* onnx_read.c: scan, memory ceiling, compact form, parser.  The message lies in in->scratch. */
bl_status bl_onnx_parse(bl_onnx *in, bl_onnx_root root,
                        const ProtobufCMessageDescriptor *descriptor, ProtobufCMessage **out);
/* The model, checked, as in->graph: linked, shapes inferred. */
bl_status bl_onnx_graph(bl_onnx *in);
/* A new value; refuses a name that is empty or taken.  subject: who brings it. */
bl_status bl_onnx_value(bl_onnx *in, const char *subject, const char *name, const bl_tensor *t,
                        int *value);

/* onnx_input.c: type and bound shape of every input that is no initializer, in the model's
 * order. */
bl_status bl_onnx_inputs(bl_onnx *in);

/* onnx_node.c */
bl_status bl_onnx_check_operators(bl_onnx *in);
bl_status bl_onnx_nodes(bl_onnx *in);

/* onnx_tensor.c: any storage form.  Data may point into the file or an external one. */
bl_status bl_onnx_tensor(bl_onnx *in, const Onnx__TensorProto *from, const char *subject,
                         bl_tensor *out);
/* No element NaN or infinite.  An infinite scalar is a bound (of Max, Clip, Where) and passes. */
bl_status bl_onnx_finite(const bl_onnx *in, const char *subject, const bl_tensor *t);
bool bl_onnx_dtype(int32_t code, bl_dtype *out);
/* Numbers of 16 bits become float32 when they are read, and so do the values that flow. */
bool bl_onnx_is_half(int64_t code);
const char *bl_onnx_dtype_name(int32_t code); /* NULL: not in the format */

#endif
