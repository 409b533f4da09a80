/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Records for people: the HTML page, its trade-off picture alone, the table of the terminal.  All
 * three read JSON and nothing else; a figure that is missing, or of another type than expected, is
 * left out and never shown as zero.
 */
#ifndef BL_EMIT_REPORT_H
#define BL_EMIT_REPORT_H

#include "base/base.h"

/* The records of one run, borrowed; any may be NULL, but not all. */
typedef struct bl_report_input {
    const json_t *summary; /* summary.json */
    const json_t *plan;    /* plan.json */
    const json_t *sens;    /* sens.json */
    const json_t *cost;    /* cost.json */
    const json_t *graph;   /* bl_graph_json */
    const json_t *samples; /* distilled.json, where samples were made */
} bl_report_input;

/* One HTML file that needs nothing else: no network, no fonts, readable without its script.  The
 * same records give the same bytes.  BL_USAGE when there is no record at all. */
bl_status bl_report_write(bl_ctx *ctx, const bl_report_input *in, const char *path);

/* The page of a training that leaves a front (front.json), finished or under way. */
bl_status bl_front_write(bl_ctx *ctx, const json_t *front, const char *path);

/* The trade-off pictures of the page as one SVG on a light ground.  BL_DATA when the summary has
 * fewer than two points to draw. */
bl_status bl_tradeoff_svg(bl_ctx *ctx, const json_t *summary, const char *path);

/* What `bitlathe compare --recipes` found, as a page of pictures: {"model", "float_top1", "points": [{"series", "target",
 * "budget", "top1" or "sqnr_db", "latency_ms", "size_bytes", "energy_mj", "seconds", "feasible"}]}. */
/* A figure of a plan in a contest: its key, what it is called, in which unit (a factor), with how many decimals. */
typedef struct bl_contest_column {
    const char *key, *head;
    double scale;
    int decimals;
} bl_contest_column;
enum { BL_CONTEST_COLUMNS = 7 };
extern const bl_contest_column bl_contest_columns[BL_CONTEST_COLUMNS];

bl_status bl_contest_page(bl_ctx *ctx, const json_t *contest, const char *path);

/* A training's curves: history as bl_trained_history gives it, `all` epochs in the end.  live: the page loads itself
 * again every few seconds. */
bl_status bl_training_page(bl_ctx *ctx, const json_t *history, const char *model, int64_t all, bool live, const char *path);

/* Float, uniform and chosen network side by side, then the bits of each layer, in lines of at most
 * `columns` characters (0: 80); what does not fit is left out, the least important first.  color:
 * ANSI colours and block characters (a UTF-8 terminal); else plain ASCII, one digit a layer.  The
 * text is the arena's; NULL: see the error. */
char *bl_table_text(bl_arena *arena, const json_t *summary, bool color, int columns) BL_NODISCARD;

#endif
