/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The page as a list of parts, each in a file of its own.  A part that has nothing to show writes
 * nothing, its heading included.
 */
#include "emit/report_private.h"

#include <locale.h>
#include <string.h>

enum { TAIL = 10 }; /* bytes at the end of a long name that always show */

/* ------------------------------------------------------------------ begin and end */

/* Numbers are written with the C locale's point whatever the program has set.  glibc gives the C
 * locale without allocating. */
static void use_c_locale(bl_report *r)
{
    r->c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    r->old_locale = r->c_locale ? uselocale(r->c_locale) : (locale_t)0;
}

static void restore_locale(bl_report *r)
{
    if (!r->c_locale) return;
    uselocale(r->old_locale);
    freelocale(r->c_locale);
}

bl_status bl_report_begin(bl_ctx *ctx, const bl_report_input *in, bl_report *r)
{
    *r = (bl_report){.ctx = ctx, .in = *in};
    bl_arena *arena = bl_arena_new(ctx, "report");
    BL_ALLOC_TRY(ctx, arena);
    r->page.arena = arena;
    bl_status status = bl_report_gather(r, arena);
    if (status != BL_OK)
        bl_arena_free(arena);
    else
        use_c_locale(r);
    return status;
}

void bl_report_free(bl_report *r)
{
    restore_locale(r);
    bl_arena_free(r->page.arena);
}

bl_status bl_report_end(bl_report *r, const char *path, bool complete)
{
    bl_status status = complete && !r->page.failed
                           ? bl_write_file(r->ctx, path, r->page.text, r->page.used)
                           : bl_pending(r->ctx);
    bl_report_free(r);
    return status;
}

/* ------------------------------------------------------------------ what parts share */

void bl_part_open(bl_report *r, const char *id, const char *title)
{
    bl_page_put(&r->page, "<section id=\"%s\">\n<h2>%s</h2>\n", id, title);
    if (r->n_parts == BL_COUNTOF(r->parts)) return;
    r->parts[r->n_parts].id = id;
    r->parts[r->n_parts++].title = title;
}

void bl_part_close(bl_report *r)
{
    bl_page_raw(&r->page, "</section>\n");
}

void bl_part_name(bl_report *r, const char *name)
{
    size_t n = strlen(name), tail = n - BL_MIN(n, (size_t)TAIL);
    while (tail < n && ((unsigned char)name[tail] & 0xC0) == 0x80)
        tail++; /* not within a character */
    char *front = n > 2 * TAIL ? bl_strndup(r->page.arena, name, tail) : NULL;
    if (front)
        bl_page_put(&r->page, "<span class=\"long\"><span>%s</span><span>%s</span></span>", front,
                    name + tail);
    else
        bl_page_put(&r->page, "%s", name);
}

void bl_part_bar(bl_report *r, const char *label, double share, const char *class, const char *text)
{
    double percent = 100 * fmin(fmax(share, 0), 1);
    bl_page_put(&r->page, "<div class=\"bar\"><span class=\"who\" title=\"%s\">", label);
    bl_part_name(r, label);
    bl_page_put(
        &r->page,
        "</span><span class=\"track\"><span class=\"%s\" "
        "style=\"width:%.2f%%\"></span></span><span class=\"much\">%s</span></div>\n",
        class, isfinite(percent) ? percent : 0.0, text);
}

void bl_part_fact(bl_report *r, const char *name, const char *text)
{
    if (text && *text) bl_page_put(&r->page, "<div><dt>%s</dt><dd>%s</dd></div>\n", name, text);
}

void bl_part_row(bl_report *r, const bl_row *row)
{
    bool chosen = row->kind == BL_ROW_CHOSEN;
    bl_page_put(&r->page, "<tr class=\"%s\"><th scope=\"row\">%s%s</th>", chosen ? "chosen" : "",
                row->kind == BL_ROW_UNIFORM || row->kind == BL_ROW_INT8 ? "uniform " : "",
                chosen ? bl_report_chosen_name(r) : row->name);
}

void bl_part_cell(bl_report *r, double value, const char *text, const char *more)
{
    if (!isfinite(value)) {
        bl_page_raw(&r->page, "<td class=\"none\">\xE2\x80\x93</td>");
        return;
    }
    bl_page_put(&r->page, "<td data-v=\"%.17g\">%s", value, text);
    if (*more) bl_page_put(&r->page, " <small>%s</small>", more);
    bl_page_raw(&r->page, "</td>");
}

/* ------------------------------------------------------------------ the page */

/* Nothing is loaded from anywhere: the policy also holds should a browser see a reason to. */
const char bl_report_meta[] =
    "<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, "
    "initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n"
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; "
    "style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'; form-action "
    "'none'\">\n<link rel=\"icon\" href=\"data:,\">\n";

static void write_parts(bl_report *r)
{
    bl_part_results(r);
    bl_part_tradeoff(r);
    bl_part_bits(r);
    bl_part_kinds(r);
    bl_part_sens(r);
    bl_part_latency(r);
    bl_part_memory(r);
    bl_part_budgets(r);
    bl_part_samples(r);
    bl_part_machine(r);
    bl_part_stages(r);
    bl_part_again(r);
    bl_part_words(r);
}

static void write_page(bl_report *r, const bl_page *parts)
{
    bl_page *o = &r->page;
    const char *model = bl_figure_text(r->in.summary, "model");
    bl_page_raw(o, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n");
    bl_page_raw(o, bl_report_meta);
    bl_page_put(o, "<title>%s%sbitlathe</title>\n<style>\n", model ? model : "",
                model ? " \xC2\xB7 " : "");
    bl_page_raw(o, bl_report_style);
    bl_page_raw(o, "</style>\n</head>\n<body>\n<main>\n");
    bl_part_headline(r);
    bl_page_raw(o, "<nav aria-label=\"Contents\">");
    for (size_t i = 0; i < r->n_parts; i++)
        bl_page_put(o, "<a href=\"#%s\">%s</a>", r->parts[i].id, r->parts[i].title);
    bl_page_raw(o, "</nav>\n");
    bl_page_raw(o, parts->text);
    bl_page_raw(o, "</main>\n<script>\n");
    bl_page_raw(o, bl_report_script);
    bl_page_raw(o, "</script>\n</body>\n</html>\n");
}

bl_status bl_report_write(bl_ctx *ctx, const bl_report_input *in, const char *path)
{
    if (!in->summary && !in->plan && !in->sens && !in->cost && !in->graph)
        return bl_fail(ctx, BL_USAGE, path, "give the folder of a run",
                       "there is no record to report on");
    bl_report r;
    BL_TRY(bl_report_begin(ctx, in, &r));
    write_parts(&r); /* before the head, which lists those that had something to show */
    bl_page parts = r.page;
    r.page = (bl_page){.arena = parts.arena, .failed = parts.failed};
    if (!r.page.failed) write_page(&r, &parts);
    return bl_report_end(&r, path, true);
}
