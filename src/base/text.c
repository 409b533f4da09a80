/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Numbers and sizes from text and back, and the UTF-8 check.  All of it independent of the locale
 * that the calling program may have set.
 */
#define _GNU_SOURCE 1 /* strtod_l */
#include "base/base.h"

#include <ctype.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* clang-format off */
static const struct {
    const char *name;
    double factor;
} units[] = {
    {"", 1},           {"B", 1},
    {"k", 1024},       {"KiB", 1024},       {"KB", 1e3},
    {"M", 1048576},    {"MiB", 1048576},    {"MB", 1e6},
    {"G", 1073741824}, {"GiB", 1073741824}, {"GB", 1e9},
    {"T", 0x1p40},     {"TiB", 0x1p40},     {"TB", 1e12},
};
/* clang-format on */

char *bl_human_bytes(uint64_t bytes, char *buf)
{
    static const char *const names[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    size_t unit = 0;
    while (unit + 1 < BL_COUNTOF(names) && bytes >> (10 * (unit + 1))) unit++;
    /* Printed as integers: a decimal comma would be the locale's. */
    if (unit == 0)
        snprintf(buf, 32, "%u B", (unsigned)bytes);
    else {
        unsigned tenths = (unsigned)(ldexp((double)bytes, -10 * (int)unit) * 10 + 0.5);
        snprintf(buf, 32, "%u.%u %s", tenths / 10, tenths % 10, names[unit]);
    }
    return buf;
}

/* A plain decimal number at the start of the text: digits with at most one point, then perhaps an
 * exponent.  Nothing that strtod also knows (blanks, hexadecimal, nan, inf).  Its end, or NULL. */
static const char *scan_number(const char *text, bool sign, double *out)
{
    const char *p = text;
    if (sign && (*p == '-' || *p == '+')) p++;
    size_t digits = strspn(p, "0123456789");
    p += digits;
    if (*p == '.') {
        size_t fraction = strspn(p + 1, "0123456789");
        digits += fraction;
        p += 1 + fraction;
    }
    if (digits == 0) return NULL;
    if (*p == 'e' || *p == 'E') {
        const char *e = p + 1;
        if (*e == '-' || *e == '+') e++;
        size_t exponent = strspn(e, "0123456789");
        if (exponent) p = e + exponent;
    }
    locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0); /* glibc: a constant, no allocation */
    if (!c) return NULL;
    char *end;
    *out = strtod_l(text, &end, c);
    freelocale(c);
    return end == p ? p : NULL;
}

bool bl_parse_f64(const char *text, double *out)
{
    double v;
    const char *end = scan_number(text, true, &v);
    if (!end || *end || !isfinite(v)) return false;
    *out = v;
    return true;
}

bool bl_parse_u64(const char *text, uint64_t *out)
{
    uint64_t v = 0;
    if (!*text) return false;
    for (; *text; text++) {
        if (!isdigit((unsigned char)*text)) return false;
        if (__builtin_mul_overflow(v, UINT64_C(10), &v) ||
            __builtin_add_overflow(v, (uint64_t)(*text - '0'), &v))
            return false;
    }
    *out = v;
    return true;
}

bool bl_parse_bytes(const char *text, uint64_t *out)
{
    if (bl_parse_u64(text, out)) return true;
    double v;
    const char *unit = scan_number(text, false, &v);
    if (!unit) return false;
    if (*unit == ' ') unit++;
    for (size_t i = 0; i < BL_COUNTOF(units); i++) {
        if (strcasecmp(unit, units[i].name) != 0) continue;
        v = floor(v * units[i].factor + 0.5);
        if (!(v < 0x1p63)) return false;
        *out = (uint64_t)v;
        return true;
    }
    return false;
}

bool bl_utf8_valid(const char *text, size_t n)
{
    const unsigned char *s = (const unsigned char *)text;
    for (size_t i = 0; i < n;) {
        unsigned c = s[i];
        if (c == 0) return false;
        if (c < 0x80) {
            i++;
            continue;
        }
        size_t more = c >= 0xF0 ? 3 : c >= 0xE0 ? 2 : 1;
        if (c < 0xC2 || c > 0xF4 || more >= n - i) return false;
        uint32_t code = c & (0x3Fu >> more);
        for (size_t k = 1; k <= more; k++) {
            if ((s[i + k] & 0xC0) != 0x80) return false;
            code = code << 6 | (s[i + k] & 0x3Fu);
        }
        if (more == 2 && (code < 0x800 || (code >= 0xD800 && code <= 0xDFFF))) return false;
        if (more == 3 && (code < 0x10000 || code > 0x10FFFF)) return false;
        i += more + 1;
    }
    return true;
}
