/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The binary file form of PROGRAM (.blp) and WEIGHTS (.blw): a header, a section table, sections
 * aligned to 64 bytes.  Little endian.  Every byte of the file is under a checksum, so one flipped
 * bit anywhere is found before anything is believed.
 *
 *     0  magic "BITLATHE"      8  kind, 4 letters    12  major u16, minor u16
 *    16  byte order 0x01020304 20  sections u32      24  file size u64
 *    32  checksum of all bytes from 64 on u64        40  zero u64 x 2
 *    56  checksum of bytes 0..55 u64
 *    64  table: { id u32, zero u32, offset u64, size u64, checksum u64 } x sections
 */
#ifndef BL_CONTAINER_H
#define BL_CONTAINER_H

#include "base/base.h"

#define BL_SECTIONS_MAX 64

typedef struct bl_section {
    uint32_t id;
    const void *data;
    uint64_t size;
} bl_section;

/* Atomic, as bl_write_file. */
bl_status bl_container_write(bl_ctx *ctx, const char *path, const char kind[4], int major, int minor,
                             const bl_section *sections, size_t n);
/* Checks everything above; sections[] (BL_SECTIONS_MAX) point into data, 64-byte aligned if data is.  A
 * newer minor version is read, a newer major one refused by name. */
bl_status bl_container_parse(bl_ctx *ctx, const char *place, const void *data, size_t size,
                             const char kind[4], int major, bl_section *sections, size_t *n);
/* NULL when there is no such section. */
const bl_section *bl_section_find(const bl_section *sections, size_t n, uint32_t id);

#endif
