/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * keep_tiles: two processes hold tiles of their own and hand the processor to each other between filling and
 * storing them; exit status 0 when both find what they filled.  For tools/test-amx.
 */
#include "kernels/x86/tile.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROUNDS = 300, ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };

/* Rounds whose tiles, the first and the last, came back otherwise. */
static int wrong_rounds(uint8_t seed)
{
    static uint8_t in[2][TILE_ROWS][TILE_BYTES], out[2][TILE_ROWS][TILE_BYTES];
    const tile_config config = tile_config_whole();
    int wrong = 0;
    for (int round = 0; round < ROUNDS; round++) {
        for (size_t i = 0; i < sizeof in; i++) (&in[0][0][0])[i] = (uint8_t)(seed + round + 7 * i + i / 64);
        TILES_OPEN(&t, &config);
        TILE_LOAD(&t, 0, in[0], TILE_BYTES);
        TILE_LOAD(&t, 7, in[1], TILE_BYTES);
        for (int i = 0; i < 3; i++) sched_yield();
        TILE_STORE(&t, 0, out[0], TILE_BYTES);
        TILE_STORE(&t, 7, out[1], TILE_BYTES);
        TILES_CLOSE(&t);
        wrong += memcmp(in, out, sizeof in) != 0;
    }
    return wrong;
}

int main(void)
{
    if (syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)) {
        perror("keep_tiles");
        return 70;
    }
    pid_t child = fork();
    int wrong = wrong_rounds(child ? 3 : 90), status = 0;
    if (!child) _exit(wrong ? 1 : 0);
    if (waitpid(child, &status, 0) != child) status = -1;
    printf("%d of %d rounds wrong, the other process: %d\n", wrong, ROUNDS, status);
    return wrong || status ? 1 : 0;
}
