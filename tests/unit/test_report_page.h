/* SPDX-License-Identifier: BSD-3-Clause */
/* Records of a small run written by hand, the page made of them, and what every page must be. */
#ifndef BL_TEST_REPORT_PAGE_H
#define BL_TEST_REPORT_PAGE_H

#include "support.h"

#include "emit/report.h"

#include <ctype.h>

#define EVIL "</script><b>\"'&\xE2\x80\xAE"
#define EVIL_ESCAPED "&lt;/script&gt;&lt;b&gt;&quot;&#39;&amp;\xEF\xBF\xBD"

/* ------------------------------------------------------------------ records by hand */

static const char summary_text[] =
    "{'model':'net.onnx','recipe':'mixed','target':'here','seed':1,'feasible':true,'refused':null,"
    "'notes':['a note'],'command':'bitlathe quantize --budget size=0.6 net.onnx -o run --floor=top1=-1 --seed 7',"
    "'float':{'top1':0.9322,'size_bytes':40000,'latency_ms':{'median':2,'p10':1.9,'p90':2.2}},"
    "'int8':{'top1':0.9319,'size_bytes':10000,'latency_ms':{'median':1,'p10':0.9,'p90':1.2,'q1':0."
    "95},"
    "'predicted_latency_ms':0.98,'bops':64000000,'sqnr_db':40,'memory_bytes':70000},"
    "'mixed':{'top1':0.9311,'top5':0.99,'size_bytes':5900,'file_bytes':6100,"
    "'latency_ms':{'median':0.8,'p10':0.7,'p90':0.9,'q1':0.76},'predicted_latency_ms':0.75,"
    "'bops':32000000,'sqnr_db':29,'memory_bytes':60000,'auc':0.93},"
    "'uniform':[{'name':'W4A8','top1':0.92,'size_bytes':5000,'latency_ms':0.8,'sqnr_db':22,"
    "'predicted_latency_ms':0.7},{'name':'W2A8','top1':0.41,'size_bytes':2500,'sqnr_db':5}],"
    "'budgets':[{'name':'size','limit':6000,'relative':0.6,'baseline':10000,'achieved':5900,"
    "'binding':true},{'name':'latency','limit':900000,'baseline':980000,'achieved':750000}],"
    "'front':[{'size_bytes':3000,'latency_ns':650000,'objective':0.01,'sqnr_db':20,'w_bits':[8,2,0],'a_in_bits':[8,4,16]},"
    "{'size_bytes':5900,'latency_ns':750000,'objective':0.001,'sqnr_db':30,'w_bits':[8,4,0],'a_in_bits':[8,4]},"
    "{'size_bytes':9000,'latency_ns':900000,'objective':0.0001,'sqnr_db':38,'top1':0.9315}],"
    "'layers':[{'name':'first','op':'Conv','shape':'16x28x28','macs':1000,'weights':432,'w_bits':8,"
    "'a_in_bits':8,'a_out_bits':8,'size_bytes':432,'predicted_us':10,'measured_us':12},"
    "{'name':'middle','op':'Conv','shape':'16x28x28','macs':9000,'weights':8000,'w_bits':4,"
    "'a_in_bits':4,'a_out_bits':8,'size_bytes':4000,'predicted_us':100,'measured_us':90},"
    "{'name':'add','op':'Add','shape':'16x28x28','w_bits':0,'a_in_bits':16,'a_out_bits':8}],"
    "'seconds':{'import':0.04,'sense':2.5},'peak_rss_bytes':100000000,"
    "'samples':{'calibration':256,'evaluation':10000},"
    "'machine':{'cpu':'A processor','isa':'avx2','threads':2,'l2_bytes':2097152},"
    "'hashes':{'graph':'00ff','plan':'11ee'},"
    "'solver':{'status':'optimal','objective':0.001,'bound':0.001,'gap':0.0,'proof':'root',"
    "'multipliers':{'size':1e-9}},'tool':'0.1.0'}";

static const char plan_text[] =
    "{'bitlathe':'plan','hash':'11ee','made_from':{'graph':'00ff'},'recipe':'mixed','seed':1,"
    "'feasible':true,'units':[{'name':'first','w_bits':8,'a_bits':8},{'name':'middle','w_bits':4,"
    "'a_bits':4},{'name':'add','w_bits':0,'a_bits':8}],'quantizers':[]}";

static const char sens_text[] =
    "{'metric':'sqnr','unit':'dB','samples':128,'units':[{'name':'middle','candidates':["
    "{'candidate':'W8A8','value':44,'standard_error':0.1,'objective':0},"
    "{'candidate':'W4A4','value':30,'standard_error':0.2,'objective':0.001},"
    "{'candidate':'W2A8','value':10,'standard_error':0.3,'objective':0.1}]},"
    "{'name':'add','candidates':[{'candidate':'A8','value':50,'standard_error':0,'objective':0},"
    "{'candidate':'A4','value':null,'standard_error':null,'objective':0.002}]}]}";

static const char cost_text[] =
    "{'target':'here','machine':{'cpu':'A processor'},'cells':["
    "{'key':'conv','w_bits':8,'a_in_bits':8,'a_out_bits':8,'kernel':'k','q1_ns':900,'median_ns':"
    "950},"
    "{'key':'conv','w_bits':4,'a_in_bits':8,'a_out_bits':8,'kernel':'k','q1_ns':600,'median_ns':"
    "650},"
    "{'key':'add','w_bits':0,'a_in_bits':8,'a_out_bits':8,'kernel':'k','q1_ns':50,'median_ns':55}],"
    "'groups':[{'key':'conv','aa_spread':0.01}]}";

static const char graph_text[] = "{'name':'graph name','opset':13,'nodes':[],'totals':{'nodes':3}}";

/* JSON with single quotes. */
static inline json_t *parse(const char *text)
{
    char *copy = strdup(text);
    for (char *p = copy; *p; p++)
        if (*p == '\'') *p = '"';
    json_error_t error;
    json_t *value = json_loads(copy, JSON_DECODE_ANY, &error);
    if (!value) fail_msg("%s at %d: %.60s", error.text, error.position, copy + error.position);
    free(copy);
    return value;
}

typedef struct run {
    bl_ctx *ctx;
    json_t *records[5]; /* summary, plan, sens, cost, graph */
    char folder[256], path[300];
} run;

static inline run run_new(void)
{
    static const char *const texts[] = {summary_text, plan_text, sens_text, cost_text, graph_text};
    run r = {.ctx = test_ctx(1, 0)};
    for (size_t i = 0; i < 5; i++) r.records[i] = parse(texts[i]);
    snprintf(r.path, sizeof r.path, "%.256s/report.html", test_folder(r.folder));
    return r;
}

static inline void run_free(run *r)
{
    for (size_t i = 0; i < 5; i++) json_decref(r->records[i]);
    test_folder_remove(r->folder);
    test_ctx_free(r->ctx);
}

static inline char *read_all(const char *path)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    size_t n = (size_t)ftell(f);
    rewind(f);
    char *text = malloc(n + 1);
    assert_int_equal(fread(text, 1, n, f), n);
    text[n] = '\0';
    fclose(f);
    return text;
}

/* Writes the page of the records whose bit is set; the caller frees the text. */
static inline char *page(run *r, unsigned which)
{
    const json_t *in[5];
    for (size_t i = 0; i < 5; i++) in[i] = which >> i & 1 ? r->records[i] : NULL;
    bl_report_input input = {in[0], in[1], in[2], in[3], in[4], NULL};
    assert_ok(r->ctx, bl_report_write(r->ctx, &input, r->path));
    return read_all(r->path);
}

#define ALL 31u

/* ------------------------------------------------------------------ what a page must be */

static inline bool is_void(const char *name)
{
    return !strcmp(name, "meta") || !strcmp(name, "link") || !strcmp(name, "!doctype");
}

/* Every tag is closed in its order, attributes are quoted, nothing else looks like a tag. */
static inline void assert_balanced(const char *text)
{
    char open[64][16];
    size_t depth = 0;
    for (const char *p = text; *p; p++) {
        if (*p == '>') fail_msg("stray > near %.40s", p);
        if (*p != '<') continue;
        bool closing = p[1] == '/';
        char name[16];
        size_t n = 0;
        for (p += 1 + closing; n < 15 && (isalnum((unsigned char)*p) || *p == '!'); p++)
            name[n++] = (char)tolower((unsigned char)*p);
        name[n] = '\0';
        for (bool quoted = false; *p && (quoted || *p != '>'); p++) {
            if (*p == '"') quoted = !quoted;
            if (*p == '<') fail_msg("< within a tag near %.40s", p);
        }
        if (closing) {
            if (depth == 0 || strcmp(open[depth - 1], name)) fail_msg("</%s> near %.60s", name, p);
            depth--;
        } else if (p[-1] != '/' && !is_void(name)) {
            assert_true(depth < 64);
            strcpy(open[depth++], name);
        }
        if (!closing && (!strcmp(name, "style") || !strcmp(name, "script"))) {
            p = strstr(p, name[1] == 't' ? "</style>" : "</script>");
            assert_non_null(p);
            p--;
        }
    }
    if (depth) fail_msg("<%s> is not closed", open[depth - 1]);
}

static inline void assert_without(const char *text, const char *word)
{
    size_t n = strlen(word);
    for (const char *p = strstr(text, word); p; p = strstr(p + 1, word))
        if (!isalpha((unsigned char)p[-1]) && !isalpha((unsigned char)p[n]))
            fail_msg("\"%s\" near %.80s", word, p - BL_MIN(p - text, 40));
}

static inline size_t count(const char *text, const char *part)
{
    size_t n = 0;
    for (const char *p = strstr(text, part); p; p = strstr(p + 1, part)) n++;
    return n;
}

static inline void assert_sound(const char *text)
{
    assert_balanced(text);
    assert_without(text, "nan");
    assert_without(text, "inf");
    assert_int_equal(count(text, "<script"), 1);
    assert_null(strstr(text, "http:"));
    assert_null(strstr(text, "https:"));
    assert_null(strstr(text, "src="));
    assert_null(strstr(text, "url("));
}

static inline void assert_has(const char *text, const char *part)
{
    if (!strstr(text, part)) fail_msg("the page does not say \"%s\"", part);
}

#endif
