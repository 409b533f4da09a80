/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Adder graphs, the second stage of da4ml (arXiv 2507.04535): sums of two terms that several places
 * need are made once.  Digits are kept as masks by (number, output); every pair of digits of an
 * output is counted under its pattern (which numbers, how far apart, same or opposite sign); the
 * pattern that saves most becomes a number of its own and takes the place of its two digits
 * everywhere, until no pattern occurs twice.
 *
 * Counts are kept up to date digit by digit.  They grow only for patterns of the newest number, so a
 * heap whose entries may be too high but never too low gives the best pattern.
 */
#include "emit/adder.h"

#include <math.h>
#include <string.h>

enum { ID_BITS = 24, SHIFT_ZERO = 64, TABLE_FIRST = 1 << 12, AHEAD = 32 };
/* What a level that two numbers stand apart takes from the score. */
#define LEVEL_PRICE 256
#define LEVEL_PRICE_COUNT 1e9

/* Patterns in the order that settles ties: the greater wins. */
typedef struct pattern { int id0, id1, shift; bool opposite; } pattern;

static uint64_t key_of(pattern p)
{
    return ((uint64_t)p.id1 << (ID_BITS + 9)) | ((uint64_t)p.id0 << 9) | ((uint64_t)p.opposite << 8)
         | (uint64_t)(p.shift + SHIFT_ZERO);
}

static pattern pattern_of(uint64_t key)
{
    return (pattern){ (int)(key >> 9 & ((1u << ID_BITS) - 1)), (int)(key >> (ID_BITS + 9)),
                      (int)(key & 0xff) - SHIFT_ZERO, key >> 8 & 1 };
}

typedef struct count { uint64_t key; int32_t n; bool fresh; } count;   /* n < 0: free place */
typedef struct entry { double score; uint64_t key; } entry;

typedef struct share {
    bl_adder_build *b;
    bl_ctx *ctx;
    bl_adder_method method;
    bool by_depth;
    int n_out, n_ids;
    int limit;                  /* levels that an output may need */
    double *load;               /* [output]: sum of 2^(level - limit) of its digits; balanced sums keep the limit up to 1 */
    bl_adder_term *ids;         /* what each number is: node << shift */
    uint64_t **plus, **minus;   /* [id][output]: places of its digits */
    int32_t **active;           /* [output]: numbers that have digits there */
    int32_t *n_active;
    bl_arena *table_arena, *heap_arena, *fresh_arena;
    count *table;
    size_t table_size, table_used;
    entry *heap;
    size_t heap_n, heap_room;
    uint64_t *fresh;            /* patterns whose count grew since the heap was told */
    size_t n_fresh, fresh_room;
} share;

/* ------------------------------------------------------------------ counts */

static size_t first_place(uint64_t key, size_t size)
{
    return (size_t)(key * 0x9e3779b97f4a7c15ull >> 20) & (size - 1);
}

static size_t place_of(const count *table, size_t size, uint64_t key)
{
    size_t h = first_place(key, size);
    while (table[h].n >= 0 && table[h].key != key) h = (h + 1) & (size - 1);
    return h;
}

static bl_status table_resize(share *s, size_t size)
{
    bl_arena *arena = bl_arena_new(s->ctx, "adder pairs");
    size_t used = 0;
    if (!arena) return bl_pending(s->ctx);
    count *t = BL_NEW(arena, count, size);
    if (!t) {
        bl_arena_free(arena);
        return bl_pending(s->ctx);
    }
    for (size_t i = 0; i < size; i++) t[i].n = -1;
    for (size_t i = 0; i < s->table_size; i++) {
        if (s->table[i].n <= 0) continue;
        t[place_of(t, size, s->table[i].key)] = s->table[i];
        used++;
    }
    bl_arena_free(s->table_arena);
    s->table_arena = arena;
    s->table = t;
    s->table_size = size;
    s->table_used = used;
    return BL_OK;
}

/* A list that doubles in an arena of its own. */
static bl_status room_for(share *s, bl_arena **arena, void **list, size_t *room, size_t n, size_t size)
{
    if (n < *room) return BL_OK;
    size_t more = *room ? 2 * *room : 1024;
    bl_arena *a = bl_arena_new(s->ctx, "adder list");
    if (!a) return bl_pending(s->ctx);
    void *to = bl_alloc(a, more, size);
    if (!to) {
        bl_arena_free(a);
        return bl_pending(s->ctx);
    }
    if (n) memcpy(to, *list, n * size);
    bl_arena_free(*arena);
    *arena = a;
    *list = to;
    *room = more;
    return BL_OK;
}

static bl_status count_change(share *s, uint64_t key, int by)
{
    size_t h = place_of(s->table, s->table_size, key);
    count *c = &s->table[h];
    if (c->n < 0) {
        *c = (count){ .key = key };
        if (++s->table_used * 4 > s->table_size * 3) {
            c->n = 1; /* kept by the resize, which drops what is 0 */
            BL_TRY(table_resize(s, s->table_used * 2 > s->table_size ? 2 * s->table_size : s->table_size));
            c = &s->table[place_of(s->table, s->table_size, key)];
            c->n = 0;
        }
    }
    c->n += by;
    if (by < 0 || c->fresh) return BL_OK;
    c->fresh = true;
    BL_TRY(room_for(s, &s->fresh_arena, (void **)&s->fresh, &s->fresh_room, s->n_fresh, sizeof *s->fresh));
    s->fresh[s->n_fresh++] = key;
    return BL_OK;
}

static bl_status count_changes(share *s, const uint64_t *keys, int n, int by)
{
    for (int i = 0; i < n; i++) BL_TRY(count_change(s, keys[i], by));
    return BL_OK;
}

/* Counts one more or less of every pattern of a digit with the others of its output.  The table is far larger than a cache:
 * places are asked for some keys ahead. */
static bl_status count_digit(share *s, int out, int id, int place, bool negative, int by)
{
    uint64_t keys[AHEAD];
    int n = 0;
    for (int k = 0; k < s->n_active[out]; k++) {
        int other = s->active[out][k];
        uint64_t p = s->plus[other][out], m = s->minus[other][out];
        for (uint64_t left = p | m; left; left &= left - 1) {
            int at = __builtin_ctzll(left);
            bool opposite = (m >> at & 1) != negative;
            pattern q = { id, other, at - place, opposite };
            if (id == other && at == place) continue;
            if (id > other || (id == other && q.shift < 0)) q = (pattern){ other, id, place - at, opposite };
            keys[n] = key_of(q);
            __builtin_prefetch(&s->table[first_place(keys[n++], s->table_size)], 1);
            if (n < AHEAD) continue;
            BL_TRY(count_changes(s, keys, n, by));
            n = 0;
        }
    }
    return count_changes(s, keys, n, by);
}

static bl_status digit_add(share *s, int out, int id, int place, bool negative)
{
    uint64_t *row = negative ? s->minus[id] : s->plus[id];
    BL_TRY(count_digit(s, out, id, place, negative, 1));
    if (!(s->plus[id][out] | s->minus[id][out])) s->active[out][s->n_active[out]++] = id;
    row[out] |= (uint64_t)1 << place;
    return BL_OK;
}

static bl_status digit_remove(share *s, int out, int id, int place)
{
    uint64_t bit = (uint64_t)1 << place;
    bool negative = s->minus[id][out] & bit;
    s->plus[id][out] &= ~bit;
    s->minus[id][out] &= ~bit;
    if (!(s->plus[id][out] | s->minus[id][out])) {
        int k = 0;
        while (s->active[out][k] != id) k++;
        s->active[out][k] = s->active[out][--s->n_active[out]];
    }
    return count_digit(s, out, id, place, negative, -1);
}

/* ------------------------------------------------------------------ the best pattern */

static int ceil_log2_u(uint64_t v)
{
    return v > 1 ? 64 - __builtin_clzll(v - 1) : 0;
}

static uint64_t reach(const bl_adder_node *n)
{
    uint64_t down = n->lo < 0 ? 0 - (uint64_t)n->lo : (uint64_t)n->lo, up = (uint64_t)(n->hi < -1 ? -(n->hi + 1) : n->hi + 1);
    return BL_MAX(down, up);
}

/* Bits where both terms have digits: da4ml's k + ceil log2(lesser max) - log2(coarser step). */
static int overlap_bits(const share *s, pattern p)
{
    const bl_adder_term *x = &s->ids[p.id0], *y = &s->ids[p.id1];
    const bl_adder_node *a = &s->b->g->nodes[x->node], *b = &s->b->g->nodes[y->node];
    int ea = a->exp + x->shift, eb = b->exp + y->shift + (s->method == BL_ADDER_ALIGNED ? p.shift : 0);
    int top = BL_MIN(ceil_log2_u(reach(a)) + ea, ceil_log2_u(reach(b)) + eb);
    return (a->lo < 0 || b->lo < 0) + top - BL_MAX(ea, eb);
}

/* Negative: never. */
static double score_of(const share *s, pattern p, int n)
{
    if (n < 2) return -1;
    double score = n;
    if (s->method != BL_ADDER_COUNT) score *= overlap_bits(s, p);
    if (s->by_depth) {
        int la = s->b->g->nodes[s->ids[p.id0].node].level, lb = s->b->g->nodes[s->ids[p.id1].node].level;
        double apart = la > lb ? la - lb : lb - la;
        score -= (s->method == BL_ADDER_COUNT ? LEVEL_PRICE_COUNT : LEVEL_PRICE) * apart;
    }
    return score;
}

static bool above(entry a, entry b)
{
    return a.score != b.score ? a.score > b.score : a.key > b.key;
}

static bl_status heap_put(share *s, entry e)
{
    BL_TRY(room_for(s, &s->heap_arena, (void **)&s->heap, &s->heap_room, s->heap_n, sizeof *s->heap));
    size_t i = s->heap_n++;
    for (; i && above(e, s->heap[(i - 1) / 2]); i = (i - 1) / 2) s->heap[i] = s->heap[(i - 1) / 2];
    s->heap[i] = e;
    return BL_OK;
}

static entry heap_take(share *s)
{
    entry top = s->heap[0], e = s->heap[--s->heap_n];
    size_t i = 0;
    for (size_t c; (c = 2 * i + 1) < s->heap_n; i = c) {
        if (c + 1 < s->heap_n && above(s->heap[c + 1], s->heap[c])) c++;
        if (!above(s->heap[c], e)) break;
        s->heap[i] = s->heap[c];
    }
    s->heap[i] = e;
    return top;
}

/* The heap learns of patterns that became more frequent. */
static bl_status heap_refresh(share *s)
{
    for (size_t i = 0; i < s->n_fresh; i++) {
        if (i + AHEAD < s->n_fresh) __builtin_prefetch(&s->table[first_place(s->fresh[i + AHEAD], s->table_size)], 1);
        count *c = &s->table[place_of(s->table, s->table_size, s->fresh[i])];
        if (c->n < 0) continue; /* fell to 0 and was dropped by a resize */
        c->fresh = false;
        double score = score_of(s, pattern_of(c->key), c->n);
        if (score >= 0) BL_TRY(heap_put(s, (entry){ score, c->key }));
    }
    s->n_fresh = 0;
    return BL_OK;
}

static bl_status best_pattern(share *s, bool *found, pattern *out)
{
    *found = false;
    while (s->heap_n) {
        entry e = heap_take(s);
        const count *c = &s->table[place_of(s->table, s->table_size, e.key)];
        double score = c->n < 0 ? -1 : score_of(s, pattern_of(e.key), c->n);
        if (score > e.score || score < 0) continue; /* a later entry knows better, or it is gone */
        if (score < e.score) {
            BL_TRY(heap_put(s, (entry){ score, e.key }));
            continue;
        }
        *out = pattern_of(e.key);
        *found = true;
        break;
    }
    return BL_OK;
}

/* ------------------------------------------------------------------ replacing */

static bl_status id_new(share *s, bl_adder_term t)
{
    s->plus[s->n_ids] = BL_NEW(s->b->arena, uint64_t, (size_t)s->n_out);
    s->minus[s->n_ids] = BL_NEW(s->b->arena, uint64_t, (size_t)s->n_out);
    if (!s->plus[s->n_ids] || !s->minus[s->n_ids]) return bl_pending(s->ctx);
    s->ids[s->n_ids++] = t;
    return BL_OK;
}

static uint64_t moved(uint64_t v, int down)
{
    return down >= 0 ? v >> down : v << -down;
}

static uint64_t hits_of(const share *s, pattern p, int out)
{
    uint64_t p0 = s->plus[p.id0][out], m0 = s->minus[p.id0][out];
    uint64_t p1 = moved(s->plus[p.id1][out], p.shift), m1 = moved(s->minus[p.id1][out], p.shift);
    return p.opposite ? (p0 & m1) | (m0 & p1) : (p0 & p1) | (m0 & m1);
}

static double load_of(const share *s, int level)
{
    return level - s->limit < -1000 ? 0 : ldexp(1, level - s->limit);
}

static int level_of(const share *s, int id)
{
    int node = s->ids[id].node;
    return node < 0 ? 0 : s->b->g->nodes[node].level;
}

/* What an output's load grows by where the pattern's two digits become one a level above the later of them. */
static double load_more(const share *s, pattern p)
{
    int a = level_of(s, p.id0), b = level_of(s, p.id1);
    return load_of(s, BL_MAX(a, b) + 1) - load_of(s, a) - load_of(s, b);
}

/* Whether at least two places may have the sum (what it stands for twice in one output counts, too: an upper bound). */
static bool worth(const share *s, pattern p)
{
    double more = load_more(s, p);
    int n = 0;
    for (int o = 0; o < s->n_out && n < 2; o++) {
        double room = 1 - s->load[o];
        for (uint64_t hits = hits_of(s, p, o); hits && room >= more && n < 2; hits &= hits - 1, room -= more) n++;
    }
    return n >= 2;
}

/* The new number stands at the place of the pattern's first digit. */
static bl_status replace_in(share *s, pattern p, int id, int out)
{
    double more = load_more(s, p);
    for (uint64_t hits = hits_of(s, p, out); hits; hits &= hits - 1) {
        int at = __builtin_ctzll(hits);
        uint64_t here = (uint64_t)1 << at, there = (uint64_t)1 << (at + p.shift);
        bool negative = s->minus[p.id0][out] & here;
        if (s->load[out] + more > 1) return BL_OK;
        /* Patterns of one number with itself overlap: the left one took this digit. */
        if (!((s->plus[p.id0][out] | s->minus[p.id0][out]) & here)) continue;
        if (!((s->plus[p.id1][out] | s->minus[p.id1][out]) & there)) continue;
        BL_TRY(digit_remove(s, out, p.id0, at));
        BL_TRY(digit_remove(s, out, p.id1, at + p.shift));
        BL_TRY(digit_add(s, out, id, at, negative));
        s->load[out] += more;
    }
    return BL_OK;
}

static bl_status share_all(share *s)
{
    pattern p;
    bool found;
    for (unsigned round = 0;; round++) {
        if (round % 64 == 0) BL_TRY(bl_check_interrupt(s->ctx));
        BL_TRY(heap_refresh(s));
        BL_TRY(best_pattern(s, &found, &p));
        if (!found) return BL_OK;
        if (!worth(s, p)) continue;
        bl_adder_term t = { 0 };
        const bl_adder_term *x = &s->ids[p.id0], *y = &s->ids[p.id1];
        t.node = bl_adder_sum(s->b, x->node, x->shift, y->node, y->shift + p.shift, p.opposite, &t.shift);
        if (t.node < 0) return bl_pending(s->ctx);
        BL_TRY(id_new(s, t));
        for (int o = 0; o < s->n_out; o++) BL_TRY(replace_in(s, p, s->n_ids - 1, o));
    }
}

/* ------------------------------------------------------------------ one factor */

static bl_status share_make(share *s, const int64_t *w, int n_in, const bl_adder_term *terms, const int32_t *row_shift)
{
    bl_arena *arena = s->b->arena;
    size_t no = (size_t)s->n_out, digits = 0;
    for (size_t k = 0; k < (size_t)n_in * no; k++) digits += (size_t)bl_csd_count(w[k]);
    /* Each new number takes one digit away at least. */
    size_t room = (size_t)n_in + digits + 1;
    if (room >> ID_BITS)
        return bl_fail(s->ctx, BL_UNAVAILABLE, "adder graph", "split the layer", "more than %d digits", 1 << ID_BITS);
    s->ids = BL_NEW(arena, bl_adder_term, room);
    s->plus = BL_NEW(arena, uint64_t *, room);
    s->minus = BL_NEW(arena, uint64_t *, room);
    s->active = BL_NEW(arena, int32_t *, no);
    s->n_active = BL_NEW(arena, int32_t, no);
    s->load = BL_NEW(arena, double, no);
    if (!s->ids || !s->plus || !s->minus || !s->active || !s->n_active || !s->load) return bl_pending(s->ctx);
    for (size_t o = 0; o < no; o++) {
        size_t n = 0;
        for (int i = 0; i < n_in; i++) n += (size_t)bl_csd_count(w[(size_t)i * no + o]);
        /* A digit is put before its two are gone from the list only in between: one place more. */
        s->active[o] = BL_NEW(arena, int32_t, n + 1);
        if (!s->active[o]) return bl_pending(s->ctx);
    }
    for (int i = 0; i < n_in; i++)
        BL_TRY(id_new(s, (bl_adder_term){ terms[i].node, terms[i].shift + row_shift[i], false }));
    return BL_OK;
}

/* Digits as they are; counting their pairs is for who shares. */
static bl_status put_digits(share *s, const int64_t *w, int n_in, const bl_adder_term *terms)
{
    for (int i = 0; i < n_in; i++) {
        for (int o = 0; o < s->n_out; o++) {
            int64_t v = w[(size_t)i * (size_t)s->n_out + (size_t)o];
            uint64_t p, m;
            bl_csd(terms[i].negative ? -v : v, &p, &m);
            s->load[o] += __builtin_popcountll(p | m) * load_of(s, level_of(s, i));
            if (s->method == BL_ADDER_NONE) {
                s->plus[i][o] = p;
                s->minus[i][o] = m;
                if (p | m) s->active[o][s->n_active[o]++] = i;
                continue;
            }
            for (uint64_t left = p | m; left; left &= left - 1)
                BL_TRY(digit_add(s, o, i, __builtin_ctzll(left), m >> __builtin_ctzll(left) & 1));
        }
    }
    return BL_OK;
}

static bl_status sum_output(share *s, int o, int64_t bias, int32_t bias_exp, bl_adder_term *terms, bl_adder_output *out)
{
    int n = 0;
    for (int k = 0; k < s->n_active[o]; k++) {
        int id = s->active[o][k];
        uint64_t m = s->minus[id][o];
        for (uint64_t left = s->plus[id][o] | m; left; left &= left - 1) {
            int at = __builtin_ctzll(left);
            terms[n++] = (bl_adder_term){ s->ids[id].node, s->ids[id].shift + at, m >> at & 1 };
        }
    }
    if (bias) {
        int zeros = __builtin_ctzll((uint64_t)bias);
        bl_adder_node c = { .kind = BL_ADDER_CONSTANT, .a = -1, .b = -1, .exp = bias_exp + zeros,
                            .lo = bias >> zeros, .hi = bias >> zeros };
        terms[n].node = bl_adder_node_add(s->b, &c);
        if (terms[n].node < 0) return bl_pending(s->ctx);
        terms[n].shift = 0;
        terms[n++].negative = false;
    }
    return bl_adder_reduce(s->b, terms, n, out);
}

static bl_status sum_outputs(share *s, const int32_t *column_shift, const int64_t *bias, const int32_t *bias_exp,
                             bl_adder_output *outputs)
{
    for (int o = 0; o < s->n_out; o++) {
        size_t n = 1;
        for (int k = 0; k < s->n_active[o]; k++) {
            int id = s->active[o][k];
            n += (size_t)__builtin_popcountll(s->plus[id][o] | s->minus[id][o]);
        }
        bl_adder_term *terms = BL_NEW(s->b->arena, bl_adder_term, n);
        if (!terms) return bl_pending(s->ctx);
        /* The column's power of two comes after the sum, so the bias is divided by it. */
        BL_TRY(sum_output(s, o, bias ? bias[o] : 0, bias ? bias_exp[o] - column_shift[o] : 0, terms, &outputs[o]));
        outputs[o].shift += column_shift[o];
    }
    return BL_OK;
}

bl_status bl_adder_share(bl_adder_build *b, bl_adder_method method, bool by_depth, int limit, const int64_t *w, int n_in, int n_out,
                         const bl_adder_term *terms_in, const int64_t *bias, const int32_t *bias_exp,
                         bl_adder_output *outputs)
{
    share s = { .b = b, .ctx = bl_arena_ctx(b->arena), .method = method, .by_depth = by_depth, .n_out = n_out, .limit = limit };
    size_t n = (size_t)n_in * (size_t)n_out;
    int64_t *copy = BL_NEW(b->arena, int64_t, n);
    int32_t *rows = BL_NEW(b->arena, int32_t, (size_t)n_in), *columns = BL_NEW(b->arena, int32_t, (size_t)n_out);
    bl_status st;

    if (!copy || !rows || !columns) return bl_pending(s.ctx);
    memcpy(copy, w, n * sizeof *copy);
    bl_adder_normalise(copy, n_in, n_out, rows, columns);
    st = table_resize(&s, TABLE_FIRST);
    if (st == BL_OK) st = share_make(&s, copy, n_in, terms_in, rows);
    for (int o = 0; st == BL_OK && o < n_out; o++) s.load[o] = bias && bias[o] ? load_of(&s, 0) : 0;
    if (st == BL_OK) st = put_digits(&s, copy, n_in, terms_in);
    if (st == BL_OK && method != BL_ADDER_NONE) st = share_all(&s);
    if (st == BL_OK) st = sum_outputs(&s, columns, bias, bias_exp, outputs);
    bl_arena_free(s.table_arena);
    bl_arena_free(s.heap_arena);
    bl_arena_free(s.fresh_arena);
    return st;
}
