/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Random numbers that repeat: xoshiro256++ (D. Blackman, S. Vigna, "Scrambled linear pseudorandom
 * number generators", ACM TOMS 47, 2021), seeded by splitmix64 from a hash of (seed, label, index).
 * Not for secrets.
 */
#include "base/base.h"

#include <endian.h>
#include <math.h>
#include <string.h>

static uint64_t rotl(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}

static uint64_t splitmix(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

bl_rng bl_rng_make(uint64_t seed, const char *label, uint64_t index)
{
    uint64_t key[3] = {htole64(seed), htole64(index), htole64(bl_checksum(label, strlen(label)))};
    uint64_t state = bl_checksum(key, sizeof(key));
    bl_rng r = {.has_spare = 0};
    for (int i = 0; i < 4; i++) r.s[i] = splitmix(&state); /* a permutation: never all zero */
    return r;
}

uint64_t bl_rng_u64(bl_rng *r)
{
    uint64_t *s = r->s;
    uint64_t result = rotl(s[0] + s[3], 23) + s[0], t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return result;
}

/* D. Lemire, "Fast random integer generation in an interval", ACM TOMACS 29, 2019: the high half of
 * a product, redrawn in the 2^64 mod n cases that would favour some values. */
uint64_t bl_rng_below(bl_rng *r, uint64_t n)
{
    unsigned __int128 product = (unsigned __int128)bl_rng_u64(r) * n;
    if ((uint64_t)product < n) {
        uint64_t unfair = -n % n;
        while ((uint64_t)product < unfair) product = (unsigned __int128)bl_rng_u64(r) * n;
    }
    return (uint64_t)(product >> 64);
}

double bl_rng_unit(bl_rng *r)
{
    return (double)(bl_rng_u64(r) >> 11) * 0x1p-53;
}

/* Marsaglia's polar method; the second number of each pair waits in `spare`. */
double bl_rng_normal(bl_rng *r)
{
    if (r->has_spare) {
        r->has_spare = 0;
        return r->spare;
    }
    double u, v, q;
    do {
        u = 2 * bl_rng_unit(r) - 1;
        v = 2 * bl_rng_unit(r) - 1;
        q = u * u + v * v;
    } while (q >= 1 || q == 0);
    double f = sqrt(-2 * log(q) / q);
    r->spare = v * f;
    r->has_spare = 1;
    return u * f;
}

void bl_rng_shuffle(bl_rng *r, uint32_t *items, size_t n)
{
    for (size_t i = n; i > 1; i--) {
        size_t j = (size_t)bl_rng_below(r, i);
        uint32_t kept = items[i - 1];
        items[i - 1] = items[j];
        items[j] = kept;
    }
}
