/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The kernels room's one door.  Kernels are loops: they see pointers, strides, sizes and constants,
 * never graphs, plans or files.  Each contract below has one row in kernels.def for each
 * implementation (best first, reference last); all rows of a contract give the same bits.  The
 * framework (choice, packing, threads) is written once, in dispatch.c.
 *
 * Integer tensors are NHWC (channels innermost), containers u8 (1..8 bits) or u16 (9..16 bits),
 * codes 0..2^bits-1.  Rules [Q..]: docs/arithmetic.md.
 */
#ifndef BL_KERNELS_H
#define BL_KERNELS_H

#include "base/base.h"
#include "base/grid.h"

/* Instruction sets, weakest first; a row needs its own and all that it implies. */
typedef enum bl_isa {
    BL_ISA_REF, BL_ISA_AVX2, BL_ISA_AVXVNNI, BL_ISA_AVX512, BL_ISA_AVX512VBMI,
    BL_ISA_AMX, BL_ISA_NEON, BL_ISA_DOTPROD, BL_ISA_I8MM, BL_N_ISA
} bl_isa;
const char *bl_isa_name(bl_isa isa);
bool bl_isa_parse(const char *name, bl_isa *out);
bool bl_isa_here(bl_isa isa);   /* this CPU and this system can run it (AVX-512: F BW DQ VL VNNI) */
bl_isa bl_isa_best(void);
/* The cap that ctx->options.isa asks for; NULL or "": the best here.  BL_USAGE for an unknown name (the
 * remedy lists the names), BL_UNAVAILABLE for one that this CPU or system cannot run. */
bl_status bl_isa_resolve(bl_ctx *ctx, bl_isa *out);
/* What an x86 CPU and its system say of themselves: CPUID leaf 1 (ecx), leaf 7 (ebx, ecx, edx; subleaf 1: eax), XCR0, and whether
 * the system lets this process use AMX tiles, asked for only where all else is there. */
typedef struct bl_x86_facts {
    uint32_t c1, b7, c7, d7, a71;
    uint64_t xcr0;
    bool (*may_use_tiles)(void);
} bl_x86_facts;
#if defined(__x86_64__)
void bl_x86_isas(const bl_x86_facts *facts, bool here[BL_N_ISA]); /* sets what may run, leaves the rest */
#endif
const char *bl_cpu_name(void);  /* "AMD EPYC ...", for COST records */
/* Caches of the CPU in bytes, 0 where unknown. */
void bl_cpu_caches(uint64_t *l1d, uint64_t *l2, uint64_t *l3);

/* ---- convolution; also fully connected and matrix product (in_h rows, kernel 1x1, in_w = 1) [Q3][Q4] */
typedef struct bl_conv_shape {
    int32_t in_h, in_w, in_c, out_h, out_w, out_c, groups;
    int32_t kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w;
    int32_t pad_top, pad_left;  /* rows below and right follow from out_h, out_w */
    int32_t in_bits, out_bits;  /* containers: <= 8 u8, else u16 */
    int32_t weight_bits;        /* codes fit this width (1: -1 or 1); stored as int8 for the packer */
    int32_t acc64;              /* the int32 bound is not proven: int64 accumulators */
} bl_conv_shape;

/* [Q5] at the end of a convolution: its codes are added to others that lie as its output does, and the sum is
 * what is stored.  t = fma(first, r_first, fma(second, r_second, f)), which must be `bounded`: below 2^31 for all codes. */
typedef struct bl_conv_add {
    const void *with;
    float r_first, r_second, f;
    bool conv_first;            /* the convolution is the first operand */
    bool bounded;
    int32_t lo, hi;
} bl_conv_add;

typedef struct bl_conv_args {
    bl_conv_shape s;
    const void *in;
    void *out;
    const void *packed;         /* made by the row's pack */
    const int32_t *bias;        /* out_c, scale sx*sw, zero-point NOT folded in */
    const float *mult;          /* out_c: f( f(sx*sw[c]) / sy ) */
    int32_t zero_in, zero_out, lo, hi; /* lo, hi: output bounds with the fused activation */
    int32_t row_begin, row_end; /* output rows to compute */
    int32_t part_begin, part_end; /* parts of the output channels; part_end 0: all */
    void *work;                 /* work_bytes(), one for each thread */
    const bl_conv_add *add;     /* NULL: none; only for rows that say so in `adds` */
} bl_conv_args;

typedef struct bl_conv_row {
    const char *name;
    bl_isa isa;
    bool (*fits)(const bl_conv_shape *s);
    size_t (*packed_bytes)(const bl_conv_shape *s);
    /* codes: canonical order [out_c][kernel_h][kernel_w][in_c/groups], int8. */
    void (*pack)(const bl_conv_shape *s, const int8_t *codes, int32_t zero_in, const int32_t *bias,
                 void *packed);
    size_t (*work_bytes)(const bl_conv_shape *s);
    void (*run)(const bl_conv_args *a);
    /* Into how many parts the output channels can be cut for threads; NULL: they cannot. */
    size_t (*parts)(const bl_conv_shape *s);
    bool (*adds)(const bl_conv_shape *s); /* takes `add`, of 8-bit codes; NULL: never */
    bool by_weights;            /* how long it takes depends on the weights, which its packing looks at */
} bl_conv_row;
/* The sum that an Add step makes of a convolution's codes. */
struct bl_pair_args;
bl_conv_add bl_conv_add_of(const struct bl_pair_args *a, bool conv_first);

/* ---- elementwise pair: Add [Q5], Mul [Q6], with broadcasting */
typedef struct bl_pair_args {
    const void *a, *b;
    void *out;
    int32_t a_bits, b_bits, out_bits;
    int rank;                   /* <= 6, outermost first; strides in elements, 0 broadcasts */
    int64_t size[6], a_stride[6], b_stride[6], out_stride[6];
    bl_grid ga, gb, gy;         /* gy.lo, gy.hi hold the fused activation's bounds */
    int64_t outer_begin, outer_end; /* part of size[0] to compute */
} bl_pair_args;
typedef struct bl_pair_row {
    const char *name;
    bl_isa isa;
    bool (*fits)(const bl_pair_args *a);
    void (*run)(const bl_pair_args *a);
} bl_pair_row;

/* ---- pooling over NHWC windows */
typedef struct bl_pool_args {
    const void *in;
    void *out;
    int32_t bits_in, bits_out;
    int32_t in_h, in_w, c, out_h, out_w, kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w;
    int32_t pad_top, pad_left, count_include_pad;
    bl_grid gx, gy;
    int32_t row_begin, row_end;
} bl_pool_args;
typedef struct bl_pool_row {
    const char *name;
    bl_isa isa;
    bool (*fits)(const bl_pool_args *a);
    void (*run)(const bl_pool_args *a);
} bl_pool_row;

/* ---- move: strided copy of codes, optionally through a table or [Q9] rescale table */
typedef struct bl_move_args {
    const void *in;
    void *out;                  /* both already offset to the first element */
    int32_t in_bits, out_bits;
    int rank;                   /* <= 8 */
    int64_t size[8], in_stride[8], out_stride[8]; /* elements; negative strides reverse */
    const void *table;          /* NULL: copy.  Else entries of the output container, one an input code */
} bl_move_args;
typedef struct bl_move_row {
    const char *name;
    bl_isa isa;
    bool (*fits)(const bl_move_args *a);
    void (*run)(const bl_move_args *a);
} bl_move_row;

/* ---- table: out[i] = table[in[i]], contiguous */
typedef struct bl_table_args {
    const void *in;
    void *out;
    int32_t in_bits, out_bits;
    const void *table;
    int64_t n;
} bl_table_args;
typedef struct bl_table_row {
    const char *name;
    bl_isa isa;
    bool (*fits)(const bl_table_args *a);
    void (*run)(const bl_table_args *a);
} bl_table_row;

/* ---- softmax over the innermost axis [Q12] */
typedef struct bl_softmax_args {
    const void *in;
    void *out;
    int32_t in_bits, out_bits;
    int64_t rows, d;
    const float *table;         /* 2^in_bits: f(exp((i - (2^bits-1) + b) * sx)) */
    bl_grid gx, gy;
} bl_softmax_args;
typedef struct bl_softmax_row {
    const char *name;
    bl_isa isa;
    bool (*fits)(const bl_softmax_args *a);
    void (*run)(const bl_softmax_args *a);
} bl_softmax_row;

/* ---- LayerNormalization over the innermost axis [Q18] */
typedef struct bl_layernorm_args {
    const void *in;
    void *out;
    int32_t in_bits, out_bits;
    int64_t rows, d;            /* d <= bl_layernorm_d_max(in_bits) */
    const float *gain, *shift;  /* d each: f(scale / sy), f(bias / sy) */
    double floor;               /* what keeps the variance from zero, in the units of V: epsilon (d / sx)^2 */
    bl_grid gy;
} bl_layernorm_args;
typedef struct bl_layernorm_row {
    const char *name;
    bl_isa isa;
    bool (*fits)(const bl_layernorm_args *a);
    void (*run)(const bl_layernorm_args *a);
} bl_layernorm_row;
/* Longest row whose sums fit their integers, whatever the codes of the container. */
int64_t bl_layernorm_d_max(int32_t in_bits);

/* ---- product of two activations, batched [Q3][Q17]; strides in elements, 0 broadcasts a batch */
typedef struct bl_matmul_args {
    const void *a, *b;
    void *out;
    int32_t a_bits, b_bits, out_bits;
    int rank;                   /* of the batch, 1..4, outermost first */
    int64_t size[4], a_stride[4], b_stride[4], out_stride[4];
    int64_t m, n, k, a_m, a_k, b_k, b_n, out_m, out_n;
    int32_t zero_a, zero_b, zero_out, lo, hi;
    float mult;                 /* f( f(sa*sb) / sy ) */
    int32_t acc64;              /* the int32 bound is not proven */
    int64_t begin, end;         /* rows of all batches, batch-major: 0 .. batches * m */
    void *work;                 /* work_bytes(), one for each thread */
} bl_matmul_args;
typedef struct bl_matmul_row {
    const char *name;
    bl_isa isa;
    bool (*fits)(const bl_matmul_args *a);
    size_t (*work_bytes)(const bl_matmul_args *a);
    void (*run)(const bl_matmul_args *a);
} bl_matmul_row;
/* Longest k whose int32 sum cannot overflow, whatever the codes of the containers and the zero points. */
int64_t bl_matmul_k_max(int32_t a_bits, int32_t b_bits);

/* ---- edges of the program: real numbers in, real numbers out.  Strided, so that NCHW meets NHWC. */
typedef struct bl_edge_args {
    const void *in;
    void *out;
    int32_t bits;               /* of the integer side */
    int rank;
    int64_t size[8], in_stride[8], out_stride[8];
    bl_grid g;
    float inverse, rest;        /* bl_edge_inverse(); 0: divide */
} bl_edge_args;
/* 1 / scale in two parts: fma(x, inverse, x rest) instead of x / scale [Q1] gives the same code for every x.  0 where it does not, or
 * where g has more than 8 bits or a scale near the ends of binary32. */
void bl_edge_inverse(bl_grid g, float *inverse, float *rest);
typedef struct bl_edge_row {
    const char *name;
    bl_isa isa;
    bool (*fits)(const bl_edge_args *a);
    void (*run)(const bl_edge_args *a);
} bl_edge_row;

/*
 * kernels.def: X(contract, symbol, ISA, summary), rows of one contract best first, reference last.
 * Contracts: conv, add, mul, gap (global average pool [Q7]), avgpool [Q8], maxpool [Q10], move, table,
 * softmax, quantize [Q1], dequantize [Q2], matmul [Q3], layernorm [Q18].
 */
typedef enum bl_contract {
    BL_C_CONV, BL_C_ADD, BL_C_MUL, BL_C_GAP, BL_C_AVGPOOL, BL_C_MAXPOOL, BL_C_MOVE, BL_C_TABLE,
    BL_C_SOFTMAX, BL_C_QUANTIZE, BL_C_DEQUANTIZE, BL_C_MATMUL, BL_C_LAYERNORM, BL_N_CONTRACT
} bl_contract;
const char *bl_contract_name(bl_contract c);

typedef struct bl_kernel_info {
    bl_contract contract;
    const char *name, *summary;
    bl_isa isa;
    const void *row;            /* bl_conv_row etc., by contract */
} bl_kernel_info;
extern const bl_kernel_info bl_kernels[];
extern const size_t bl_n_kernels;

/* Does the row of that name take as long as its weights let it? */
bool bl_kernel_by_weights(const char *name);

/* First row of the contract that fits the arguments (its struct: bl_conv_shape for conv, else *_args)
 * and is within the cap; never NULL where the reference fits.  `name`, if not NULL, asks for that
 * row by name and gives NULL when it is not legal here. */
const bl_kernel_info *bl_kernel_choose(bl_contract contract, const void *args, bl_isa cap,
                                       const char *name);

#endif
