/* A model case of the competition's baselines (goldens/baselines/README.md): as in verify_mice.c
 * every recording has a batch of its own, but these differ in size, and batch norm takes its
 * moments from all samples of a batch. So the model is opened once per recording, at its size;
 * running statistics go from one to the next, and gradients are added. */
#include <math.h>

#include "verify/verify_mice_parts.h"

typedef struct Baselines {
    VerifyModel m;
    double **gradients;  /* per given tensor: sum over recordings */
    double **statistics; /* per given tensor: running statistics after the last recording */
    VerifyRow eval, train, parts, filters, loss, positions;
} Baselines;

static const MiceNames NAMES = {
    .family = VERIFY_BASELINES,
    .clip = "input/@/video",
    .pupil = "input/@/pupil_center",
    .target = "input/@/responses",
    .noise = "input/@/noise",
};

/* ---- configuration ---- */

/* Fields of the configuration, of the readout's part of it too, are the model's arguments. */
static Status read_arguments(VerifyModel *m, const json_t *config, Err *err)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)config, key, value)
    {
        if (json_is_object(value))
            NPC_TRY(read_arguments(m, value, err));
        else if (strcmp(key, "input_channels"))
            NPC_TRY(mice_set(m, key, value, err));
    }
    return NPC_OK;
}

static Status read_sessions(VerifyModel *m, Err *err)
{
    VerifyCase *c = m->c;
    json_t *names, *trials;
    NPC_TRY(verify_meta(c, "sessions", &names, err));
    NPC_TRY(verify_meta(c, "trials", &trials, err));
    size_t n = json_array_size(names);
    if (!n || n > VERIFY_MAX_SESSIONS)
        return verify_bad_meta(m, "'sessions' is a list of recordings", err);
    m->n_sessions = (int)n;
    m->sessions = ARENA_ARRAY(c->arena, Session, n);
    m->ranges = ARENA_ARRAY(c->arena, SampleRange, n);
    mice_make_counts(m);
    for (size_t i = 0; i < n; i++) {
        Session *s = &m->sessions[i];
        const char *name = json_string_value(json_array_get(names, i));
        const char *place = verify_name(c, "input/%s/coordinates", name ? name : "?");
        float *coordinates;
        NPC_TRY(verify_read_floats(c, place, 2, (int64_t[]){-1, 3}, &coordinates, err));
        m->trials[i] = json_integer_value(json_object_get(trials, name));
        if (m->trials[i] < 1)
            return verify_bad_meta(m, "'trials' are positive numbers", err);
        *s = (Session){.name = arena_strdup(c->arena, name),
                       .neurons = verify_size(verify_find(c, place), 0),
                       .coordinates = coordinates,
                       .n_coordinates = 3};
    }
    return NPC_OK;
}

/* Sizes of a recording's batch. */
static Status read_sizes(VerifyModel *m, int s, Err *err)
{
    const char *name = verify_name(m->c, "input/%s/video", m->sessions[s].name);
    const SafetensorsEntry *e = verify_find(m->c, name);
    int64_t *out[] = {&m->batch, &m->channels, &m->t, &m->h, &m->w};
    const int64_t most[] = {VERIFY_MAX_BATCH, VERIFY_MAX_SIZE, VERIFY_MAX_SIZE, VERIFY_MAX_SIZE,
                            VERIFY_MAX_SIZE};
    if (!e || e->rank != 5)
        return err_set(err, NPC_ERR_INPUT, "%s: '%s' [b c t h w] is needed", m->c->path, name);
    for (int i = 0; i < 5; i++) {
        *out[i] = verify_size(e, i);
        if (*out[i] < 1 || *out[i] > most[i])
            return err_set(err, NPC_ERR_INPUT, "%s: '%s' has an impossible size", m->c->path, name);
    }
    m->batches[s] = m->batch;
    return NPC_OK;
}

/* ---- what is compared ---- */

/* A result with its axes in the order of `axes`, one letter each. */
static Status compare(VerifyModel *m, VerifyRow *row, int program, const char *result,
                      const char *axes, const char *tensor, Err *err)
{
    const Shape *s = subject_result(&m->subject, program, RESULT_OUTPUT, result);
    int64_t stride[MAX_RANK], index[MAX_RANK] = {0};
    int at[MAX_RANK], rank = (int)strlen(axes);
    if (!s || s->rank != rank)
        return err_set(err, NPC_ERR_INPUT, "%s: there is no '%s' to compare with %s",
                       m->c->model_path, result, tensor);
    shape_strides(s, stride);
    for (int i = 0; i < rank; i++) {
        at[i] = shape_axis(s, (char[]){axes[i], 0});
        if (at[i] < 0)
            return err_set(err, NPC_ERR_INPUT, "%s: '%s' lacks axis '%c'", m->c->model_path, result,
                           axes[i]);
    }
    int64_t n = shape_elems(s);
    double *raw = ARENA_ARRAY(m->c->arena, double, (size_t)n);
    double *got = ARENA_ARRAY(m->c->arena, double, (size_t)n);
    NPC_TRY(subject_read(&m->subject, program, RESULT_OUTPUT, result, raw, err));
    for (int64_t i = 0; i < n; i++) {
        int64_t from = 0;
        for (int k = 0; k < rank; k++)
            from += index[k] * stride[at[k]];
        got[i] = raw[from];
        for (int k = rank - 1; k >= 0 && ++index[k] == s->size[at[k]]; k--)
            index[k] = 0;
    }
    return verify_against(m->c, row, tensor, got, n, err);
}

static Status compare_parts(Baselines *b, int program, int s, Err *err)
{
    VerifyModel *m = &b->m;
    VerifyCase *c = m->c;
    const char *name = m->sessions[s].name;
    const char *last = subject_result(&m->subject, program, RESULT_OUTPUT, "probe/recurrence")
                           ? "recurrence"
                           : "core";
    NPC_TRY(compare(m, &b->parts, program, verify_name(c, "probe/%s", last), "bcthw",
                    verify_name(c, "expect/train/%s/features", name), err));
    NPC_TRY(compare(m, &b->parts, program, verify_name(c, "probe/readout.%s.place", name), "nk",
                    verify_name(c, "expect/train/%s/centres", name), err));
    return compare(m, &b->parts, program, verify_name(c, "probe/readout.%s.shifter", name), "btk",
                   verify_name(c, "expect/train/%s/shift", name), err);
}

/* Filters that are made of coefficients, layer after layer. */
static Status compare_filters(Baselines *b, int program, Err *err)
{
    VerifyModel *m = &b->m;
    for (int i = 0;; i++) {
        const char *tensor = verify_name(m->c, "expect/filters/layer%d", i);
        const char *probe = verify_name(m->c, "probe/core.layer%d.filters", i);
        const Shape *s = subject_result(&m->subject, program, RESULT_OUTPUT, probe);
        if (!s || !verify_find(m->c, tensor))
            return NPC_OK;
        double *got = ARENA_ARRAY(m->c->arena, double, (size_t)shape_elems(s));
        NPC_TRY(subject_read(&m->subject, program, RESULT_OUTPUT, probe, got, err));
        NPC_TRY(verify_against(m->c, &b->filters, tensor, got, shape_elems(s), err));
    }
}

static Status compare_loss(Baselines *b, int program, int s, Err *err)
{
    VerifyModel *m = &b->m;
    VerifyCase *c = m->c;
    const char *name = m->sessions[s].name;
    double total, poisson, penalty;
    NPC_TRY(subject_read(&m->subject, program, RESULT_LOSS, "loss", &total, err));
    NPC_TRY(subject_read(&m->subject, program, RESULT_OUTPUT, verify_name(c, "loss/%s", name),
                         &poisson, err));
    penalty = total - poisson;
    poisson /= sqrt((double)m->trials[s] / (double)m->batch);
    NPC_TRY(
        verify_against(c, &b->loss, verify_name(c, "expect/loss/%s/total", name), &total, 1, err));
    NPC_TRY(verify_against(c, &b->loss, verify_name(c, "expect/loss/%s/poisson", name), &poisson, 1,
                           err));
    return verify_against(c, &b->loss, verify_name(c, "expect/loss/%s/penalty", name), &penalty, 1,
                          err);
}

/* Positions are the file's; those that a recording's coordinates give must equal them. */
static Status compare_positions(Baselines *b, int s, Err *err)
{
    VerifyModel *m = &b->m;
    const Session *session = &m->sessions[s];
    float *at = ARENA_ARRAY(m->c->arena, float, (size_t)(2 * session->neurons));
    session_normalised_coordinates(session, 2, at);
    return verify_against(
        m->c, &b->positions, verify_name(m->c, "param/readout.%s.source_grid", session->name),
        verify_widened(m->c, at, 2 * session->neurons), 2 * session->neurons, err);
}

/* ---- running ---- */

/* Parameters of the file; statistics as given, or as the recordings before left them. */
static void set_tensors(Baselines *b, bool as_given)
{
    VerifyModel *m = &b->m;
    for (uint32_t i = 0; i < m->given.len; i++) {
        const GivenTensor *g = &m->given.at[i];
        bool went_on = !as_given && b->statistics[i];
        subject_tensor(&m->subject, g->ours, went_on ? b->statistics[i] : g->values);
    }
}

static void keep_statistics(Baselines *b)
{
    VerifyModel *m = &b->m;
    for (uint32_t i = 0; i < m->given.len; i++) {
        const GivenTensor *g = &m->given.at[i];
        if (!g->is_state)
            continue;
        b->statistics[i] = ARENA_ARRAY(m->c->arena, double, (size_t)g->elems);
        subject_read_tensor(&m->subject, g->ours, b->statistics[i]);
    }
}

static Status run_eval(Baselines *b, int program, int s, Err *err)
{
    VerifyModel *m = &b->m;
    const char *name = m->sessions[s].name;
    set_tensors(b, true);
    NPC_TRY(mice_start(m, program, s, err));
    NPC_TRY(subject_run(&m->subject, program, m->ranges, err));
    NPC_TRY(compare_filters(b, program, err));
    return compare(m, &b->eval, program, name, "btn",
                   verify_name(m->c, "expect/eval/%s/rate", name), err);
}

static Status run_train(Baselines *b, int program, int s, Err *err)
{
    VerifyModel *m = &b->m;
    const char *name = m->sessions[s].name;
    set_tensors(b, false);
    NPC_TRY(mice_start(m, program, s, err));
    NPC_TRY(subject_run(&m->subject, program, m->ranges, err));
    NPC_TRY(compare(m, &b->train, program, name, "btn",
                    verify_name(m->c, "expect/train/%s/rate", name), err));
    NPC_TRY(compare_parts(b, program, s, err));
    NPC_TRY(compare_loss(b, program, s, err));
    NPC_TRY(mice_add_gradients(m, program, s, b->gradients, err));
    keep_statistics(b);
    return NPC_OK;
}

static Status open_at(Baselines *b, int s, Err *err)
{
    VerifyModel *m = &b->m;
    Arena *a = m->c->arena;
    NPC_TRY(read_sizes(m, s, err));
    m->given.len = 0;
    NPC_TRY(verify_model_open(m, true, err));
    NPC_TRY(verify_model_parameters(m, err));
    if (b->gradients)
        return NPC_OK;
    b->gradients = ARENA_ARRAY(a, double *, m->given.len + 1);
    b->statistics = ARENA_ARRAY(a, double *, m->given.len + 1);
    return NPC_OK;
}

static Status verify_recording(Baselines *b, int s, Err *err)
{
    VerifyModel *m = &b->m;
    bool is_last = s == m->n_sessions - 1;
    int eval, grad, update;
    NPC_TRY(open_at(b, s, err));
    NPC_TRY(subject_add(&m->subject, PROGRAM_EVAL, &eval, err));
    NPC_TRY(subject_add(&m->subject, PROGRAM_GRAD, &grad, err));
    if (is_last)
        NPC_TRY(subject_add(&m->subject, PROGRAM_UPDATE, &update, err));
    NPC_TRY(subject_ready(&m->subject, err));
    NPC_TRY(compare_positions(b, s, err));
    NPC_TRY(run_eval(b, eval, s, err));
    NPC_TRY(run_train(b, grad, s, err));
    if (!is_last) {
        subject_close(&m->subject);
        return NPC_OK;
    }
    verify_push(m->c, b->eval);
    verify_push(m->c, b->train);
    verify_push(m->c, b->parts);
    verify_push(m->c, b->filters);
    verify_push(m->c, b->loss);
    verify_push(m->c, b->positions);
    NPC_TRY(mice_gradients(m, b->gradients, err));
    return mice_optimizer(m, update, err);
}

static Status compare_statistics(Baselines *b, Err *err)
{
    VerifyModel *m = &b->m;
    VerifyRow row = verify_row(m->c, "train: running statistics", VERIFY_STATISTICS);
    for (uint32_t i = 0; i < m->given.len; i++) {
        const GivenTensor *g = &m->given.at[i];
        if (g->is_state)
            NPC_TRY(verify_against(m->c, &row, verify_name(m->c, "expect/after/%s", g->theirs),
                                   b->statistics[i], g->elems, err));
    }
    verify_push(m->c, row);
    return NPC_OK;
}

/* What the name map leaves out is counted by others. */
static void pass_over(VerifyModel *m)
{
    static const char *const prefix = "expect/after/";
    for (size_t i = 0; i < m->c->file.n; i++) {
        const char *tensor = arena_strdup(m->c->arena, m->c->file.entry[i].name);
        if (strncmp(tensor, prefix, strlen(prefix)))
            continue;
        const char *ours =
            names_map(m->c->arena, m->subject.module, m->map, tensor + strlen(prefix));
        if (ours && !*ours)
            verify_find(m->c, tensor);
    }
}

Status verify_baselines_case(VerifyCase *c, Err *err)
{
    Baselines *b = ARENA_NEW(c->arena, Baselines);
    VerifyModel *m = &b->m;
    *m = (VerifyModel){.c = c, .map_name = "published", .names = &NAMES};
    c->family = NAMES.family;
    if (!c->model_path)
        return err_set(err, NPC_ERR_USAGE, "%s is a model case: it needs a model", c->path);
    b->eval = verify_row(c, "eval: outputs", VERIFY_OUTPUTS);
    b->train = verify_row(c, "train: outputs", VERIFY_OUTPUTS);
    b->parts = verify_row(c, "train: parts", VERIFY_OUTPUTS);
    b->filters = verify_row(c, "eval: filters", VERIFY_OUTPUTS);
    b->loss = verify_row(c, "train: loss", VERIFY_LOSS);
    b->positions = verify_row(c, "positions", VERIFY_TIGHT);
    NPC_TRY(verify_meta(c, "config", &m->config, err));
    NPC_TRY(verify_meta(c, "zero_gradient", &m->zero, err));
    NPC_TRY(read_arguments(m, m->config, err));
    NPC_TRY(mice_read_adamw(m, "lr", "weight_decay", "", err));
    NPC_TRY(read_sessions(m, err));
    c->subject = &m->subject;
    for (int s = 0; s < m->n_sessions; s++)
        NPC_TRY(verify_recording(b, s, err));
    NPC_TRY(compare_statistics(b, err));
    pass_over(m);
    return NPC_OK;
}
