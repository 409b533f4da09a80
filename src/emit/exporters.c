/* SPDX-License-Identifier: BSD-3-Clause */
/* The table of exporters; what each writes stands in its own file. */
#include "emit/emit.h"

#include <string.h>

const bl_exporter bl_exporters[] = {
#define BL_NO_FIXED(name, fn, help) { #name, help, fn, NULL },
#define BL_WITH_FIXED(name, fn, fixed_fn, help) { #name, help, fn, fixed_fn },
#include "emit/exporters.def"
#undef BL_NO_FIXED
#undef BL_WITH_FIXED
};
const size_t bl_n_exporters = BL_COUNTOF(bl_exporters);

const bl_exporter *bl_exporter_find(const char *name)
{
    for (size_t i = 0; i < bl_n_exporters; i++)
        if (!strcmp(bl_exporters[i].name, name)) return &bl_exporters[i];
    return NULL;
}
