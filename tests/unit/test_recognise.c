/* SPDX-License-Identifier: BSD-3-Clause */
/* Functions written out as chains: each form becomes its operator, what only looks alike stays, and
 * both compute the same. */
#include "prepare_build.h"

/* A model in lines "Op in,in out", "number name value"; "y" is the output. */
static onnx_build *chain(void **state, const char *const *lines)
{
    onnx_build *b = ob_new(*state, 13);
    ob_input(b, "x", "N,3,8");
    for (; *lines; lines++) {
        char op[32], in[64], out[64];
        assert_int_equal(sscanf(*lines, "%31s %63s %63s", op, in, out), 3);
        if (!strcmp(op, "number")) {
            float v = strtof(out, NULL);
            ob_floats(b, in, "", &v);
        } else if (!strcmp(op, "vector")) {
            ob_floats(b, in, out, NULL);
        } else if (!strcmp(op, "output")) {
            ob_output(b, in);
        } else if (!strncmp(op, "HardSigmoid", 11)) {
            Onnx__NodeProto *n = ob_node(b, "HardSigmoid", in, out);
            ob_float_attr(n, b, "alpha", op[11] ? strtof(op + 12, NULL) : 1.0f / 6);
        } else if (!strncmp(op, "ReduceMean", 10)) {
            ob_ints_attr(ob_node(b, "ReduceMean", in, out), b, "axes", op[10] ? op + 11 : "-1");
        } else {
            ob_node(b, op, in, out);
        }
    }
    ob_output(b, "y");
    return b;
}

#define LINES(...) ((const char *const[]){__VA_ARGS__, NULL})
#define BECOMES(ops, ...) prepares_to(chain(state, LINES(__VA_ARGS__)), ops)

static void hard_swish(void **state)
{
    BECOMES("HardSwish", "HardSigmoid x h", "Mul x,h y");
    BECOMES("HardSwish", "HardSigmoid x h", "Mul h,x y");
    BECOMES("HardSwish", "number three 3", "number zero 0", "number six 6", "Add three,x a", "Clip a,zero,six c",
            "Mul x,c m", "Div m,six y");
    BECOMES("HardSwish", "number three 3", "number zero 0", "number six 6", "number sixth 0.16666667", "Add x,three a",
            "Clip a,zero,six c", "Mul c,sixth d", "Mul x,d y");
    BECOMES("HardSwish", "number three 3", "number zero 0", "number six 6", "Add x,three a", "Clip a,zero,six c",
            "Div c,six d", "Mul d,x y");
    BECOMES("HardSwish", "number sixth 0.16666667", "number half 0.5", "number zero 0", "number one 1", "Mul x,sixth a",
            "Add a,half b", "Clip b,zero,one c", "Mul x,c y");
    /* the gate alone */
    BECOMES("HardSigmoid Relu", "number three 3", "number zero 0", "number six 6", "Add x,three a", "Clip a,zero,six c",
            "Div c,six d", "Relu d y");
}

/* A Clip that stays joins the Add before it. */
static void not_hard_swish(void **state)
{
    BECOMES("HardSigmoid Mul", "HardSigmoid:0.2 x h", "Mul x,h y"); /* another slope */
    BECOMES("HardSigmoid Mul", "HardSigmoid:0.1667 x h", "Mul x,h y");
    BECOMES("Tanh HardSigmoid Mul", "Tanh x t", "HardSigmoid t h", "Mul x,h y"); /* of something else */
    BECOMES("HardSigmoid Mul", "HardSigmoid x h", "Mul x,h y", "output h 0"); /* the gate is asked for */
    BECOMES("HardSigmoid Mul Add", "HardSigmoid x h", "Mul x,h m", "Add m,h y");
    BECOMES("Add Mul Div", "number three 3.1", "number zero 0", "number six 6", "Add x,three a",
            "Clip a,zero,six c", "Mul x,c m", "Div m,six y");
    BECOMES("Add Mul Div", "number three 3", "number zero -1", "number six 6", "Add x,three a",
            "Clip a,zero,six c", "Mul x,c m", "Div m,six y");
    BECOMES("Add Mul Div", "number three 3", "vector v 3,1", "number zero 0", "number six 6", "Add x,v a",
            "Clip a,zero,six c", "Mul x,c m", "Div m,six y");
}

static void swish(void **state)
{
    BECOMES("Swish", "Sigmoid x s", "Mul x,s y");
    BECOMES("Swish", "number k 1.702", "Mul k,x a", "Sigmoid a s", "Mul s,x y");
    BECOMES("Sigmoid Mul", "Sigmoid x s", "Mul x,s y", "output s 0");
    BECOMES("Add Sigmoid Mul", "number one 1", "Add x,one a", "Sigmoid a s", "Mul x,s y");
    BECOMES("Sigmoid Mul Mul", "number two 2", "Sigmoid x s", "Mul x,two d", "Mul d,s y");
    bl_graph *p = prepared(chain(state, LINES("number k 1.702", "Mul k,x a", "Sigmoid a s", "Mul s,x y")), "Swish");
    assert_true(bl_attr_float(&p->nodes[0], "alpha", 1) == 1.702f && p->nodes[0].opset == 24);
    assert_string_equal(p->values[p->nodes[0].out[0]].name, "y");
    bl_graph_free(p);
}

#define ERF "number one 1", "number half 0.5", "number root 1.4142135", "number inverse 0.70710677"

static void gelu(void **state)
{
    BECOMES("Gelu", ERF, "Div x,root d", "Erf d e", "Add e,one a", "Mul x,a m", "Mul m,half y");
    BECOMES("Gelu", ERF, "Mul x,inverse d", "Erf d e", "Add one,e a", "Mul half,x m", "Mul m,a y");
    BECOMES("Gelu", ERF, "Div x,root d", "Erf d e", "Add e,one a", "Mul a,half m", "Mul x,m y");
    BECOMES("Gelu", ERF, "number two 2", "Div x,root d", "Erf d e", "Add e,one a", "Mul x,a m", "Div m,two y");
    BECOMES("Gelu", ERF, "Div x,root d", "Erf d e", "Mul e,half f", "Add f,half a", "Mul x,a y");
    BECOMES("Erf Add Mul Mul", ERF, "Erf x e", "Add e,one a", "Mul x,a m", "Mul m,half y");
    BECOMES("Div Erf Add Mul", ERF, "Div x,root d", "Erf d e", "Add e,one a", "Mul x,a y");
    BECOMES("Div Erf Add Mul Mul", ERF, "Div x,root d", "Erf d e", "Add e,half a", "Mul x,a m", "Mul m,half y");
    BECOMES("Div Erf Add Mul Mul", ERF, "Div x,root d", "Erf d e", "Add e,one a", "Mul x,a m", "Mul m,half y",
            "output e 0");
}

#define TANH "number one 1", "number half 0.5", "number k 0.7978846", "number c 0.044715", "number three 3"

static void gelu_by_tanh(void **state)
{
    BECOMES("Gelu", TANH, "Pow x,three p", "Mul p,c q", "Add x,q s", "Mul s,k u", "Tanh u t", "Add t,one a",
            "Mul x,a m", "Mul m,half y");
    BECOMES("Gelu", TANH, "Mul x,x p", "Mul x,p r", "Mul c,r q", "Add q,x s", "Mul k,s u", "Tanh u t", "Add one,t a",
            "Mul half,x m", "Mul m,a y");
    BECOMES("Gelu", TANH, "Mul x,x p", "Mul p,c q", "Add q,one s", "Mul x,k v", "Mul v,s u", "Tanh u t", "Add t,one a",
            "Mul a,half m", "Mul x,m y");
    BECOMES("Gelu", TANH, "Mul x,c v", "Mul v,x p", "Mul p,x q", "Add x,q s", "Mul s,k u", "Tanh u t", "Add t,one a",
            "Mul x,half m", "Mul m,a y");
    bl_graph *p = prepared(chain(state, LINES(TANH, "Pow x,three p", "Mul p,c q", "Add x,q s", "Mul s,k u", "Tanh u t",
                                              "Add t,one a", "Mul x,a m", "Mul m,half y")), "Gelu");
    assert_string_equal(bl_attr_string(&p->nodes[0], "approximate", "none"), "tanh");
    bl_graph_free(p);
    BECOMES("Pow Mul Add Mul Tanh Add Mul Mul", TANH, "number d 0.0447", "Pow x,three p", "Mul p,d q", "Add x,q s",
            "Mul s,k u", "Tanh u t", "Add t,one a", "Mul x,a m", "Mul m,half y");
    BECOMES("Mul Tanh Add Mul Mul", TANH, "Mul x,k u", "Tanh u t", "Add t,one a", "Mul x,a m", "Mul m,half y");
}

#define NORM "number two 2", "number eps 0.00001", "number one 1", "vector g 8", "vector h 8", "ReduceMean x mean"

static void layer_norm(void **state)
{
    BECOMES("LayerNormalization", NORM, "Sub x,mean d", "Pow d,two q", "ReduceMean q v", "Add v,eps e", "Sqrt e s",
            "Div d,s n", "Mul n,g m", "Add m,h y");
    BECOMES("LayerNormalization", NORM, "Sub x,mean d", "Mul d,d q", "ReduceMean q v", "Add eps,v e", "Sqrt e s",
            "Div d,s n", "Mul g,n m", "Add h,m y");
    BECOMES("LayerNormalization", NORM, "Sub x,mean d", "Sub x,mean f", "Pow f,two q", "ReduceMean q v", "Add v,eps e",
            "Sqrt e s", "Div d,s y");
    BECOMES("LayerNormalization", NORM, "Sub x,mean d", "Mul d,d q", "ReduceMean q v", "Add v,eps e", "Sqrt e s",
            "Reciprocal s r", "Mul d,r n", "Mul n,g y");
    BECOMES("LayerNormalization", NORM, "Sub x,mean d", "Mul d,d q", "ReduceMean q v", "Add v,eps e", "Sqrt e s",
            "Div one,s r", "Mul r,d n", "Add n,h y");
    BECOMES("LayerNormalization", "number two 2", "number eps 0.1", "vector g 3,8", "ReduceMean:1,2 x mean",
            "Sub x,mean d", "Pow d,two q", "ReduceMean:1,2 q v", "Add v,eps e", "Sqrt e s", "Div d,s n", "Mul n,g y");
    bl_graph *p = prepared(chain(state, LINES(NORM, "Sub x,mean d", "Pow d,two q", "ReduceMean q v", "Add v,eps e",
                                              "Sqrt e s", "Div d,s n", "Mul n,g m", "Add m,h y")), "LayerNormalization");
    assert_true(bl_attr_float(&p->nodes[0], "epsilon", 0) == 0.00001f && bl_attr_int(&p->nodes[0], "axis", 0) == -1);
    assert_string_equal(p->values[p->nodes[0].in[1]].name, "g");
    assert_string_equal(p->values[p->nodes[0].in[2]].name, "h");
    bl_graph_free(p);
}

static void not_layer_norm(void **state)
{
    BECOMES("ReduceMean Sub Pow ReduceMean Add Sqrt Div", NORM, "Sub x,mean d", "Pow d,two q", "ReduceMean:1 q v",
            "Add v,eps e", "Sqrt e s", "Div d,s y"); /* another dimension */
    BECOMES("ReduceMean Sub Pow ReduceMean Add Sqrt Div", "number two 2", "number eps 0.1", "ReduceMean:1 x mean",
            "Sub x,mean d", "Pow d,two q", "ReduceMean:1 q v", "Add v,eps e", "Sqrt e s", "Div d,s y"); /* not the last */
    BECOMES("ReduceMean Sub Pow ReduceMean Add Sqrt Div", NORM, "Sub x,mean d", "Pow d,two q", "ReduceMean q v",
            "Add v,eps e", "Sqrt e s", "Div d,s y", "output v 0");
    BECOMES("ReduceMean Sub Pow ReduceMean Add Sqrt Div Mul", NORM, "Sub x,mean d", "Pow d,two q", "ReduceMean q v",
            "Add v,eps e", "Sqrt e s", "Div d,s n", "Mul n,d y");
    BECOMES("LayerNormalization Mul", NORM, "vector w 3,8", "Sub x,mean d", "Pow d,two q", "ReduceMean q v", "Add v,eps e",
            "Sqrt e s", "Div d,s n", "Mul n,w y"); /* no scale of the normalised dimension */
}

/* The same networks exported with and without the operators: as many of each after preparing. */
static void networks_in_two_opsets(void **state)
{
    static const struct {
        const char *chains, *operators, *op;
        int n;
    } pairs[] = {
        {"mobilenetv3s_cifar10", "mobilenetv3s_cifar10_op17", "HardSwish", 15},
        {"vit_tiny_fmnist", "vit_tiny_fmnist_op17", "LayerNormalization", 13},
        {"vit_tiny_fmnist", "vit_tiny_fmnist_op17", "Gelu", 6},
    };
    char folder[512], path[640];
    test_shared("models", folder);
    for (size_t i = 0; i < BL_COUNTOF(pairs); i++)
        for (int k = 0; k < 2; k++) {
            bl_graph *g, *p;
            int n = 0;
            snprintf(path, sizeof path, "%s/%s.onnx", folder, k ? pairs[i].operators : pairs[i].chains);
            assert_ok(*state, bl_import(*state, path, NULL, &g));
            assert_ok(*state, bl_prepare(*state, g, &p));
            for (int j = 0; j < p->n_nodes; j++) n += !strcmp(p->nodes[j].op->name, pairs[i].op);
            assert_int_equal(n, pairs[i].n);
            bl_graph_free(p);
            bl_graph_free(g);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(hard_swish, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(not_hard_swish, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(swish, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(gelu, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(gelu_by_tanh, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(layer_norm, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(not_layer_norm, test_setup, test_teardown),
        cmocka_unit_test_setup_teardown(networks_in_two_opsets, test_setup, test_teardown),
    };
    return cmocka_run_group_tests_name("recognise", tests, NULL, NULL);
}
