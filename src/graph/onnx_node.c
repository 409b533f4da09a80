/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Nodes and attributes.  First the list of everything that this program cannot compute, in one
 * message, so that nobody learns of it operator by operator; then the nodes themselves.  Constant
 * nodes become constants, absent optional inputs -1.
 */
#include "graph/onnx_private.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

/* Attribute types beyond bl_attr_type that the format knows. */
enum { TENSORS = 9, GRAPHS = 10, SPARSE_TENSOR = 11, SPARSE_TENSORS = 12, TYPE_PROTO = 13,
       TYPE_PROTOS = 14 };

/* Operators with more outputs than this have as many as one likes. */
#define FIXED_OUTPUTS_MAX 3
#define LIST_MAX 900 /* of the message that names the unsupported operators */

static const char *text(const char *s)
{
    return s ? s : "";
}

static const char *domain_of(const Onnx__NodeProto *n)
{
    return strcmp(text(n->domain), "ai.onnx") == 0 ? "" : text(n->domain);
}

/* 0: the model does not import that domain. */
static int opset_of(const bl_onnx *in, const char *domain)
{
    const Onnx__ModelProto *m = in->model;
    if (!*domain) return in->graph->opset;
    for (size_t i = 0; i < m->n_opset_import; i++)
        if (strcmp(text(m->opset_import[i]->domain), domain) == 0)
            return (int)m->opset_import[i]->version;
    return 0;
}

static bool is_constant_node(const Onnx__NodeProto *n)
{
    return !*domain_of(n) && strcmp(text(n->op_type), "Constant") == 0;
}

/* ------------------------------------------------------------------ attributes */

/* The declared type, or for files of format version 1, which declare none, the field that is
 * filled; 0 when nothing is. */
static int attr_type(const Onnx__AttributeProto *a)
{
    const struct {
        int type;
        bool filled;
    } fields[] = {
        {BL_ATTR_FLOAT, a->has_f},          {BL_ATTR_INT, a->has_i},
        {BL_ATTR_STRING, a->has_s},         {BL_ATTR_TENSOR, a->t != NULL},
        {BL_ATTR_GRAPH, a->g != NULL},      {BL_ATTR_FLOATS, a->n_floats > 0},
        {BL_ATTR_INTS, a->n_ints > 0},      {BL_ATTR_STRINGS, a->n_strings > 0},
        {TENSORS, a->n_tensors > 0},        {GRAPHS, a->n_graphs > 0},
        {SPARSE_TENSOR, a->sparse_tensor != NULL},
        {SPARSE_TENSORS, a->n_sparse_tensors > 0},
        {TYPE_PROTO, a->tp != NULL},        {TYPE_PROTOS, a->n_type_protos > 0},
    };
    int other = 0;
    for (size_t i = 0; i < BL_COUNTOF(fields); i++) {
        if (!fields[i].filled) continue;
        if (fields[i].type == a->type) return a->type; /* other fields may hold zeros beside it */
        other = fields[i].type;
    }
    /* Nothing filled: a zero or an empty list, which some writers leave out. */
    return a->type == 0 || other == 0 ? BL_MAX(a->type, other) : -1;
}

static bl_status copy_strings(bl_onnx *in, const Onnx__AttributeProto *from, bl_attr *to)
{
    bl_arena *arena = in->graph->arena;
    const char **list = BL_NEW(arena, const char *, from->n_strings);
    BL_ALLOC_TRY(in->ctx, list);
    for (size_t i = 0; i < from->n_strings; i++) {
        list[i] = from->strings[i].len ? bl_strndup(arena, (const char *)from->strings[i].data,
                                                    from->strings[i].len) : "";
        BL_ALLOC_TRY(in->ctx, list[i]);
    }
    to->n = from->n_strings;
    to->strings = list;
    return BL_OK;
}

static bl_status copy_list(bl_onnx *in, const void *from, size_t n, size_t unit, const void **to)
{
    void *copy = bl_alloc(in->graph->arena, n, unit);
    BL_ALLOC_TRY(in->ctx, copy);
    if (n > 0) memcpy(copy, from, n * unit);
    *to = copy;
    return BL_OK;
}

static bl_status copy_attr(bl_onnx *in, const Onnx__AttributeProto *from, const char *subject,
                           bl_attr *to)
{
    const void *list = NULL;
    *to = (bl_attr){.type = (bl_attr_type)attr_type(from)};
    to->name = bl_strdup(in->graph->arena, text(from->name));
    BL_ALLOC_TRY(in->ctx, to->name);
    switch (to->type) {
    case BL_ATTR_FLOAT:
        to->f = from->f;
        break;
    case BL_ATTR_INT:
        to->i = from->i;
        break;
    case BL_ATTR_STRING: {
        char *s = bl_alloc(in->graph->arena, from->s.len + 1, 1);
        BL_ALLOC_TRY(in->ctx, s);
        if (from->s.len > 0) memcpy(s, from->s.data, from->s.len);
        to->s = s;
        to->s_len = from->s.len;
        break;
    }
    case BL_ATTR_TENSOR:
        if (!from->t)
            return bl_onnx_fail(in, BL_DATA, subject, BL_ONNX_DAMAGED,
                                "attribute \"%.100s\" lacks its tensor", to->name);
        return bl_onnx_tensor(in, from->t, subject, &to->t);
    case BL_ATTR_FLOATS:
        BL_TRY(copy_list(in, from->floats, from->n_floats, sizeof(float), &list));
        to->floats = list;
        to->n = from->n_floats;
        break;
    case BL_ATTR_INTS:
        BL_TRY(copy_list(in, from->ints, from->n_ints, sizeof(int64_t), &list));
        to->ints = list;
        to->n = from->n_ints;
        break;
    case BL_ATTR_STRINGS:
        return copy_strings(in, from, to);
    default: /* the list of unsupported things came first */
        return bl_onnx_fail(in, BL_DATA, subject, BL_ONNX_DAMAGED,
                            "attribute \"%.100s\" does not hold what its type says", to->name);
    }
    return BL_OK;
}

/* An element type that an attribute asks for. */
static void widen_attr(bl_onnx *in, bl_attr *a)
{
    static const char *const types[] = {"to", "dtype", "output_dtype", "precision"};
    if (a->type != BL_ATTR_INT || !bl_onnx_is_half(a->i)) return;
    for (size_t i = 0; i < BL_COUNTOF(types); i++)
        if (strcmp(a->name, types[i]) == 0) {
            a->i = BL_F32;
            in->widened = true;
        }
}

static bl_status copy_attrs(bl_onnx *in, const Onnx__NodeProto *from, const char *subject,
                            bl_node *to)
{
    bl_attr *attr = BL_NEW(in->graph->arena, bl_attr, from->n_attribute);
    BL_ALLOC_TRY(in->ctx, attr);
    to->n_attr = (int)from->n_attribute;
    to->attr = attr;
    for (int i = 0; i < to->n_attr; i++) {
        BL_TRY(copy_attr(in, from->attribute[i], subject, &attr[i]));
        widen_attr(in, &attr[i]);
        for (int k = 0; k < BL_MIN(i, 64); k++) /* no operator has more */
            if (strcmp(attr[k].name, attr[i].name) == 0)
                return bl_onnx_fail(in, BL_DATA, subject, BL_ONNX_DAMAGED,
                                    "has the attribute \"%.100s\" twice", attr[i].name);
    }
    return BL_OK;
}

/* ------------------------------------------------------------------ what cannot be computed */

typedef struct unsupported {
    const char *what, *first;
    int count;
} unsupported;

/* "a subgraph" or the like if the node has an attribute that no operator here takes. */
static const char *odd_attribute(const Onnx__NodeProto *n)
{
    for (size_t i = 0; i < n->n_attribute; i++) {
        const Onnx__AttributeProto *a = n->attribute[i];
        if (a->ref_attr_name && *a->ref_attr_name) return "with a function's attribute";
        switch (attr_type(a)) {
        case BL_ATTR_GRAPH:
        case GRAPHS:
            return "with a subgraph";
        case TENSORS:
            return "with a list of tensors";
        case SPARSE_TENSOR:
        case SPARSE_TENSORS:
            return "with a sparse tensor";
        case TYPE_PROTO:
        case TYPE_PROTOS:
            return "with a type";
        default:
            break;
        }
        if (is_constant_node(n) && strncmp(text(a->name), "value_string", 12) == 0)
            return "with text";
    }
    return NULL;
}

/* *what NULL: the node can be read. */
static bl_status judge(const bl_onnx *in, const Onnx__NodeProto *n, const char **what)
{
    const char *domain = domain_of(n), *odd = odd_attribute(n);
    const bl_op *op = bl_op_find(domain, text(n->op_type));
    int opset = opset_of(in, domain);
    *what = NULL;
    if (is_constant_node(n) && !odd) return BL_OK;
    if (!op && !is_constant_node(n))
        *what = bl_format(in->scratch, "%.60s%s%.60s%s%s", domain, *domain ? "." : "",
                          *text(n->op_type) ? n->op_type : "(without a name)", odd ? " " : "",
                          odd ? odd : "");
    else if (odd)
        *what = bl_format(in->scratch, "%s %s", text(n->op_type), odd);
    else if (opset < op->min_opset)
        *what = bl_format(in->scratch, "%s of opset %d (understood from %d on)", op->name, opset,
                          op->min_opset);
    else
        return BL_OK;
    return *what ? BL_OK : bl_pending(in->ctx);
}

static bl_status fail_unsupported(const bl_onnx *in, const unsupported *list, int n)
{
    char what[LIST_MAX + 100];
    size_t used = (size_t)snprintf(what, sizeof(what), "unsupported operators: ");
    int shown = 0;
    for (; shown < n; shown++) {
        char item[400];
        int length = snprintf(item, sizeof(item), "%s%s x%d (first at node \"%.80s\")",
                              shown ? ", " : "", list[shown].what, list[shown].count,
                              list[shown].first);
        if (used + (size_t)length > LIST_MAX) break;
        memcpy(what + used, item, (size_t)length + 1);
        used += (size_t)length;
    }
    if (shown < n) snprintf(what + used, sizeof(what) - used, " and %d more", n - shown);
    return bl_fail(in->ctx, BL_UNAVAILABLE, in->place,
                   "export the network without them; see: bitlathe list ops", "%s", what);
}

typedef struct listing {
    unsupported *item;
    int n, max;
    bl_names names;
} listing;

static bl_status list_item(const bl_onnx *in, listing *l, const char *what, const char *first)
{
    int known;
    BL_TRY(bl_names_add(&l->names, what, l->n, &known));
    if (known >= 0) {
        l->item[known].count++;
        return BL_OK;
    }
    if (l->n == l->max) {
        int max = l->max ? 2 * l->max : 16;
        unsupported *more = BL_NEW(in->scratch, unsupported, (size_t)max);
        BL_ALLOC_TRY(in->ctx, more);
        if (l->n > 0) memcpy(more, l->item, (size_t)l->n * sizeof(*more));
        l->item = more;
        l->max = max;
    }
    l->item[l->n++] = (unsupported){what, first, 1};
    return BL_OK;
}

/* Subgraphs too, so that the list is whole; the pre-scan has limited how deep they lie. */
static bl_status list_graph(const bl_onnx *in, const Onnx__GraphProto *p, listing *l)
{
    for (size_t i = 0; i < p->n_node; i++) {
        const Onnx__NodeProto *node = p->node[i];
        const char *what;
        BL_TRY(judge(in, node, &what));
        if (!what) continue;
        const char *first = text(node->name);
        if (!*first) first = bl_format(in->scratch, "%.60s_%zu", text(node->op_type), i);
        BL_ALLOC_TRY(in->ctx, first);
        BL_TRY(list_item(in, l, what, first));
        for (size_t k = 0; k < node->n_attribute; k++) {
            const Onnx__AttributeProto *a = node->attribute[k];
            if (a->g) BL_TRY(list_graph(in, a->g, l));
            for (size_t j = 0; j < a->n_graphs; j++) BL_TRY(list_graph(in, a->graphs[j], l));
        }
    }
    return BL_OK;
}

bl_status bl_onnx_check_operators(bl_onnx *in)
{
    listing l = {0};
    BL_TRY(bl_names_init(&l.names, in->scratch, 16));
    BL_TRY(list_graph(in, in->model->graph, &l));
    return l.n > 0 ? fail_unsupported(in, l.item, l.n) : BL_OK;
}

/* ------------------------------------------------------------------ nodes */

static bl_status scalar_or_list(bl_onnx *in, const bl_attr *a, bl_tensor *t)
{
    bool floats = a->type == BL_ATTR_FLOAT || a->type == BL_ATTR_FLOATS;
    bool list = a->type == BL_ATTR_FLOATS || a->type == BL_ATTR_INTS;
    size_t n = list ? a->n : 1, unit = floats ? sizeof(float) : sizeof(int64_t);
    const void *from = list ? (floats ? (const void *)a->floats : a->ints)
                            : (floats ? (const void *)&a->f : &a->i);
    const void *data = NULL;
    BL_TRY(copy_list(in, from, n, unit, &data));
    *t = (bl_tensor){.type = floats ? BL_F32 : BL_I64, .rank = list, .data = (void *)data};
    t->dim[0] = list ? (int64_t)n : 0;
    return BL_OK;
}

static bl_status read_constant_node(bl_onnx *in, const Onnx__NodeProto *from, const char *subject)
{
    static const struct {
        const char *name;
        bl_attr_type type;
    } forms[] = {
        {"value", BL_ATTR_TENSOR},        {"value_float", BL_ATTR_FLOAT},
        {"value_floats", BL_ATTR_FLOATS}, {"value_int", BL_ATTR_INT},
        {"value_ints", BL_ATTR_INTS},
    };
    bl_node node = {0};
    const bl_attr *found = NULL;
    BL_TRY(copy_attrs(in, from, subject, &node));
    for (size_t i = 0; i < BL_COUNTOF(forms) && !found; i++) {
        found = bl_node_attr(&node, forms[i].name);
        if (found && found->type != forms[i].type) found = NULL;
    }
    if (!found || from->n_output != 1 || !*text(from->output[0]))
        return bl_onnx_fail(in, BL_DATA, subject, BL_ONNX_DAMAGED, "is a Constant without a value");
    bl_tensor t = found->t;
    int value;
    if (found->type != BL_ATTR_TENSOR) BL_TRY(scalar_or_list(in, found, &t));
    char place[128];
    snprintf(place, sizeof(place), "constant \"%.100s\"", from->output[0]);
    BL_TRY(bl_onnx_finite(in, place, &t));
    return bl_onnx_value(in, subject, from->output[0], &t, &value);
}

static bl_status check_counts(bl_onnx *in, const bl_node *n, const char *subject)
{
    int most = n->op->in_max - (n->op->flags & BL_OP_OWN_BIAS ? 1 : 0);
    if (n->n_in < n->op->in_min || n->n_in > most)
        return bl_onnx_fail(in, BL_DATA, subject, BL_ONNX_DAMAGED,
                            "has %d inputs; %s takes %d to %d", n->n_in, n->op->name, n->op->in_min,
                            most);
    for (int i = 0; i < n->op->in_min; i++)
        if (n->in[i] < 0)
            return bl_onnx_fail(in, BL_DATA, subject, BL_ONNX_DAMAGED, "input %d is left out", i);
    if (n->n_out == 0)
        return bl_onnx_fail(in, BL_DATA, subject, BL_ONNX_DAMAGED, "has no output");
    if (n->n_out > 1 && n->out[0] < 0 && n->op->out_max <= FIXED_OUTPUTS_MAX)
        return bl_onnx_fail(in, BL_UNAVAILABLE, subject, "give its first output a name",
                            "its first output is left out, a later one is not");
    if (n->n_out > n->op->out_max)
        return bl_onnx_fail(in, BL_UNAVAILABLE, subject, "export the network without it",
                            "output %d of %s is not supported", n->n_out - 1, n->op->name);
    return BL_OK;
}

/* Names at the end that are empty are as good as not there. */
static int trimmed(char *const *names, size_t n)
{
    while (n > 0 && !*text(names[n - 1])) n--;
    return (int)n;
}

/* Names that a node or the graph's end reads. */
static bl_status find_read_names(bl_onnx *in, bl_names *read)
{
    const Onnx__GraphProto *p = in->model->graph;
    int taken;
    BL_TRY(bl_names_init(read, in->scratch, p->n_node));
    for (size_t i = 0; i < p->n_node; i++)
        for (size_t k = 0; k < p->node[i]->n_input; k++)
            BL_TRY(bl_names_add(read, text(p->node[i]->input[k]), 0, &taken));
    for (size_t i = 0; i < p->n_output; i++)
        BL_TRY(bl_names_add(read, text(p->output[i]->name), 0, &taken));
    return BL_OK;
}

/* Outputs of a fixed list that nobody reads are left out from its end: what the operator here does
 * not give (the statistics of old BatchNormalizations), and what would only be computed for nothing
 * (Dropout's mask).  A Split keeps them: how many there are decides what each holds. */
static bl_status read_outputs(bl_onnx *in, const bl_names *read, const Onnx__NodeProto *from,
                              const char *subject, bl_node *to)
{
    int *out = BL_NEW(in->graph->arena, int, from->n_output);
    BL_ALLOC_TRY(in->ctx, out);
    to->out = out;
    to->n_out = trimmed(from->output, from->n_output);
    while (to->n_out > (to->op->out_max > FIXED_OUTPUTS_MAX ? to->op->out_max : 1) &&
           bl_names_find(read, text(from->output[to->n_out - 1])) < 0)
        to->n_out--;
    for (int i = 0; i < to->n_out; i++) {
        out[i] = -1;
        if (*text(from->output[i]))
            BL_TRY(bl_onnx_value(in, subject, from->output[i], &(bl_tensor){0}, &out[i]));
    }
    return BL_OK;
}

static bl_status read_inputs(bl_onnx *in, const Onnx__NodeProto *from, const char *subject,
                             bl_node *to)
{
    int *list = BL_NEW(in->graph->arena, int, from->n_input);
    BL_ALLOC_TRY(in->ctx, list);
    to->in = list;
    to->n_in = trimmed(from->input, from->n_input);
    for (int i = 0; i < to->n_in; i++) {
        list[i] = *text(from->input[i]) ? bl_names_find(&in->values, from->input[i]) : -1;
        if (list[i] < 0 && *text(from->input[i]))
            return bl_onnx_fail(in, BL_DATA, subject, BL_ONNX_DAMAGED,
                                "nothing produces its input \"%.200s\"", from->input[i]);
    }
    return check_counts(in, to, subject);
}

/* Names first: a node without one gets OPERATOR_NUMBER, a name that is taken a number behind it. */
static bl_status name_node(bl_onnx *in, bl_names *names, const Onnx__NodeProto *from, size_t number,
                           bl_node *to)
{
    const char *wish = text(from->name);
    if (!*wish) wish = bl_format(in->scratch, "%s_%zu", text(from->op_type), number);
    BL_ALLOC_TRY(in->ctx, wish);
    const char *name = bl_names_unique(names, wish, (int)number);
    BL_ALLOC_TRY(in->ctx, name);
    to->name = bl_strdup(in->graph->arena, name);
    BL_ALLOC_TRY(in->ctx, to->name);
    return BL_OK;
}

static const char *subject_of(const Onnx__NodeProto *n, size_t number, char buf[160])
{
    if (*text(n->name))
        snprintf(buf, 160, "node \"%.80s\" (%.60s)", n->name, text(n->op_type));
    else
        snprintf(buf, 160, "node %zu (%.60s)", number, text(n->op_type));
    return buf;
}

bl_status bl_onnx_nodes(bl_onnx *in)
{
    const Onnx__GraphProto *p = in->model->graph;
    bl_graph *g = in->graph;
    bl_names names, read;
    char subject[160];
    BL_TRY(bl_names_init(&names, in->scratch, p->n_node));
    BL_TRY(find_read_names(in, &read));
    g->nodes = BL_NEW(g->arena, bl_node, p->n_node);
    BL_ALLOC_TRY(in->ctx, g->nodes);
    for (size_t i = 0; i < p->n_node; i++) {
        const Onnx__NodeProto *from = p->node[i];
        subject_of(from, i, subject);
        if (is_constant_node(from)) {
            BL_TRY(read_constant_node(in, from, subject));
            continue;
        }
        bl_node *to = &g->nodes[g->n_nodes++];
        *to = (bl_node){.op = bl_op_find(domain_of(from), text(from->op_type)),
                        .opset = opset_of(in, domain_of(from)), .lo = -INFINITY, .hi = INFINITY};
        to->domain = bl_strdup(g->arena, domain_of(from));
        BL_ALLOC_TRY(in->ctx, to->domain);
        BL_TRY(name_node(in, &names, from, i, to));
        BL_TRY(copy_attrs(in, from, subject, to));
        BL_TRY(read_outputs(in, &read, from, subject, to));
        if ((i & 255) == 0) BL_TRY(bl_check_interrupt(in->ctx));
    }
    for (size_t i = 0, k = 0; i < p->n_node; i++) {
        if (is_constant_node(p->node[i])) continue;
        BL_TRY(read_inputs(in, p->node[i], subject_of(p->node[i], i, subject), &g->nodes[k++]));
    }
    return BL_OK;
}
