/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Any bytes as a .blp, under right checksums: whatever passes validation is described, loaded and run on
 * one sample.  Programs that would take long are not run: how much work is asked for is no fault.
 */
#include "fuzz.h"

#define WORK_MOST ((double)(1 << 22)) /* kernel operations of one run */

static double product(const int64_t *size, int rank)
{
    double n = 1;
    for (int d = 0; d < rank; d++) n *= (double)size[d];
    return n;
}

static double work_of(const bl_step *s)
{
    const bl_conv_shape *c = &s->u.conv.s;
    const bl_step_pool *p = &s->u.pool;
    switch ((bl_contract)s->contract) {
    case BL_C_CONV:
        return (double)c->out_h * c->out_w * c->out_c * c->kernel_h * c->kernel_w * ((double)c->in_c / c->groups);
    case BL_C_ADD:
    case BL_C_MUL: return product(s->u.pair.size, s->u.pair.rank);
    case BL_C_GAP:
    case BL_C_AVGPOOL:
    case BL_C_MAXPOOL: return (double)p->out_h * p->out_w * p->c * p->kernel_h * p->kernel_w;
    default: return 0; /* as many as the tensors hold */
    }
}

static void run(bl_ctx *ctx, const bl_program *p)
{
    bl_exec *e;
    double work = 0;
    for (uint32_t i = 0; i < p->n_steps; i++) work += work_of(&p->steps[i]);
    if (work > WORK_MOST || !fuzz_ok(ctx, bl_exec_new(ctx, p, NULL, &e))) return;
    for (uint32_t i = 0; i < p->n_inputs; i++) {
        float *x = bl_exec_input(e, i);
        for (int64_t k = 0; k < 4; k++) x[0] = (float)k - 1.5f;
    }
    if (bl_exec_run(e, NULL, NULL) != BL_OK) abort();
    volatile float sum = 0;
    for (uint32_t i = 0; i < p->n_outputs; i++) sum = sum + bl_exec_output(e, i)[0];
    uint64_t promised, taken;
    bl_exec_memory(e, &promised, &taken);
    bl_exec_free(e);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    bl_ctx *ctx = fuzz_ctx();
    bl_program *p;
    uint8_t *file = malloc(size ? size : 1);
    if (!file) abort();
    memcpy(file, bytes, size);
    fuzz_seal(file, size);
    if (fuzz_ok(ctx, bl_program_parse(ctx, "fuzz", file, size, &p))) {
        json_t *j = bl_program_json(ctx, p);
        json_decref(j);
        run(ctx, p);
        bl_program_free(p);
    }
    free(file);
    fuzz_ctx_free(ctx);
    return 0;
}
