/* SPDX-License-Identifier: BSD-3-Clause */
/* Integer form of LayerNormalization [Q18]: what is left to be computed of a row's codes, and its constants. */
#include "ops/ops_private.h"

/* f(values / scale), or zeros where there are none; false where one is no number then. */
static bool in_steps(const float *values, int64_t n, float scale, float *out)
{
    bool finite = true;
    for (int64_t i = 0; i < n; i++) {
        out[i] = values ? values[i] / scale : 0;
        finite = finite && isfinite(out[i]);
    }
    return finite;
}

static bl_status check_form(const bl_lowering *low, const bl_node *node)
{
    for (int k = 1; k < low->n_out; k++)
        if (low->outs[k]) return bl_integer_fail(low, "its mean or deviation is wanted too");
    if (!low->in[0] || low->in[0]->rank < 1) return bl_integer_fail(low, "its input is constant");
    for (int k = 1; k < node->n_in; k++)
        if (node->in[k] >= 0 && (!low->constant[k] || low->in[k]))
            return bl_integer_fail(low, "a scale or bias that is no constant in binary32");
    return BL_OK;
}

bl_status bl_layer_norm_integer(bl_lowering *low, const bl_node *node)
{
    BL_TRY(check_form(low, node));
    const bl_ivalue *x = low->in[0], *y = low->out;
    int axis = (int)bl_attr_int(node, "axis", -1);
    int64_t d = 1;
    for (int i = axis < 0 ? axis + x->rank : axis; i < x->rank; i++) d *= x->dim[i];
    if (d > bl_layernorm_d_max(x->bits)) return bl_integer_fail(low, "rows of %lld values", (long long)d);
    const bl_tensor *bias = node->n_in > 2 ? low->constant[2] : NULL;
    float *gain = BL_NEW(low->scratch, float, (size_t)d), *shift = BL_NEW(low->scratch, float, (size_t)d);
    if (!gain || !shift) return bl_pending(low->ctx);
    bool finite = in_steps(low->constant[1]->data, d, y->grid.scale, gain);
    finite = in_steps(bias ? bias->data : NULL, d, y->grid.scale, shift) && finite;
    double ratio = (double)d / (double)x->grid.scale;
    double room = (double)bl_attr_float(node, "epsilon", 1e-5f) * (ratio * ratio);
    if (!finite || !(room >= 0 && room <= 1e300)) return bl_integer_fail(low, "a scale, bias or epsilon out of range");
    bl_ivalue from, to;
    BL_TRY(bl_rows_in(low, x, &from));
    BL_TRY(bl_rows_out(low, y, &to));
    bl_step s = bl_step_make(BL_C_LAYERNORM, &from, NULL, &to);
    bl_step_layernorm *m = &s.u.layernorm;
    m->d = d;
    m->rows = bl_ivalue_count(x) / d;
    m->floor = room;
    m->gy = bl_clamped_grid(node, y->grid);
    BL_TRY(low->blob(low, gain, (size_t)d * sizeof *gain, &m->gain));
    BL_TRY(low->blob(low, shift, (size_t)d * sizeof *shift, &m->shift));
    BL_TRY(low->emit(low, &s));
    return bl_rows_done(low, &to, y);
}
