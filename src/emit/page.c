/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The page as growing text.  What comes from a record passes through %s of bl_page_put and is
 * escaped there, so that no name of a model can become markup.  Also numbers as people read them;
 * the caller has set the C locale.
 */
#include "emit/report_private.h"

#include <stdio.h>
#include <string.h>

/* ------------------------------------------------------------------ growing */

static void append(bl_page *page, const char *text, size_t n)
{
    if (page->failed) return;
    if (n >= page->room - page->used) { /* one byte stays for the NUL */
        size_t room = BL_MAX(2 * page->room, (size_t)4096);
        while (n >= room - page->used) room *= 2;
        char *larger = BL_NEW(page->arena, char, room);
        if (!larger) {
            page->failed = true;
            return;
        }
        if (page->used) memcpy(larger, page->text, page->used);
        page->text = larger;
        page->room = room;
    }
    memcpy(page->text + page->used, text, n);
    page->used += n;
    page->text[page->used] = '\0';
}

void bl_page_raw(bl_page *page, const char *markup)
{
    append(page, markup, strlen(markup));
}

/* ------------------------------------------------------------------ characters */

size_t bl_page_character(const char *text, bool *shown)
{
    const unsigned char *s = (const unsigned char *)text;
    size_t n = s[0] < 0x80 ? 1 : s[0] >= 0xF0 ? 4 : s[0] >= 0xE0 ? 3 : s[0] >= 0xC2 ? 2 : 0;
    if (n == 0 || strnlen(text, n) < n || !bl_utf8_valid(text, n)) {
        *shown = false; /* not UTF-8: one byte at a time */
        return 1;
    }
    uint32_t code = n == 1 ? s[0] : s[0] & (0x7Fu >> n);
    for (size_t i = 1; i < n; i++) code = code << 6 | (s[i] & 0x3Fu);
    bool control = (code < 0x20 && code != '\n') || (code >= 0x7F && code < 0xA0);
    /* Marks, embeddings and isolates that turn the direction, line and paragraph separators. */
    bool turns = code == 0x061C || (code >= 0x200E && code <= 0x200F) ||
                 (code >= 0x2028 && code <= 0x202E) || (code >= 0x2066 && code <= 0x2069);
    bool nothing = code == 0xFFFE || code == 0xFFFF; /* not allowed in XML */
    *shown = !control && !turns && !nothing;
    return n;
}

static void escape(bl_page *page, const char *text)
{
    while (*text) {
        bool shown;
        size_t n = bl_page_character(text, &shown);
        const char *entity = !shown          ? "\xEF\xBF\xBD"
                             : *text == '&'  ? "&amp;"
                             : *text == '<'  ? "&lt;"
                             : *text == '>'  ? "&gt;"
                             : *text == '"'  ? "&quot;"
                             : *text == '\'' ? "&#39;"
                                             : NULL;
        if (entity)
            bl_page_raw(page, entity);
        else
            append(page, text, n);
        text += n;
    }
}

/* One conversion of the format, from its '%' to its letter; gives the place after it. */
static const char *convert(bl_page *page, const char *spec, va_list *args)
{
    char one[16] = "%", text[512];
    size_t n = 1;
    const char *p = spec + 1;
    bool size = false;
    for (; n < 12 && strchr(".0123456789+z", *p) && *p; p++) {
        size |= *p == 'z';
        one[n++] = *p;
    }
    one[n] = *p;
    switch (*p) {
    case 's': escape(page, va_arg(*args, const char *)); return p + 1;
    case 'c':
    case 'd': snprintf(text, sizeof text, one, va_arg(*args, int)); break;
    case 'u':
        if (size)
            snprintf(text, sizeof text, one, va_arg(*args, size_t));
        else
            snprintf(text, sizeof text, one, va_arg(*args, unsigned));
        break;
    case 'f':
    case 'g':
    case 'e': snprintf(text, sizeof text, one, va_arg(*args, double)); break;
    default: /* "%%" */ append(page, "%", 1); return p + (*p == '%');
    }
    bl_page_raw(page, text);
    return p + 1;
}

void bl_page_put(bl_page *page, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    while (*format) {
        size_t plain = strcspn(format, "%");
        append(page, format, plain);
        format += plain;
        if (*format) format = convert(page, format, &args);
    }
    va_end(args);
}

/* ------------------------------------------------------------------ numbers for people */

char *bl_show_bytes(double bytes, char *buf)
{
    if (bytes >= 0 && bytes < 0x1p63) return bl_human_bytes((uint64_t)(bytes + 0.5), buf);
    return bl_show_number(bytes, buf);
}

/* Three significant digits without an exponent, for 0.001 <= |v| < 1000. */
static void three_digits(double v, char *buf, size_t size)
{
    double a = fabs(v);
    int decimals = a >= 99.95 ? 0 : a >= 9.995 ? 1 : a >= 0.9995 ? 2 : 3;
    snprintf(buf, size, "%.*f", decimals, v);
}

char *bl_show_count(double n, char *buf)
{
    static const char *const names[] = {"", " k", " M", " G", " T", " P"};
    size_t unit = 0;
    double v = n;
    while (fabs(v) >= 999.5 && unit + 1 < BL_COUNTOF(names)) {
        v /= 1000;
        unit++;
    }
    if (fabs(v) >= 1e4) return bl_show_number(n, buf);
    if (unit == 0 && n == floor(n))
        snprintf(buf, BL_SHOW, "%.0f", n);
    else {
        three_digits(v, buf, BL_SHOW - 4);
        strcat(buf, names[unit]);
    }
    return buf;
}

char *bl_show_ms(double ms, char *buf)
{
    double v = fabs(ms) >= 1000 ? ms / 1000 : fabs(ms) >= 0.9995 || ms == 0 ? ms : ms * 1000;
    if (fabs(v) >= 1e6)
        snprintf(buf, BL_SHOW, "%.3g", v);
    else
        three_digits(v, buf, BL_SHOW - 8);
    strcat(buf, fabs(ms) >= 1000 ? " s" : fabs(ms) >= 0.9995 || ms == 0 ? " ms" : " \xC2\xB5s");
    return buf;
}

char *bl_show_number(double v, char *buf)
{
    snprintf(buf, BL_SHOW, "%.4g", v);
    return buf;
}

char *bl_show_signed(double v, int decimals, char *buf)
{
    if (fabs(v) >= 1e9) return bl_show_number(v, buf);
    snprintf(buf, BL_SHOW, "%.*f", decimals, fabs(v));
    bool zero = strspn(buf, "0.") == strlen(buf);
    /* U+2212, as wide as a plus */
    snprintf(buf, BL_SHOW, "%s%.*f",
             zero    ? "\xC2\xB1"
             : v < 0 ? "\xE2\x88\x92"
                     : "+",
             decimals, fabs(v));
    return buf;
}

char *bl_show_short(const char *text, size_t most, char *buf)
{
    size_t characters = 0, head = 0, tail;
    bool shown;
    for (const char *p = text; *p; p += bl_page_character(p, &shown)) characters++;
    if (characters <= most && strlen(text) < BL_SHOW) return strcpy(buf, text);
    most = BL_MIN(most, (size_t)14); /* 14 characters of 4 bytes and the dots fit BL_SHOW */
    for (size_t i = 0; i < most / 2; i++) head += bl_page_character(text + head, &shown);
    tail = head;
    for (size_t i = most / 2; i < characters - (most - most / 2 - 1); i++)
        tail += bl_page_character(text + tail, &shown);
    memcpy(buf, text, head);
    strcpy(buf + head, "\xE2\x80\xA6");
    strcat(buf, text + tail);
    return buf;
}
