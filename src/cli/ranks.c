/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Under `mpirun -n N` each process is a rank that does its part of sense, eval and search (the pieces of --shard)
 * into one folder that all of them see; rank 0 joins the parts and goes on alone.  MPI carries nothing but the word
 * that everybody has come so far, and counts: what the plan is made of lies in files, so its bytes do not depend on
 * N, and a run that lost a rank goes on from them.  The one file that knows MPI.
 */
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifdef BL_HAVE_MPI
#include <mpi.h>
#endif

/* As launchers tell their children; 1 where there is none. */
static int told(const char *const *names, int otherwise)
{
    for (; *names; names++) {
        const char *text = getenv(*names);
        uint64_t v;
        if (text && bl_parse_u64(text, &v) && v < 1u << 20) return (int)v;
    }
    return otherwise;
}

int bl_ranks_told(int *rank)
{
    static const char *const sizes[] = { "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", NULL }, *const ranks[] = { "OMPI_COMM_WORLD_RANK", "PMI_RANK", NULL };
    *rank = told(ranks, 0);
    return told(sizes, 1);
}

bl_status bl_ranks_open(bl_cli *cli)
{
    int rank, size = bl_ranks_told(&rank);
    cli->ranks = 1;
    if (size < 2) return BL_OK;
    if (!cli->shares)
        return bl_fail(cli->ctx, BL_USAGE, cli->program, "run sense, eval or search under mpirun", "%d ranks, and this verb has no parts", size);
#ifdef BL_HAVE_MPI
    int given;
    if (MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &given) != MPI_SUCCESS)
        return bl_fail(cli->ctx, BL_UNAVAILABLE, "MPI", "see what mpirun says", "cannot be started");
    MPI_Comm_rank(MPI_COMM_WORLD, &cli->rank);
    MPI_Comm_size(MPI_COMM_WORLD, &cli->ranks);
    return BL_OK;
#else
    return bl_fail(cli->ctx, BL_UNAVAILABLE, "MPI", "install libopenmpi-dev and build again, or use --shard", "built without it, and %d ranks are started", size);
#endif
}

/* An error of one rank ends them all, with its code; what is finished lies in files. */
void bl_ranks_close(const bl_cli *cli, bl_status status)
{
#ifdef BL_HAVE_MPI
    int started = 0;
    MPI_Initialized(&started);
    if (!started) return;
    if (cli->ranks > 1 && status != BL_OK && status != BL_GOAL) MPI_Abort(MPI_COMM_WORLD, (int)status);
    else MPI_Finalize();
#else
    (void)cli, (void)status;
#endif
}

#ifdef BL_HAVE_MPI
/* Looked at now and then: a rank that waits leaves its core to those that work, and hears a signal, such as that
 * another rank is lost. */
static bl_status finish(bl_cli *cli, MPI_Request *request, int started)
{
    const struct timespec pause = { .tv_nsec = 1000 * 1000 };
    int done = 0;
    while (started == MPI_SUCCESS && !done) {
        if (MPI_Test(request, &done, MPI_STATUS_IGNORE) != MPI_SUCCESS) break;
        if (done) return BL_OK;
        BL_TRY(bl_check_interrupt(cli->ctx));
        nanosleep(&pause, NULL);
    }
    return bl_fail(cli->ctx, BL_STOPPED, "MPI", "run it again, it goes on", "a rank is lost");
}
#endif

bl_status bl_ranks_wait(bl_cli *cli)
{
#ifdef BL_HAVE_MPI
    MPI_Request request;
    if (cli->ranks > 1) return finish(cli, &request, MPI_Ibarrier(MPI_COMM_WORLD, &request));
#else
    (void)cli;
#endif
    return BL_OK;
}

bl_status bl_ranks_sum(bl_cli *cli, int64_t *v, int n)
{
#ifdef BL_HAVE_MPI
    MPI_Request request;
    if (cli->ranks > 1) return finish(cli, &request, MPI_Iallreduce(MPI_IN_PLACE, v, n, MPI_INT64_T, MPI_SUM, MPI_COMM_WORLD, &request));
#else
    (void)cli, (void)v, (void)n;
#endif
    return BL_OK;
}
