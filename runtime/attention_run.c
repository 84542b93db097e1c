#include "runtime/attention_run.h"

#include <math.h>

#include "runtime/attention_behaviour.h"
#include "runtime/attention_files.h"
#include "runtime/dataset.h"
#include "runtime/lengths.h"
#include "data/signals.h"

enum { DRAWN = 8 /* trials of a recording and tier */, TEXT_LIMIT = 16 << 20 };

typedef struct Attend {
    const AttentionOptions *o;
    FILE *out;
    Arena arena, scratch; /* of the run, of a trial */
    RunDir dir;
    Model *model;
    Dataset data;
    Lengths lengths;
    AttentionModel *found; /* [lengths] */
    Workers *workers;
    SampleRange *ranges;
    float *sample;
    VEC(AttentionTier) tiers;
    unsigned tier_bits;
    uint32_t n_short;
    uint64_t done, total; /* trials */
    Progress progress;
} Attend;

static void note(void *user, const char *text)
{
    Attend *a = user;
    progress_note(&a->progress, "%s", text);
}

/* ---- getting ready ---- */

/* Refused before anything is read or compiled. */
static Status open_model(Attend *a, Err *err)
{
    char path[4096];
    AttentionModel found;
    Err why = {0};
    NPC_TRY(run_dir_path(&a->dir, "model.nm", path, sizeof path, err));
    ModelOptions m = machine_model_options(&a->o->machine, arena_strdup(&a->arena, path));
    m.batch = 1;
    NPC_TRY(model_open(&a->model, &m, err));
    if (attention_find(&found, &a->arena, a->model->module, &why) != NPC_OK)
        return err_set(err, why.status, "%s: %s", a->o->run_dir, why.text);
    return file_make_folder(a->o->out, err);
}

static Status open_data(Attend *a, Err *err)
{
    const char *data = a->o->data;
    char keep[4096];
    if (!data)
        NPC_TRY(run_data_folder(&a->dir, &a->arena, &data, err));
    NPC_TRY(dataset_match(&a->data, &a->arena, data, a->model->module->sessions.at,
                          a->model->module->sessions.len, false, err));
    NPC_TRY(run_dir_path(&a->dir, "statistics", keep, sizeof keep, err));
    return dataset_standardise(&a->data, &a->arena, &a->model->info.recipe, keep, false, err);
}

/* The first trials of a tier, as many as were asked for. */
static uint32_t trials_of(Attend *a, const Recording *r, Tier tier, uint32_t **out)
{
    uint32_t n = recording_trials(r, TIER_BIT(tier), &a->arena, out), most = a->o->trials;
    return most && most < n ? most : n;
}

static SamplerSession chosen(Attend *a, const Recording *r)
{
    SamplerSession s = {.recording = r};
    if (!r)
        return s;
    uint32_t *all = ARENA_ARRAY(&a->arena, uint32_t, (size_t)r->n_trials + 1), *trials;
    for (Tier tier = TIER_TRAIN; tier < TIER_COUNT; tier++) {
        uint32_t n = a->tier_bits & TIER_BIT(tier) ? trials_of(a, r, tier, &trials) : 0;
        for (uint32_t i = 0; i < n; i++)
            all[s.n_trials++] = trials[i];
    }
    s.trials = all;
    return s;
}

static bool is_film(const Module *m)
{
    for (int i = 0; i < INPUT_COUNT; i++) {
        const Shape *s = dataset_input_shape(m, input_name((ModelInput)i));
        if (s && shape_axis(s, "t") >= 0)
            return true;
    }
    return false;
}

/* A program for every length of what is looked at. */
static Status add_programs(Attend *a, Err *err)
{
    const Recipe *r = &a->model->info.recipe;
    SamplerSession *all = ARENA_ARRAY(&a->arena, SamplerSession, (size_t)a->data.n + 1);
    for (uint32_t i = 0; i < a->data.n; i++) {
        all[i] = chosen(a, a->data.recording[i]);
        a->total += all[i].n_trials;
    }
    if (!a->total)
        return err_set(err, NPC_ERR_INPUT, "%s: no trial of the tiers asked for", a->data.dir);
    if (is_film(a->model->module))
        return lengths_add(&a->lengths, &a->arena, a->model, PROGRAM_ATTENTION, &a->data, all,
                           a->data.n, (uint32_t)r->burn_in, err);
    ClipShape clip;
    int program;
    NPC_TRY(dataset_clip_shape(&a->data, a->model->module, r, 1, 1, &clip, err));
    NPC_TRY(model_add(a->model, PROGRAM_ATTENTION, &program, err));
    lengths_single(&a->lengths, &a->arena, a->model, program, &clip);
    return NPC_OK;
}

static Status load_weights(Attend *a, Err *err)
{
    char *text;
    size_t len;
    uint64_t step;
    NPC_TRY(run_dir_get(&a->dir, &a->arena, "model.nm", TEXT_LIMIT, &text, &len, err));
    return weights_load(a->model, a->dir.path, a->o->weights, text_hash(&a->arena, text), &step,
                        note, a, err);
}

static Status start_workers(Attend *a, Err *err)
{
    size_t scratch = 0, sample = 0;
    a->found = ARENA_ARRAY(&a->arena, AttentionModel, (size_t)a->lengths.n + 1);
    for (uint32_t i = 0; i < a->lengths.n; i++) {
        const Length *l = &a->lengths.at[i];
        Err why = {0};
        if (attention_find(&a->found[i], &a->arena, l->module, &why) != NPC_OK)
            return err_set(err, why.status, "%s: %s", a->o->run_dir, why.text);
        size_t n = attention_trial_scratch(&a->found[i]), x = clip_input_elems(&l->clip);
        scratch = n > scratch ? n : scratch;
        sample = x > sample ? x : sample;
    }
    a->sample = ARENA_ARRAY(&a->arena, float, sample + 1);
    a->ranges = ARENA_ARRAY(&a->arena, SampleRange, (size_t)a->data.n + 1);
    return workers_start(&a->workers, a->o->machine.threads, scratch + 64, err);
}

static Status prepare(Attend *a, Err *err)
{
    NPC_TRY(run_dir_open(&a->dir, a->o->run_dir, RUN_DIR_READ, err));
    NPC_TRY(open_model(a, err));
    NPC_TRY(open_data(a, err));
    NPC_TRY(add_programs(a, err));
    NPC_TRY(model_ready(a->model, err));
    NPC_TRY(load_weights(a, err));
    NPC_TRY(lengths_ready(&a->lengths, a->model, err));
    return start_workers(a, err);
}

/* ---- a trial ---- */

/* Everything as it was recorded, of pictures the mean over colours. */
static Status read_scene(const TrialMap *map, Arena *arena, AttentionScene *s, Err *err)
{
    Recording raw = *map->recording;
    TrialMap plain = *map;
    raw.transform = NULL;
    plain.recording = &raw;
    ClipShape shape = {.height = raw.height,
                       .width = raw.width,
                       .size = 1,
                       .step = 1,
                       .inputs = INPUT_BIT(INPUT_VIDEO) | INPUT_BIT(INPUT_BEHAVIOR) |
                                 INPUT_BIT(INPUT_PUPIL),
                       .colours = raw.colours,
                       .behaviors = raw.n_behaviors};
    size_t plane = (size_t)raw.height * raw.width * map->valid;
    float *x = ARENA_ARRAY(arena, float, clip_frame_elems(&shape, map->valid));
    NPC_TRY(clip_frames(&plain, &shape, 0, map->valid, x, err));
    uint32_t colours = clip_block(&shape, INPUT_VIDEO).rows,
             behaviors = clip_block(&shape, INPUT_BEHAVIOR).rows;
    s->is_images = raw.is_images;
    s->frames = map->valid;
    s->height = raw.height;
    s->width = raw.width;
    s->picture = x;
    for (size_t i = 0; i < plane; i++) {
        for (uint32_t c = 1; c < colours; c++)
            x[i] += x[c * plane + i];
        x[i] /= (float)colours;
    }
    const float *behavior = x + colours * plane;
    s->size = behavior; /* the last value is the running speed */
    s->running = behavior + (size_t)(behaviors - 1) * map->valid;
    s->pupil = behavior + (size_t)behaviors * map->valid;
    return NPC_OK;
}

static void add_pair(Attend *a, AttentionTier *t, AttentionRelation relation, double attention,
                     double behaviour)
{
    if (isnan(attention) || isnan(behaviour))
        return;
    vec_push(&a->arena, &t->of[relation].attention, attention);
    vec_push(&a->arena, &t->of[relation].behaviour, behaviour);
}

static void add_pairs(Attend *a, AttentionTier *t, const AttentionTrial *trial,
                      const AttentionScene *s)
{
    size_t size = (size_t)(trial->map_height * trial->map_width);
    for (int64_t i = 0; i < trial->model->steps; i++) {
        uint32_t frame = attention_frame(trial->model, i);
        if (frame < s->burn_in)
            continue;
        if (trial->time)
            add_pair(a, t, RELATION_RUNNING, trial->time[i], (double)s->running[frame]);
        if (!trial->map)
            continue;
        AttentionMoments m =
            attention_moments(trial->map + (size_t)i * size, trial->map_height, trial->map_width);
        add_pair(a, t, RELATION_PUPIL_X, m.x, (double)s->pupil[frame]);
        add_pair(a, t, RELATION_PUPIL_Y, m.y, (double)s->pupil[s->frames + frame]);
        if (!s->is_images)
            continue;
        add_pair(a, t, RELATION_SIZE_X, m.x_spread, (double)s->size[frame]);
        add_pair(a, t, RELATION_SIZE_Y, m.y_spread, (double)s->size[frame]);
    }
    t->n_trials++;
}

static Status see(Attend *a, uint32_t session, const TrialMap *map, const Length *l,
                  const AttentionTrialOptions *o, AttentionTrial *out, Err *err)
{
    NPC_TRY(clip_input(map, &l->clip, l->frames - 1, a->sample, err));
    inputs_put(&l->inputs, 0, a->sample, NULL);
    for (uint32_t m = 0; m < a->data.n; m++)
        a->ranges[m] = (SampleRange){0, m == session};
    NPC_TRY(engine_run(a->model->engine, l->program, a->ranges, err));
    return attention_trial(out, &a->scratch, &a->found[l - a->lengths.at], a->model->engine,
                           l->program, o, err);
}

static Status look_at_trial(Attend *a, uint32_t session, AttentionTier *tier, const TrialMap *map,
                            Err *err)
{
    Arena *scratch = &a->scratch;
    const Length *l = lengths_find(&a->lengths, map->valid);
    char folder[4096];
    AttentionTrial trial;
    AttentionScene scene = {.burn_in =
                                tier->is_images ? 0 : (uint32_t)a->model->info.recipe.burn_in};
    if (!l) { /* nothing of it is scored */
        a->n_short++;
        return NPC_OK;
    }
    snprintf(folder, sizeof folder, "%s/%s/%s/%u", a->o->out, tier->recording, tier->tier,
             map->trial);
    AttentionTrialOptions o = {.workers = a->workers,
                               .is_image = tier->is_images,
                               .weights_folder = a->o->keep_weights ? folder : NULL};
    NPC_TRY(file_make_folder(folder, err));
    NPC_TRY(see(a, session, map, l, &o, &trial, err));
    NPC_TRY(read_scene(map, scratch, &scene, err));
    NPC_TRY(attention_write(&trial, folder, scratch, err));
    scene.title = arena_printf(scratch, "%s, %s %u", tier->recording, tier->tier, map->trial);
    if (tier->n_trials < DRAWN)
        NPC_TRY(attention_draw(&trial, &scene, folder, scratch, err));
    add_pairs(a, tier, &trial, &scene);
    return NPC_OK;
}

static Status look_at_tier(Attend *a, uint32_t session, Tier which, Err *err)
{
    const Recording *r = a->data.recording[session];
    uint32_t *trials, n = trials_of(a, r, which, &trials);
    AttentionTier tier = {
        .recording = r->name, .tier = tier_name(which), .is_images = r->is_images};
    for (uint32_t i = 0; i < n; i++) {
        TrialMap map;
        if (signals_stop_requested())
            return err_set(err, NPC_ERR_FAILED, "stopped after %llu of %llu trials",
                           (unsigned long long)a->done, (unsigned long long)a->total);
        NPC_TRY(trial_map(&map, r, trials[i], err));
        Status s = look_at_trial(a, session, &tier, &map, err);
        trial_unmap(&map);
        arena_free(&a->scratch);
        NPC_TRY(s);
        ProgressState state = {.stage = "attention", .step = ++a->done, .loss = NAN, .score = NAN};
        progress_update(&a->progress, &state);
    }
    attention_correlate(&tier);
    if (tier.n_trials)
        vec_push(&a->arena, &a->tiers, tier);
    return NPC_OK;
}

/* ---- the report ---- */

static Status put(Attend *a, const char *name, const char *text, Err *err)
{
    return file_write(arena_printf(&a->arena, "%s/%s", a->o->out, name), text, strlen(text), err);
}

static Status report(Attend *a, Err *err)
{
    Text table = {.arena = &a->arena}, page = {.arena = &a->arena};
    attention_table(&table, a->tiers.at, a->tiers.len);
    text_printf(&page,
                "# What %s attends to\n\n%s\n"
                "Pearson correlations over all frames (or images) of a tier. Pupil x, y: centre of "
                "mass of the attention map with the pupil centre, absolute values; pupil size: "
                "spread of the map's columns and rows with the pupil size, absolute values. These "
                "are published for images. Running: rollout over steps with the running speed at "
                "the same frames; this one is a definition of npc's.\n",
                a->o->run_dir, text_str(&table));
    NPC_TRY(put(a, "attention.md", text_str(&page), err));
    NPC_TRY(put(a, "attention.json", attention_json(&a->arena, a->tiers.at, a->tiers.len), err));
    progress_close(&a->progress);
    fputs(text_str(&table), stdout);
    return NPC_OK;
}

static Status attend(Attend *a, Err *err)
{
    NPC_TRY(prepare(a, err));
    progress_close(&a->progress);
    progress_open(&a->progress, a->out, a->o->machine.progress, a->total);
    for (uint32_t m = 0; m < a->data.n; m++)
        for (Tier t = TIER_TRAIN; a->data.recording[m] && t < TIER_COUNT; t++)
            if (a->tier_bits & TIER_BIT(t))
                NPC_TRY(look_at_tier(a, m, t, err));
    if (a->n_short)
        progress_note(&a->progress, "%u trials are too short for their attention to be looked at",
                      a->n_short);
    progress_note(&a->progress, "%s: attention of %llu trials", a->o->out,
                  (unsigned long long)(a->done - a->n_short));
    return report(a, err);
}

Status attention_run(const AttentionOptions *o, Err *err)
{
    Attend a = {.o = o,
                .out = o->machine.out ? o->machine.out : stderr,
                .dir = {.lock_fd = -1},
                .tier_bits = o->tiers ? o->tiers : TIERS_LABELLED_IF_RELEASED};
    jmp_buf exhausted;
    Status s;
    progress_open(&a.progress, a.out, o->machine.progress, 1);
    a.arena.exhausted = a.scratch.exhausted = &exhausted;
    if (setjmp(exhausted))
        s = err_set(err, NPC_ERR_MEMORY, "%s: not enough memory to look at attention", o->run_dir);
    else
        s = attend(&a, err);
    progress_close(&a.progress);
    if (a.workers)
        workers_stop(a.workers);
    model_close(a.model);
    run_dir_close(&a.dir);
    arena_free(&a.scratch);
    arena_free(&a.arena);
    return s;
}
