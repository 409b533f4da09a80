/* SPDX-License-Identifier: BSD-3-Clause */
/* Verilog of a circuit, and what stands beside it.  Private to src/emit. */
#ifndef BL_VERILOG_H
#define BL_VERILOG_H

#include "emit/circuit.h"

/* A text file being written; the first failure stays. */
typedef struct bl_text {
    bl_ctx *ctx;
    bl_writer *out;
    bl_status status;
} bl_text;
void bl_text_open(bl_ctx *ctx, bl_text *t, const char *dir, const char *name);
void bl_text_put(bl_text *t, const char *format, ...) BL_PRINTF(2, 3);
void bl_text_raw(bl_text *t, const char *text, size_t n);
/* What a comment may hold of a foreign text. */
void bl_text_comment(bl_text *t, const char *text);
bl_status bl_text_close(bl_text *t);

/* Fields of a bus, element 0 lowest. */
int64_t bl_bus_width(const bl_fixed_grid *grid, int64_t n);
/* Codes as the bus in hexadecimal, most significant digit first; out has bl_bus_width / 4 + 2 places. */
void bl_bus_hex(const bl_fixed_grid *grid, int64_t n, const int64_t *codes, char *out);

bl_status bl_verilog_write(bl_ctx *ctx, const bl_circuit *c, const char *dir);
/* The modules of which a circuit is made; a circuit as a module of this name. */
void bl_verilog_parts(bl_text *t);
void bl_verilog_module(bl_text *t, const bl_circuit *c, const char *name);
/* tb.v, vectors.hex, scripts of vendors' tools, ports.csv, README.txt. */
typedef struct bl_vectors {
    int64_t n;
    const int64_t *in, *out;    /* [n][n_in], [n][n_out] codes */
    const char *origin;         /* one line on where they come from */
} bl_vectors;
bl_status bl_verilog_beside(bl_ctx *ctx, const bl_circuit *c, const bl_vectors *v, const char *dir);
/* Of that: scripts for all tools; a line a sample of codes; what the figures mean; n fields of a bus in ports.csv. */
bl_status bl_verilog_scripts(bl_ctx *ctx, const char *dir, bool clocked);
bl_status bl_vectors_write(bl_ctx *ctx, const char *dir, const char *name, const bl_fixed_grid *grid, int64_t n, const int64_t *codes,
                           int64_t samples);
/* hardware.json; `figures` is released, NULL: no memory was left for it. */
bl_status bl_hardware_write(bl_ctx *ctx, const char *dir, json_t *figures);
void bl_verilog_meaning(bl_text *t);
void bl_ports_put(bl_text *t, const char *side, const bl_fixed_grid *grid, int64_t n);
int64_t bl_circuit_luts(const bl_circuit *c);
/* net_fixed.c and .h: the same integers in C99. */
bl_status bl_fixed_c_write(bl_ctx *ctx, const bl_fixed_net *net, const char *dir);

#endif
