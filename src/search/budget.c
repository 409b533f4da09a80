/* SPDX-License-Identifier: BSD-3-Clause */
/* Budgets as people write them: size=0.6, size=300KiB, latency=2ms, bops=1e9, energy=10mJ. */
#include "search/search.h"

#include <stdlib.h>
#include <string.h>

static bool parse_time(const char *text, double *ns)
{
    char *end;
    double v = strtod(text, &end);
    double unit = !strcmp(end, "ms") ? 1e6 : !strcmp(end, "us") ? 1e3 : !strcmp(end, "s") ? 1e9 : !strcmp(end, "ns") ? 1 : 0;
    *ns = v * unit;
    return end != text && unit > 0 && isfinite(*ns);
}

static bool parse_energy(const char *text, double *nj)
{
    char *end;
    double v = strtod(text, &end);
    double unit = !strcmp(end, "J") ? 1e9 : !strcmp(end, "mJ") ? 1e6 : !strcmp(end, "uJ") ? 1e3 : !strcmp(end, "nJ") ? 1 : 0;
    *nj = v * unit;
    return end != text && unit > 0 && isfinite(*nj);
}

bl_status bl_budget_parse(bl_ctx *ctx, const char *text, bl_budget *out)
{
    char name[32];
    const char *eq = strchr(text, '=');
    bl_budget b = { .relative = NAN };
    uint64_t bytes;
    double v;
    const char *remedy = "write size=0.6, size=300KiB, latency=0.8, latency=2ms, bops=0.5 or energy=10mJ";
    if (!eq || (size_t)(eq - text) >= sizeof name)
        return bl_fail(ctx, BL_USAGE, text, remedy, "a budget that is none");
    snprintf(name, sizeof name, "%.*s", (int)(eq - text), text);
    if (!bl_metric_parse(name, &b.metric)) return bl_fail(ctx, BL_USAGE, text, remedy, "unknown metric \"%s\"", name);
    const char *value = eq + 1;
    bool number = bl_parse_f64(value, &v);
    if (number && b.metric == BL_M_BOPS && v > 10) b.limit = v;
    else if (number && v <= 10) b.relative = v;
    else if (b.metric == BL_M_SIZE && bl_parse_bytes(value, &bytes)) b.limit = (double)bytes;
    else if (b.metric == BL_M_LATENCY && parse_time(value, &v)) b.limit = v;
    else if (b.metric == BL_M_ENERGY && parse_energy(value, &v)) b.limit = v;
    else return bl_fail(ctx, BL_USAGE, text, remedy, "\"%s\" is neither a ratio nor a %s", value, name);
    if (!((isnan(b.relative) ? b.limit : b.relative) > 0))
        return bl_fail(ctx, BL_USAGE, text, "give a budget above zero", "nothing fits a budget of zero or less");
    *out = b;
    return BL_OK;
}

void bl_budget_resolve(bl_budget *b, const double baseline[BL_N_METRIC])
{
    if (!isnan(b->relative)) b->limit = b->relative * baseline[b->metric];
}
