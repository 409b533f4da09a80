/* SPDX-License-Identifier: BSD-3-Clause */
/* What a caller of the public header may know of a program's inputs and outputs. */
#include "program/program.h"

static bool port(const bl_program *program, const bl_pedge *edge, bl_port *out)
{
    size_t count = 1; /* cannot overflow: validated when the program was made or opened */
    for (int d = 0; d < edge->rank; d++) count *= (size_t)edge->dim[d];
    *out = (bl_port){ program->strings + edge->name, edge->dim, edge->rank, count };
    return true;
}

bool bl_program_input(const bl_program *program, uint32_t i, bl_port *out)
{
    return i < program->n_inputs && port(program, &program->edges[i], out);
}

bool bl_program_output(const bl_program *program, uint32_t i, bl_port *out)
{
    return i < program->n_outputs && port(program, &program->edges[program->n_inputs + i], out);
}
