/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The table of rows, made from kernels.def, and the choice of one.  What an instruction set is and
 * whether it is here: cpu.c.
 */
#include "kernels/rows.h"

static const char *const contract_names[BL_N_CONTRACT] = {
    [BL_C_CONV] = "conv",
    [BL_C_ADD] = "add",
    [BL_C_MUL] = "mul",
    [BL_C_GAP] = "gap",
    [BL_C_AVGPOOL] = "avgpool",
    [BL_C_MAXPOOL] = "maxpool",
    [BL_C_MOVE] = "move",
    [BL_C_TABLE] = "table",
    [BL_C_SOFTMAX] = "softmax",
    [BL_C_QUANTIZE] = "quantize",
    [BL_C_DEQUANTIZE] = "dequantize",
    [BL_C_MATMUL] = "matmul",
    [BL_C_LAYERNORM] = "layernorm",
};

const char *bl_contract_name(bl_contract c)
{
    return (unsigned)c < BL_N_CONTRACT ? contract_names[c] : "?";
}

/* kernels.def writes contracts in small letters. */
enum {
    C_conv = BL_C_CONV,
    C_add = BL_C_ADD,
    C_mul = BL_C_MUL,
    C_gap = BL_C_GAP,
    C_avgpool = BL_C_AVGPOOL,
    C_maxpool = BL_C_MAXPOOL,
    C_move = BL_C_MOVE,
    C_table = BL_C_TABLE,
    C_softmax = BL_C_SOFTMAX,
    C_quantize = BL_C_QUANTIZE,
    C_dequantize = BL_C_DEQUANTIZE,
    C_matmul = BL_C_MATMUL,
    C_layernorm = BL_C_LAYERNORM,
};

const bl_kernel_info bl_kernels[] = {
#define X(contract, symbol, isa, summary)                                                          \
    {(bl_contract)C_##contract, #symbol, summary, BL_ISA_##isa, &bl_k_##symbol},
#include "kernels/kernels.def"
#undef X
};
const size_t bl_n_kernels = BL_COUNTOF(bl_kernels);

static bool row_fits(const bl_kernel_info *k, const void *args)
{
    switch (k->contract) {
    case BL_C_CONV: return ((const bl_conv_row *)k->row)->fits(args);
    case BL_C_ADD:
    case BL_C_MUL: return ((const bl_pair_row *)k->row)->fits(args);
    case BL_C_GAP:
    case BL_C_AVGPOOL:
    case BL_C_MAXPOOL: return ((const bl_pool_row *)k->row)->fits(args);
    case BL_C_MOVE: return ((const bl_move_row *)k->row)->fits(args);
    case BL_C_TABLE: return ((const bl_table_row *)k->row)->fits(args);
    case BL_C_SOFTMAX: return ((const bl_softmax_row *)k->row)->fits(args);
    case BL_C_QUANTIZE:
    case BL_C_DEQUANTIZE: return ((const bl_edge_row *)k->row)->fits(args);
    case BL_C_MATMUL: return ((const bl_matmul_row *)k->row)->fits(args);
    case BL_C_LAYERNORM: return ((const bl_layernorm_row *)k->row)->fits(args);
    case BL_N_CONTRACT: break;
    }
    return false;
}

const bl_kernel_info *bl_kernel_choose(bl_contract contract, const void *args, bl_isa cap,
                                       const char *name)
{
    for (size_t i = 0; i < bl_n_kernels; i++) {
        const bl_kernel_info *k = &bl_kernels[i];
        if (k->contract != contract || k->isa > cap || !bl_isa_here(k->isa)) continue;
        if (name && strcmp(name, k->name) != 0) continue;
        if (row_fits(k, args)) return k;
    }
    return NULL;
}

bool bl_kernel_by_weights(const char *name)
{
    for (size_t i = 0; i < bl_n_kernels; i++)
        if (bl_kernels[i].contract == BL_C_CONV && !strcmp(bl_kernels[i].name, name))
            return ((const bl_conv_row *)bl_kernels[i].row)->by_weights;
    return false;
}

bl_conv_add bl_conv_add_of(const bl_pair_args *a, bool conv_first)
{
    bl_add_consts c = bl_add_consts_of(a);
    return (bl_conv_add){.with = conv_first ? a->b : a->a, .r_first = c.ra, .r_second = c.rb, .f = c.f,
                         .conv_first = conv_first, .bounded = bl_add_bounded(c), .lo = a->gy.lo, .hi = a->gy.hi};
}
