/* A model case in which every recording has a batch of its own, as ViV1T, V1T, Dynamic-V1FM and
 * their successors are trained: predictions in evaluation and training, the loss of every
 * recording, the gradient of the sum of these losses, and a step of the optimizer on the gradients
 * that the file states. verify_mice_setup.c reads what a file says about itself.
 *
 * Programs run once per recording, whose samples come first and may be fewer than the batch has
 * room for; gradients are added here. */
#include <math.h>

#include "runtime/loss_factors.h"
#include "verify/verify_mice_parts.h"

/* ---- inputs ---- */

/* A tensor of the file, of the recording's clips, into an input that the program has; which of them
 * it has is its affair. Of frames along the last axis it gets the last, if it takes fewer. */
static Status give(VerifyModel *m, int program, int own, const char *input, const char *tensor,
                   Err *err)
{
    const Node *n = subject_find_input(&m->subject, program, input);
    const SafetensorsEntry *e = verify_find(m->c, tensor);
    if (!n)
        return NPC_OK;
    int64_t all = shape_elems(&n->shape), clips = m->batches[own];
    int64_t taken = n->shape.size[n->shape.rank - 1];
    int64_t given = e && taken != m->t && e->rank == 3 ? verify_size(e, 2) : taken;
    if (!e || given < taken || (int64_t)e->elems * taken * m->batch != all * given * clips)
        return err_set(err, NPC_ERR_INPUT,
                       "%s: the model's input '%s' does not have the size of '%s'", m->c->path,
                       input, tensor);
    double *from = ARENA_ARRAY(m->c->arena, double, e->elems);
    double *values = ARENA_ARRAY(m->c->arena, double, (size_t)all);
    safetensors_as_double(e, from);
    for (int64_t row = 0; row < (int64_t)e->elems / given; row++)
        memcpy(values + row * taken, from + (row + 1) * given - taken,
               (size_t)taken * sizeof *values);
    subject_input(&m->subject, program, input, values);
    return NPC_OK;
}

/* `value` for the first clips of the batch, 0 for the others; for all of what has no clips. */
static void fill_clips(VerifyModel *m, int program, const char *input, double value, int64_t clips)
{
    const Node *n = subject_find_input(&m->subject, program, input);
    if (!n)
        return;
    int64_t elems = shape_elems(&n->shape);
    int64_t count = n->shape.rank ? elems / m->batch * clips : elems;
    double *at = ARENA_ARRAY(m->c->arena, double, (size_t)elems);
    for (int64_t i = 0; i < count; i++)
        at[i] = value;
    subject_input(&m->subject, program, input, at);
}

static void fill(VerifyModel *m, int program, const char *input, double value)
{
    fill_clips(m, program, input, value, m->batch);
}

static void fill_factors(VerifyModel *m, int program, int own)
{
    VerifyCase *c = m->c;
    int64_t sum = 0, outputs = 1;
    for (int s = 0; s < m->n_sessions; s++)
        sum += m->trials[s];
    const Recipe *recipe = &m->subject.model->info.recipe;
    for (int s = 0; s < m->n_sessions; s++) {
        const char *name = m->sessions[s].name;
        const Node *y = subject_find_input(&m->subject, program, verify_name(c, "target/%s", name));
        if (y)
            outputs = y->shape.size[2];
        uint64_t n = s == own ? (uint64_t)m->batches[s] : 0;
        LossCounts counts = {
            .here = n,
            .chunk = (uint64_t)m->batches[s],
            .batch = n,
            .full = (uint64_t)m->batches[s],
            .trials = (uint64_t)m->trials[s],
            .all_trials = (uint64_t)m->trials[s],
            .sum_trials = (uint64_t)sum,
            .recordings = (uint64_t)m->n_sessions,
            .outputs = (uint64_t)outputs,
        };
        LossFactors f = loss_factors(recipe, &counts);
        fill_clips(m, program, verify_name(c, "share/%s", name), f.scale, m->batches[s]);
        fill(m, program, verify_name(c, "mean/%s", name), f.mean);
        fill(m, program, verify_name(c, "scale/%s", name), f.scale);
        fill(m, program, verify_name(c, "penalty/%s", name), f.penalty);
        if (s == own)
            fill(m, program, "penalty", f.penalty);
        if (s != own)
            fill(m, program, verify_name(c, "target/%s", name), 0);
    }
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
            NPC_TRY(
                give(m, program, own, n->attrs.name, mice_tensor(m, m->names->noise, own), err));
        else
            fill(m, program, n->attrs.name, 0);
    }
    return NPC_OK;
}

Status mice_start(VerifyModel *m, int program, int own, Err *err)
{
    const MiceNames *names = m->names;
    const char *const inputs[][2] = {{"clip", names->clip},
                                     {"video", names->video},
                                     {"image", names->image},
                                     {"behavior", names->behavior},
                                     {"pupil", names->pupil}};
    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++)
        if (inputs[i][1])
            NPC_TRY(give(m, program, own, inputs[i][0], mice_tensor(m, inputs[i][1], own), err));
    NPC_TRY(give(m, program, own, verify_name(m->c, "target/%s", m->sessions[own].name),
                 mice_tensor(m, names->target, own), err));
    fill_factors(m, program, own);
    fill(m, program, "loss_scale", 256);
    for (int s = 0; s < m->n_sessions; s++)
        m->ranges[s] = (SampleRange){0, s == own ? m->batches[s] : 0};
    return give_noise(m, program, own, err);
}

/* ---- what is compared ---- */

/* What the program predicts for a recording's clips, as the file orders it. */
static Status read_output(VerifyModel *m, int program, int s, double **out, int64_t *elems,
                          Err *err)
{
    const char *name = m->sessions[s].name;
    const Shape *shape = subject_result(&m->subject, program, RESULT_OUTPUT, name);
    int64_t n = shape_elems(shape), frames = shape->rank > 2 ? shape->size[2] : 1;
    int64_t neurons = shape->size[1];
    double *got = ARENA_ARRAY(m->c->arena, double, (size_t)n), *turned = got;
    NPC_TRY(subject_read(&m->subject, program, RESULT_OUTPUT, name, got, err));
    if (m->names->frames_first) {
        turned = ARENA_ARRAY(m->c->arena, double, (size_t)n);
        for (int64_t i = 0; i < n; i++) {
            int64_t frame = i % frames, neuron = i / frames % neurons, clip = i / frames / neurons;
            turned[(clip * frames + frame) * neurons + neuron] = got[i];
        }
    }
    *out = turned;
    *elems = n / m->batch * m->batches[s];
    return NPC_OK;
}

static Status compare_output(VerifyModel *m, VerifyRow *row, int program, const char *pattern,
                             int s, Err *err)
{
    double *got;
    int64_t n;
    NPC_TRY(read_output(m, program, s, &got, &n, err));
    return verify_against(m->c, row, mice_tensor(m, pattern, s), got, n, err);
}

/* The tokens of the recording's clips, [clips frames rows columns width] whatever the order of axes
 * [b t h w d] in the program; sizes by axis. NULL when the value is none. */
static double *read_tokens(VerifyModel *m, int program, const char *probe, int s, int64_t size[5],
                           Err *err)
{
    static const char *const axes[] = {"b", "t", "h", "w", "d"};
    const Shape *shape = subject_result(&m->subject, program, RESULT_OUTPUT, probe);
    int64_t stride[MAX_RANK], step[5], n = 1;
    if (!shape || shape->rank != 5)
        return NULL;
    double *x = ARENA_ARRAY(m->c->arena, double, (size_t)shape_elems(shape));
    if (subject_read(&m->subject, program, RESULT_OUTPUT, probe, x, err) != NPC_OK)
        return NULL;
    shape_strides(shape, stride);
    for (int k = 0; k < 5; k++) {
        int at = 0;
        while (at < 5 && strcmp(shape->name[at], axes[k]))
            at++;
        if (at == 5)
            return NULL;
        size[k] = k ? shape->size[at] : m->batches[s];
        step[k] = stride[at];
        n *= size[k];
    }
    double *out = ARENA_ARRAY(m->c->arena, double, (size_t)n);
    for (int64_t i = 0; i < n; i++) {
        int64_t rest = i, from = 0;
        for (int k = 4; k >= 0; rest /= size[k--])
            from += rest % size[k] * step[k];
        out[i] = x[from];
    }
    return out;
}

/* The means over a map's rows and columns. */
static double *mean_places(VerifyModel *m, const double *x, const int64_t size[5])
{
    int64_t width = size[4], places = size[2] * size[3], maps = size[0] * size[1];
    double *mean = ARENA_ARRAY(m->c->arena, double, (size_t)(maps * width));
    for (int64_t i = 0; i < maps * places * width; i++)
        mean[i / (places * width) * width + i % width] += x[i] / (double)places;
    return mean;
}

/* Tokens behind parts of the core, and their means over the map behind the last. */
static Status compare_tokens(VerifyModel *m, VerifyRow *row, int program, int s, Err *err)
{
    const char *name = m->sessions[s].name;
    const char *mean = verify_name(m->c, "expect/eval/%s/core_mean", name);
    double *last = NULL;
    int64_t size[5];
    for (int i = -1;; i++) {
        const char *part = i < 0 ? "patches" : verify_name(m->c, "block%d", i);
        const char *tensor = verify_name(m->c, "expect/eval/%s/%s", name, part);
        const char *probe = verify_name(m->c, i < 0 ? "probe/core.%s.norm" : "probe/core.%s", part);
        double *x = read_tokens(m, program, probe, s, size, err);
        if (!x)
            break;
        if (verify_find(m->c, tensor))
            NPC_TRY(verify_against(m->c, row, tensor, x,
                                   size[0] * size[1] * size[2] * size[3] * size[4], err));
        last = x;
    }
    if (last && verify_find(m->c, mean))
        return verify_against(m->c, row, mean, mean_places(m, last, size),
                              size[0] * size[1] * size[4], err);
    return NPC_OK;
}

/* The loss of what evaluation predicts: the sum of (p + eps) - (r + eps) log(p + eps), r the last
 * frames of the responses. */
static Status compare_eval_loss(VerifyModel *m, VerifyRow *row, int program, int s, Err *err)
{
    double *p, *want, sum = 0;
    int64_t n, neurons = m->sessions[s].neurons, frames;
    const SafetensorsEntry *e = verify_find(m->c, mice_tensor(m, m->names->target, s));
    if (!m->names->eval_loss)
        return NPC_OK;
    NPC_TRY(read_output(m, program, s, &p, &n, err));
    NPC_TRY(verify_read(m->c, mice_tensor(m, m->names->eval_loss, s), 0, NULL, &want, err));
    double *r = ARENA_ARRAY(m->c->arena, double, e->elems);
    safetensors_as_double(e, r);
    frames = n / neurons / m->batches[s];
    for (int64_t i = 0; i < n; i++) {
        int64_t neuron = i % neurons, frame = i / neurons % frames, clip = i / neurons / frames;
        double target = r[(clip * neurons + neuron) * m->t + m->t - frames + frame];
        sum += p[i] + m->eps - (target + m->eps) * log(p[i] + m->eps);
    }
    verify_compare(row, mice_tensor(m, m->names->eval_loss, s), &sum, want, 1);
    return NPC_OK;
}

static Status compare_eval(VerifyModel *m, int program, Err *err)
{
    VerifyRow loss = verify_row(m->c, "eval: loss", VERIFY_LOSS);
    VerifyRow row = verify_row(m->c, "eval: outputs", VERIFY_OUTPUTS);
    VerifyRow tokens = verify_row(m->c, "eval: tokens", VERIFY_OUTPUTS);
    for (int s = 0; s < m->n_sessions; s++) {
        NPC_TRY(mice_start(m, program, s, err));
        NPC_TRY(subject_run(&m->subject, program, m->ranges, err));
        NPC_TRY(compare_output(m, &row, program, m->names->eval, s, err));
        NPC_TRY(compare_tokens(m, &tokens, program, s, err));
        NPC_TRY(compare_eval_loss(m, &loss, program, s, err));
    }
    verify_push(m->c, tokens);
    verify_push(m->c, row);
    verify_push(m->c, loss);
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
    const char *name = mice_tensor(m, m->names->loss, s);
    const char *extra = verify_name(c, "expect/penalty/%s", m->sessions[s].name);
    NPC_TRY(subject_read(&m->subject, program, RESULT_LOSS, "loss", &got, err));
    NPC_TRY(verify_read(c, name, 0, NULL, &want, err));
    sum->got += m->steps[s] ? got : 0;
    sum->want += m->steps[s] ? *want : 0;
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

Status mice_gradients(VerifyModel *m, double **sum, Err *err)
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
        const SafetensorsEntry *e = verify_find(c, tensor);
        if (!sum[i] && !e)
            continue;
        if (!sum[i]) /* nothing depends on it */
            sum[i] = ARENA_ARRAY(c->arena, double, (size_t)g->elems);
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
        double own = m->names->share * most;
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

Status mice_add_gradients(VerifyModel *m, int program, int own, double **sum, Err *err)
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
        NPC_TRY(mice_start(m, program, s, err));
        NPC_TRY(subject_run(&m->subject, program, m->ranges, err));
        NPC_TRY(compare_output(m, &outputs, program, m->names->train, s, err));
        NPC_TRY(compare_loss(m, &loss, &losses, program, s, err));
        if (m->steps[s])
            NPC_TRY(mice_add_gradients(m, program, s, sum, err));
    }
    if (m->names->total)
        NPC_TRY(verify_against(c, &loss, m->names->total, &losses.got, 1, err));
    verify_push(c, outputs);
    verify_push(c, loss);
    return mice_gradients(m, sum, err);
}

/* ---- the optimizer ---- */

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

Status mice_optimizer(VerifyModel *m, int program, Err *err)
{
    VerifyCase *c = m->c;
    VerifyRow row = verify_row(c, "optimizer: parameters", VERIFY_STEP);
    row.note = "every entry";
    NPC_TRY(start_update(m, program, err));
    NPC_TRY(subject_run(&m->subject, program, m->ranges, err));
    for (uint32_t i = 0; i < m->given.len; i++) {
        const GivenTensor *g = &m->given.at[i];
        const char *tensor = verify_name(c, "expect/after/%s", g->theirs);
        if (g->is_state || !verify_find(c, tensor))
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
        return verify_bad_meta(m, "'attention_mouse' is no recording of 'neurons'", err);
    NPC_TRY(mice_start(m, program, own, err));
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
    NPC_TRY(mice_read(m, err));
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
    NPC_TRY(mice_optimizer(m, update, err));
    pass_over(c);
    return NPC_OK;
}
