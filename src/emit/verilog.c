/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A circuit as Verilog-2001: one instance a cell, wires named by number, registers where a number crosses
 * pipeline stages.  Every identifier is made here; names of the model stand in comments alone,
 * cleaned.
 */
#include "emit/verilog.h"

#include <ctype.h>
#include <string.h>

static const char parts[] = {
#include "verilog_parts_embedded.h"
};

/* ------------------------------------------------------------------ text */

void bl_text_open(bl_ctx *ctx, bl_text *t, const char *dir, const char *name)
{
    bl_arena *a = bl_arena_new(ctx, "path");
    *t = (bl_text){ .ctx = ctx };
    char *path = a ? bl_path_join(a, dir, name) : NULL;
    t->status = path ? bl_writer_open(ctx, path, &t->out) : bl_pending(ctx);
    bl_arena_free(a);
}

void bl_text_raw(bl_text *t, const char *text, size_t n)
{
    if (t->status == BL_OK) t->status = bl_writer_put(t->out, text, n);
}

void bl_text_put(bl_text *t, const char *format, ...)
{
    char text[1024];
    va_list a;
    va_start(a, format);
    int n = vsnprintf(text, sizeof text, format, a);
    va_end(a);
    bl_text_raw(t, text, (size_t)BL_MIN(n, (int)sizeof text - 1));
}

void bl_text_comment(bl_text *t, const char *text)
{
    char clean[81];
    size_t n = 0;
    for (; text && *text && n < sizeof clean - 1; text++)
        clean[n++] = isalnum((unsigned char)*text) || strchr(" _.-+:()[]", *text) ? *text : '_';
    bl_text_raw(t, clean, n);
}

bl_status bl_text_close(bl_text *t)
{
    if (t->status == BL_OK) return bl_writer_close(t->out);
    bl_writer_abort(t->out);
    return t->status;
}

/* ------------------------------------------------------------------ buses */

int64_t bl_bus_width(const bl_fixed_grid *grid, int64_t n)
{
    int64_t w = 0;
    for (int64_t i = 0; i < n; i++) w += bl_grid_width(grid[i]);
    return w;
}

void bl_bus_hex(const bl_fixed_grid *grid, int64_t n, const int64_t *codes, char *out)
{
    int64_t digits = (bl_bus_width(grid, n) + 3) / 4, at = 0;
    for (int64_t d = 0; d < digits; d++) out[d] = 0;
    for (int64_t i = 0; i < n; i++)
        for (int b = 0; b < bl_grid_width(grid[i]); b++, at++)
            if ((uint64_t)codes[i] >> BL_MIN(b, 63) & 1) out[digits - 1 - at / 4] |= (char)(1 << at % 4);
    for (int64_t d = 0; d < digits; d++) out[d] = "0123456789abcdef"[(int)out[d]];
    out[digits] = 0;
}

/* ------------------------------------------------------------------ numbers in the text */

/* Where an instance reads a cell: its name at the reader's stage, the bits that are there, their sign. */
typedef struct operand {
    char name[48];
    int width;
    bool sign, constant;
    int64_t value;
} operand;

static operand operand_of(const bl_circuit *c, int32_t cell, int stage)
{
    const bl_cell *n = &c->cells[cell];
    operand o = { .width = n->need, .sign = bl_cell_signed(n) && n->need == bl_cell_width(n), .constant = n->kind == BL_CELL_CONSTANT };
    o.value = n->lo;
    if (stage == n->stage || o.constant) snprintf(o.name, sizeof o.name, "v%d", cell);
    else snprintf(o.name, sizeof o.name, "v%d_%d", cell, stage - n->stage);
    return o;
}

/* The lowest bits of a number as a sized constant. */
static void put_bits(bl_text *t, int width, uint64_t v)
{
    if (width < 64) v &= ((uint64_t)1 << width) - 1;
    bl_text_put(t, "%d'h%llx", width, (unsigned long long)v);
}

/* Bits low .. low + width - 1 of an operand << shift, its sign spread above. */
static void put_slice(bl_text *t, const operand *o, int shift, int low, int width)
{
    int zeros = BL_MIN(BL_MAX(shift - low, 0), width), from = BL_MAX(low - shift, 0), own = BL_MAX(BL_MIN(o->width - from, width - zeros), 0);
    int above = width - zeros - own;
    if (o->constant) {
        put_bits(t, width, shift >= low ? (uint64_t)o->value << (shift - low) : (uint64_t)(o->value >> (low - shift)));
        return;
    }
    bl_text_put(t, "{");
    if (above && o->sign) bl_text_put(t, "{%d{%s[%d]}}", above, o->name, o->width - 1);
    else if (above) bl_text_put(t, "%d'b0", above);
    if (own) bl_text_put(t, "%s%s[%d:%d]", above ? ", " : "", o->name, from + own - 1, from);
    if (zeros) bl_text_put(t, "%s%d'b0", above || own ? ", " : "", zeros);
    bl_text_put(t, "}");
}

static void put_extended(bl_text *t, const operand *o, int shift, int width)
{
    put_slice(t, o, shift, 0, width);
}

/* ------------------------------------------------------------------ cells */

/* Low bits of the finer number that meet nothing are wires; the part adds what is above them. */
static void put_sum(bl_text *t, const bl_circuit *c, int k)
{
    const bl_cell *n = &c->cells[k];
    operand a = operand_of(c, n->a, n->stage), b = operand_of(c, n->b, n->stage);
    const operand *fine = n->shift_a ? &b : &a, *coarse = n->shift_a ? &a : &b;
    int low = n->subtract && n->shift_a ? 0 : BL_MIN(n->shift_a + n->shift_b, n->need), high = n->need - low;
    if (low) {
        bl_text_put(t, "    assign v%d[%d:0] = ", k, low - 1);
        put_slice(t, fine, 0, 0, low);
        bl_text_put(t, ";\n");
    }
    if (!high) return;
    if (!n->subtract && !fine->sign && !fine->constant && fine->width <= low) {
        bl_text_put(t, "    assign v%d[%d:%d] = ", k, n->need - 1, low);
        put_slice(t, coarse, 0, 0, high);
        bl_text_put(t, ";\n");
        return;
    }
    bl_text_put(t, "    bl_%s #(%d) a%d (.a(", n->subtract ? "sub" : "add", high, k);
    put_slice(t, &a, n->shift_a, low, high);
    bl_text_put(t, "), .b(");
    put_slice(t, &b, n->shift_b, low, high);
    bl_text_put(t, "), .y(v%d[%d:%d]));\n", k, n->need - 1, low);
}

static void put_round(bl_text *t, const bl_circuit *c, int k)
{
    const bl_cell *n = &c->cells[k];
    operand a = operand_of(c, n->a, n->stage);
    if (n->halved) {
        bl_text_put(t, "    bl_even #(.WA(%d), .SA(%d), .D(%d), .WY(%d)) r%d (.a(%s), .y(v%d));\n", a.width, a.sign, n->drop, n->need, k,
                    a.name, k);
        return;
    }
    if (n->round != BL_TRN) {
        bl_text_put(t, "    bl_round #(.WA(%d), .SA(%d), .D(%d), .MODE(%d), .WY(%d)) r%d (.a(%s), .y(v%d));\n", a.width, a.sign,
                    n->drop, n->round, n->need, k, a.name, k);
        return;
    }
    int own = BL_MIN(a.width - n->drop, n->need);
    bl_text_put(t, "    assign v%d = {", k);
    if (n->need > BL_MAX(own, 0)) {
        if (a.sign) bl_text_put(t, "{%d{%s[%d]}}%s", n->need - BL_MAX(own, 0), a.name, a.width - 1, own > 0 ? ", " : "");
        else bl_text_put(t, "%d'b0%s", n->need - BL_MAX(own, 0), own > 0 ? ", " : "");
    }
    if (own > 0) bl_text_put(t, "%s[%d:%d]", a.name, n->drop + own - 1, n->drop);
    bl_text_put(t, "};\n");
}

static void put_clip(bl_text *t, const bl_circuit *c, int k)
{
    const bl_cell *n = &c->cells[k], *from = &c->cells[n->a];
    operand a = operand_of(c, n->a, n->stage);
    if (!n->relu && !n->saturate) {
        bl_text_put(t, "    assign v%d = ", k);
        put_extended(t, &a, n->shift_a, n->need);
        bl_text_put(t, ";\n");
        return;
    }
    /* Which ends are cut to: those that the clip's own interval stops at. */
    int64_t step = (int64_t)1 << n->shift_a;
    bool high = n->saturate && from->hi * step > n->hi, zero = n->relu || (n->saturate && n->lo == 0 && from->lo < 0);
    bool low = n->saturate && !zero && from->lo * step < n->lo;
    int bits = high && n->hi ? 64 - __builtin_clzll((uint64_t)n->hi) : low && !high ? bl_adder_width(n->lo, 0) - 1 : 0;
    bool sym = low && n->lo == 1 - ((int64_t)1 << bits);
    bl_text_put(t, "    bl_clip #(.WA(%d), .SA(%d), .ZERO(%d), .HIGH(%d), .LOW(%d), .SYM(%d), .B(%d), .WY(%d)) q%d (.a(", a.width + n->shift_a,
                a.sign, zero, high, low, sym, bits, n->need, k);
    if (n->shift_a) put_extended(t, &a, n->shift_a, a.width + n->shift_a);
    else bl_text_put(t, "%s", a.name);
    bl_text_put(t, "), .y(v%d));\n", k);
}

static void put_max(bl_text *t, const bl_circuit *c, int k)
{
    const bl_cell *n = &c->cells[k];
    operand a = operand_of(c, n->a, n->stage), b = operand_of(c, n->b, n->stage);
    bool none_a = !a.width, none_b = !b.width; /* the number 0 takes no bits */
    bl_text_put(t, "    bl_max #(.WA(%d), .SA(%d), .WB(%d), .SB(%d), .WY(%d)) m%d (.a(", none_a ? 1 : a.width + n->shift_a, a.sign,
                none_b ? 1 : b.width + n->shift_b, b.sign, n->need, k);
    if (none_a) bl_text_put(t, "1'b0");
    else put_extended(t, &a, n->shift_a, a.width + n->shift_a);
    bl_text_put(t, "), .b(");
    if (none_b) bl_text_put(t, "1'b0");
    else put_extended(t, &b, n->shift_b, b.width + n->shift_b);
    bl_text_put(t, "), .y(v%d));\n", k);
}

static void put_registers(bl_text *t, int k, const bl_cell *n)
{
    if (n->last <= n->stage || n->kind == BL_CELL_CONSTANT) return;
    bl_text_put(t, "    reg [%d:0] v%d_1", n->need - 1, k);
    for (int s = 2; s <= n->last - n->stage; s++) bl_text_put(t, ", v%d_%d", k, s);
    bl_text_put(t, ";\n    always @(posedge clk) begin v%d_1 <= v%d;", k, k);
    for (int s = 2; s <= n->last - n->stage; s++) bl_text_put(t, " v%d_%d <= v%d_%d;", k, s, k, s - 1);
    bl_text_put(t, " end\n");
}

static void put_cell(bl_text *t, const bl_circuit *c, int k)
{
    const bl_cell *n = &c->cells[k];
    if (!n->need) return;
    bl_text_put(t, "    wire [%d:0] v%d;\n", n->need - 1, k);
    switch (n->kind) {
    case BL_CELL_INPUT: break; /* tied to the bus by put_inputs */
    case BL_CELL_CONSTANT:
        bl_text_put(t, "    assign v%d = ", k);
        put_bits(t, n->need, (uint64_t)n->lo);
        bl_text_put(t, ";\n");
        break;
    case BL_CELL_SUM: put_sum(t, c, k); break;
    case BL_CELL_ROUND: put_round(t, c, k); break;
    case BL_CELL_CLIP: put_clip(t, c, k); break;
    case BL_CELL_MAX: put_max(t, c, k); break;
    }
    put_registers(t, k, n);
}

/* ------------------------------------------------------------------ the module */

static void put_inputs(bl_text *t, const bl_circuit *c)
{
    int64_t at = 0;
    for (int64_t i = 0; i < c->n_in; i++) {
        const bl_circuit_value *v = &c->in[i];
        if (v->cell >= 0 && c->cells[v->cell].need)
            bl_text_put(t, "    assign v%d = x[%lld +: %d];\n", v->cell, (long long)at, c->cells[v->cell].need);
        at += bl_grid_width(c->net->in[i]);
    }
}

static void put_outputs(bl_text *t, const bl_circuit *c)
{
    const bl_fixed_layer *last = &c->net->layers[c->net->n_layers - 1];
    int64_t at = 0;
    for (int64_t e = 0; e < c->n_out; e++) {
        const bl_circuit_value *v = &c->out[e];
        int width = bl_grid_width(last->out[e]);
        if (!width) continue;
        bl_text_put(t, "    %sy[%lld +: %d] %s ", c->stages ? "always @(posedge clk) " : "assign ", (long long)at, width, c->stages ? "<=" : "=");
        if (v->cell < 0) put_bits(t, width, 0);
        else {
            const bl_cell *n = &c->cells[v->cell];
            operand o = operand_of(c, v->cell, n->last);
            put_extended(t, &o, n->exp + v->shift + last->out[e].f, width);
        }
        bl_text_put(t, ";\n");
        at += width;
    }
}

void bl_verilog_module(bl_text *t, const bl_circuit *c, const char *name)
{
    const bl_fixed_net *net = c->net;
    const bl_fixed_layer *last = &net->layers[net->n_layers - 1];
    int layer = -1;
    bl_text_put(t, "module %s (%sinput wire [%lld:0] x, output %s [%lld:0] y);\n",
                name, c->stages ? "input wire clk, " : "", (long long)BL_MAX(bl_bus_width(net->in, net->n_in), 1) - 1, c->stages ? "reg" : "wire",
                (long long)BL_MAX(bl_bus_width(last->out, last->n_out), 1) - 1);
    for (int k = 0; k < c->n_cells && t->status == BL_OK; k++) {
        if (c->cells[k].layer != layer) {
            layer = c->cells[k].layer;
            if (layer == 0) put_inputs(t, c);
            bl_text_put(t, "\n    /* layer %d: %s ", layer, bl_fixed_kind_name(net->layers[layer].kind));
            bl_text_comment(t, net->layers[layer].name);
            bl_text_put(t, " */\n");
        }
        put_cell(t, c, k);
    }
    if (layer < 0) put_inputs(t, c);
    bl_text_put(t, "\n");
    put_outputs(t, c);
    bl_text_put(t, "endmodule\n");
}

void bl_verilog_parts(bl_text *t)
{
    bl_text_raw(t, parts, strlen(parts));
}

bl_status bl_verilog_write(bl_ctx *ctx, const bl_circuit *c, const char *dir)
{
    bl_text t;
    bl_text_open(ctx, &t, dir, "net.v");
    bl_text_put(&t, "/* Made by bitlathe %s from ", BL_VERSION_STRING);
    bl_text_comment(&t, c->net->name);
    bl_text_put(&t, ".\n * Fixed-point network, fully unrolled: %lld adders, %d levels of logic", (long long)c->adders, c->depth);
    if (c->stages) bl_text_put(&t, ",\n * %d cycles from x to y, a new sample every cycle. */\n", c->stages);
    else bl_text_put(&t, ",\n * combinational. */\n");
    bl_text_put(&t, "`default_nettype none\n\n");
    bl_verilog_parts(&t);
    bl_text_put(&t, "\n/* The network.  Element 0 stands lowest in x and in y; ports.csv has all fields. */\n");
    bl_verilog_module(&t, c, "bl_net");
    bl_text_put(&t, "`default_nettype wire\n");
    return bl_text_close(&t);
}
