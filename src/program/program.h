/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The program room's one door: plan to PROGRAM (lower), its file (.blp), the integer executor.  A
 * program knows no floats but at its edges; weights lie bit-packed, independent of any kernel.
 */
#ifndef BL_PROGRAM_H
#define BL_PROGRAM_H

#include "program/fixed.h"
#include "quant/quant.h"

enum { BL_TENSOR_CONSTANT = 1, BL_TENSOR_INNER = 2 }; /* INNER: has no counterpart in the model */

/* A tensor as it is stored: 184 bytes. */
typedef struct bl_ptensor {
    uint32_t name;              /* offset into the strings */
    int32_t bits, rank;
    uint32_t flags;
    int64_t dim[BL_MAX_RANK], stride[BL_MAX_RANK]; /* strides in elements */
    bl_grid grid;
    uint64_t offset, bytes;     /* in the working memory, or in the constants (BL_TENSOR_CONSTANT) */
    int32_t alias;              /* tensor whose memory it shares unchanged, -1: its own */
    int32_t raw;                /* 0: codes; else bl_dtype of plain elements, row-major, for islands */
} bl_ptensor;

/* A network edge of another type than float32 takes and gives its numbers as float32. */

/* A network input or output: float32, row-major, batch 1. */
typedef struct bl_pedge {
    uint32_t name;
    int32_t rank, is_output;
    uint32_t tensor;
    int64_t dim[BL_MAX_RANK];
} bl_pedge;

/* An island: a node of the model that runs in binary32 between codes [Q11], as it is stored. */
typedef struct bl_pisland {
    uint32_t op, domain;        /* strings */
    int32_t opset;
    uint32_t n_in, n_out, n_attr;
    uint32_t first_port, first_attr; /* inputs then outputs; attributes */
    float lo, hi;               /* fused activation */
    uint32_t reserved[2];
} bl_pisland;

/* An input or output of an island: a tensor, a constant, or absent (type BL_NONE). */
typedef struct bl_pport {
    int32_t tensor;             /* -1: constant or absent */
    int32_t type, rank;         /* as the operator sees it: bl_dtype, ONNX's own dims */
    int32_t bits;               /* constant: bit-packed codes of a weight; 0: elements as they are */
    int64_t dim[BL_MAX_RANK];
    uint64_t data, scale;       /* constant: offsets of the elements, of n_scale floats along axis */
    int32_t axis, n_scale;
} bl_pport;

typedef struct bl_pattr {
    uint32_t name;
    int32_t type;               /* bl_attr_type, but no graphs */
    int64_t i;
    float f;
    int32_t dtype, rank, reserved; /* of a tensor */
    int64_t dim[BL_MAX_RANK];
    uint64_t n, data;           /* elements; offset into the constants: numbers, or texts with their NULs */
    uint64_t bytes;
} bl_pattr;

struct bl_program {
    bl_arena *arena;
    bl_map map;                 /* the file; sections point into it */
    bl_hash hash, graph, plan;
    const bl_step *steps;
    const bl_ptensor *tensors;
    const bl_pedge *edges;      /* inputs first, each side in the model's order */
    const char *strings;
    const uint8_t *constants;
    const char *meta;           /* JSON text: model, recipe, seed, tool */
    const bl_pisland *islands;
    const bl_pport *ports;
    const bl_pattr *attrs;
    uint32_t n_steps, n_tensors, n_inputs, n_outputs, n_islands, n_ports, n_attrs;
    uint64_t strings_bytes, constants_bytes, meta_bytes;
    uint64_t memory_bytes;      /* working memory of one executor */
    uint64_t weight_bytes;      /* packed codes of the layers: the promised size */
    const char *row_text;       /* JSON text of the rows that it asks for, NULL: none */
    uint64_t row_text_bytes;
    const char **row, *row_cpu, *row_isa; /* by step, NULL: none; where they were measured */
};


bl_status bl_program_parse(bl_ctx *ctx, const char *place, const void *data, size_t size, bl_program **out);
bl_status bl_program_validate(bl_ctx *ctx, const char *place, const bl_program *program);
json_t *bl_program_json(bl_ctx *ctx, const bl_program *program); /* for inspect; caller decrefs */

/* ------------------------------------------------------------------ prefer.c */

/* Makes a program ask for kernel rows (row[step], NULL: none) that were measured on this CPU at this cap. */
bl_status bl_program_prefer(bl_ctx *ctx, bl_program *program, const char *cpu, const char *isa, const char *const *row);
/* The row that a step asks for here; NULL: none, or it was measured elsewhere or with another cap. */
const char *bl_program_row(const bl_program *program, uint32_t step, bl_isa cap);
bl_status bl_program_rows_read(bl_ctx *ctx, const char *place, bl_program *program, const void *text, uint64_t bytes);

/* Every operand and the output of a pair lie side by side in one order: it may run in place. */
bool bl_pair_dense(const bl_step_pair *v);
/* "conv" ... of a contract, "island". */
const char *bl_step_kind(const bl_step *step);
/* Tensors that a step reads or writes, islands too; at most n_max; edges of the program are left out.
 * Gives how many there are. */
uint32_t bl_step_tensors(const bl_program *p, const bl_step *step, bool written, int32_t *out, uint32_t n_max);
bool bl_step_writes(const bl_program *p, const bl_step *step, int32_t tensor);
/* Islands of a program: [{"node", "op"}]; caller decrefs. */
json_t *bl_islands_json(const bl_program *p);
/* float32, or the type of the raw tensor behind an edge. */
bl_dtype bl_edge_type(const bl_program *p, uint32_t edge);

/* Bit-packed codes, two's complement of `bits` bits, low bits first; one bit: 0 is -1, 1 is +1. */
size_t bl_packed_bytes(size_t n, int bits);
void bl_pack_codes(const int8_t *codes, size_t n, int bits, uint8_t *out);
void bl_unpack_codes(const uint8_t *packed, size_t n, int bits, int8_t *codes);
/* All n weights of a convolution step, out of its codebook where it has one. */
void bl_conv_codes(const bl_program *p, const bl_step_conv *v, size_t n, int8_t *codes);
size_t bl_conv_weight_bytes(const bl_step_conv *v, size_t n); /* as stored, without a table */

/* ------------------------------------------------------------------ executor */


typedef struct bl_exec_options {
    bool parallel;              /* split steps over the context's threads; else one thread */
    bl_isa cap;                 /* strongest instruction set to use */
    bool cap_given;             /* else the context's */
    const char *kernel;         /* row by name, for measuring, of all steps of its contract; NULL: as the program
                                   asks, else the first legal one */
} bl_exec_options;

/* program is borrowed.  All memory is taken here; running allocates nothing. */
bl_status bl_exec_new(bl_ctx *ctx, const bl_program *program, const bl_exec_options *options, bl_exec **out);
bl_status bl_exec_step(bl_exec *exec, uint32_t step);   /* one step, for measuring */
void *bl_exec_codes(bl_exec *exec, uint32_t tensor);    /* its memory */
/* Codes of a tensor in the model's dimension order, row-major, widened to u16; zeros of one that holds no
 * codes: bl_exec_codes shows its elements. */
void bl_exec_read(const bl_exec *exec, uint32_t tensor, uint16_t *out);
const char *bl_exec_kernel(const bl_exec *exec, uint32_t step);
/* Names of the rows that could run a step, in the table's order; how many there are, at most n_max are written. */
size_t bl_exec_rows(const bl_exec *exec, uint32_t step, const char **names, size_t n_max);
/* Packed weights of a convolution step (NULL: another contract); and another copy of them to read from, for
 * measuring with weights that are in no near cache. */
const void *bl_exec_packed(const bl_exec *exec, uint32_t step, size_t *bytes);
void bl_exec_repoint(bl_exec *exec, uint32_t step, const void *packed);
/* Working memory, packed weights, scratch and what the executor is made of: as planned before it is taken, and
 * as taken. */
void bl_exec_memory(const bl_exec *exec, uint64_t *promised_bytes, uint64_t *taken_bytes);

/* ------------------------------------------------------------------ fixed_lower.c */

/* The network of a plan whose scales are powers of two, as a chain of layers on fixed point: the program's own
 * integers.  BL_UNAVAILABLE, named, where the network branches or has other operators, or a grid is none of
 * fixed point.  weights may be NULL. */
bl_status bl_fixed_lower(bl_ctx *ctx, const bl_graph *graph, const bl_plan *plan, const bl_weights *weights, bl_fixed_net **out);

#endif
