/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Kernel rows that a program asks for: those that a measurement found faster than the first that fits.
 * Every row gives the same bits, so this is advice: it holds on the CPU where it was measured, capped at the
 * same instruction set, and for rows that exist and fit; else the table's order decides.
 */
#include "program/program.h"

#include <string.h>

static bl_status damaged(bl_ctx *ctx, const char *place)
{
    return bl_fail(ctx, BL_DATA, place, "make the program again from its plan", "damaged names of kernels");
}

static bl_status read_rows(bl_ctx *ctx, const char *place, bl_program *p, const json_t *all)
{
    json_t *rows, *row;
    const char *cpu, *isa;
    size_t i;
    BL_TRY(bl_json_str(ctx, all, "cpu", place, &cpu));
    BL_TRY(bl_json_str(ctx, all, "isa", place, &isa));
    BL_TRY(bl_json_array(ctx, all, "rows", place, p->n_steps, &rows));
    p->row = BL_NEW(p->arena, const char *, BL_MAX(p->n_steps, 1));
    p->row_cpu = bl_strdup(p->arena, cpu);
    p->row_isa = bl_strdup(p->arena, isa);
    if (!p->row || !p->row_cpu || !p->row_isa) return bl_pending(ctx);
    json_array_foreach(rows, i, row) {
        int64_t step;
        const char *name;
        BL_TRY(bl_json_i64(ctx, row, "step", place, 0, (int64_t)p->n_steps - 1, &step));
        BL_TRY(bl_json_str(ctx, row, "kernel", place, &name));
        p->row[step] = bl_strdup(p->arena, name);
        BL_ALLOC_TRY(ctx, p->row[step]);
    }
    return BL_OK;
}

bl_status bl_program_rows_read(bl_ctx *ctx, const char *place, bl_program *p, const void *text, uint64_t bytes)
{
    json_t *all;
    if (!bytes || ((const char *)text)[bytes - 1]) return damaged(ctx, place);
    BL_TRY(bl_json_parse(ctx, place, text, bytes - 1, &all));
    bl_status s = json_is_object(all) ? read_rows(ctx, place, p, all) : damaged(ctx, place);
    json_decref(all);
    if (s != BL_OK) return s;
    p->row_text = text;
    p->row_text_bytes = bytes;
    return BL_OK;
}

bl_status bl_program_prefer(bl_ctx *ctx, bl_program *p, const char *cpu, const char *isa, const char *const *row)
{
    json_t *rows = json_array();
    for (uint32_t i = 0; i < p->n_steps; i++)
        if (row[i]) json_array_append_new(rows, json_pack("{s:i, s:s}", "step", (int)i, "kernel", row[i]));
    if (!json_array_size(rows)) { /* nothing to say: no section */
        json_decref(rows);
        return BL_OK;
    }
    json_t *all = json_pack("{s:s, s:s, s:o}", "cpu", cpu, "isa", isa, "rows", rows);
    char *text = all ? bl_json_text(p->arena, all, false) : NULL;
    json_decref(all);
    BL_ALLOC_TRY(ctx, text);
    return bl_program_rows_read(ctx, "program", p, text, strlen(text) + 1);
}

const char *bl_program_row(const bl_program *p, uint32_t step, bl_isa cap)
{
    if (!p->row || !p->row[step] || strcmp(p->row_cpu, bl_cpu_name()) || strcmp(p->row_isa, bl_isa_name(cap))) return NULL;
    return p->row[step];
}
