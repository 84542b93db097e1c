#include "runtime/lengths.h"

#include <stdlib.h>

static int by_number(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* Distinct numbers of valid frames above `least`, ascending. */
static Status list_frames(const SamplerSession *sessions, uint32_t n, uint32_t least, Arena *arena,
                          uint32_t **out, uint32_t *n_out, Err *err)
{
    uint32_t room = 0, all = 0, distinct = 0;
    for (uint32_t m = 0; m < n; m++)
        room += sessions[m].n_trials;
    uint32_t *frames = ARENA_ARRAY(arena, uint32_t, (size_t)room + 1);
    for (uint32_t m = 0; m < n; m++)
        for (uint32_t i = 0; sessions[m].recording && i < sessions[m].n_trials; i++) {
            NPC_TRY(recording_valid_frames(sessions[m].recording, sessions[m].trials[i],
                                           &frames[all], err));
            all += frames[all] > least;
        }
    qsort(frames, all, sizeof *frames, by_number);
    for (uint32_t i = 0; i < all; i++)
        if (!i || frames[i] != frames[i - 1])
            frames[distinct++] = frames[i];
    *out = frames;
    *n_out = distinct;
    return NPC_OK;
}

Status lengths_add(Lengths *out, Arena *arena, Model *m, ProgramKind kind, const Dataset *d,
                   const SamplerSession *sessions, uint32_t n, uint32_t least, Err *err)
{
    uint32_t *frames;
    *out = (Lengths){0};
    NPC_TRY(list_frames(sessions, n, least, arena, &frames, &out->n, err));
    out->at = ARENA_ARRAY(arena, Length, (size_t)out->n + 1);
    for (uint32_t i = 0; i < out->n; i++) {
        Length *l = &out->at[i];
        *l = (Length){.frames = frames[i], .batch = 1};
        NPC_TRY(model_add_trial(m, kind, frames[i], &l->program, &l->module, err));
        NPC_TRY(dataset_clip_shape(d, l->module, &m->info.recipe, frames[i], 1, &l->clip, err));
    }
    return NPC_OK;
}

void lengths_single(Lengths *out, Arena *arena, const Model *m, int program, const ClipShape *clip)
{
    *out = (Lengths){ARENA_NEW(arena, Length), 1};
    *out->at = (Length){.frames = clip->size,
                        .program = program,
                        .batch = (uint32_t)m->batch,
                        .clip = *clip,
                        .module = m->module};
}

Status lengths_ready(Lengths *l, Model *m, Err *err)
{
    for (uint32_t i = 0; i < l->n; i++)
        NPC_TRY(inputs_find(&l->at[i].inputs, m->engine, l->at[i].program, &l->at[i].clip, err));
    return NPC_OK;
}

const Length *lengths_find(const Lengths *l, uint32_t frames)
{
    for (uint32_t i = 0; i < l->n; i++)
        if (l->at[i].frames == frames)
            return &l->at[i];
    return NULL;
}
