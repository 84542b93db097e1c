/* A model case in which every recording has a batch of its own, as ViV1T, V1T and their successors
 * are trained: predictions in evaluation and training, the loss of every recording, the gradient of
 * the sum of these losses, and a step of the optimizer on the gradients that the file states.
 *
 * Programs run once per recording, whose samples are the whole batch; gradients are added here. */
#include <math.h>

#include "runtime/loss_factors.h"
#include "runtime/verify_model_parts.h"

/* What the files call a model's sizes, and the recipe's settings that stand in the configuration.
 */
static const struct {
    const char *key, *penalised, *counts; /* parameters, and in whose batches */
} PENALTIES[] = {
    {"core_decay", "core", "every"},
    {"readout_decay", "readout.*.features", "own"},
    {"shifter_decay", "readout.*.shifter", "own"},
    {"cropper_decay", "cropper", "own"},
};

/* The losses of the files, as recipes write them. */
static const struct {
    const char *loss, *settings[8];
} LOSSES[] = {
    {"2023",
     {"loss.poisson.eps=1.1920928955078125e-07", "loss.poisson.added=everywhere",
      "loss.correlation.weight=1000", "loss.correlation.eps=1.1920928955078125e-07",
      "loss.scale=trials"}},
    {"closed_loop",
     {"loss.poisson.eps=1.1920928955078125e-07", "loss.poisson.added=everywhere",
      "loss.correlation.weight=0", "loss.scale=balanced"}},
    {"poisson",
     {"loss.poisson.eps=1.1920928955078125e-07", "loss.poisson.added=everywhere",
      "loss.correlation.weight=0", "loss.scale=trials"}},
    {"correlation",
     {"loss.poisson.weight=0", "loss.correlation.weight=1",
      "loss.correlation.eps=1.1920928955078125e-07", "loss.scale=trials"}},
    {"msse", {"loss.poisson.weight=0", "loss.squares.weight=1", "loss.scale=trials"}},
};

static Status bad_meta(VerifyModel *m, const char *what, Err *err)
{
    return err_set(err, NPC_ERR_INPUT, "%s: metadata: %s", m->c->path, what);
}

/* ---- configuration ---- */

static Status read_size(VerifyModel *m, const json_t *of, const char *key, int64_t low,
                        int64_t *out, Err *err)
{
    const json_t *j = json_object_get(of, key);
    *out = json_integer_value(j);
    return json_is_integer(j) && *out >= low && *out <= VERIFY_MAX_SIZE
               ? NPC_OK
               : bad_meta(m, verify_name(m->c, "'config' needs '%s', a number", key), err);
}

static Status read_sizes(VerifyModel *m, Err *err)
{
    json_t *batch, *frames;
    NPC_TRY(read_size(m, m->config, "channels", 1, &m->channels, err));
    NPC_TRY(read_size(m, m->config, "height", 1, &m->h, err));
    NPC_TRY(read_size(m, m->config, "width", 1, &m->w, err));
    NPC_TRY(verify_meta(m->c, "batch", &batch, err));
    m->batch = json_integer_value(batch);
    m->t = 0;
    if (safetensors_meta(&m->c->file, "frames")) {
        NPC_TRY(verify_meta(m->c, "frames", &frames, err));
        m->t = json_integer_value(frames);
        if (m->t < 1 || m->t > VERIFY_MAX_SIZE)
            return bad_meta(m, "'frames' is a positive number", err);
    }
    return json_is_integer(batch) && m->batch >= 1 && m->batch <= VERIFY_MAX_BATCH
               ? NPC_OK
               : bad_meta(m, "'batch' is a number from 1 to 4096", err);
}

static Status read_session(VerifyModel *m, Session *s, Err *err)
{
    VerifyCase *c = m->c;
    float *coordinates, *means;
    const char *name = verify_name(c, "input/coordinates/%s", s->name);
    NPC_TRY(verify_read_floats(c, name, 2, (int64_t[]){s->neurons, -1}, &coordinates, err));
    s->coordinates = coordinates;
    s->n_coordinates = (int)verify_size(verify_find(c, name), 1);
    name = verify_name(c, "input/means/%s", s->name);
    if (verify_find(c, name))
        NPC_TRY(verify_read_floats(c, name, 1, &s->neurons, &means, err));
    else /* mean and deviation */
        NPC_TRY(verify_read_floats(c, verify_name(c, "input/statistics/%s", s->name), 2,
                                   (int64_t[]){2, s->neurons}, &means, err));
    s->means = means;
    return NPC_OK;
}

static Status read_sessions(VerifyModel *m, Err *err)
{
    json_t *neurons = json_object_get(m->config, "neurons");
    size_t n = json_object_size(neurons), i = 0;
    const char *name;
    json_t *count;
    if (!n || n > VERIFY_MAX_SESSIONS)
        return bad_meta(m, "'config' needs 'neurons', numbers by recording", err);
    m->n_sessions = (int)n;
    m->sessions = ARENA_ARRAY(m->c->arena, Session, n);
    json_object_foreach(neurons, name, count)
    {
        Session *s = &m->sessions[i++];
        *s = (Session){.name = arena_strdup(m->c->arena, name),
                       .neurons = json_integer_value(count)};
        if (!json_is_integer(count) || s->neurons < 1 || s->neurons > VERIFY_MAX_SIZE)
            return bad_meta(m, "'neurons' of 'config' are positive numbers", err);
        NPC_TRY(read_session(m, s, err));
    }
    return NPC_OK;
}

static Status add_set(VerifyModel *m, const char *name, const json_t *value, Err *err)
{
    Text t = {.arena = m->c->arena};
    text_printf(&t, "%s=", name);
    if (json_is_integer(value))
        text_printf(&t, "%lld", (long long)json_integer_value(value));
    else if (json_is_real(value))
        text_double(&t, json_real_value(value));
    else if (json_is_boolean(value))
        text_add(&t, json_is_true(value) ? "yes" : "no");
    else if (json_is_string(value))
        text_printf(&t, "\"%s\"", json_string_value(value));
    else
        return bad_meta(m, verify_name(m->c, "'%s' of 'config' is no value", name), err);
    vec_push(m->c->arena, &m->sets, text_str(&t));
    return NPC_OK;
}

/* Fields of the configuration are the model's arguments of the same names, but for sizes and what
 * the recipe says. */
static Status read_arguments(VerifyModel *m, Err *err)
{
    static const char *const sizes[] = {"neurons", "channels", "height", "width"};
    const char *key;
    json_t *value;
    json_object_foreach(m->config, key, value)
    {
        const char *name = key;
        double weight = json_number_value(value);
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
            name = name && !strcmp(key, sizes[i]) ? NULL : name;
        for (size_t i = 0; i < sizeof PENALTIES / sizeof *PENALTIES; i++)
            if (!strcmp(key, PENALTIES[i].key)) {
                name = NULL;
                if (weight > 0)
                    vec_push(m->c->arena, &m->sets,
                             verify_name(m->c, "loss=l1(\"%s\", %.17g, counts: %s)",
                                         PENALTIES[i].penalised, weight, PENALTIES[i].counts));
            }
        if (name)
            NPC_TRY(add_set(m, name, value, err));
    }
    return NPC_OK;
}

static Status read_recipe(VerifyModel *m, Err *err)
{
    json_t *o;
    const char *loss = safetensors_meta(&m->c->file, "loss");
    bool known = false;
    for (size_t i = 0; loss && i < sizeof LOSSES / sizeof *LOSSES; i++)
        for (int k = 0; !strcmp(loss, LOSSES[i].loss) && LOSSES[i].settings[k]; k++) {
            vec_push(m->c->arena, &m->sets, LOSSES[i].settings[k]);
            known = true;
        }
    if (!known)
        return bad_meta(m, "'loss' is none that is known here", err);
    NPC_TRY(verify_meta(m->c, "optimizer", &o, err));
    const json_t *betas = json_object_get(o, "betas");
    m->beta1 = json_number_value(json_array_get(betas, 0));
    m->beta2 = json_number_value(json_array_get(betas, 1));
    m->rate = json_number_value(json_object_get(o, "lr"));
    if (!(m->rate > 0) || !(m->beta1 > 0) || !(m->beta2 > 0))
        return bad_meta(m, "'optimizer' needs 'lr' and two 'betas'", err);
    const double eps = json_number_value(json_object_get(o, "eps")),
                 decay = json_number_value(json_object_get(o, "decay")),
                 core_rate = json_number_value(json_object_get(o, "core_lr")),
                 core_decay = json_number_value(json_object_get(o, "core_decay"));
    vec_push(m->c->arena, &m->sets,
             verify_name(m->c,
                         "optimizer=adamw(weight_decay: %.17g, beta1: %.17g, beta2: %.17g, eps: "
                         "%.17g) |> clip(0) |> autoclip(0)",
                         decay, m->beta1, m->beta2, eps));
    vec_push(m->c->arena, &m->sets,
             verify_name(m->c, "optimizer=group(\"core\", rate: %.17g, weight_decay: %.17g)",
                         core_rate / m->rate, core_decay));
    return NPC_OK;
}

static Status read_case(VerifyModel *m, Err *err)
{
    NPC_TRY(verify_meta(m->c, "config", &m->config, err));
    NPC_TRY(read_sizes(m, err));
    NPC_TRY(read_sessions(m, err));
    NPC_TRY(read_arguments(m, err));
    NPC_TRY(read_recipe(m, err));
    return verify_meta(m->c, "zero_gradient", &m->zero, err);
}

/* ---- inputs ---- */

/* A tensor of the file into an input that the program has; which of them it has is its affair. */
static Status give(VerifyModel *m, int program, const char *input, const char *tensor, Err *err)
{
    const Node *n = subject_find_input(&m->subject, program, input);
    const SafetensorsEntry *e = verify_find(m->c, tensor);
    if (!n)
        return NPC_OK;
    if (!e || e->elems != (uint64_t)shape_elems(&n->shape))
        return err_set(err, NPC_ERR_INPUT,
                       "%s: the model's input '%s' does not have the size of '%s'", m->c->path,
                       input, tensor);
    double *values = ARENA_ARRAY(m->c->arena, double, e->elems);
    safetensors_as_double(e, values);
    subject_input(&m->subject, program, input, values);
    return NPC_OK;
}

static void fill(VerifyModel *m, int program, const char *input, double value)
{
    const Node *n = subject_find_input(&m->subject, program, input);
    if (!n)
        return;
    int64_t elems = shape_elems(&n->shape);
    double *at = ARENA_ARRAY(m->c->arena, double, (size_t)elems);
    for (int64_t i = 0; i < elems; i++)
        at[i] = value;
    subject_input(&m->subject, program, input, at);
}

static Status fill_factors(VerifyModel *m, int program, int own, Err *err)
{
    VerifyCase *c = m->c;
    json_t *trials;
    int64_t sum = 0, outputs = 1;
    NPC_TRY(verify_meta(c, "trials", &trials, err));
    for (int s = 0; s < m->n_sessions; s++)
        sum += json_integer_value(json_object_get(trials, m->sessions[s].name));
    const Recipe *recipe = &m->subject.model->info.recipe;
    for (int s = 0; s < m->n_sessions; s++) {
        const char *name = m->sessions[s].name;
        const Node *y = subject_find_input(&m->subject, program, verify_name(c, "target/%s", name));
        if (y)
            outputs = y->shape.size[2];
        uint64_t n = s == own ? (uint64_t)m->batch : 0;
        LossCounts counts = {
            .here = n,
            .chunk = (uint64_t)m->batch,
            .batch = n,
            .full = (uint64_t)m->batch,
            .trials = (uint64_t)json_integer_value(json_object_get(trials, name)),
            .all_trials = (uint64_t)json_integer_value(json_object_get(trials, name)),
            .sum_trials = (uint64_t)sum,
            .recordings = (uint64_t)m->n_sessions,
            .outputs = (uint64_t)outputs,
        };
        LossFactors f = loss_factors(recipe, &counts);
        fill(m, program, verify_name(c, "share/%s", name), f.scale);
        fill(m, program, verify_name(c, "mean/%s", name), f.mean);
        fill(m, program, verify_name(c, "scale/%s", name), f.scale);
        fill(m, program, verify_name(c, "penalty/%s", name), f.penalty);
        if (s == own)
            fill(m, program, "penalty", f.penalty);
        if (s != own)
            fill(m, program, verify_name(c, "target/%s", name), 0);
    }
    return NPC_OK;
}

/* Noise stands in the file by recording; the model draws it once per recording. */
static Status give_noise(VerifyModel *m, int program, int own, Err *err)
{
    const Func *f = m->subject.programs.at[program];
    for (uint32_t i = 1; i < f->nodes.len; i++) {
        const Node *n = &f->nodes.at[i];
        if (n->op != OP_NOISE)
            continue;
        if (n->session == own)
            NPC_TRY(give(m, program, n->attrs.name,
                         verify_name(m->c, "input/noise/%s", m->sessions[own].name), err));
        else
            fill(m, program, n->attrs.name, 0);
    }
    return NPC_OK;
}

static Status start(VerifyModel *m, int program, int own, Err *err)
{
    static const char *const inputs[][2] = {
        {"video", "video"}, {"image", "image"}, {"behavior", "behaviour"}, {"pupil", "pupil"}};
    const char *name = m->sessions[own].name;
    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++)
        NPC_TRY(give(m, program, inputs[i][0], verify_name(m->c, "input/%s/%s", inputs[i][1], name),
                     err));
    NPC_TRY(give(m, program, verify_name(m->c, "target/%s", name),
                 verify_name(m->c, "input/target/%s", name), err));
    NPC_TRY(fill_factors(m, program, own, err));
    fill(m, program, "loss_scale", 256);
    for (int s = 0; s < m->n_sessions; s++)
        m->ranges[s] = (SampleRange){0, s == own ? m->batch : 0};
    return give_noise(m, program, own, err);
}

/* ---- what is compared ---- */

static Status compare_output(VerifyModel *m, VerifyRow *row, int program, const char *label, int s,
                             Err *err)
{
    const char *name = m->sessions[s].name;
    int64_t n = shape_elems(subject_result(&m->subject, program, RESULT_OUTPUT, name));
    double *got = ARENA_ARRAY(m->c->arena, double, (size_t)n);
    NPC_TRY(subject_read(&m->subject, program, RESULT_OUTPUT, name, got, err));
    return verify_against(m->c, row, verify_name(m->c, "expect/%s/%s", label, name), got, n, err);
}

static Status compare_eval(VerifyModel *m, int program, Err *err)
{
    VerifyRow row = verify_row(m->c, "eval: outputs", VERIFY_OUTPUTS);
    for (int s = 0; s < m->n_sessions; s++) {
        NPC_TRY(start(m, program, s, err));
        NPC_TRY(subject_run(&m->subject, program, m->ranges, err));
        NPC_TRY(compare_output(m, &row, program, "eval", s, err));
    }
    verify_push(m->c, row);
    return NPC_OK;
}

/* Losses of all recordings, penalties included. */
typedef struct LossSum {
    double got, want;
} LossSum;

/* The loss of a recording. Penalties, where the file has them, are compared with the sum over
 * recordings: which of them one belongs to that counts in every batch is told apart differently. */
static Status compare_loss(VerifyModel *m, VerifyRow *row, LossSum *sum, int program, int s,
                           Err *err)
{
    VerifyCase *c = m->c;
    double got, *want, *penalty;
    const char *name = verify_name(c, "expect/loss/%s", m->sessions[s].name);
    const char *extra = verify_name(c, "expect/penalty/%s", m->sessions[s].name);
    NPC_TRY(subject_read(&m->subject, program, RESULT_LOSS, "loss", &got, err));
    NPC_TRY(verify_read(c, name, 0, NULL, &want, err));
    sum->got += got;
    sum->want += *want;
    if (verify_find(c, extra)) {
        NPC_TRY(verify_read(c, extra, 0, NULL, &penalty, err));
        sum->want += *penalty;
        if (s == m->n_sessions - 1)
            verify_compare(row, "the sum of expect/loss and expect/penalty", &sum->got, &sum->want,
                           1);
        return NPC_OK;
    }
    verify_compare(row, name, &got, want, 1);
    return NPC_OK;
}

/* Gradients are measured by the larger of their own largest entry and a share of all. */
static Status compare_gradients(VerifyModel *m, double *const *sum, Err *err)
{
    VerifyCase *c = m->c;
    VerifyRow row = verify_row(c, "train: gradients", VERIFY_GRADIENTS);
    VerifyRow vanish = verify_row(c, "train: vanishing gradients", VERIFY_VANISHING);
    double **want = ARENA_ARRAY(c->arena, double *, m->given.len + 1), most = 0;
    vanish.note = "of the case's largest gradient";
    for (uint32_t i = 0; i < m->given.len; i++) {
        const GivenTensor *g = &m->given.at[i];
        const Shape flat = {.rank = 1, .size = {g->elems}};
        const char *tensor = verify_name(c, "expect/grad/%s", g->theirs);
        if (!sum[i])
            continue;
        const SafetensorsEntry *e = verify_find(c, tensor);
        if (!e || (int64_t)e->elems != flat.size[0])
            return err_set(err, NPC_ERR_INPUT, "%s: there is no tensor '%s' of %lld numbers",
                           c->path, tensor, (long long)g->elems);
        want[i] = ARENA_ARRAY(c->arena, double, e->elems);
        safetensors_as_double(e, want[i]);
        for (int64_t k = 0; k < g->elems; k++)
            most = fmax(most, fabs(want[i][k]));
    }
    for (uint32_t i = 0; i < m->given.len; i++) {
        const GivenTensor *g = &m->given.at[i];
        const char *tensor = verify_name(c, "expect/grad/%s", g->theirs);
        double own = 1e-4 * most;
        for (int64_t k = 0; want[i] && k < g->elems; k++)
            own = fmax(own, fabs(want[i][k]));
        if (want[i] && verify_model_vanishes(m->zero, g->theirs))
            verify_compare_scaled(&vanish, tensor, sum[i], want[i], g->elems, most > 0 ? most : 1);
        else if (want[i] && row.by_norm)
            verify_compare(&row, tensor, sum[i], want[i], g->elems);
        else if (want[i])
            verify_compare_scaled(&row, tensor, sum[i], want[i], g->elems, own > 0 ? own : 1);
    }
    verify_push(c, row);
    verify_push(c, vanish);
    return NPC_OK;
}

static Status add_gradients(VerifyModel *m, int program, int own, double **sum, Err *err)
{
    for (uint32_t i = 0; i < m->given.len; i++) {
        const GivenTensor *g = &m->given.at[i];
        if ((g->session >= 0 && g->session != own) ||
            !subject_result(&m->subject, program, RESULT_GRAD, g->ours))
            continue;
        double *got = ARENA_ARRAY(m->c->arena, double, (size_t)g->elems);
        NPC_TRY(subject_read(&m->subject, program, RESULT_GRAD, g->ours, got, err));
        if (!sum[i])
            sum[i] = ARENA_ARRAY(m->c->arena, double, (size_t)g->elems);
        for (int64_t k = 0; k < g->elems; k++)
            sum[i][k] += got[k];
    }
    return NPC_OK;
}

static Status compare_train(VerifyModel *m, int program, Err *err)
{
    VerifyCase *c = m->c;
    VerifyRow outputs = verify_row(c, "train: outputs", VERIFY_OUTPUTS);
    VerifyRow loss = verify_row(c, "train: loss", VERIFY_LOSS);
    double **sum = ARENA_ARRAY(c->arena, double *, m->given.len + 1);
    LossSum losses = {0};
    for (int s = 0; s < m->n_sessions; s++) {
        NPC_TRY(start(m, program, s, err));
        NPC_TRY(subject_run(&m->subject, program, m->ranges, err));
        NPC_TRY(compare_output(m, &outputs, program, "train", s, err));
        NPC_TRY(compare_loss(m, &loss, &losses, program, s, err));
        NPC_TRY(add_gradients(m, program, s, sum, err));
    }
    verify_push(c, outputs);
    verify_push(c, loss);
    return compare_gradients(m, sum, err);
}

/* ---- the optimizer ---- */

/* The step that the file took with exactly the gradients it states, from moments of zero. */
static Status start_update(VerifyModel *m, int program, Err *err)
{
    VerifyCase *c = m->c;
    const Module *module = m->subject.module;
    for (uint32_t i = 0; i < module->params.len; i++) {
        const Param *p = &module->params.at[i];
        if (strchr(p->name, '/'))
            subject_tensor(&m->subject, p->name,
                           ARENA_ARRAY(c->arena, double, (size_t)shape_elems(&p->shape)));
    }
    for (uint32_t i = 0; i < m->given.len; i++) {
        const GivenTensor *g = &m->given.at[i];
        const char *tensor = verify_name(c, "expect/grad/%s", g->theirs);
        const SafetensorsEntry *e = verify_find(c, tensor);
        double *grad = ARENA_ARRAY(c->arena, double, (size_t)g->elems);
        subject_tensor(&m->subject, g->ours, g->values);
        if (!e)
            continue;
        if ((int64_t)e->elems != g->elems)
            return err_set(err, NPC_ERR_INPUT, "%s: '%s' has not %lld numbers", c->path, tensor,
                           (long long)g->elems);
        safetensors_as_double(e, grad);
        subject_tensor(&m->subject, verify_name(c, "grad/%s", g->ours), grad);
    }
    fill(m, program, "rate", m->rate);
    fill(m, program, "loss_scale", 1);
    fill(m, program, "bias1", 1 - m->beta1);
    fill(m, program, "bias2", 1 - m->beta2);
    for (int s = 0; s < m->n_sessions; s++) {
        fill(m, program, verify_name(c, "bias1/%s", m->sessions[s].name), 1 - m->beta1);
        fill(m, program, verify_name(c, "bias2/%s", m->sessions[s].name), 1 - m->beta2);
        m->ranges[s] = (SampleRange){0, m->batch};
    }
    return NPC_OK;
}

static Status compare_optimizer(VerifyModel *m, int program, Err *err)
{
    VerifyCase *c = m->c;
    VerifyRow row = verify_row(c, "optimizer: parameters", 1e-6);
    row.note = "every entry";
    NPC_TRY(start_update(m, program, err));
    NPC_TRY(subject_run(&m->subject, program, m->ranges, err));
    for (uint32_t i = 0; i < m->given.len; i++) {
        const GivenTensor *g = &m->given.at[i];
        const char *tensor = verify_name(c, "expect/after/%s", g->theirs);
        if (!verify_find(c, tensor))
            continue;
        double *got = ARENA_ARRAY(c->arena, double, (size_t)g->elems);
        subject_read_tensor(&m->subject, g->ours, got);
        NPC_TRY(verify_against(c, &row, tensor, got, g->elems, err));
    }
    verify_push(c, row);
    return NPC_OK;
}

/* ---- attention ---- */

/* Of one recording's batch, where the file has some. */
static Status compare_attention(VerifyModel *m, int program, Err *err)
{
    const char *name = safetensors_meta(&m->c->file, "attention_mouse");
    int own = -1;
    for (int s = 0; name && s < m->n_sessions; s++)
        own = strcmp(m->sessions[s].name, name) ? own : s;
    if (own < 0)
        return bad_meta(m, "'attention_mouse' is no recording of 'neurons'", err);
    NPC_TRY(start(m, program, own, err));
    NPC_TRY(subject_run(&m->subject, program, m->ranges, err));
    return verify_model_attention(m, program, err);
}

/* ---- the case ---- */

/* Tables that the model makes itself, and what belongs to analyses and to data (not to a model's
 * programs): present in the files, not compared here. */
static void pass_over(VerifyCase *c)
{
    static const char *const prefix[] = {"const/",       "expect/crop/",       "input/behaviour/",
                                         "input/pupil/", "input/coordinates/", "input/statistics/",
                                         "input/means/"};
    for (size_t i = 0; i < c->file.n; i++)
        for (size_t k = 0; k < sizeof prefix / sizeof *prefix; k++)
            if (!strncmp(c->file.entry[i].name, prefix[k], strlen(prefix[k])))
                verify_find(c, arena_strdup(c->arena, c->file.entry[i].name));
}

Status verify_mice_case(VerifyCase *c, Err *err)
{
    VerifyModel *m = ARENA_NEW(c->arena, VerifyModel);
    int eval, grad, update, attention = -1;
    m->c = c;
    if (!c->model_path)
        return err_set(err, NPC_ERR_USAGE, "%s is a model case: it needs a model", c->path);
    NPC_TRY(read_case(m, err));
    m->ranges = ARENA_ARRAY(c->arena, SampleRange, (size_t)m->n_sessions);
    c->subject = &m->subject;
    NPC_TRY(verify_model_open(m, true, err));
    NPC_TRY(verify_model_parameters(m, err));
    NPC_TRY(subject_add(&m->subject, PROGRAM_EVAL, &eval, err));
    NPC_TRY(subject_add(&m->subject, PROGRAM_GRAD, &grad, err));
    NPC_TRY(subject_add(&m->subject, PROGRAM_UPDATE, &update, err));
    if (safetensors_meta(&c->file, "attention_mouse"))
        NPC_TRY(subject_add(&m->subject, PROGRAM_ATTENTION, &attention, err));
    NPC_TRY(subject_ready(&m->subject, err));
    for (uint32_t i = 0; i < m->given.len; i++)
        subject_tensor(&m->subject, m->given.at[i].ours, m->given.at[i].values);
    NPC_TRY(compare_eval(m, eval, err));
    if (attention >= 0)
        NPC_TRY(compare_attention(m, attention, err));
    NPC_TRY(compare_train(m, grad, err));
    NPC_TRY(compare_optimizer(m, update, err));
    pass_over(c);
    return NPC_OK;
}
