/* SPDX-License-Identifier: BSD-3-Clause */
/* Any bytes as a .blw of a small network, under right checksums and the network's own hash. */
#include "fuzz.h"

/* The first section is the head, and the head opens with the hash of the network. */
static void name_network(uint8_t *file, size_t size, const bl_graph *g)
{
    uint64_t offset;
    if (size < 64 + 32) return;
    memcpy(&offset, file + 64 + 8, 8);
    if (offset <= size && size - offset >= 32) memcpy(file + offset, g->hash.hex, 32);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    const fuzz_net *net = fuzz_network();
    bl_ctx *ctx = fuzz_ctx();
    bl_weights *w;
    uint8_t *file = malloc(size ? size : 1);
    if (!file) abort();
    memcpy(file, bytes, size);
    name_network(file, size, net->g);
    fuzz_seal(file, size);
    if (fuzz_ok(ctx, bl_weights_read(ctx, net->g, fuzz_file(0, file, size), &w))) {
        for (int i = 0; i < w->n_items; i++)
            if (!bl_weights_find(w, w->items[i].value)) abort();
        bl_weights_free(w);
    }
    free(file);
    fuzz_ctx_free(ctx);
    return 0;
}
