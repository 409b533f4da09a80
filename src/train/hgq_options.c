/* SPDX-License-Identifier: BSD-3-Clause */
/* Settings of HGQ by name: rows of hgq_settings.def. */
#include "train/hgq.h"

#include <string.h>

bl_hgq_options bl_hgq_options_default(void)
{
    return (bl_hgq_options){
        .epochs = 2000, .batch = 512, .cycles = 20, .float_epochs = 300, .float_batch = 256, .rate = 3e-3, .rate_end = 1.5e-5,
        .rate_width = 1, .float_rate = 1e-2, .decay = 0.1, .cycle_factor = 1, .look = 0.2, .ramp = BL_HGQ_LOG, .beta = 5e-7, .beta_end = 1e-4,
        .beta_hold = 0.03, .gamma = 2e-6, .weight_bits = 4, .act_i = 3, .act_f = 4, .input_f = -24, .round = BL_RND,
        .overflow = BL_SAT, .group_norm = true, .teacher_epochs = 100, .teacher_share = 0.7, .teacher_heat = 2 };
}

const bl_hgq_setting bl_hgq_settings[] = {
#define X(field, kind, least, most, help) { #field, help },
#include "train/hgq_settings.def"
#undef X
};
const size_t bl_n_hgq_settings = BL_COUNTOF(bl_hgq_settings);

static bool set_count(const char *value, double least, double most, int64_t *out)
{
    uint64_t n;
    if (!bl_parse_u64(value, &n) || (double)n < least || (double)n > most) return false;
    *out = (int64_t)n;
    return true;
}

static bool set_real(const char *value, double least, double most, double *out)
{
    double v;
    if (!bl_parse_f64(value, &v) || v < least || v > most) return false;
    *out = v;
    return true;
}

static bool set_flag(const char *value, double least, double most, bool *out)
{
    (void)least, (void)most;
    *out = !strcmp(value, "yes");
    return *out || !strcmp(value, "no");
}

static int word(const char *value, const char *const *words)
{
    for (int i = 0; words[i]; i++)
        if (!strcmp(value, words[i])) return i;
    return -1;
}

#define WORDS(kind, type, ...)                                                                    \
    static bool set_##kind(const char *value, double least, double most, type *out)               \
    {                                                                                             \
        static const char *const words[] = { __VA_ARGS__, NULL };                                 \
        int n = word(value, words);                                                               \
        (void)least, (void)most;                                                                  \
        if (n >= 0) *out = (type)n;                                                               \
        return n >= 0;                                                                            \
    }
WORDS(share, bl_hgq_share, "element", "channel", "tensor")
WORDS(weights, bl_hgq_weights, "span", "kbi")
WORDS(ramp, bl_hgq_ramp, "constant", "log", "pid")

static bool set_round(const char *value, double least, double most, bl_fixed_round *out)
{
    (void)least, (void)most;
    return bl_fixed_round_find(value, out);
}

static bool set_overflow(const char *value, double least, double most, bl_fixed_overflow *out)
{
    (void)least, (void)most;
    return bl_fixed_overflow_find(value, out);
}

bl_status bl_hgq_set(bl_ctx *ctx, bl_hgq_options *o, const char *key, const char *value)
{
    bool known = false, fine = false;
    if (!strcmp(key, "round")) {
        o->stochastic = !strncmp(value, "S_", 2);
        value += o->stochastic ? 2 : 0;
    }
#define X(field, kind, least, most, help)                                                         \
    if (!strcmp(key, #field)) {                                                                   \
        known = true;                                                                             \
        fine = set_##kind(value, least, most, &o->field);                                         \
    }
#include "train/hgq_settings.def"
#undef X
    if (!known) return bl_fail(ctx, BL_USAGE, key, "see `bitlathe list hgq`", "no such setting of HGQ");
    return fine ? BL_OK : bl_fail(ctx, BL_USAGE, key, "see `bitlathe list hgq`", "\"%s\" makes no sense", value);
}

json_t *bl_hgq_settings_json(const bl_hgq_options *o)
{
    json_t *list = json_object();
#define X(field, kind, least, most, help) json_object_set_new(list, #field, json_real((double)o->field));
#include "train/hgq_settings.def"
#undef X
    return list;
}
