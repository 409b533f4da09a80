/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * reseal FROM TO KEY VALUE: a COST record as another machine would have written it, its identity's KEY being VALUE and
 * its hash right.  For golden tests.
 */
#include "base/base.h"

#include <stdio.h>

int main(int argc, char **argv)
{
    bl_options o = bl_options_default();
    bl_ctx *ctx = NULL;
    json_t *record = NULL;
    bl_hash hash;
    if (argc != 5) {
        fputs("usage: reseal FROM TO KEY VALUE\n", stderr);
        return BL_USAGE;
    }
    bl_status s = bl_ctx_new(&o, &ctx);
    if (s == BL_OK) s = bl_record_read(ctx, argv[1], "cost", 1, NULL, &record, &hash);
    json_t *machine = s == BL_OK ? json_object_get(record, "machine") : NULL;
    if (s == BL_OK && json_object_set_new(machine, argv[3], json_string(argv[4]))) s = BL_DATA;
    if (s == BL_OK) s = bl_record_write(ctx, record, argv[2], &hash);
    if (s != BL_OK) fprintf(stderr, "reseal: %s\n", ctx ? bl_last_error(ctx).what : "no context");
    json_decref(record);
    bl_ctx_free(ctx);
    return s;
}
