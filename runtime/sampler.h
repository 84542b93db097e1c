/* Which clips make a batch: a pure function of (seed, epoch, step, slot), so that a run can be
 * resumed anywhere and does not depend on threads.
 *
 * An epoch has `clips_per_epoch` items, an equal share per session (`by_trials`: a share in
 * proportion to its trials), permuted afresh and cut into
 * batches (a remainder is left out). Per clip: trial uniform over the session's trials, last frame
 * uniform over {span - 1 .. valid - 1} (`not_last`: .. valid - 2); trials shorter than the window
 * are drawn again. With probability `mix_chance` a partner of the same session is drawn by the same
 * rule and a CutMix box with share ~ Beta(mix_alpha, mix_alpha). Within a batch samples are ordered
 * by session (stable), so that every session's samples are contiguous.
 *
 * In rounds a batch holds `rounds` clips of every session: its trials are permuted and cut into
 * parts of so many, the last one shorter; a session that is through begins with another
 * permutation, and an epoch has as many rounds as the longest one has parts (specs/viv1t.md 6). In
 * turns every part is a batch of its own (specs/dynamic-v1fm.md 3.3). A
 * trial that does not hold a window gives its place to one drawn as above. Sources:
 * specs/dwiseneuro.md 3.2, 3.3; viv1t.md 6.
 */
#ifndef NPC_RUNTIME_SAMPLER_H
#define NPC_RUNTIME_SAMPLER_H

#include "runtime/batch.h"
#include "runtime/cutmix.h"

/* A session and the trials of it that take part. */
typedef struct SamplerSession {
    const Recording *recording;
    const uint32_t *trials;
    uint32_t n_trials;
} SamplerSession;

typedef struct Sampler {
    uint64_t seed;
    uint32_t clips_per_epoch, batch;
    double mix_chance, mix_alpha; /* 0: never mixed */
    ClipShape clip;
    const SamplerSession *sessions; /* the caller's, as long as the sampler is used */
    uint32_t n_sessions;
    bool by_trials;
    uint32_t rounds; /* clips of each session in a round; 0: batches of any sessions */
    bool turns;      /* a batch has the clips of one session, each in turn, not of all of them */
    bool not_last; /* a window never begins at the last possible frame, unless it is the only one */
} Sampler;

typedef struct Clip {
    uint32_t session, trial, end;
    bool is_mixed;
    uint32_t partner_trial, partner_end;
    CutmixBox box;
} Clip;

enum { SAMPLER_ANY = UINT32_MAX }; /* no trial, or any */

/* Batch and epoch of a sampler that goes in rounds of n clips of each session, or in turns. */
void sampler_set_rounds(Sampler *s, uint32_t n, bool turns);
/* Sizes, shares and recordings fit together; say so before drawing. */
Status sampler_check(const Sampler *s, Err *err);
uint32_t sampler_steps(const Sampler *s); /* batches per epoch */
/* The session of every item of the epoch, permuted; in rounds its trial, as a position in the
 * session's list, or SAMPLER_ANY where there is no item. Needs sampler_order_size entries, of which
 * clips_per_epoch are the order. */
size_t sampler_order_size(const Sampler *s);
void sampler_order(const Sampler *s, uint32_t epoch, uint32_t *order);
/* The clips of batch `step` in their final places. item[i] is the epoch's item number of sample i
 * (as many as the batch has, which are returned), first[s] and count[s] say where each session's
 * samples are. */
uint32_t sampler_plan(const Sampler *s, const uint32_t *order, uint32_t step, uint32_t *item,
                      uint32_t *session, uint32_t *first, uint32_t *count);
/* Draws one clip; reads the drawn trials' lengths. `trial`: a position in the session's list. */
Status sampler_clip(const Sampler *s, uint32_t epoch, uint32_t item, uint32_t session,
                    uint32_t trial, Clip *out, Err *err);

/* Validation: a trial is cut into floor(valid / span) disjoint spans from frame 0. */
uint32_t span_count(const ClipShape *s, uint32_t valid);
uint32_t span_end(const ClipShape *s, uint32_t span); /* last frame of the clip of that span */
/* All validation clips of the sessions in order of session, trial, span. */
Status sampler_validation(const SamplerSession *sessions, uint32_t n_sessions, const ClipShape *s,
                          Arena *arena, Clip **out, uint32_t *n, Err *err);

/* Beta(alpha, alpha), alpha > 0, as a pure function of (seed, index). */
double beta_draw(double alpha, uint64_t seed, uint64_t index);

#endif
