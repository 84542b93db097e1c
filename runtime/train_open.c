/* Puts a training run together: data, model, run directory, split, programs, state. */
#include "runtime/trainer.h"

#include <jansson.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#include "data/signals.h"

enum { MODEL_TEXT_LIMIT = 16 << 20, MANY_TRIALS = 1 << 30 /* bytes of mapped trials */ };

void trainer_note(void *user, const char *text)
{
    Trainer *t = user;
    progress_note(&t->progress, "%s", text);
}

ModelOptions machine_model_options(const RunMachine *m, const char *path)
{
    return (ModelOptions){.path = path,
                          .fuse = m->fuse,
                          .recompute = m->recompute,
                          .cpu = m->cpu,
                          .cache_folder = m->cache_folder,
                          .disabled = m->disabled,
                          .device = m->device,
                          .precision = m->precision,
                          .package = m->package,
                          .library = m->library,
                          .threads = m->threads,
                          .interpret = m->interpret,
                          .no_cache = m->no_cache,
                          .messages = m->out};
}

Status run_data_folder(const RunDir *run, Arena *arena, const char **out, Err *err)
{
    char *text;
    size_t len;
    NPC_TRY(run_dir_get(run, arena, "run.json", 1 << 20, &text, &len, err));
    json_t *o = json_loads(text, 0, NULL);
    const char *data = json_string_value(json_object_get(o, "data"));
    *out = data ? arena_strdup(arena, data) : NULL;
    json_decref(o);
    return *out ? NPC_OK
                : err_set(err, NPC_ERR_USAGE,
                          "%s: run.json does not say where the recordings are; name them with "
                          "--data",
                          run->path);
}

/* ---- model and data ---- */

static ModelOptions options_of(const Trainer *t, const char *path)
{
    ModelOptions m = machine_model_options(&t->o->machine, path);
    m.model = t->o->model;
    m.recipe = t->o->recipe;
    m.sets = t->o->sets;
    m.n_sets = t->o->n_sets;
    return m;
}

/* The sessions that the file lists itself; none when it has no list. */
static const Session *listed_sessions(Trainer *t, const char *path, uint32_t *n)
{
    ModelOptions m = options_of(t, path);
    Model *model;
    Session *out = NULL;
    Err ignored = {0}; /* whatever is wrong is reported when the model is built for the data */
    *n = 0;
    m.device = NULL; /* nothing runs */
    m.messages = fopen("/dev/null", "w");
    if (!m.messages)
        return NULL;
    if (model_open(&model, &m, &ignored) == NPC_OK) {
        *n = model->module->sessions.len;
        out = ARENA_ARRAY(&t->arena, Session, *n + 1);
        for (uint32_t i = 0; i < *n; i++)
            out[i] = (Session){.name = arena_strdup(&t->arena, model->module->sessions.at[i].name),
                               .neurons = model->module->sessions.at[i].neurons};
    }
    model_close(model);
    fclose(m.messages);
    return out;
}

static Status open_model(Trainer *t, const char *path, Err *err)
{
    ModelOptions m = options_of(t, path);
    m.sessions = t->data.sessions;
    m.n_sessions = (int)t->data.n;
    NPC_TRY(model_open(&t->model, &m, err));
    t->recipe = &t->model->info.recipe;
    return dataset_clip_shape(&t->data, t->model->module, t->recipe, t->recipe->clip_frames,
                              t->recipe->clip_every, &t->clip, err);
}

static Status open_from_file(Trainer *t, Err *err)
{
    uint32_t n;
    const char *path = t->o->model_path, *data = t->o->data;
    if (!data && t->o->resume) {
        RunDir run;
        if (!t->o->run_dir)
            return err_set(err, NPC_ERR_USAGE,
                           "%s: to resume, name the run: npc run RUN_DIR --train --resume", path);
        NPC_TRY(run_dir_open(&run, t->o->run_dir, RUN_DIR_READ, err));
        NPC_TRY(run_data_folder(&run, &t->arena, &data, err));
    }
    if (!data)
        return err_set(err, NPC_ERR_USAGE, "training needs recordings: --data FOLDER");
    const Session *known = listed_sessions(t, path, &n);
    NPC_TRY(dataset_open(&t->data, &t->arena, data, known, n, err));
    return open_model(t, path, err);
}

/* The run's own model.nm with the sessions it lists. */
static Status open_from_run(Trainer *t, Err *err)
{
    char path[PATH_MAX];
    uint32_t n;
    const char *data = t->o->data;
    if (t->o->n_sets || t->o->model || t->o->recipe)
        return err_set(err, NPC_ERR_USAGE,
                       "%s: a run goes on with the settings it was started with; --set, --model "
                       "and --recipe start another run",
                       t->dir.path);
    if (!data)
        NPC_TRY(run_data_folder(&t->dir, &t->arena, &data, err));
    NPC_TRY(run_dir_path(&t->dir, "model.nm", path, sizeof path, err));
    const char *own = arena_strdup(&t->arena, path);
    if (!file_exists(own))
        return err_set(err, NPC_ERR_INPUT,
                       "%s: missing; the run was interrupted before it began: start it again with "
                       "npc run MODEL.nm --train --resume --run %s",
                       own, t->dir.path);
    const Session *sessions = listed_sessions(t, own, &n);
    if (!n) { /* mistakes in the source come before what they do to the data */
        NPC_TRY(open_model(t, own, err));
        return err_set(err, NPC_ERR_INPUT, "%s: lists no recordings", own);
    }
    NPC_TRY(dataset_match(&t->data, &t->arena, data, sessions, n, true, err));
    return open_model(t, own, err);
}

/* ---- the run directory ---- */

static const char *facts(Trainer *t)
{
    const RunMachine *m = &t->o->machine;
    Text recipe = {.arena = &t->arena};
    char data[PATH_MAX];
    recipe_print(&recipe, t->recipe);
    RunFacts f = {.argc = m->argc,
                  .argv = m->argv,
                  .model = t->model->module->model,
                  .model_hash = t->hash,
                  .recipe_hash = text_hash(&t->arena, text_str(&recipe)),
                  .data = realpath(t->data.dir, data) ? data : t->data.dir,
                  .data_hash = dataset_hash(&t->arena, &t->data),
                  .backend = m->interpret ? "cpu interpreter" : "cpu",
                  .version = NPC_VERSION,
                  .seed = t->recipe->seed};
    return run_dir_facts_text(&t->arena, &f);
}

static Status create_run(Trainer *t, Err *err)
{
    Text recipe = {.arena = &t->arena};
    recipe_print(&recipe, t->recipe);
    const char *path = t->o->run_dir ? t->o->run_dir
                                     : arena_printf(&t->arena, "runs/%s",
                                                    t->recipe->name ? t->recipe->name : "run");
    t->hash = text_hash(&t->arena, t->model->info.resolved);
    NPC_TRY(run_dir_create(&t->dir, path, facts(t), err));
    t->created = true;
    NPC_TRY(run_dir_put(&t->dir, "recipe.txt", text_str(&recipe), err));
    return run_dir_put(&t->dir, "model.nm", t->model->info.resolved, err);
}

/* A run resumed from a model file must still be the same model. */
static Status compare_model(Trainer *t, Err *err)
{
    char *text, path[PATH_MAX];
    size_t len;
    NPC_TRY(run_dir_path(&t->dir, "model.nm", path, sizeof path, err));
    if (t->o->model_path && !file_exists(path)) /* killed before it was written */
        NPC_TRY(run_dir_put(&t->dir, "model.nm", t->model->info.resolved, err));
    NPC_TRY(run_dir_get(&t->dir, &t->arena, "model.nm", MODEL_TEXT_LIMIT, &text, &len, err));
    t->hash = text_hash(&t->arena, text);
    if (t->o->model_path && strcmp(text, t->model->info.resolved))
        return err_set(err, NPC_ERR_INPUT,
                       "%s: differs from what %s gives now; resume the run itself with  npc run %s "
                       "--train --resume  or start another run",
                       path, t->o->model_path, t->dir.path);
    return NPC_OK;
}

static Status open_run(Trainer *t, Err *err)
{
    const TrainOptions *o = t->o;
    if (!o->resume) {
        NPC_TRY(open_from_file(t, err));
        return create_run(t, err);
    }
    if (o->model_path)
        NPC_TRY(open_from_file(t, err));
    const char *path = o->run_dir;
    if (!path)
        path = arena_printf(&t->arena, "runs/%s",
                            t->recipe && t->recipe->name ? t->recipe->name : "run");
    NPC_TRY(run_dir_open(&t->dir, path, o->take_lock ? RUN_DIR_WRITE_TAKE : RUN_DIR_WRITE, err));
    if (!o->model_path)
        NPC_TRY(open_from_run(t, err));
    return compare_model(t, err);
}

/* ---- which trials ---- */

static Status make_folds(Trainer *t, Folds *folds, Err *err)
{
    char *text, path[PATH_MAX];
    size_t len;
    Workers *workers;
    NPC_TRY(run_dir_path(&t->dir, "folds.json", path, sizeof path, err));
    if (file_exists(path)) {
        NPC_TRY(run_dir_get(&t->dir, &t->arena, "folds.json", MODEL_TEXT_LIMIT, &text, &len, err));
        if (folds_read(folds, &t->arena, t->data.recording, t->data.n, text))
            return NPC_OK;
    }
    trainer_note(t, "sorting the films of all trials into folds");
    NPC_TRY(workers_start(&workers, t->o->machine.threads, 64, err));
    Status s = folds_make(folds, &t->arena, t->data.recording, t->data.n,
                          (uint32_t)t->recipe->folds, workers, err);
    workers_stop(workers);
    NPC_TRY(s);
    const char *made;
    NPC_TRY(folds_text(&made, &t->arena, folds, err));
    return run_dir_put(&t->dir, "folds.json", made, err);
}

static Status split(Trainer *t, Err *err)
{
    Folds folds;
    if (t->recipe->folds > 0)
        NPC_TRY(make_folds(t, &folds, err));
    return split_trials(&t->split, &t->arena, t->data.recording, t->data.n, t->recipe,
                        t->recipe->folds > 0 ? &folds : NULL, err);
}

/* Statistics, the split, and what parameters begin at. */
static Status use_data(Trainer *t, Err *err)
{
    char keep[4096];
    NPC_TRY(run_dir_path(&t->dir, "statistics", keep, sizeof keep, err));
    NPC_TRY(dataset_standardise(&t->data, &t->arena, t->recipe, keep, true, err));
    NPC_TRY(split(t, err));
    if (!t->model->module->uses_means || (t->o->resume && checkpoint_exists(t->checkpoints)))
        return NPC_OK;
    const char *path = arena_strdup(&t->arena, t->model->options.path);
    NPC_TRY(dataset_means(&t->data, &t->arena, t->split.train, err));
    model_close(t->model);
    t->model = NULL;
    return open_model(t, path, err);
}

/* ---- programs and state ---- */

static uint32_t loader_threads(const Trainer *t)
{
    return t->o->machine.workers ? t->o->machine.workers : 2;
}

static Status prepare_programs(Trainer *t, Err *err)
{
    NPC_TRY(stepper_add(&t->stepper, t->model, &t->clip, err));
    t->is_whole = !t->recipe->predict_frames && !clip_has(&t->clip, INPUT_IMAGE);
    if (!t->is_whole)
        NPC_TRY(model_add(t->model, PROGRAM_EVAL, &t->evaluate, err));
    else
        NPC_TRY(lengths_add(&t->lengths, &t->arena, t->model, PROGRAM_EVAL, &t->data,
                            t->split.validate, t->data.n, (uint32_t)t->recipe->burn_in, err));
    NPC_TRY(model_ready(t->model, err));
    NPC_TRY(stepper_ready(&t->stepper, &t->arena, t->model, &t->clip, t->split.train, err));
    if (t->recipe->teacher && !run_dir_is_run(t->recipe->teacher))
        return err_set(err, NPC_ERR_INPUT,
                       "the recipe's teacher '%s' is no run directory: train it first, or name "
                       "another with --set teacher.run=DIR",
                       t->recipe->teacher);
    if (t->recipe->teacher) {
        ModelOptions m = machine_model_options(&t->o->machine, NULL);
        NPC_TRY(teacher_open(&t->teacher, &t->arena, &m, t->recipe->teacher, t->model, &t->clip,
                             t->recipe->teacher_ratio, err));
        t->stepper.feed.teacher = &t->teacher;
    }
    return NPC_OK;
}

static Status prepare_state(Trainer *t, Err *err)
{
    train_state_init(&t->state, &t->arena, t->model, t->total);
    t->state.plateau = plateau_start(&t->recipe->stages[t->recipe->n_stages - 1]);
    if (!t->o->resume || !checkpoint_exists(t->checkpoints)) {
        model_initialise(t->model, t->recipe->seed);
        return NPC_OK;
    }
    NPC_TRY(train_state_restore(&t->state, t->checkpoints, t->hash, trainer_note, t, err));
    if (t->state.plateau.ended)
        t->limit = t->state.step;
    return NPC_OK;
}

static Status plan_sampler(Trainer *t, Err *err)
{
    const Recipe *r = t->recipe;
    t->sampler = (Sampler){.seed = r->seed,
                           .clips_per_epoch = (uint32_t)r->epoch,
                           .batch = (uint32_t)r->batch,
                           .mix_chance = r->has_cutmix ? r->cutmix_chance : 0,
                           .mix_alpha = r->cutmix_alpha,
                           .clip = t->clip,
                           .sessions = t->split.train,
                           .n_sessions = t->data.n,
                           .not_last = r->clip_start == RECIPE_START_NOT_LAST,
                           .by_trials = r->pick == RECIPE_PICK_TRIALS};
    if (r->pick == RECIPE_PICK_ROUNDS || r->pick == RECIPE_PICK_TURNS)
        sampler_set_rounds(&t->sampler, (uint32_t)r->batch, r->pick == RECIPE_PICK_TURNS);
    if (r->epoch > UINT32_MAX || r->batch > UINT32_MAX)
        return err_set(err, NPC_ERR_INPUT, "recipe: an epoch of %lld clips is too long",
                       (long long)r->epoch);
    return sampler_check(&t->sampler, err);
}

static void plan_steps(Trainer *t)
{
    static const ScheduleShape shape[] = {SCHEDULE_CONSTANT, SCHEDULE_LINEAR, SCHEDULE_COSINE,
                                          SCHEDULE_CONSTANT};
    int64_t epoch = sampler_steps(&t->sampler) ? sampler_steps(&t->sampler) : 1;
    t->epoch_steps = (uint64_t)epoch;
    for (int i = 0; i < t->recipe->n_stages; i++) {
        const RecipeStage *s = &t->recipe->stages[i];
        t->schedule[i] = (ScheduleStage){shape[s->schedule], s->from, s->to,
                                         (uint64_t)recipe_stage_steps(t->recipe, i, epoch),
                                         s->each == RECIPE_EACH_EPOCH ? t->epoch_steps : 0};
    }
    t->total = (uint64_t)recipe_steps(t->recipe, epoch);
    uint64_t stop = t->o->stop_after;
    t->limit = stop && stop < t->total ? stop : t->total;
}

static Status open_loader(Trainer *t, Err *err)
{
    if (t->state.step >= t->limit)
        return NPC_OK;
    LoaderConfig config = {.sampler = &t->sampler,
                           .epoch = (uint32_t)(t->state.step / t->epoch_steps),
                           .step = (uint32_t)(t->state.step % t->epoch_steps),
                           .n_batches = t->limit - t->state.step,
                           .threads = loader_threads(t),
                           .depth = 4,
                           .cache_bytes = MANY_TRIALS};
    NPC_TRY(loader_open(&t->loader, &config, err));
    feed_start(&t->stepper.feed, t->loader, t->state.step);
    return NPC_OK;
}

static Status open_records(Trainer *t, Err *err)
{
    char path[4096];
    NPC_TRY(run_dir_path(&t->dir, "log.jsonl", path, sizeof path, err));
    if (t->o->resume)
        NPC_TRY(log_open_resumed(&t->log, path, t->state.step, err));
    else
        NPC_TRY(log_open(&t->log, path, err));
    return tensorboard_open(&t->board, t->dir.path, t->state.step, err);
}

static void say_limits(Trainer *t)
{
    if (t->dir.note[0])
        trainer_note(t, t->dir.note);
    if (t->recipe->precision != RECIPE_F32 && !t->o->machine.precision &&
        !device_is_cuda(&t->model->machine))
        trainer_note(t, "precision: the CPU computes in float32");
    if (!t->validation.n_clips)
        trainer_note(t, "no trial to validate on: no scores before the end");
}

static Status check_plateau(const Trainer *t, Err *err)
{
    const RecipeStage *last = &t->recipe->stages[t->recipe->n_stages - 1];
    if (last->schedule != RECIPE_PLATEAU || t->validation.n_clips)
        return NPC_OK;
    return err_set(
        err, NPC_ERR_INPUT,
        "recipe: the learning rate of stage '%s' follows the validation score, and there "
        "is no trial to validate on",
        last->name);
}

Status trainer_open(Trainer *t, Err *err)
{
    NPC_TRY(open_run(t, err));
    NPC_TRY(run_dir_path(&t->dir, "checkpoints", t->checkpoints, sizeof t->checkpoints, err));
    NPC_TRY(use_data(t, err));
    NPC_TRY(plan_sampler(t, err));
    plan_steps(t);
    NPC_TRY(prepare_programs(t, err));
    NPC_TRY(prepare_state(t, err));
    NPC_TRY(validation_open(&t->validation, &t->arena, t->model, t->evaluate, t->split.validate,
                            &t->clip, t->is_whole ? &t->lengths : NULL, loader_threads(t), err));
    NPC_TRY(check_plateau(t, err));
    NPC_TRY(open_records(t, err));
    NPC_TRY(open_loader(t, err));
    say_limits(t);
    return NPC_OK;
}

void trainer_abandon(Trainer *t)
{
    static const char *const files[] = {"model.nm", "recipe.txt", "folds.json", "log.jsonl"};
    static const char *const last[] = {"checkpoints", "predictions", "run.json", "lock", ""};
    char path[4096];
    Err ignored = {0};
    if (!t->created)
        return;
    if (t->board.stream)
        unlink(t->board.path);
    if (run_dir_path(&t->dir, "statistics", path, sizeof path, &ignored) == NPC_OK)
        file_remove_tree(path);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if (run_dir_path(&t->dir, files[i], path, sizeof path, &ignored) == NPC_OK)
            unlink(path);
    for (size_t i = 0; i < sizeof last / sizeof *last; i++) /* folders only when empty */
        if (run_dir_path(&t->dir, last[i], path, sizeof path, &ignored) == NPC_OK)
            remove(path);
}

void trainer_close(Trainer *t)
{
    loader_close(t->loader);
    teacher_close(&t->teacher);
    model_close(t->model);
    log_close(&t->log);
    tensorboard_close(&t->board);
    run_dir_close(&t->dir);
    arena_free(&t->arena);
}
