/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which instruction sets this CPU has and this system lets us use, the CPU's name and its caches.
 * Asked once; everything later reads the answer.
 *
 * x86-64: CPUID says what the CPU has, XGETBV what the system saves on a context switch; AMX also
 * needs a permission from Linux, asked for once for the process.
 */
#include "kernels/kernels.h"

#include <ctype.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

static const char *const isa_names[BL_N_ISA] = {
    [BL_ISA_REF] = "ref",         [BL_ISA_AVX2] = "avx2", [BL_ISA_AVXVNNI] = "avxvnni",
    [BL_ISA_AVX512] = "avx512",   [BL_ISA_AVX512VBMI] = "avx512vbmi",
    [BL_ISA_AMX] = "amx",         [BL_ISA_NEON] = "neon", [BL_ISA_DOTPROD] = "dotprod",
    [BL_ISA_I8MM] = "i8mm",
};
#define ISA_LIST "ref avx2 avxvnni avx512 avx512vbmi amx neon dotprod i8mm"

typedef struct cpu_facts {
    bool here[BL_N_ISA];
    char name[64];
    uint64_t l1d, l2, l3;
} cpu_facts;

static cpu_facts facts;
static pthread_once_t facts_once = PTHREAD_ONCE_INIT;

#if defined(__x86_64__)
/* State components in XCR0 that the system must save. */
enum { XCR0_AVX = 0x6, XCR0_AVX512 = 0xe6, XCR0_AMX = 0x60000 };
/* arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA): may this process use the AMX tiles? */
enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };

static bool has(uint32_t word, int bit)
{
    return word >> bit & 1;
}

void bl_x86_isas(const bl_x86_facts *x, bool here[BL_N_ISA])
{
    if (!has(x->c1, 27)) return; /* OSXSAVE: the system has set XCR0 */
    bool fma = has(x->c1, 12), avx = has(x->c1, 28);
    here[BL_ISA_AVX2] = avx && (x->xcr0 & XCR0_AVX) == XCR0_AVX && fma && has(x->b7, 5) && has(x->b7, 8); /* BMI2 */
    if (!here[BL_ISA_AVX2]) return;
    here[BL_ISA_AVXVNNI] = has(x->a71, 4);
    /* F, DQ, BW, VL, VNNI */
    here[BL_ISA_AVX512] = (x->xcr0 & XCR0_AVX512) == XCR0_AVX512 && has(x->b7, 16) && has(x->b7, 17) && has(x->b7, 30) &&
                          has(x->b7, 31) && has(x->c7, 11);
    here[BL_ISA_AVX512VBMI] = here[BL_ISA_AVX512] && has(x->c7, 1);
    here[BL_ISA_AMX] = here[BL_ISA_AVX512] && (x->xcr0 & XCR0_AMX) == XCR0_AMX && has(x->d7, 24) && has(x->d7, 25) && /* TILE, INT8 */
                       x->may_use_tiles();
}

static bool ask_for_tiles(void)
{
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}

static void find_isas(bool *here)
{
    bl_x86_facts x = {.may_use_tiles = ask_for_tiles};
    uint32_t a, b, c, d, low, high;
    if (!__get_cpuid(1, &a, &b, &x.c1, &d) || !has(x.c1, 27)) return; /* XGETBV would trap */
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    x.xcr0 = (uint64_t)high << 32 | low;
    uint32_t subleaves = 0;
    if (!__get_cpuid_count(7, 0, &subleaves, &x.b7, &x.c7, &x.d7)) return;
    if (subleaves >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d)) x.a71 = a;
    bl_x86_isas(&x, here);
#if defined(BL_TILE_EMULATED)
    here[BL_ISA_AMX] = here[BL_ISA_AVX512]; /* tiles in plain C, see x86/tile.h */
#endif
}

static void find_name(char *name, size_t size)
{
    char raw[49] = "";
    uint32_t word[4];
    for (uint32_t leaf = 0; leaf < 3; leaf++) {
        if (!__get_cpuid(0x80000002u + leaf, &word[0], &word[1], &word[2], &word[3])) return;
        memcpy(raw + 16 * leaf, word, 16);
    }
    /* Runs of spaces become one; the text is padded on either side. */
    size_t n = 0;
    for (const char *p = raw; *p && n + 1 < size; p++)
        if (*p != ' ' || (n > 0 && name[n - 1] != ' '))
            name[n++] = isprint((unsigned char)*p) ? *p : ' ';
    while (n > 0 && name[n - 1] == ' ') n--;
    name[n] = 0;
}
#elif defined(__aarch64__) && defined(__linux__)
static void find_isas(bool *here)
{
    here[BL_ISA_NEON] = true; /* part of the architecture */
    here[BL_ISA_DOTPROD] = (getauxval(AT_HWCAP) >> 20 & 1) != 0;                       /* ASIMDDP */
    here[BL_ISA_I8MM] = here[BL_ISA_DOTPROD] && (getauxval(AT_HWCAP2) >> 13 & 1) != 0; /* I8MM */
}

static void find_name(char *name, size_t size)
{
    snprintf(name, size, "AArch64%s", getauxval(AT_HWCAP2) >> 13 & 1 ? " with i8mm" : "");
}
#else
static void find_isas(bool *here)
{
    (void)here;
}

static void find_name(char *name, size_t size)
{
    (void)name;
    (void)size;
}
#endif

/* One line of a file under /sys without its newline; false when it cannot be read. */
static bool read_sys(int index, const char *item, char *text, int size)
{
    char path[96];
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/%s", index, item);
    FILE *file = fopen(path, "re");
    if (!file) return false;
    bool ok = fgets(text, size, file) != NULL;
    fclose(file);
    if (ok) text[strcspn(text, "\n")] = 0;
    return ok;
}

static void find_caches(cpu_facts *f)
{
    char level[32], type[32], size[32];
    for (int i = 0; i < 8; i++) {
        uint64_t bytes;
        if (!read_sys(i, "level", level, sizeof level) || !read_sys(i, "type", type, sizeof type) ||
            !read_sys(i, "size", size, sizeof size) || !bl_parse_bytes(size, &bytes))
            continue;
        if (strcmp(level, "1") == 0 && strcmp(type, "Data") == 0) f->l1d = bytes;
        if (strcmp(level, "2") == 0) f->l2 = bytes;
        if (strcmp(level, "3") == 0) f->l3 = bytes;
    }
}

static void find_facts(void)
{
    facts.here[BL_ISA_REF] = true;
    find_isas(facts.here);
    find_name(facts.name, sizeof facts.name);
    if (!facts.name[0]) snprintf(facts.name, sizeof facts.name, "unknown CPU");
    find_caches(&facts);
}

static const cpu_facts *cpu(void)
{
    pthread_once(&facts_once, find_facts);
    return &facts;
}

const char *bl_isa_name(bl_isa isa)
{
    return (unsigned)isa < BL_N_ISA ? isa_names[isa] : "?";
}

bool bl_isa_parse(const char *name, bl_isa *out)
{
    for (int i = 0; i < BL_N_ISA; i++)
        if (strcmp(name, isa_names[i]) == 0) {
            *out = (bl_isa)i;
            return true;
        }
    return false;
}

bool bl_isa_here(bl_isa isa)
{
    return (unsigned)isa < BL_N_ISA && cpu()->here[isa];
}

bl_isa bl_isa_best(void)
{
    int best = BL_N_ISA - 1;
    while (best > BL_ISA_REF && !cpu()->here[best]) best--;
    return (bl_isa)best;
}

const char *bl_cpu_name(void)
{
    return cpu()->name;
}

void bl_cpu_caches(uint64_t *l1d, uint64_t *l2, uint64_t *l3)
{
    *l1d = cpu()->l1d;
    *l2 = cpu()->l2;
    *l3 = cpu()->l3;
}

bl_status bl_isa_resolve(bl_ctx *ctx, bl_isa *out)
{
    const char *text = ctx->options.isa;
    bl_isa isa = bl_isa_best();
    if (text && *text && !bl_isa_parse(text, &isa))
        return bl_fail(ctx, BL_USAGE, "instruction set", "use one of: " ISA_LIST, "\"%s\" is none",
                       text);
    if (!bl_isa_here(isa))
        return bl_fail(ctx, BL_UNAVAILABLE, "instruction set", "leave the choice to the program",
                       "this CPU (%s) or its system cannot run %s", bl_cpu_name(), text);
    *out = isa;
    return BL_OK;
}
