/* SPDX-License-Identifier: BSD-3-Clause */
/* A C file being written.  Private to src/emit. */
#ifndef BL_C_EXPORT_H
#define BL_C_EXPORT_H

#include "emit/emit.h"
#include "program/program.h"

typedef struct bl_cexport {
    bl_ctx *ctx;
    const bl_graph *g;
    const bl_plan *plan;
    const bl_program *p;
    const char *path, *header, *id, *upper;
    bl_writer *out;
    bl_status status;
    uint64_t memory_bytes, row_bytes;
} bl_cexport;

#endif
