/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Any bytes as a .blp, under right checksums: whatever passes validation is described, loaded and run on
 * one sample.  Programs that would take long are not run: how much work is asked for is no fault.
 */
#include "fuzz.h"

#define WORK_MOST ((double)(1 << 22)) /* operations of one run */

static double product(const int64_t *size, int rank)
{
    double n = 1;
    for (int d = 0; d < rank; d++) n *= (double)size[d];
    return n;
}

/* An operator goes for each element of its outputs over as many as its largest input has, at most. */
static double island_work(const bl_program *p, const bl_pisland *is)
{
    double out = 0, in = 1;
    for (uint32_t k = 0; k < is->n_in + is->n_out; k++) {
        const bl_pport *port = &p->ports[is->first_port + k];
        if (port->type == BL_NONE) continue;
        if (k < is->n_in) in = BL_MAX(in, product(port->dim, port->rank));
        else out += product(port->dim, port->rank);
    }
    return out * in;
}

static double work_of(const bl_program *program, const bl_step *s)
{
    const bl_conv_shape *c = &s->u.conv.s;
    const bl_step_pool *p = &s->u.pool;
    if (s->contract == BL_STEP_ISLAND) return island_work(program, &program->islands[s->u.island.island]);
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
    for (uint32_t i = 0; i < p->n_steps; i++) work += work_of(p, &p->steps[i]);
    if (work > WORK_MOST || !fuzz_ok(ctx, bl_exec_new(ctx, p, NULL, &e))) return;
    for (uint32_t i = 0; i < p->n_inputs; i++) {
        float *x = bl_exec_input(e, i);
        int64_t n = 1;
        for (int d = 0; d < p->edges[i].rank; d++) n *= p->edges[i].dim[d];
        for (int64_t k = 0; k < n; k++) x[k] = (float)(k % 4) - 1.5f;
    }
    /* An island may find only now that an index is outside; kernels find nothing. */
    if (!fuzz_ok(ctx, bl_exec_run(e, NULL, NULL)) && !p->n_islands) abort();
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
