/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * kernel-check --peaks: what one core can do at most, to hold the layers' figures against: multiply-accumulates of
 * the instruction that each set's 8-bit rows are made of, from registers, and reading of memory that is in L2, in L3
 * and in neither.  Best of many short rounds.  Own asm, as compilers move such loops about.
 */
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
enum { TURNS = 20000, PEAK_ROUNDS = 60, SUMS = 12 };

#define EACH_SUM(M) M(0) M(1) M(2) M(3) M(4) M(5) M(6) M(7) M(8) M(9) M(10) M(11)
#define VNNI(n) "vpdpbusd %%zmm30, %%zmm31, %%zmm" #n "\n\t"
#define VNNI_256(n) "%{vex%} vpdpbusd %%ymm14, %%ymm15, %%ymm" #n "\n\t"
#define MADD(n) "vpmaddwd %%ymm14, %%ymm15, %%ymm12\n\tvpaddd %%ymm12, %%ymm" #n ", %%ymm" #n "\n\t"
#define SUM_NAME(n) "xmm" #n,

static void turn_vnni(void)
{
    __asm__ volatile(EACH_SUM(VNNI)::: EACH_SUM(SUM_NAME) "memory");
}

static void turn_vnni_256(void)
{
    __asm__ volatile(EACH_SUM(VNNI_256)::: EACH_SUM(SUM_NAME) "memory");
}

static void turn_exact(void)
{
    __asm__ volatile(EACH_SUM(MADD)::: EACH_SUM(SUM_NAME) "xmm12", "memory");
}

static void peak(const char *name, void (*turn)(void), double macs)
{
    double best = 0;
    for (int r = 0; r < PEAK_ROUNDS; r++) {
        uint64_t start = bl_now_ns();
        for (int i = 0; i < TURNS; i++) turn();
        double rate = macs * SUMS * TURNS / (double)(bl_now_ns() - start);
        best = rate > best ? rate : best;
    }
    printf("peak %-32s %.1f GMAC/s\n", name, best);
}

static void stream(const char *where, size_t bytes)
{
    uint64_t *at = NULL;
    if (posix_memalign((void **)&at, 4096, bytes)) abort();
    memset(at, 1, bytes);
    double best = 0;
    volatile uint64_t keep = 0;
    size_t turns = ((size_t)64 << 20) / bytes + 1;
    for (int r = 0; r < 12; r++) {
        uint64_t start = bl_now_ns();
        for (size_t t = 0; t < turns; t++)
            for (size_t i = 0; i < bytes / 8; i += 32) { /* one word of each line moves the line */
                uint64_t x = at[i] + at[i + 8] + at[i + 16] + at[i + 24];
                keep += x;
            }
        double rate = (double)(bytes * turns) / (double)(bl_now_ns() - start);
        best = rate > best ? rate : best;
    }
    printf("stream from %-25s %.1f GB/s (%zu KiB)\n", where, best, bytes >> 10);
    free(at);
}

void bench_peaks(void)
{
    if (bl_isa_here(BL_ISA_AVX512)) peak("vpdpbusd zmm", turn_vnni, 64);
    if (bl_isa_here(BL_ISA_AVXVNNI)) peak("vpdpbusd ymm", turn_vnni_256, 32);
    if (bl_isa_here(BL_ISA_AVX2)) peak("vpmaddwd and vpaddd ymm", turn_exact, 16);
    uint64_t l1, l2, l3;
    bl_cpu_caches(&l1, &l2, &l3);
    if (l2) stream("L2", (size_t)l2 / 2);
    if (l3 > 4 * l2) stream("L3", (size_t)BL_MIN(l3 / 4, 4 * l2));
    stream("memory", (size_t)BL_MAX(8 * l3, (uint64_t)256 << 20));
}
#else
void bench_peaks(void)
{
    puts("no peak is measured on this kind of CPU");
}
#endif
