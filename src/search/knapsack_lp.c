/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An allocation problem as CPLEX LP text, so that any solver can check ours.  Variable xU_O is one
 * when unit U takes option O; the one-of rows imply the upper bounds, and there is no Bounds
 * section, because readers disagree about it.  Names that the format could not hold stand in
 * comments.
 */
#include "search/knapsack.h"

#include <stdio.h>
#include <string.h>

enum { TERMS_PER_LINE = 4 };

typedef struct text {
    bl_writer *to;
    int terms; /* on this line */
    bl_status status;
} text;

BL_PRINTF(2, 3) static void put(text *t, const char *format, ...)
{
    char line[256];
    va_list args;
    if (t->status != BL_OK) return;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (n > 0) t->status = bl_writer_put(t->to, line, BL_MIN((size_t)n, sizeof line - 1));
}

static void term(text *t, double factor, int unit, int option)
{
    put(t, " %+.17g x%d_%d", factor, unit, option);
    if (++t->terms % TERMS_PER_LINE == 0) put(t, "\n ");
}

/* A name inside a comment: control bytes would end the line. */
static void comment(text *t, const char *prefix, const char *name)
{
    char clean[160];
    size_t n = 0;
    for (const char *c = name ? name : ""; *c && n + 1 < sizeof clean; c++)
        clean[n++] = (unsigned char)*c < 0x20 || *c == 0x7f ? '?' : *c;
    clean[n] = 0;
    put(t, "\\ %s: %s\n", prefix, clean);
}

static void heads(text *t, const bl_mckp *p)
{
    char prefix[48];
    put(t, "\\ one option for each unit, least sum of objectives, within the budgets\n");
    for (int m = 0; m < p->n_budgets; m++) {
        snprintf(prefix, sizeof prefix, "budget b%d", m);
        comment(t, prefix, p->budget_names[m]);
    }
    for (int u = 0; u < p->n_units; u++) {
        snprintf(prefix, sizeof prefix, "unit x%d", u);
        comment(t, prefix, p->units[u].name);
        for (int o = 0; o < p->units[u].n_options; o++) {
            snprintf(prefix, sizeof prefix, "  x%d_%d", u, o);
            comment(t, prefix, p->units[u].names[o]);
        }
    }
}

static int option_by_name(const bl_mckp_unit *unit, const char *name)
{
    for (int o = 0; o < unit->n_options; o++)
        if (strcmp(unit->names[o], name) == 0) return o;
    return -1;
}

/* Rows x = y for options of the same name, x = 0 for those without a partner. */
static void tie_rows(text *t, const bl_mckp *p, int tie)
{
    for (int i = 1; i < p->ties[tie].n; i++) {
        int a = p->ties[tie].units[0], b = p->ties[tie].units[i];
        if (a == b) continue;
        for (int o = 0; o < p->units[a].n_options; o++) {
            int other = option_by_name(&p->units[b], p->units[a].names[o]);
            put(t, "t%d_%d_%d: x%d_%d", tie, i, o, a, o);
            if (other >= 0) put(t, " - x%d_%d", b, other);
            put(t, " = 0\n");
        }
        for (int o = 0; o < p->units[b].n_options; o++)
            if (option_by_name(&p->units[a], p->units[b].names[o]) < 0)
                put(t, "s%d_%d_%d: x%d_%d = 0\n", tie, i, o, b, o);
    }
}

static void body(text *t, const bl_mckp *p)
{
    heads(t, p);
    put(t, "Minimize\n objective:");
    for (int u = 0; u < p->n_units; u++)
        for (int o = 0; o < p->units[u].n_options; o++) term(t, p->units[u].objective[o], u, o);
    put(t, "\nSubject To\n");
    for (int m = 0; m < p->n_budgets; m++) {
        put(t, "b%d:", m);
        for (int u = 0; u < p->n_units; u++)
            for (int o = 0; o < p->units[u].n_options; o++) term(t, p->units[u].cost[m][o], u, o);
        put(t, " <= %.17g\n", p->limits[m]);
    }
    for (int u = 0; u < p->n_units; u++) {
        put(t, "u%d:", u);
        for (int o = 0; o < p->units[u].n_options; o++) term(t, 1, u, o);
        put(t, " = 1\n");
    }
    for (int tie = 0; tie < p->n_ties; tie++) tie_rows(t, p, tie);
    put(t, "Binary\n");
    for (int u = 0; u < p->n_units; u++)
        for (int o = 0; o < p->units[u].n_options; o++) put(t, " x%d_%d\n", u, o);
    put(t, "End\n");
}

bl_status bl_mckp_write_lp(bl_ctx *ctx, const bl_mckp *problem, const char *path)
{
    BL_TRY(bl_mckp_check(ctx, path, problem));
    text t = {.status = BL_OK};
    BL_TRY(bl_writer_open(ctx, path, &t.to));
    body(&t, problem);
    if (t.status != BL_OK) {
        bl_writer_abort(t.to);
        return t.status;
    }
    return bl_writer_close(t.to);
}
