/* A model case: metadata to overrides and sizes, tensors to parameters and the batch. */
#include <math.h>

#include "runtime/distill.h"
#include "verify/verify_model_parts.h"

/* ---- metadata ---- */

Status verify_bad_meta(VerifyModel *m, const char *what, Err *err)
{
    return err_set(err, NPC_ERR_INPUT, "%s: metadata: %s", m->c->path, what);
}

static bool read_int(const json_t *j, int64_t low, int64_t high, int64_t *out)
{
    *out = json_is_integer(j) ? (int64_t)json_integer_value(j) : low - 1;
    return *out >= low && *out <= high;
}

static Status read_sizes(VerifyModel *m, Err *err)
{
    json_t *extent, *batch;
    int64_t *out[] = {&m->t, &m->h, &m->w};
    NPC_TRY(verify_meta(m->c, "extent", &extent, err));
    NPC_TRY(verify_meta(m->c, "batch", &batch, err));
    for (size_t i = 0; i < 3; i++)
        if (json_array_size(extent) != 3 ||
            !read_int(json_array_get(extent, i), 1, VERIFY_MAX_SIZE, out[i]))
            return verify_bad_meta(m, "'extent' is a list of three sizes: frames, height, width",
                                   err);
    if (!read_int(batch, 1, VERIFY_MAX_BATCH, &m->batch))
        return verify_bad_meta(m, "'batch' is a number from 1 to 4096", err);
    if (!read_int(json_object_get(m->config, "in_channels"), 1, VERIFY_MAX_SIZE, &m->channels))
        return verify_bad_meta(m, "'config' needs 'in_channels', a number", err);
    return NPC_OK;
}

static Status read_sessions(VerifyModel *m, Err *err)
{
    const json_t *neurons = json_object_get(m->config, "neurons");
    size_t n = json_array_size(neurons);
    if (!n || n > VERIFY_MAX_SESSIONS)
        return verify_bad_meta(m, "'config' needs 'neurons', a list of 1 to 1000 numbers", err);
    m->n_sessions = (int)n;
    m->sessions = ARENA_ARRAY(m->c->arena, Session, n);
    for (size_t i = 0; i < n; i++) {
        m->sessions[i].name = verify_name(m->c, "mouse%zu", i);
        if (!read_int(json_array_get(neurons, i), 1, VERIFY_MAX_SIZE, &m->sessions[i].neurons))
            return verify_bad_meta(m, "'neurons' of 'config' are positive numbers", err);
    }
    return NPC_OK;
}

/* A number or a list of them as the language writes it. */
static bool write_value(Text *t, const json_t *j)
{
    if (json_is_integer(j)) {
        text_printf(t, "%lld", (long long)json_integer_value(j));
        return true;
    }
    if (json_is_real(j)) {
        text_double(t, json_real_value(j));
        return true;
    }
    if (!json_is_array(j))
        return false;
    bool ok = true;
    text_char(t, '[');
    for (size_t i = 0; i < json_array_size(j); i++) {
        const json_t *item = json_array_get(j, i);
        text_add(t, i ? ", " : "");
        ok &= !json_is_array(item) && write_value(t, item);
    }
    text_char(t, ']');
    return ok;
}

static Status add_set(VerifyModel *m, const char *name, const json_t *value, Err *err)
{
    Text t = {.arena = m->c->arena};
    text_printf(&t, "%s=", name);
    if (!write_value(&t, value))
        return verify_bad_meta(
            m, verify_name(m->c, "'%s' is neither a number nor a list of numbers", name), err);
    vec_push(m->c->arena, &m->sets, text_str(&t));
    return NPC_OK;
}

/* Fields of the configuration are the model's arguments of the same names. */
static Status read_arguments(VerifyModel *m, Err *err)
{
    void *at = json_object_iter(m->config);
    for (; at; at = json_object_iter_next(m->config, at)) {
        const char *key = json_object_iter_key(at);
        if (strcmp(key, "neurons") && strcmp(key, "in_channels"))
            NPC_TRY(add_set(m, key, json_object_iter_value(at), err));
    }
    return NPC_OK;
}

static Status read_optimizer(VerifyModel *m, Err *err)
{
    json_t *o, *eps;
    NPC_TRY(verify_meta(m->c, "optimizer", &o, err));
    NPC_TRY(verify_meta(m->c, "loss_eps", &eps, err));
    const json_t *betas = json_object_get(o, "betas"), *first = json_array_get(betas, 0),
                 *second = json_array_get(betas, 1), *rate = json_object_get(o, "rate"),
                 *step = json_object_get(o, "step");
    if (!json_is_number(rate) || !json_is_number(first) || !json_is_number(second))
        return verify_bad_meta(m, "'optimizer' needs 'rate' and two 'betas'", err);
    if (step && json_integer_value(step) != 1)
        return verify_bad_meta(m, "only the first step of the 'optimizer' can be verified", err);
    m->rate = json_number_value(rate);
    m->beta1 = json_number_value(first);
    m->beta2 = json_number_value(second);
    NPC_TRY(add_set(m, "recipe.optimizer.weight_decay", json_object_get(o, "decay"), err));
    NPC_TRY(add_set(m, "recipe.optimizer.beta1", first, err));
    NPC_TRY(add_set(m, "recipe.optimizer.beta2", second, err));
    NPC_TRY(add_set(m, "recipe.optimizer.eps", json_object_get(o, "eps"), err));
    return add_set(m, "recipe.loss.eps", eps, err);
}

Status verify_model_read(VerifyModel *m, Err *err)
{
    NPC_TRY(verify_meta(m->c, "config", &m->config, err));
    if (!json_is_object(m->config))
        return verify_bad_meta(m, "'config' is not a JSON object", err);
    NPC_TRY(read_sizes(m, err));
    NPC_TRY(read_sessions(m, err));
    NPC_TRY(read_arguments(m, err));
    NPC_TRY(read_optimizer(m, err));
    NPC_TRY(verify_meta(m->c, "zero_gradient", &m->zero, err));
    if (safetensors_meta(&m->c->file, "zero_gradient_masked"))
        NPC_TRY(verify_meta(m->c, "zero_gradient_masked", &m->zero_masked, err));
    return NPC_OK;
}

bool verify_model_vanishes(const json_t *names, const char *theirs)
{
    for (size_t i = 0; i < json_array_size(names); i++) {
        const char *name = json_string_value(json_array_get(names, i));
        if (name && !strcmp(name, theirs))
            return true;
    }
    return false;
}

/* ---- the batch ---- */

/* The recording that a sample is sorted by: the first that it counts for. */
static int first_session(const VerifyModel *m, int64_t b)
{
    int s = 0;
    while (s < m->n_sessions && m->weights[b * m->n_sessions + s] == 0)
        s++;
    return s;
}

static Status order_samples(VerifyModel *m, Err *err)
{
    Arena *a = m->c->arena;
    int64_t n = 0;
    m->order = ARENA_ARRAY(a, int64_t, (size_t)m->batch);
    for (int s = 0; s <= m->n_sessions; s++)
        for (int64_t b = 0; b < m->batch; b++)
            if (first_session(m, b) == s)
                m->order[n++] = b;
    m->ranges = ARENA_ARRAY(a, SampleRange, (size_t)m->n_sessions);
    m->whole = ARENA_ARRAY(a, SampleRange, (size_t)m->n_sessions);
    for (int s = 0; s < m->n_sessions; s++) {
        SampleRange *r = &m->ranges[s];
        m->whole[s] = (SampleRange){0, m->batch};
        for (int64_t row = 0; row < m->batch; row++) {
            if (m->weights[m->order[row] * m->n_sessions + s] == 0)
                continue;
            r->first = r->count ? r->first : row;
            r->count = row + 1 - r->first;
        }
    }
    double sum = 0;
    for (int64_t i = 0; i < m->batch * m->n_sessions; i++)
        sum += m->weights[i];
    if (!(sum > 0) || isinf(sum))
        return err_set(err, NPC_ERR_INPUT, "%s: the sum of 'input/weights' is not positive",
                       m->c->path);
    m->share = ARENA_ARRAY(a, double, (size_t)(m->batch * m->n_sessions));
    for (int64_t i = 0; i < m->batch * m->n_sessions; i++)
        m->share[i] = m->weights[i] / sum;
    return NPC_OK;
}

Status verify_model_batch(VerifyModel *m, Err *err)
{
    VerifyCase *c = m->c;
    NPC_TRY(verify_read(c, "input/x", 5, (int64_t[]){m->batch, m->channels, m->t, m->h, m->w},
                        &m->clip, err));
    NPC_TRY(
        verify_read(c, "input/weights", 2, (int64_t[]){m->batch, m->n_sessions}, &m->weights, err));
    m->target = ARENA_ARRAY(c->arena, double *, (size_t)m->n_sessions);
    for (int s = 0; s < m->n_sessions; s++)
        NPC_TRY(verify_read(c, verify_name(c, "input/target/mouse%d", s), 3,
                            (int64_t[]){m->batch, m->sessions[s].neurons, m->t}, &m->target[s],
                            err));
    return order_samples(m, err);
}

void verify_model_rows(const VerifyModel *m, double *rows, const double *from, int64_t elems)
{
    for (int64_t i = 0; i < m->batch; i++)
        memcpy(rows + i * elems, from + m->order[i] * elems, (size_t)elems * sizeof *rows);
}

/* ---- the model ---- */

/* The settings are the case's, so the case is named, too. */
static Status open_model(VerifyModel *m, const ModelOptions *mo, Err *err)
{
    Err own = {0};
    Status s = subject_open_model(&m->subject, m->c->options, mo, &own);
    if (s == NPC_ERR_INPUT)
        return err_set(err, s, "%s: no model can be made with its metadata: %s", m->c->path,
                       own.text);
    return s == NPC_OK ? s : err_set(err, s, "%s", own.text);
}

Status verify_model_open(VerifyModel *m, bool no_dropping, Err *err)
{
    const VerifyOptions *o = m->c->options;
    AxisSize bind[] = {{"c", m->channels}, {"h", m->h}, {"w", m->w}, {"t", m->t}};
    ModelOptions mo = {.path = m->c->model_path,
                       .model = m->name ? m->name : safetensors_meta(&m->c->file, "model"),
                       .sets = m->sets.at,
                       .n_sets = (int)m->sets.len,
                       .sessions = m->sessions,
                       .n_sessions = m->n_sessions,
                       .batch = m->batch,
                       .bind = bind,
                       .n_bind = m->t ? 4 : 3, /* images have no frames */
                       .probes = true,
                       .no_dropping = no_dropping,
                       .fuse = o->fuse,
                       .cpu = o->cpu,
                       .threads = o->threads,
                       .interpret = o->interpret,
                       .device = verify_device(o),
                       .precision = o->precision ? o->precision : "f32",
                       .library = o->library,
                       .no_cache = o->no_cache,
                       .cache_folder = o->cache_folder,
                       .verify_passes = true,
                       .messages = o->messages};
    NPC_TRY(open_model(m, &mo, err));
    m->subject.arena.exhausted = m->c->arena->exhausted;
    const char *map = m->map_name ? m->map_name : "golden";
    m->map = names_find(&m->subject.model->info, map);
    return m->map ? NPC_OK
                  : err_set(err, NPC_ERR_INPUT,
                            "%s: there is no 'names %s { .. }' that says how the tensors of "
                            "%s are called",
                            m->c->model_path, map, m->c->path);
}

/* ---- parameters ---- */

static const char *const PARAM = "param/", *const CONSTANT = "const/";

/* Do the sizes agree, axes of size 1 left out? */
static bool sizes_agree(const SafetensorsEntry *e, const Shape *s)
{
    int i = 0;
    for (uint32_t k = 0; k < e->rank; k++) {
        while (i < s->rank && s->size[i] == 1 && e->shape[k] != 1)
            i++;
        if (i < s->rank && e->shape[k] == (uint64_t)s->size[i])
            i++;
        else if (e->shape[k] != 1)
            return false;
    }
    while (i < s->rank && s->size[i] == 1)
        i++;
    return i == s->rank;
}

/* What is wrong with one tensor of the file, or NULL. */
static const char *misfit(VerifyModel *m, const SafetensorsEntry *e, const char *ours)
{
    const Param *p = ours ? module_param(m->subject.module, ours) : NULL;
    if (!ours)
        return verify_name(m->c, "%s: no rule of 'names golden' fits it", e->name);
    if (!p)
        return verify_name(m->c, "%s: the model has no parameter '%s'", e->name, ours);
    if (e->dtype > SAFETENSORS_BF16)
        return verify_name(m->c, "%s: %s in the file; parameters are floating-point numbers",
                           e->name, safetensors_entry_text(m->c->arena, e));
    if (sizes_agree(e, &p->shape))
        return NULL;
    Text t = {.arena = m->c->arena};
    text_printf(&t, "%s: %s in the file, '%s' is ", e->name, safetensors_entry_text(m->c->arena, e),
                ours);
    shape_text(&t, &p->shape);
    return text_str(&t);
}

static void complain(Text *t, int *n, const char *what)
{
    if ((*n)++ < 8)
        text_printf(t, "\n  %s", what);
}

/* Every tensor of the file must find its place, every parameter must be given. */
Status verify_model_parameters(VerifyModel *m, Err *err)
{
    VerifyCase *c = m->c;
    Module *module = m->subject.module;
    Map seen = {0};
    Text bad = {.arena = c->arena};
    int n_bad = 0;
    for (size_t i = 0; i < c->file.n; i++) {
        const SafetensorsEntry *e = &c->file.entry[i];
        bool is_constant = !strncmp(e->name, CONSTANT, strlen(CONSTANT));
        if (!is_constant && strncmp(e->name, PARAM, strlen(PARAM)))
            continue;
        const char *prefix = is_constant ? CONSTANT : PARAM;
        const char *theirs = arena_strdup(c->arena, e->name + strlen(prefix));
        const char *ours = names_map(c->arena, module, m->map, theirs);
        if (is_constant && (!ours || !module_param(module, ours)))
            continue; /* a table that the model makes itself */
        verify_find(c, e->name);
        if (ours && !*ours)
            continue; /* the map says so, too */
        const char *wrong = misfit(m, e, ours);
        if (!wrong && map_get(&seen, ours))
            wrong = verify_name(c, "%s: '%s' is given twice", e->name, ours);
        if (wrong) {
            complain(&bad, &n_bad, wrong);
            continue;
        }
        const Param *p = module_param(module, ours);
        GivenTensor g = {
            theirs,     ours,       ARENA_ARRAY(c->arena, double, e->elems), (int64_t)e->elems,
            p->session, p->is_state};
        safetensors_as_double(e, g.values);
        vec_push(c->arena, &m->given, g);
        map_put(c->arena, &seen, ours, (void *)1);
    }
    for (uint32_t i = 0; i < module->params.len; i++) {
        const char *name = module->params.at[i].name;
        const char *theirs = names_unmap(c->arena, module, m->map, name);
        if (!map_get(&seen, name))
            complain(&bad, &n_bad,
                     verify_name(c, "'%s' is not in the file (%s%s)", name, PARAM,
                                 theirs ? theirs : "?"));
    }
    if (!n_bad)
        return NPC_OK;
    return err_set(err, NPC_ERR_INPUT, "%s: %d parameter%s not fit %s:%s%s", c->path, n_bad,
                   n_bad == 1 ? " does" : "s do", c->model_path, text_str(&bad),
                   n_bad > 8 ? "\n  .." : "");
}

static void set_input(VerifyModel *m, int program, const char *name, const double *from,
                      int64_t elems)
{
    double *rows = ARENA_ARRAY(m->c->arena, double, (size_t)(m->batch * elems));
    verify_model_rows(m, rows, from, elems);
    subject_input(&m->subject, program, name, rows);
}

static void set_scalars(VerifyModel *m, int program)
{
    const double bias1 = 1 - m->beta1, bias2 = 1 - m->beta2;
    const double loss_scale = 256; /* f16: no gradient of a case overflows */
    subject_input(&m->subject, program, "rate", &m->rate);
    subject_input(&m->subject, program, "bias1", &bias1);
    subject_input(&m->subject, program, "bias2", &bias2);
    subject_input(&m->subject, program, "loss_scale", &loss_scale);
    for (int s = 0; s < m->n_sessions; s++) {
        subject_input(&m->subject, program, verify_name(m->c, "bias1/%s", m->sessions[s].name),
                      &bias1);
        subject_input(&m->subject, program, verify_name(m->c, "bias2/%s", m->sessions[s].name),
                      &bias2);
    }
}

/* Tensors as they were before anything ran, and the inputs of a program. */
Status verify_model_start(VerifyModel *m, int program, Err *err)
{
    Subject *s = &m->subject;
    VerifyCase *c = m->c;
    const Node *clip = subject_find_input(s, program, "clip");
    int64_t elems = m->channels * m->t * m->h * m->w;
    if (clip && shape_elems(&clip->shape) != m->batch * elems)
        return err_set(err, NPC_ERR_INPUT, "%s: the model's input is not [b c t h w]",
                       c->model_path);
    for (uint32_t i = 0; i < s->module->params.len; i++) {
        const Param *p = &s->module->params.at[i];
        if (strchr(p->name, '/')) /* moments, averages, accumulated gradients */
            subject_tensor(s, p->name,
                           ARENA_ARRAY(c->arena, double, (size_t)shape_elems(&p->shape)));
    }
    for (uint32_t i = 0; i < m->given.len; i++)
        subject_tensor(s, m->given.at[i].ours, m->given.at[i].values);
    set_input(m, program, "clip", m->clip, elems);
    for (int k = 0; k < m->n_sessions; k++) {
        double *share = ARENA_ARRAY(c->arena, double, (size_t)m->batch);
        for (int64_t b = 0; b < m->batch; b++)
            share[b] = m->share[b * m->n_sessions + k];
        set_input(m, program, verify_name(c, "target/%s", m->sessions[k].name), m->target[k],
                  m->sessions[k].neurons * m->t);
        set_input(m, program, verify_name(c, "share/%s", m->sessions[k].name), share, 1);
    }
    set_scalars(m, program);
    return NPC_OK;
}
