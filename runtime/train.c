#include "runtime/trainer.h"

#include <math.h>
#include <time.h>

#include "runtime/predict.h"
#include "runtime/report.h"
#include "data/signals.h"

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- where a step stands in the recipe ---- */

/* The stage of the step that comes after `done` finished ones, or the last stage at the end. */
static int stage_at(const Trainer *t, uint64_t done)
{
    int i = 0;
    for (uint64_t end = t->schedule[0].steps; done >= end && i + 1 < t->recipe->n_stages;)
        end += t->schedule[++i].steps;
    return i;
}

static bool is_stage_border(const Trainer *t, uint64_t done)
{
    uint64_t end = 0;
    for (int i = 0; i < t->recipe->n_stages; i++) {
        if (done == end)
            return true;
        end += t->schedule[i].steps;
    }
    return done == end;
}

static bool is_due(const Trainer *t, uint64_t done, int64_t epochs, int64_t steps)
{
    uint64_t period = steps > 0 ? (uint64_t)steps : (uint64_t)epochs * t->epoch_steps;
    return done && period && done % period == 0;
}

static bool validation_is_due(const Trainer *t)
{
    const Recipe *r = t->recipe;
    uint64_t done = t->state.step;
    return t->validation.n_clips && t->state.validated != done &&
           (is_stage_border(t, done) || is_due(t, done, r->validate_epochs, r->validate_steps));
}

/* The stage whose steps led here. */
static const RecipeStage *finished_stage(const Trainer *t)
{
    return &t->recipe->stages[stage_at(t, t->state.step ? t->state.step - 1 : 0)];
}

/* ---- what people see ---- */

static void show(Trainer *t)
{
    const TrainState *s = &t->state;
    uint64_t here = s->step < t->total ? s->step : t->total - 1;
    ProgressState state = {.stage = t->recipe->stages[stage_at(t, here)].name,
                           .epoch = (uint32_t)(here / t->epoch_steps + 1),
                           .n_epochs = (uint32_t)((t->total + t->epoch_steps - 1) / t->epoch_steps),
                           .step = s->step,
                           .loss = s->loss,
                           .score = s->score,
                           .clips = s->step * (uint64_t)t->sampler.batch};
    progress_update(&t->progress, &state);
}

static Status record_step(Trainer *t, double rate, Err *err)
{
    const TrainState *s = &t->state;
    log_begin(&t->log, "train", s->step);
    log_number(&t->log, "loss", s->loss);
    log_number(&t->log, "rate", rate);
    log_number(&t->log, "time", now() - t->started);
    NPC_TRY(log_end(&t->log, err));
    NPC_TRY(tensorboard_scalar(&t->board, "train/loss", s->step, s->loss, err));
    return tensorboard_scalar(&t->board, "train/rate", s->step, rate, err);
}

static Status record_validation(Trainer *t, Err *err)
{
    const Validation *v = &t->validation;
    uint64_t step = t->state.step;
    char tag[600];
    log_begin(&t->log, "validation", step);
    log_number(&t->log, "score", v->mean);
    log_number(&t->log, "loss", v->loss);
    for (uint32_t m = 0; m < t->data.n; m++)
        log_number(&t->log, t->data.sessions[m].name, v->score[m]);
    NPC_TRY(log_end(&t->log, err));
    NPC_TRY(tensorboard_scalar(&t->board, "validation/score", step, v->mean, err));
    NPC_TRY(tensorboard_scalar(&t->board, "validation/loss", step, v->loss, err));
    for (uint32_t m = 0; m < t->data.n; m++) {
        snprintf(tag, sizeof tag, "validation/score/%s", t->data.sessions[m].name);
        NPC_TRY(tensorboard_scalar(&t->board, tag, step, v->score[m], err));
    }
    progress_note(&t->progress, "step %llu: validation correlation %.4f, loss %.5g",
                  (unsigned long long)step, v->mean, v->loss);
    return NPC_OK;
}

/* ---- validation and saving ---- */

static Status back_to_best(Trainer *t, const char *why, Err *err)
{
    uint64_t step;
    char from[100] = "there are no weights to go back to";
    NPC_TRY(train_state_reload_best(&t->state, t->checkpoints, t->hash, &step, err));
    if (step != UINT64_MAX)
        snprintf(from, sizeof from, "the weights of step %llu are back", (unsigned long long)step);
    progress_note(&t->progress, "step %llu: %s; %s", (unsigned long long)t->state.step, why, from);
    return NPC_OK;
}

/* What the validation that just happened means for the learning rate. */
static Status follow_plateau(Trainer *t, Err *err)
{
    Plateau *p = &t->state.plateau;
    double rate = p->rate;
    char why[100];
    PlateauAction action = plateau_step(p, &finished_stage(t)->plateau, t->state.score);
    if (p->rate != rate && action != PLATEAU_REDUCE)
        progress_note(&t->progress, "step %llu: the learning rate is now %.4g",
                      (unsigned long long)t->state.step, p->rate);
    switch (action) {
    case PLATEAU_BEST:
        t->state.best = t->state.score;
        return NPC_OK;
    case PLATEAU_WAIT:
        return NPC_OK;
    case PLATEAU_RESTORE:
        return back_to_best(t, "no better score", err);
    case PLATEAU_REDUCE:
        snprintf(why, sizeof why, "no better score, the learning rate is now %.4g", p->rate);
        return back_to_best(t, why, err);
    case PLATEAU_RESCUE:
        return back_to_best(t, "the score collapsed", err);
    case PLATEAU_END:
        break;
    }
    t->limit = t->state.step;
    return back_to_best(t, "no better score, training ends", err);
}

/* Does the last validation make the weights of this step candidates for the best ones? */
static bool score_counts(const Trainer *t)
{
    const TrainState *s = &t->state;
    const RecipeStage *stage = finished_stage(t);
    if (s->validated != s->step || stage->keep == RECIPE_KEEP_NONE)
        return false;
    if (stage->schedule == RECIPE_PLATEAU && (s->step || stage->plateau.restore))
        return s->score == plateau_best(&s->plateau, &stage->plateau);
    return s->step && stage->schedule != RECIPE_PLATEAU;
}

/* `improved`: the score is the best so far. */
static Status validate(Trainer *t, bool *improved, Err *err)
{
    TrainState *s = &t->state;
    bool stopped;
    NPC_TRY(stepper_average(&t->stepper, err));
    NPC_TRY(train_state_swap_average(s, err));
    Status status = validation_run(&t->validation, signals_stop_requested, &stopped, err);
    NPC_TRY(train_state_swap_average(s, err));
    if (status != NPC_OK || stopped)
        return status;
    s->validated = s->step;
    s->score = t->validation.mean;
    NPC_TRY(record_validation(t, err));
    if (finished_stage(t)->schedule == RECIPE_PLATEAU) {
        if (s->step)
            NPC_TRY(follow_plateau(t, err));
        else
            plateau_begin(&s->plateau, s->score);
        *improved = score_counts(t);
        return NPC_OK;
    }
    if (score_counts(t) && isfinite(s->score) && !(s->score <= s->best)) {
        s->best = s->score;
        *improved = true;
    }
    return NPC_OK;
}

static bool save_is_due(const Trainer *t)
{
    const Recipe *r = t->recipe;
    uint64_t done = t->state.step;
    return done && (is_stage_border(t, done) || done == t->limit ||
                    is_due(t, done, r->checkpoint_epochs, r->checkpoint_steps));
}

static Status save(Trainer *t, Err *err)
{
    NPC_TRY(stepper_average(&t->stepper, err));
    return train_state_save(&t->state, t->checkpoints, t->hash, score_counts(t),
                            (uint32_t)t->recipe->keep_last, err);
}

/* ---- the loop ---- */

static Status refuse_loss(const Trainer *t, Err *err)
{
    return err_set(
        err, NPC_ERR_FAILED,
        "step %llu: the loss is %s; training stopped, nothing was saved after it. The "
        "checkpoints in %s are from before: lower the learning rate, or look at the data "
        "of that step",
        (unsigned long long)t->state.step, isnan(t->state.loss) ? "not a number" : "infinite",
        t->checkpoints);
}

static Status one_step(Trainer *t, Err *err)
{
    double rate = schedule_rate(t->schedule, (size_t)t->recipe->n_stages, t->state.step);
    if (t->recipe->stages[stage_at(t, t->state.step)].schedule == RECIPE_PLATEAU)
        rate = t->state.plateau.rate;
    NPC_TRY(stepper_run(&t->stepper, &t->state, rate, err));
    if (!isfinite(t->state.loss))
        return refuse_loss(t, err);
    NPC_TRY(record_step(t, rate, err));
    show(t);
    if (t->o->after_step)
        t->o->after_step(t->o->user, t->state.step);
    return NPC_OK;
}

/* Validation and checkpoints after every step, in an order that depends on its number alone: what
 * was due and did not happen before an interruption happens first when the run goes on. */
static Status loop(Trainer *t, Err *err)
{
    uint64_t saved = t->state.step, saved_score_of = t->state.validated;
    show(t);
    for (;;) {
        bool improved = false, stop = signals_stop_requested();
        if (!stop && validation_is_due(t)) {
            NPC_TRY(validate(t, &improved, err));
            show(t);
            stop = signals_stop_requested();
        }
        bool fresh = t->state.step != saved || t->state.validated != saved_score_of;
        if (improved || (fresh && (stop || save_is_due(t)))) {
            NPC_TRY(save(t, err));
            saved = t->state.step;
            saved_score_of = t->state.validated;
        }
        if (stop || t->state.step >= t->limit)
            return NPC_OK;
        NPC_TRY(one_step(t, err));
    }
}

/* ---- the end ---- */

/* The prediction of a trial [neurons frames]: of its last frames when it is seen whole; 0 frames
 * when it cannot be predicted. */
static Status predict_trace(Trainer *t, uint32_t session, const TrialMap *map, float *out,
                            uint32_t *frames, Err *err)
{
    *frames = 0;
    if (!t->is_whole) {
        Predictor p;
        NPC_TRY(predictor_open(&p, &t->arena, t->model, t->evaluate, &t->clip, t->recipe,
                               map->valid + 1, err));
        *frames = map->valid < clip_span(&t->clip) ? 0 : map->valid;
        return predictor_trial(&p, session, map, out, err);
    }
    const Length *l = lengths_find(&t->lengths, map->valid);
    if (!l)
        return NPC_OK;
    float *x = ARENA_ARRAY(&t->arena, float, clip_input_elems(&l->clip));
    SampleRange *ranges = ARENA_ARRAY(&t->arena, SampleRange, t->data.n + 1);
    ranges[session] = (SampleRange){0, 1};
    *frames = clip_outputs(&l->clip);
    NPC_TRY(clip_input(map, &l->clip, map->valid - 1, x, err));
    inputs_put(&l->inputs, 0, x, NULL);
    NPC_TRY(engine_run(t->model->engine, l->program, ranges, err));
    return engine_read(t->model->engine, l->program, RESULT_OUTPUT, t->data.sessions[session].name,
                       out, err);
}

/* Recorded and predicted activity of one trial. */
static Status draw_traces(Trainer *t, Err *err)
{
    uint32_t m = 0, frames = 0;
    while (m + 1 < t->data.n && !t->split.validate[m].n_trials)
        m++;
    const SamplerSession *from =
        t->split.validate[m].n_trials ? &t->split.validate[m] : &t->split.train[m];
    const Recording *r = from->recording;
    TrialMap map;
    if (r->is_images) /* one value per neuron is no trace */
        return NPC_OK;
    NPC_TRY(trial_map(&map, r, from->trials[0], err));
    float *predicted = ARENA_ARRAY(&t->arena, float, (size_t)r->n_neurons *map.valid + 1);
    float *recorded = ARENA_ARRAY(&t->arena, float, (size_t)r->n_neurons *map.valid + 1);
    Status s = stepper_average(&t->stepper, err);
    s = s == NPC_OK ? train_state_swap_average(&t->state, err) : s;
    if (s == NPC_OK) {
        s = predict_trace(t, m, &map, predicted, &frames, err);
        train_state_swap_average(&t->state, err);
    }
    ClipShape shown = {.size = map.valid, .step = 1, .outputs = frames};
    char title[400];
    snprintf(title, sizeof title, "%s, trial %u", r->name, from->trials[0]);
    if (s == NPC_OK && frames) {
        s = clip_target(&map, &shown, map.valid - 1, recorded, err);
        if (s == NPC_OK)
            s = report_trace_pictures(&t->dir, title, predicted, recorded, r->n_neurons, frames,
                                      t->recipe->rate, err);
    }
    trial_unmap(&map);
    return s;
}

/* Pictures that cannot be drawn (built without cairo) are a note, not a failure. */
static Status finish(Trainer *t, Err *err)
{
    Err picture = {0};
    const char *title = t->model->module->model;
    if (report_training_pictures(&t->dir, title, (double)t->epoch_steps, &picture) == NPC_OK)
        draw_traces(t, &picture);
    if (picture.status == NPC_ERR_IO)
        return err_set(err, picture.status, "%s", picture.text);
    if (picture.status != NPC_OK)
        trainer_note(t, picture.text);
    return report_write(&t->dir, NULL, 0, err);
}

static void say_end(Trainer *t)
{
    const TrainState *s = &t->state;
    char score[64] = "";
    if (isfinite(s->score))
        snprintf(score, sizeof score, ", validation correlation %.4f", s->score);
    progress_note(&t->progress, "%s: %llu of %llu steps done%s", t->dir.path,
                  (unsigned long long)s->step, (unsigned long long)t->total, score);
    if (s->step < t->total && !s->plateau.ended)
        progress_note(&t->progress, "stopped; go on with  npc run %s --train --resume",
                      t->dir.path);
}

/* What the device holds is lost; `err` says what failed. */
static Status refuse_device(const Trainer *t, Err *err)
{
    Err all = {0};
    char kept[600] = "nothing was saved yet";
    if (checkpoint_exists(t->checkpoints))
        snprintf(kept, sizeof kept,
                 "the checkpoints in %.400s are from before: go on from them with --resume",
                 t->checkpoints);
    err_set(&all, NPC_ERR_DEVICE, "%.1200s; training stopped behind step %llu, %s", err->text,
            (unsigned long long)t->state.step, kept);
    *err = all;
    return all.status;
}

static Status train(Trainer *t, TrainResult *out, Err *err)
{
    Status s = trainer_open(t, err);
    snprintf(out->run_dir, sizeof out->run_dir, "%s", t->dir.path);
    if (s != NPC_OK) {
        trainer_abandon(t);
        return s;
    }
    progress_close(&t->progress);
    progress_open(&t->progress, t->out, t->o->machine.progress, t->total);
    t->started = now();
    s = loop(t, err);
    out->step = t->state.step;
    out->total = t->total;
    out->loss = t->state.loss;
    out->score = t->state.score;
    out->best = t->state.best;
    if (s == NPC_ERR_DEVICE)
        return refuse_device(t, err);
    NPC_TRY(s);
    if (!signals_stop_requested())
        NPC_TRY(finish(t, err));
    say_end(t);
    return NPC_OK;
}

Status train_run(const TrainOptions *o, TrainResult *out, Err *err)
{
    Trainer t = {.o = o, .out = o->machine.out ? o->machine.out : stderr, .dir = {.lock_fd = -1}};
    jmp_buf exhausted;
    Status s;
    *out = (TrainResult){.loss = NAN, .score = NAN, .best = NAN};
    t.log.fd = -1;
    progress_open(&t.progress, t.out, o->machine.progress, 1);
    t.arena.exhausted = &exhausted;
    if (setjmp(exhausted))
        s = err_set(err, NPC_ERR_MEMORY, "not enough memory to train");
    else
        s = train(&t, out, err);
    progress_close(&t.progress);
    trainer_close(&t);
    return s;
}
