/* What the files of verify_mice.c say about themselves: two families of them, each with its own
 * configuration and its own names of tensors. */
#include "verify/verify_mice_parts.h"

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

/* ---- configuration ---- */

const char *mice_tensor(VerifyModel *m, const char *pattern, int session)
{
    const char *at = strchr(pattern, '@');
    return at ? verify_name(m->c, "%.*s%s%s", (int)(at - pattern), pattern,
                            m->sessions[session].name, at + 1)
              : pattern;
}

static Status read_size(VerifyModel *m, const json_t *of, const char *key, int64_t low,
                        int64_t *out, Err *err)
{
    const json_t *j = json_object_get(of, key);
    *out = json_integer_value(j);
    return json_is_integer(j) && *out >= low && *out <= VERIFY_MAX_SIZE
               ? NPC_OK
               : verify_bad_meta(m, verify_name(m->c, "'config' needs '%s', a number", key), err);
}

/* Counts by recording, all of which enter the step. */
void mice_make_counts(VerifyModel *m)
{
    size_t n = (size_t)m->n_sessions;
    m->batches = ARENA_ARRAY(m->c->arena, int64_t, n);
    m->trials = ARENA_ARRAY(m->c->arena, int64_t, n);
    m->steps = ARENA_ARRAY(m->c->arena, bool, n);
    for (size_t s = 0; s < n; s++)
        m->steps[s] = true;
}

/* ---- files of ViV1T and V1T ---- */

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
            return verify_bad_meta(m, "'frames' is a positive number", err);
    }
    return json_is_integer(batch) && m->batch >= 1 && m->batch <= VERIFY_MAX_BATCH
               ? NPC_OK
               : verify_bad_meta(m, "'batch' is a number from 1 to 4096", err);
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
    if (verify_find(c, name)) {
        NPC_TRY(verify_read_floats(c, name, 1, &s->neurons, &means, err));
    } else { /* mean and deviation */
        NPC_TRY(verify_read_floats(c, verify_name(c, "input/statistics/%s", s->name), 2,
                                   (int64_t[]){2, s->neurons}, &means, err));
        s->deviations = means + s->neurons;
    }
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
        return verify_bad_meta(m, "'config' needs 'neurons', numbers by recording", err);
    m->n_sessions = (int)n;
    m->sessions = ARENA_ARRAY(m->c->arena, Session, n);
    json_object_foreach(neurons, name, count)
    {
        Session *s = &m->sessions[i++];
        *s = (Session){.name = arena_strdup(m->c->arena, name),
                       .neurons = json_integer_value(count)};
        if (!json_is_integer(count) || s->neurons < 1 || s->neurons > VERIFY_MAX_SIZE)
            return verify_bad_meta(m, "'neurons' of 'config' are positive numbers", err);
        NPC_TRY(read_session(m, s, err));
    }
    return NPC_OK;
}

static bool write_value(Text *t, const json_t *value)
{
    if (json_is_integer(value)) {
        text_printf(t, "%lld", (long long)json_integer_value(value));
    } else if (json_is_real(value)) {
        text_double(t, json_real_value(value));
    } else if (json_is_boolean(value)) {
        text_add(t, json_is_true(value) ? "yes" : "no");
    } else if (json_is_string(value)) {
        text_printf(t, "\"%s\"", json_string_value(value));
    } else if (json_is_array(value)) {
        bool ok = true;
        for (size_t i = 0; i < json_array_size(value); i++) {
            const json_t *item = json_array_get(value, i);
            text_add(t, i ? ", " : "[");
            ok &= !json_is_array(item) && write_value(t, item);
        }
        text_add(t, json_array_size(value) ? "]" : "[]");
        return ok;
    } else {
        return false;
    }
    return true;
}

Status mice_set(VerifyModel *m, const char *name, const json_t *value, Err *err)
{
    Text t = {.arena = m->c->arena};
    text_printf(&t, "%s=", name);
    if (!write_value(&t, value))
        return verify_bad_meta(m, verify_name(m->c, "'%s' of 'config' is no value", name), err);
    vec_push(m->c->arena, &m->sets, text_str(&t));
    return NPC_OK;
}

/* Fields of the configuration are the model's arguments of the same names, but for sizes and what
 * the recipe says. */
Status mice_read_adamw(VerifyModel *m, const char *rate, const char *decay, const char *more,
                       Err *err)
{
    json_t *o;
    NPC_TRY(verify_meta(m->c, "optimizer", &o, err));
    const json_t *betas = json_object_get(o, "betas");
    m->beta1 = json_number_value(json_array_get(betas, 0));
    m->beta2 = json_number_value(json_array_get(betas, 1));
    m->rate = json_number_value(json_object_get(o, rate));
    if (!(m->rate > 0) || !(m->beta1 > 0) || !(m->beta2 > 0))
        return verify_bad_meta(m, verify_name(m->c, "'optimizer' needs '%s' and two 'betas'", rate),
                               err);
    vec_push(m->c->arena, &m->sets,
             verify_name(
                 m->c,
                 "optimizer=adamw(weight_decay: %.17g, beta1: %.17g, beta2: %.17g, eps: %.17g)%s",
                 json_number_value(json_object_get(o, decay)), m->beta1, m->beta2,
                 json_number_value(json_object_get(o, "eps")), more));
    return NPC_OK;
}

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
            NPC_TRY(mice_set(m, name, value, err));
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
        return verify_bad_meta(m, "'loss' is none that is known here", err);
    NPC_TRY(mice_read_adamw(m, "lr", "decay", " |> clip(0) |> autoclip(0)", err));
    NPC_TRY(verify_meta(m->c, "optimizer", &o, err));
    const double core_rate = json_number_value(json_object_get(o, "core_lr")),
                 core_decay = json_number_value(json_object_get(o, "core_decay"));
    vec_push(m->c->arena, &m->sets,
             verify_name(m->c, "optimizer=group(\"core\", rate: %.17g, weight_decay: %.17g)",
                         core_rate / m->rate, core_decay));
    return NPC_OK;
}

static const MiceNames TRANSFORMERS = {
    .family = VERIFY_TRANSFORMERS,
    .video = "input/video/@",
    .image = "input/image/@",
    .behavior = "input/behaviour/@",
    .pupil = "input/pupil/@",
    .target = "input/target/@",
    .noise = "input/noise/@",
    .eval = "expect/eval/@",
    .train = "expect/train/@",
    .loss = "expect/loss/@",
    .share = 1e-4,
};

static Status read_transformer(VerifyModel *m, Err *err)
{
    json_t *trials;
    m->names = &TRANSFORMERS;
    NPC_TRY(read_sizes(m, err));
    NPC_TRY(read_sessions(m, err));
    NPC_TRY(read_arguments(m, err));
    NPC_TRY(read_recipe(m, err));
    NPC_TRY(verify_meta(m->c, "trials", &trials, err));
    mice_make_counts(m);
    for (int s = 0; s < m->n_sessions; s++) {
        m->batches[s] = m->batch;
        m->trials[s] = json_integer_value(json_object_get(trials, m->sessions[s].name));
    }
    return NPC_OK;
}

/* ---- files of Dynamic-V1FM ---- */

static const MiceNames WINDOWS = {
    .family = VERIFY_WINDOWS,
    .video = "input/@/video",
    .image = "input/@/image",
    .behavior = "input/@/behavior",
    .pupil = "input/@/pupil",
    .target = "input/@/responses",
    .noise = "input/@/noise",
    .eval = "expect/eval/@",
    .train = "expect/train/@",
    .loss = "expect/loss/train/@",
    .eval_loss = "expect/loss/eval/@",
    .total = "expect/loss/train/total",
    .frames_first = true,
    .share = 1e-4,
};

static Status read_list(VerifyModel *m, const char *key, size_t n, int64_t high, int64_t *out,
                        Err *err)
{
    json_t *list;
    NPC_TRY(verify_meta(m->c, key, &list, err));
    for (size_t i = 0; i < n; i++) {
        const json_t *item = json_array_get(list, i);
        out[i] = json_integer_value(item);
        if (json_array_size(list) != n || !json_is_integer(item) || out[i] < 1 || out[i] > high)
            return verify_bad_meta(
                m, verify_name(m->c, "'%s' is a list of %zu positive numbers", key, n), err);
    }
    return NPC_OK;
}

static Status read_mice(VerifyModel *m, Err *err)
{
    const json_t *neurons = json_object_get(m->config, "neurons");
    size_t n = json_array_size(neurons);
    json_t *steps;
    if (!n || n > VERIFY_MAX_SESSIONS)
        return verify_bad_meta(m, "'config' needs 'neurons', a list of numbers", err);
    m->n_sessions = (int)n;
    m->sessions = ARENA_ARRAY(m->c->arena, Session, n);
    for (size_t i = 0; i < n; i++) {
        const json_t *count = json_array_get(neurons, i);
        m->sessions[i] = (Session){.name = verify_name(m->c, "mouse%zu", i),
                                   .neurons = json_integer_value(count)};
        if (m->sessions[i].neurons < 1 || m->sessions[i].neurons > VERIFY_MAX_SIZE)
            return verify_bad_meta(m, "'neurons' of 'config' are positive numbers", err);
    }
    mice_make_counts(m);
    NPC_TRY(read_list(m, "batches", n, VERIFY_MAX_BATCH, m->batches, err));
    NPC_TRY(verify_meta(m->c, "step_mice", &steps, err));
    for (int s = 0; s < m->n_sessions; s++) {
        m->trials[s] = m->batches[s];
        m->batch = m->batches[s] > m->batch ? m->batches[s] : m->batch;
        m->steps[s] = false;
        for (size_t i = 0; i < json_array_size(steps); i++)
            m->steps[s] |= json_integer_value(json_array_get(steps, i)) == s;
    }
    return NPC_OK;
}

static Status read_windows(VerifyModel *m, Err *err)
{
    int64_t extent[3];
    json_t *value, *eps;
    const char *key;
    char *name = arena_strdup(m->c->arena, safetensors_meta(&m->c->file, "model"));
    m->names = &WINDOWS;
    m->name = name;
    for (char *at = name; *at; at++)
        *at = *at == '-' ? '_' : *at;
    NPC_TRY(read_list(m, "extent", 3, VERIFY_MAX_SIZE, extent, err));
    m->t = extent[0];
    m->h = extent[1];
    m->w = extent[2];
    NPC_TRY(read_size(m, m->config, "channels", 1, &m->channels, err));
    NPC_TRY(read_mice(m, err));
    json_object_foreach(m->config, key, value)
    {
        if (!strcmp(key, "state") && json_integer_value(value) != 4)
            return verify_bad_meta(m, "'state' of 'config' is 4: behaviour and pupil", err);
        if (strcmp(key, "neurons") && strcmp(key, "channels") && strcmp(key, "state"))
            NPC_TRY(mice_set(m, key, value, err));
    }
    NPC_TRY(mice_read_adamw(m, "rate", "decay", "", err));
    NPC_TRY(verify_meta(m->c, "loss_eps", &eps, err));
    vec_push(m->c->arena, &m->sets,
             verify_name(m->c, "loss=poisson(eps: %.17g, added: everywhere) |> scale(none)",
                         json_number_value(eps)));
    m->eps = json_number_value(eps);
    return NPC_OK;
}

Status mice_read(VerifyModel *m, Err *err)
{
    NPC_TRY(verify_meta(m->c, "config", &m->config, err));
    NPC_TRY(safetensors_meta(&m->c->file, "step_mice") ? read_windows(m, err)
                                                       : read_transformer(m, err));
    m->c->family = m->names->family;
    return verify_meta(m->c, "zero_gradient", &m->zero, err);
}
