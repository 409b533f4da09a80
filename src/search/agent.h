/* SPDX-License-Identifier: BSD-3-Clause */
/* Private to search: DDPG's actor and critic with their memory. */
#ifndef BL_SEARCH_AGENT_H
#define BL_SEARCH_AGENT_H

#include "base/base.h"

typedef struct bl_agent_options {
    int states;                 /* numbers in a state */
    int hidden1, hidden2;
    int batch;
    int64_t replay;             /* transitions that are remembered */
    float tau, actor_rate, critic_rate, discount;
    double baseline_rate;       /* of the moving average that rewards are taken beside */
    uint64_t seed;
} bl_agent_options;
bl_agent_options bl_agent_options_default(void); /* of HAQ's repository; states, replay and seed are open */

typedef struct bl_agent bl_agent;
/* Lives in the arena. */
bl_status bl_agent_new(bl_ctx *ctx, bl_arena *arena, const bl_agent_options *options, bl_agent **out);
/* What the actor would do, in [0, 1]. */
float bl_agent_act(bl_agent *agent, const float *state);
/* next is not looked at where the transition ends an episode. */
void bl_agent_remember(bl_agent *agent, const float *state, float action, float reward, bool last, const float *next);
/* One step of critic, actor and their slow copies on a batch from the memory, which holds something. */
void bl_agent_learn(bl_agent *agent);
/* The critic's value of an action, for tests. */
float bl_agent_value(bl_agent *agent, const float *state, float action);

#endif
