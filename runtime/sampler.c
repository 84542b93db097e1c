#include "runtime/sampler.h"

#include <math.h>

#include "data/philox.h"

enum { MAX_BATCH = 1 << 16, MAX_EPOCH = 1 << 28, MAX_TRIES = 1000 };

Status sampler_check(const Sampler *s, Err *err)
{
    if (!s->n_sessions)
        return err_set(err, NPC_ERR_INPUT, "there is no recording to draw from");
    if (!s->batch || s->batch > MAX_BATCH)
        return err_set(err, NPC_ERR_INPUT, "a batch of %u clips; expected 1 to %d", s->batch,
                       MAX_BATCH);
    if (s->clips_per_epoch < s->batch || s->clips_per_epoch > MAX_EPOCH)
        return err_set(err, NPC_ERR_INPUT, "an epoch of %u clips; expected %u (one batch) to %d",
                       s->clips_per_epoch, s->batch, MAX_EPOCH);
    if (!(s->mix_chance >= 0 && s->mix_chance <= 1))
        return err_set(err, NPC_ERR_INPUT, "a CutMix chance of %g; expected 0 to 1", s->mix_chance);
    if (s->mix_chance > 0 && !(s->mix_alpha > 0 && s->mix_alpha <= 1e6))
        return err_set(err, NPC_ERR_INPUT,
                       "a CutMix alpha of %g; expected more than 0, at most 1e6", s->mix_alpha);
    if (s->mix_chance > 0 &&
        (clip_has(&s->clip, INPUT_BEHAVIOR) || clip_has(&s->clip, INPUT_PUPIL)))
        return err_set(err, NPC_ERR_INPUT,
                       "recipe: cutmix pastes planes; it cannot mix a model's inputs behavior and "
                       "pupil: write  mix = none");
    for (uint32_t i = 0; i < s->n_sessions; i++) {
        const SamplerSession *one = &s->sessions[i];
        NPC_TRY(clip_check(&s->clip, one->recording, err));
        if (!one->n_trials)
            return err_set(err, NPC_ERR_INPUT, "%s: no trial to draw clips from",
                           one->recording->path);
        uint32_t longest = 0;
        for (uint32_t t = 0; t < one->n_trials; t++) {
            uint32_t frames = one->recording->trials[one->trials[t]].frames;
            longest = frames > longest ? frames : longest;
        }
        if (longest < clip_span(&s->clip))
            return err_set(err, NPC_ERR_INPUT,
                           "%s: the longest trial has %u frames, a window needs %u",
                           one->recording->path, longest, clip_span(&s->clip));
    }
    return NPC_OK;
}

uint32_t sampler_steps(const Sampler *s)
{
    return s->clips_per_epoch / s->batch;
}

/* The session that holds number `at` of all trials laid end to end. */
static uint32_t session_of_trial(const Sampler *s, uint64_t at)
{
    uint32_t m = 0;
    while (m + 1 < s->n_sessions && at >= s->sessions[m].n_trials)
        at -= s->sessions[m++].n_trials;
    return m;
}

/* ---- rounds ---- */

static uint32_t parts_of(const Sampler *s, uint32_t m)
{
    return (s->sessions[m].n_trials + s->rounds - 1) / s->rounds;
}

/* Items of a session in an epoch, none of which some are. */
static uint32_t own_items(const Sampler *s)
{
    return s->clips_per_epoch / s->n_sessions;
}

void sampler_set_rounds(Sampler *s, uint32_t n, bool turns)
{
    uint64_t most = 0;
    s->rounds = n;
    s->turns = turns;
    for (uint32_t m = 0; m < s->n_sessions; m++)
        most = parts_of(s, m) > most ? parts_of(s, m) : most;
    uint64_t batch = (uint64_t)n * s->n_sessions, epoch = most * batch;
    batch = turns ? n : batch;
    s->batch = batch < UINT32_MAX ? (uint32_t)batch : UINT32_MAX; /* sampler_check refuses it */
    s->clips_per_epoch = epoch < UINT32_MAX ? (uint32_t)epoch : UINT32_MAX;
}

size_t sampler_order_size(const Sampler *s)
{
    uint32_t most = 0; /* a permutation may be cut off by the end of the epoch */
    for (uint32_t m = 0; m < s->n_sessions && s->rounds; m++)
        most = s->sessions[m].n_trials > most ? s->sessions[m].n_trials : most;
    return (size_t)s->clips_per_epoch + most;
}

/* Items of session m are those of its rounds, one behind the other. */
static void order_rounds(const Sampler *s, uint32_t epoch, uint32_t *order)
{
    uint32_t own = own_items(s);
    for (uint32_t m = 0; m < s->n_sessions; m++) {
        uint32_t *at = order + (size_t)m * own, n = s->sessions[m].n_trials;
        uint32_t pass = parts_of(s, m) * s->rounds;
        for (uint32_t first = 0, k = 0; first < own; first += pass, k++) {
            uint64_t number = ((uint64_t)epoch * s->n_sessions + m) << 24 | k;
            philox_permutation(s->seed, philox_stream("sampler.rounds") + number, n, at + first);
            for (uint32_t i = n; i < pass && first + i < own; i++)
                at[first + i] = SAMPLER_ANY;
        }
    }
}

static uint32_t plan_round(const Sampler *s, const uint32_t *order, uint32_t step, uint32_t *item,
                           uint32_t *session, uint32_t *first, uint32_t *count)
{
    uint32_t own = own_items(s), n = 0;
    uint32_t round = s->turns ? step / s->n_sessions : step;
    for (uint32_t m = 0; m < s->n_sessions; m++) {
        bool absent = s->turns && m != step % s->n_sessions;
        first[m] = n;
        for (uint32_t i = 0; i < s->rounds && !absent; i++) {
            uint32_t at = m * own + round * s->rounds + i;
            if (order[at] == SAMPLER_ANY)
                continue;
            item[n] = at;
            session[n++] = m;
        }
        count[m] = n - first[m];
    }
    return n;
}

/* ---- batches of any sessions ---- */

void sampler_order(const Sampler *s, uint32_t epoch, uint32_t *order)
{
    if (s->rounds) {
        order_rounds(s, epoch, order);
        return;
    }
    uint64_t stream = philox_stream("sampler.order") + epoch;
    philox_permutation(s->seed, stream, s->clips_per_epoch, order);
    if (s->by_trials) {
        uint64_t all = 0;
        for (uint32_t m = 0; m < s->n_sessions; m++)
            all += s->sessions[m].n_trials;
        for (uint32_t i = 0; i < s->clips_per_epoch; i++)
            order[i] = session_of_trial(s, order[i] * all / s->clips_per_epoch);
        return;
    }
    for (uint32_t i = 0; i < s->clips_per_epoch; i++) /* item [E/S m, E/S (m+1)) is session m's */
        order[i] = (uint32_t)((uint64_t)order[i] * s->n_sessions / s->clips_per_epoch);
}

uint32_t sampler_plan(const Sampler *s, const uint32_t *order, uint32_t step, uint32_t *item,
                      uint32_t *session, uint32_t *first, uint32_t *count)
{
    uint32_t begin = step * s->batch;
    if (s->rounds)
        return plan_round(s, order, step, item, session, first, count);
    memset(count, 0, s->n_sessions * sizeof *count);
    for (uint32_t i = 0; i < s->batch; i++)
        count[order[begin + i]]++;
    for (uint32_t m = 0, at = 0; m < s->n_sessions; at += count[m], m++)
        first[m] = at;
    for (uint32_t i = 0; i < s->batch; i++) {
        uint32_t to = first[order[begin + i]]++;
        item[to] = begin + i;
        session[to] = order[begin + i];
    }
    for (uint32_t m = 0; m < s->n_sessions; m++)
        first[m] -= count[m];
    return s->batch;
}

static double beta(Rng *rng, double alpha)
{
    if (alpha == 1)
        return rng_double(rng);
    double a = rng_gamma(rng, alpha), b = rng_gamma(rng, alpha);
    if (a + b > 0)
        return a / (a + b);
    return rng_double(rng) < 0.5 ? 0 : 1; /* both underflowed: alpha is tiny, the limit is a coin */
}

double beta_draw(double alpha, uint64_t seed, uint64_t index)
{
    Rng rng = rng_start(seed, philox_stream("sampler.beta") + index);
    return beta(&rng, alpha);
}

/* A trial that is long enough, `chosen` if possible, and the last frame of a window in it. */
static Status draw_window(const Sampler *s, const SamplerSession *one, Rng *rng, uint32_t chosen,
                          uint32_t *trial, uint32_t *end, Err *err)
{
    uint32_t span = clip_span(&s->clip);
    for (int i = 0; i < MAX_TRIES; i++) {
        uint32_t frames;
        bool is_given = !i && chosen != SAMPLER_ANY;
        *trial = one->trials[is_given ? chosen : (uint32_t)rng_below(rng, one->n_trials)];
        NPC_TRY(recording_valid_frames(one->recording, *trial, &frames, err));
        if (frames >= span) {
            uint32_t starts = frames - span + 1;
            starts -= s->not_last && starts > 1;
            *end = span - 1 + (uint32_t)rng_below(rng, starts);
            return NPC_OK;
        }
    }
    return err_set(err, NPC_ERR_INPUT,
                   "%s: no trial with %u valid frames among %d drawn ones; a window needs them",
                   one->recording->path, span, MAX_TRIES);
}

Status sampler_clip(const Sampler *s, uint32_t epoch, uint32_t item, uint32_t session,
                    uint32_t trial, Clip *out, Err *err)
{
    const SamplerSession *one = &s->sessions[session];
    uint64_t number = (uint64_t)epoch * s->clips_per_epoch + item;
    Rng rng = rng_start(s->seed, philox_stream("sampler.clip") + number);
    memset(out, 0, sizeof *out);
    out->session = session;
    NPC_TRY(draw_window(s, one, &rng, trial, &out->trial, &out->end, err));
    out->is_mixed = rng_double(&rng) < s->mix_chance;
    if (!out->is_mixed)
        return NPC_OK;
    NPC_TRY(draw_window(s, one, &rng, SAMPLER_ANY, &out->partner_trial, &out->partner_end, err));
    double share = beta(&rng, s->mix_alpha);
    uint32_t row = (uint32_t)rng_below(&rng, s->clip.height);
    uint32_t column = (uint32_t)rng_below(&rng, s->clip.width);
    out->box = cutmix_box(s->clip.height, s->clip.width, share, row, column);
    return NPC_OK;
}

uint32_t span_count(const ClipShape *s, uint32_t valid)
{
    return valid / clip_span(s);
}

uint32_t span_end(const ClipShape *s, uint32_t span)
{
    return (span + 1) * clip_span(s) - 1;
}

Status sampler_validation(const SamplerSession *sessions, uint32_t n_sessions, const ClipShape *s,
                          Arena *arena, Clip **out, uint32_t *n, Err *err)
{
    VEC(Clip) clips = {0};
    for (uint32_t m = 0; m < n_sessions; m++) {
        NPC_TRY(clip_check(s, sessions[m].recording, err));
        for (uint32_t t = 0; t < sessions[m].n_trials; t++) {
            uint32_t valid, trial = sessions[m].trials[t];
            NPC_TRY(recording_valid_frames(sessions[m].recording, trial, &valid, err));
            for (uint32_t q = 0; q < span_count(s, valid); q++) {
                Clip clip = {.session = m, .trial = trial, .end = span_end(s, q)};
                vec_push(arena, &clips, clip);
            }
        }
    }
    *out = clips.at;
    *n = clips.len;
    return NPC_OK;
}
