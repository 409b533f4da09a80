/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inside the report: a page that escapes what it is given, figures read from JSON, a plot with axes
 * and labels, and the parts in the order of the page.
 */
#ifndef BL_REPORT_PRIVATE_H
#define BL_REPORT_PRIVATE_H

#include "emit/report.h"

#include <locale.h>
#include <math.h>

/* ------------------------------------------------------------------ page.c: text that grows */

typedef struct bl_page {
    bl_arena *arena;
    char *text; /* ends in NUL once anything was put */
    size_t used, room;
    bool failed; /* out of memory, with the error pending; later calls do nothing */
} bl_page;

void bl_page_raw(bl_page *page, const char *markup); /* our own markup, never a record's text */
/* Knows %s %c %d %zu %f %g %e with a precision, and %%.  %s is escaped for text and for quoted
 * attributes: the only way that a record's text gets onto the page. */
void bl_page_put(bl_page *page, const char *format, ...) BL_PRINTF(2, 3);
/* Bytes of the character at `text` (1..4), and whether a page or terminal may show it: no control
 * character, nothing that turns the direction of writing. */
size_t bl_page_character(const char *text, bool *shown);

#define BL_SHOW 64 /* bytes of the buffers below; each returns buf */
char *bl_show_bytes(double bytes, char *buf);
char *bl_show_count(double n, char *buf); /* 1.23 M */
char *bl_show_ms(double ms, char *buf);   /* 41.2 µs, 3.07 ms, 1.5 s */
char *bl_show_number(double v, char *buf);
char *bl_show_signed(double v, int decimals, char *buf);
/* At most `most` characters: the middle is left out. */
char *bl_show_short(const char *text, size_t most, char *buf);

/* ------------------------------------------------------------------ figures.c: out of records */

/* Item at a path such as "mixed.latency_ms.median"; NULL, NAN, NULL where it is missing or of
 * another type; a number that is not finite is missing. */
const json_t *bl_figure_at(const json_t *o, const char *path);
double bl_figure_num(const json_t *o, const char *path);
const char *bl_figure_text(const json_t *o, const char *path);

typedef enum bl_row_kind { BL_ROW_FLOAT, BL_ROW_INT8, BL_ROW_UNIFORM, BL_ROW_CHOSEN } bl_row_kind;

/* One way to run the network; NAN where a figure was not taken. */
typedef struct bl_row {
    bl_row_kind kind;
    const char *name;
    double top1, top5, auc, sqnr_db;
    double size_bytes, file_bytes, memory_bytes, bops;
    double latency_ms, latency_p10_ms, latency_p90_ms; /* the median first */
    double latency_q1_ms, predicted_ms;                /* the lower quartile is what tells ties */
} bl_row;

typedef struct bl_layer {
    const char *name, *op, *shape, *kind, *side, *range, *range_why; /* "" where missing */
    double macs, weights, size_bytes, predicted_us, measured_us;
    int w_bits, a_in_bits, a_out_bits; /* 0: none or not known */
} bl_layer;

typedef struct bl_report {
    bl_ctx *ctx;
    bl_page page;
    bl_report_input in;
    bl_row *rows; /* float, int8, uniform ..., chosen */
    size_t n_rows;
    const bl_row *flt, *int8, *chosen; /* NULL: absent */
    bl_layer *layers;
    size_t n_layers;
    struct {
        const char *id, *title;
    } parts[16]; /* those that were opened, for the list of contents */
    size_t n_parts;
    locale_t c_locale, old_locale;
} bl_report;

/* The page in an arena of its own, with rows and layers, under the C locale until bl_report_end,
 * which frees everything; `complete`: writes the file, else gives the pending error. */
bl_status bl_report_begin(bl_ctx *ctx, const bl_report_input *in, bl_report *r);
bl_status bl_report_end(bl_report *r, const char *path, bool complete);
void bl_report_free(bl_report *r); /* instead of bl_report_end, without a file */

/* Rows and layers; where the summary has no layers, the plan's units stand for them. */
bl_status bl_report_gather(bl_report *r, bl_arena *arena);
bool bl_report_infeasible(const bl_report *r);
const char *bl_report_chosen_name(const bl_report *r); /* "chosen plan", "refused plan", ... */
bool bl_report_narrow(const bl_report *r); /* some layer has fewer than 8 bits */
#define BL_REPORT_TIE 0.03 /* relative difference of times that counts as none */
/* Time of the chosen network over that of int8, measured where both were; NAN where unknown. */
double bl_report_time_ratio(const bl_report *r, bool *measured);

/* ------------------------------------------------------------------ svg.c: a plot */

typedef struct bl_box {
    double x0, y0, x1, y1;
    bool thin; /* a guide line: a label crosses it where there is no other place */
} bl_box;

typedef struct bl_plot {
    bl_page *page;
    double left, right, top, bottom; /* of the frame, in pixels */
    double x_lo, x_hi, y_lo, y_hi;   /* in data; logarithmic: > 0 */
    bool logarithmic;                /* both axes */
    bool x_logarithmic;              /* the horizontal one alone */
    bl_box *boxes;                   /* taken by marks and labels */
    size_t n_boxes, room;
} bl_plot;

typedef enum bl_mark_kind { BL_DOT, BL_SQUARE, BL_DIAMOND, BL_RING } bl_mark_kind;

void bl_svg_open(bl_page *page, const char *class, double width, double height, const char *label);
void bl_svg_close(bl_page *page);
/* Widens [lo, hi] to some room around the data; lo == hi gets room too. */
void bl_plot_pad(double *lo, double *hi, double share, bool logarithmic);
double bl_plot_x(const bl_plot *p, double v);
double bl_plot_y(const bl_plot *p, double v);
/* Frame, ticks, grid; x_label below at the right, y_label above at the left. */
void bl_plot_axes(bl_plot *p, const char *x_label, const char *y_label);
/* Makes room for n marks and their labels.  bl_plot_take says where nothing else may be written. */
bool bl_plot_reserve(bl_plot *p, bl_arena *arena, size_t n);
void bl_plot_take(bl_plot *p, bl_box box);
void bl_plot_mark(bl_plot *p, bl_mark_kind kind, const char *class, double x, double y,
                  const char *tip);
enum { BL_LABEL_HEIGHT = 13 };
/* Text with its upper left corner there; false: no room, nothing written. */
bool bl_plot_write(bl_plot *p, const char *class, double left, double top, const char *text);
/* Text beside the mark at (x, y), where there is room; false: nowhere, nothing written. */
bool bl_plot_label(bl_plot *p, const char *class, double x, double y, const char *text);
double bl_text_width(const char *text); /* in pixels, roughly, at the size of labels */

/* ------------------------------------------------------------------ parts, in the page's order */

extern const char bl_report_meta[], bl_report_style[], bl_report_script[], bl_svg_style[];

/* id and title are constants; the title stands in the list of contents, too. */
void bl_part_open(bl_report *r, const char *id, const char *title);
void bl_part_close(bl_report *r);
/* A horizontal bar with a label before and a text behind it; share in 0..1. */
void bl_part_bar(bl_report *r, const char *label, double share, const char *class,
                 const char *text);
/* A name that gives way in its middle where it is too long: its end tells layers apart. */
void bl_part_name(bl_report *r, const char *name);
/* A row of a list of facts; nothing where the text is NULL or empty. */
void bl_part_fact(bl_report *r, const char *name, const char *text);
/* Opens the table row of one way to run the network, with its name. */
void bl_part_row(bl_report *r, const bl_row *row);
/* A table cell that sorts by its value; a dash where that is not finite.  more: in small print. */
void bl_part_cell(bl_report *r, double value, const char *text, const char *more);

void bl_part_headline(bl_report *r);  /* report_head.c */
void bl_part_results(bl_report *r);   /* report_results.c */
void bl_part_tradeoff(bl_report *r);  /* report_tradeoff.c */
/* report_plans.c: the plans of the front, each shown when its point is chosen; whether one can be. */
void bl_report_plans(bl_report *r);
bool bl_report_plan_known(const json_t *front);
void bl_part_bits(bl_report *r);      /* report_bits.c */
void bl_part_kinds(bl_report *r);     /* report_kinds.c */
/* The table alone: kinds as "kinds" of summary.json. */
void bl_kinds_table(bl_report *r, const json_t *kinds);
void bl_part_sens(bl_report *r);      /* report_sens.c */
void bl_part_samples(bl_report *r);   /* report_samples.c */
void bl_part_latency(bl_report *r);   /* report_latency.c */
void bl_part_memory(bl_report *r);    /* report_facts.c: the rest */
void bl_part_budgets(bl_report *r);
void bl_part_machine(bl_report *r);
void bl_part_stages(bl_report *r);
void bl_part_again(bl_report *r);
void bl_part_words(bl_report *r);

#endif
