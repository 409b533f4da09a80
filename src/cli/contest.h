/* SPDX-License-Identifier: BSD-3-Clause */
/* Recipes, or finished runs, beside each other: what `compare` prints and draws about accuracy and cost. */
#ifndef BL_CONTEST_H
#define BL_CONTEST_H

#include "cli/pipeline.h"

typedef struct bl_contest {
    const char *recipes, *targets, *budgets[4], *eval; /* lists with commas; a budget is METRIC=R,R,R */
    const char *set[16];        /* lines on top of every recipe */
    int n_budgets, n_set;
    int64_t eval_limit;
} bl_contest;

/* Every recipe on every target under every budget, for the model of args[0]; folders under -o keep their records.
 * More args are finished runs beside them. */
bl_status bl_contest_run(bl_cli *cli, const bl_contest *contest);
/* Is it the folder of a run?  What the args' summaries say, together. */
bool bl_contest_is_run(bl_cli *cli, const char *path);
bl_status bl_contest_of_runs(bl_cli *cli);

/* ebops.c: effective bit operations of a program's layers, exact spans. */
bl_status bl_program_ebops(bl_ctx *ctx, const bl_program *program, double *out);

#endif
