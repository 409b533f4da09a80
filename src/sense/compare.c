/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two networks on the same samples.  The drop in accuracy is a mean of paired differences, so its
 * error comes from the samples that changed sides, not from the accuracy itself; McNemar's exact test
 * (Psychometrika 12, 1947) asks whether those changed more one way than the other.  Flips, KL and
 * SQNR see change that leaves accuracy where it was (Dutta et al., arXiv 2407.09141).
 */
#include "sense/sense.h"

#include <string.h>

/* Quantized probabilities may be 0, where KL has no value: all are taken to be at least this. */
#define PROBABILITY_MIN 0x1p-20

/* P(X <= k) for n fair coins. */
static double fair_coins(int64_t n, int64_t k)
{
    double sum = 0;
    for (int64_t i = 0; i <= k; i++)
        sum += exp(lgamma((double)n + 1) - lgamma((double)i + 1) - lgamma((double)(n - i) + 1) - (double)n * M_LN2);
    return sum;
}

double bl_mcnemar_exact(int64_t only_a, int64_t only_b)
{
    int64_t n = only_a + only_b, k = BL_MIN(only_a, only_b);
    return 2 * k >= n ? 1 : fmin(1, 2 * fair_coins(n, k));
}

/* log of the sum that turns y into probabilities. */
static double log_sum(const float *y, int64_t n, bool probabilities)
{
    double top = y[0], sum = 0;
    for (int64_t i = 1; i < n; i++) top = fmax(top, y[i]);
    for (int64_t i = 0; i < n; i++) sum += probabilities ? fmax(y[i], PROBABILITY_MIN) : exp(y[i] - top);
    return probabilities ? log(sum) : top + log(sum);
}

static double log_of(float y, bool probabilities)
{
    return probabilities ? log(fmax(y, PROBABILITY_MIN)) : y;
}

/* KL(A||B) of one sample, in nats. */
static double divergence(const float *a, const float *b, int64_t n, bool probabilities)
{
    double la = log_sum(a, n, probabilities), lb = log_sum(b, n, probabilities), sum = 0;
    for (int64_t i = 0; i < n; i++) {
        double p = log_of(a[i], probabilities) - la, q = log_of(b[i], probabilities) - lb;
        sum += exp(p) * (p - q);
    }
    return fmax(sum, 0);
}

static void count_answers(bl_data *data, const bl_eval_result *a, const bl_eval_result *b, bl_compare_result *r)
{
    int64_t windows = bl_data_windows(data), n = a->n_inputs;
    bool labelled = bl_data_labelled(data);
    for (int64_t i = 0; i < n; i++) {
        bool flip = a->predictions[i] != b->predictions[i];
        r->flips += flip;
        if (!labelled) continue;
        int label = bl_data_label(data, i / windows);
        r->only_a += flip && a->predictions[i] == label;
        r->only_b += flip && b->predictions[i] == label;
    }
    if (!labelled) return;
    double d = (double)(r->only_a - r->only_b) / (double)n;
    double square = (double)(r->only_a + r->only_b) / (double)n;
    r->drop = d;
    if (n > 1) {
        r->drop_error = sqrt(fmax(square - d * d, 0) / (double)(n - 1));
        r->drop_bound95 = d + 1.6448536269514722 * r->drop_error;
    }
    r->p = bl_mcnemar_exact(r->only_a, r->only_b);
}

bl_status bl_compare(bl_ctx *ctx, bl_data *data, const bl_eval_result *a, const bl_eval_result *b, bool classes,
                     bool probabilities, bl_compare_result *out)
{
    bl_compare_result r = { .samples = a->n_inputs, .drop = NAN, .drop_error = NAN, .drop_bound95 = NAN, .p = NAN, .kl = NAN };
    if (a->n_inputs != b->n_inputs || a->n_scores != b->n_scores || !a->scores || !b->scores)
        return bl_fail(ctx, BL_DATA, "compare", "give models of one task", "the outputs have different sizes (%lld and %lld)",
                       (long long)a->n_scores, (long long)b->n_scores);
    int64_t n_out = a->n_scores / a->n_inputs;
    double signal = 0, noise = 0, kl = 0;
    for (int64_t i = 0; i < a->n_scores; i++) {
        double e = (double)a->scores[i] - b->scores[i];
        signal += (double)a->scores[i] * a->scores[i];
        noise += e * e;
    }
    r.sqnr_db = noise > 0 && signal > 0 ? 10 * log10(signal / noise) : NAN;
    r.equal = noise == 0;
    if (classes) {
        for (int64_t i = 0; i < a->n_inputs; i++)
            kl += divergence(a->scores + i * n_out, b->scores + i * n_out, n_out, probabilities);
        r.kl = kl / (double)a->n_inputs;
        count_answers(data, a, b, &r);
    }
    *out = r;
    return BL_OK;
}
