/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The program room's one door: plan to PROGRAM (lower), its file (.blp), the integer executor.  A
 * program knows no floats but at its edges; weights lie bit-packed, independent of any kernel.
 */
#ifndef BL_PROGRAM_H
#define BL_PROGRAM_H

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
    int32_t alias, reserved;    /* tensor whose memory it shares unchanged, -1: its own */
} bl_ptensor;

/* A network input or output: float32, row-major, batch 1. */
typedef struct bl_pedge {
    uint32_t name;
    int32_t rank, is_output;
    uint32_t tensor;
    int64_t dim[BL_MAX_RANK];
} bl_pedge;

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
    uint32_t n_steps, n_tensors, n_inputs, n_outputs;
    uint64_t strings_bytes, constants_bytes, meta_bytes;
    uint64_t memory_bytes;      /* working memory of one executor */
    uint64_t weight_bytes;      /* packed codes of the layers: the promised size */
};


bl_status bl_program_parse(bl_ctx *ctx, const char *place, const void *data, size_t size, bl_program **out);
bl_status bl_program_validate(bl_ctx *ctx, const char *place, const bl_program *program);
json_t *bl_program_json(bl_ctx *ctx, const bl_program *program); /* for inspect; caller decrefs */

/* Bit-packed codes, two's complement of `bits` bits, low bits first; one bit: 0 is -1, 1 is +1. */
size_t bl_packed_bytes(size_t n, int bits);
void bl_pack_codes(const int8_t *codes, size_t n, int bits, uint8_t *out);
void bl_unpack_codes(const uint8_t *packed, size_t n, int bits, int8_t *codes);

/* ------------------------------------------------------------------ executor */


typedef struct bl_exec_options {
    bool parallel;              /* split steps over the context's threads; else one thread */
    bl_isa cap;                 /* strongest instruction set to use */
    bool cap_given;             /* else the context's */
    const char *kernel;         /* conv row by name, for measuring; NULL: the first legal one */
} bl_exec_options;

/* program is borrowed.  All memory is taken here; running allocates nothing. */
bl_status bl_exec_new(bl_ctx *ctx, const bl_program *program, const bl_exec_options *options, bl_exec **out);
bl_status bl_exec_step(bl_exec *exec, uint32_t step);   /* one step, for measuring */
void *bl_exec_codes(bl_exec *exec, uint32_t tensor);    /* its memory */
/* Codes of a tensor in the model's dimension order, row-major, widened to u16. */
void bl_exec_read(const bl_exec *exec, uint32_t tensor, uint16_t *out);
const char *bl_exec_kernel(const bl_exec *exec, uint32_t step);
/* Working memory + packed weights + scratch: as planned, and as taken. */
void bl_exec_memory(const bl_exec *exec, uint64_t *promised_bytes, uint64_t *taken_bytes);

#endif
