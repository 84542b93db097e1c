/* A model case: evaluation, training without dropping, training with given masks, one step of the
 * optimizer after that, and the optimizer by itself. */
#include <math.h>

#include "verify/verify_model_parts.h"

/* ---- results in the file's order ---- */

/* Strides in which a value's elements are met in the order b, c, t, h, w. */
static void file_order(const Shape *s, Shape *out, int64_t stride[MAX_RANK])
{
    static const char *const axes[] = {"b", "c", "n", "t", "h", "w"};
    int64_t own[MAX_RANK];
    shape_strides(s, own);
    *out = (Shape){0};
    for (int k = 0; k < 6; k++)
        for (int i = 0; i < s->rank; i++)
            if (!strcmp(s->name[i], axes[k])) {
                stride[out->rank] = own[i];
                shape_add(out, s->name[i], s->size[i]);
            }
    if (out->rank == s->rank)
        return;
    *out = *s; /* axes of other names: as they are */
    memcpy(stride, own, sizeof own);
}

/* A result with its axes in the order of the file and its samples too. */
static Status read_result(VerifyModel *m, int program, ResultRole role, const char *name,
                          double **out, Shape *shape, Err *err)
{
    Arena *a = m->c->arena;
    const Shape *s = subject_result(&m->subject, program, role, name);
    int64_t n = shape_elems(s), stride[MAX_RANK], index[MAX_RANK] = {0};
    double *raw = ARENA_ARRAY(a, double, (size_t)n);
    NPC_TRY(subject_read(&m->subject, program, role, name, raw, err));
    *out = ARENA_ARRAY(a, double, (size_t)n);
    file_order(s, shape, stride);
    bool has_samples = shape->rank && !strcmp(shape->name[0], "b");
    int64_t per_row = has_samples ? n / shape->size[0] : n;
    for (int64_t i = 0; i < n; i++) {
        int64_t at = 0, row = has_samples ? m->order[i / per_row] : 0;
        for (int k = 0; k < shape->rank; k++)
            at += index[k] * stride[k];
        (*out)[row * per_row + i % per_row] = raw[at];
        for (int k = shape->rank - 1; k >= 0; k--) {
            if (++index[k] < shape->size[k])
                break;
            index[k] = 0;
        }
    }
    return NPC_OK;
}

/* Compares a result with a tensor of the file, sizes included. */
static Status compare_result(VerifyModel *m, VerifyRow *row, int program, ResultRole role,
                             const char *name, const char *tensor, Err *err)
{
    Shape shape;
    double *got, *want;
    NPC_TRY(read_result(m, program, role, name, &got, &shape, err));
    NPC_TRY(verify_read(m->c, tensor, shape.rank, shape.size, &want, err));
    verify_compare(row, tensor, got, want, shape_elems(&shape));
    return NPC_OK;
}

/* ---- outputs, parts, loss ---- */

static Status compare_outputs(VerifyModel *m, int program, const char *label, Err *err)
{
    VerifyCase *c = m->c;
    VerifyRow row = verify_row(c, verify_name(c, "%s: outputs", label), VERIFY_OUTPUTS);
    for (int s = 0; s < m->n_sessions; s++) {
        const char *name = m->sessions[s].name;
        NPC_TRY(compare_result(m, &row, program, RESULT_OUTPUT, name,
                               verify_name(c, "expect/%s/%s", label, name), err));
    }
    verify_push(c, row);
    return NPC_OK;
}

/* Is it the tensor of a part, and not an output, the loss or a gradient? */
static const char *part_of(VerifyModel *m, const char *tensor, const char *prefix)
{
    const char *part = tensor + strlen(prefix);
    if (strncmp(tensor, prefix, strlen(prefix)) || strchr(part, '/') || !strcmp(part, "loss"))
        return NULL;
    for (int s = 0; s < m->n_sessions; s++)
        if (!strcmp(part, m->sessions[s].name))
            return NULL;
    return part;
}

static Status compare_parts(VerifyModel *m, int program, const char *label, Err *err)
{
    VerifyCase *c = m->c;
    VerifyRow row = verify_row(c, verify_name(c, "%s: parts", label), VERIFY_OUTPUTS);
    const char *prefix = verify_name(c, "expect/%s/", label);
    for (size_t i = 0; i < c->file.n; i++) {
        const char *tensor = arena_strdup(c->arena, c->file.entry[i].name);
        const char *part = part_of(m, tensor, prefix);
        if (!part)
            continue;
        const char *ours = names_map(c->arena, m->subject.module, m->map, part);
        const char *probe = verify_name(c, "probe/%s", ours ? ours : part);
        if (!subject_result(&m->subject, program, RESULT_OUTPUT, probe))
            return err_set(err, NPC_ERR_INPUT,
                           "%s: tensor '%s': the model has no part '%s'; rules of 'names golden' "
                           "say what parts are called",
                           c->path, tensor, ours ? ours : part);
        NPC_TRY(compare_result(m, &row, program, RESULT_OUTPUT, probe, tensor, err));
    }
    verify_push(c, row);
    return NPC_OK;
}

/* The loss of the outputs, in float64. */
/* *size: what the terms of the loss add up to without their signs. */
static Status loss_of_outputs(VerifyModel *m, int program, double *out, double *size, Err *err)
{
    json_t *eps;
    Shape shape;
    NPC_TRY(verify_meta(m->c, "loss_eps", &eps, err));
    *out = *size = 0;
    for (int s = 0; s < m->n_sessions; s++) {
        double *p;
        NPC_TRY(read_result(m, program, RESULT_OUTPUT, m->sessions[s].name, &p, &shape, err));
        int64_t per_row = m->sessions[s].neurons * m->t;
        for (int64_t b = 0; b < m->batch; b++) {
            double share = m->share[b * m->n_sessions + s];
            for (int64_t i = b * per_row; i < (b + 1) * per_row && share != 0; i++) {
                double term = m->target[s][i] * log(p[i] + json_number_value(eps));
                *out += share * (p[i] - term);
                *size += share * (fabs(p[i]) + fabs(term));
            }
        }
    }
    return NPC_OK;
}

/* Compared by its own size, but where precision was given away by that of its terms, which may
 * cancel. */
static Status push_loss(VerifyModel *m, const char *label, double loss, double size, Err *err)
{
    VerifyRow row = verify_row(m->c, verify_name(m->c, "%s: loss", label), VERIFY_LOSS);
    const char *name = verify_name(m->c, "expect/%s/loss", label);
    double *want;
    NPC_TRY(verify_read(m->c, name, 0, NULL, &want, err));
    if (row.by_norm && size > 0)
        verify_compare_scaled(&row, name, &loss, want, 1, size);
    else
        verify_compare(&row, name, &loss, want, 1);
    verify_push(m->c, row);
    return NPC_OK;
}

static Status compare_eval(VerifyModel *m, int program, Err *err)
{
    double loss, size;
    NPC_TRY(verify_model_start(m, program, err));
    NPC_TRY(subject_run(&m->subject, program, m->whole, err));
    NPC_TRY(compare_outputs(m, program, "eval", err));
    NPC_TRY(compare_parts(m, program, "eval", err));
    NPC_TRY(loss_of_outputs(m, program, &loss, &size, err));
    return push_loss(m, "eval", loss, size, err);
}

/* ---- gradients ---- */

static bool is_absent(const VerifyModel *m, const GivenTensor *g)
{
    return g->session >= 0 && !m->ranges[g->session].count;
}

/* A parameter has a gradient exactly when its recording has a sample. */
static Status check_presence(VerifyModel *m, const GivenTensor *g, const char *tensor,
                             bool *is_given, Err *err)
{
    *is_given = verify_find(m->c, tensor) != NULL;
    if (*is_given == !is_absent(m, g))
        return NPC_OK;
    return *is_given ? err_set(err, NPC_ERR_INPUT,
                               "%s: '%s' is given, but no sample counts for that recording",
                               m->c->path, tensor)
                     : err_set(err, NPC_ERR_INPUT,
                               "%s: there is no tensor '%s', and the parameter does get a gradient",
                               m->c->path, tensor);
}

static double largest(const double *x, int64_t n)
{
    double most = 0;
    for (int64_t i = 0; i < n; i++)
        most = fmax(most, fabs(x[i]));
    return most;
}

/* Expected gradients by parameter (NULL: none), and the largest number in them. */
static Status read_gradients(VerifyModel *m, const char *prefix, double **want, double *most,
                             Err *err)
{
    *most = 0;
    for (uint32_t i = 0; i < m->given.len; i++) {
        const GivenTensor *g = &m->given.at[i];
        const char *tensor = verify_name(m->c, "%s/%s", prefix, g->theirs);
        const Shape *s = &module_param(m->subject.module, g->ours)->shape;
        bool is_given;
        if (g->is_state)
            continue;
        NPC_TRY(check_presence(m, g, tensor, &is_given, err));
        if (!is_given)
            continue;
        NPC_TRY(verify_read(m->c, tensor, s->rank, s->size, &want[i], err));
        *most = fmax(*most, largest(want[i], g->elems));
    }
    return NPC_OK;
}

static Status compare_gradients(VerifyModel *m, int program, const char *label, const char *prefix,
                                const json_t *zero, Err *err)
{
    VerifyCase *c = m->c;
    VerifyRow row = verify_row(c, verify_name(c, "%s: gradients", label), VERIFY_GRADIENTS);
    VerifyRow vanish =
        verify_row(c, verify_name(c, "%s: vanishing gradients", label), VERIFY_VANISHING);
    double **want = ARENA_ARRAY(c->arena, double *, m->given.len + 1), most;
    vanish.note = "of the case's largest gradient";
    NPC_TRY(read_gradients(m, prefix, want, &most, err));
    for (uint32_t i = 0; i < m->given.len; i++) {
        const GivenTensor *g = &m->given.at[i];
        if (!want[i])
            continue;
        if (!subject_result(&m->subject, program, RESULT_GRAD, g->ours))
            return err_set(err, NPC_ERR_INPUT,
                           "%s: '%s' is not learned: there is no gradient for "
                           "%s/%s",
                           c->model_path, g->ours, prefix, g->theirs);
        double *got = ARENA_ARRAY(c->arena, double, (size_t)g->elems);
        const char *tensor = verify_name(c, "%s/%s", prefix, g->theirs);
        NPC_TRY(subject_read(&m->subject, program, RESULT_GRAD, g->ours, got, err));
        if (verify_model_vanishes(zero, g->theirs))
            verify_compare_scaled(&vanish, tensor, got, want[i], g->elems, most > 0 ? most : 1);
        else
            verify_compare(&row, tensor, got, want[i], g->elems);
    }
    verify_push(c, row);
    verify_push(c, vanish);
    return NPC_OK;
}

/* ---- parameters and running statistics afterwards ---- */

/* Compares where `chosen` (NULL: everywhere). */
static void compare_chosen(VerifyModel *m, VerifyRow *row, const char *tensor, double *got,
                           const double *want, const bool *chosen, int64_t n)
{
    double *expected = ARENA_ARRAY(m->c->arena, double, (size_t)n);
    for (int64_t i = 0; i < n; i++)
        expected[i] = chosen && !chosen[i] ? got[i] : want[i];
    verify_compare(row, tensor, got, expected, n);
}

/* Entries whose gradient is not lost in rounding noise: a first step of Adam is its sign. */
static bool *well_determined(VerifyModel *m, const double *grad, int64_t n, double share)
{
    bool *chosen = ARENA_ARRAY(m->c->arena, bool, (size_t)n);
    double most = largest(grad, n);
    for (int64_t i = 0; i < n; i++)
        chosen[i] = fabs(grad[i]) >= share * most && most > 0;
    return chosen;
}

static Status compare_statistics(VerifyModel *m, const char *label, Err *err)
{
    VerifyRow row =
        verify_row(m->c, verify_name(m->c, "%s: running statistics", label), VERIFY_STATISTICS);
    for (uint32_t i = 0; i < m->given.len; i++) {
        const GivenTensor *g = &m->given.at[i];
        const char *tensor = verify_name(m->c, "expect/after/%s", g->theirs);
        if (!g->is_state || !verify_find(m->c, tensor)) /* frequencies do not change */
            continue;
        double *got = ARENA_ARRAY(m->c->arena, double, (size_t)g->elems);
        subject_read_tensor(&m->subject, g->ours, got);
        NPC_TRY(verify_against(m->c, &row, tensor, got, g->elems, err));
    }
    verify_push(m->c, row);
    return NPC_OK;
}

static Status compare_parameters(VerifyModel *m, const char *label, bool is_alone, Err *err)
{
    VerifyCase *c = m->c;
    VerifyRow row = verify_row(c, verify_name(c, "%s: parameters", label),
                               is_alone ? VERIFY_STEP : VERIFY_PARAMETERS);
    VerifyRow still =
        verify_row(c, verify_name(c, "%s: no gradient, no change", label), VERIFY_EXACT);
    double **grad = ARENA_ARRAY(c->arena, double *, m->given.len + 1), most;
    double share = row.by_norm && !is_alone ? VERIFY_ROUNDED_SHARE : 1e-3;
    row.absolute = !is_alone && !c->options->reference; /* files round to float32 */
    row.note = is_alone       ? "every entry"
               : row.by_norm  ? "absolute, where |gradient| >= 0.2 max"
               : row.absolute ? "absolute, where |gradient| >= 1e-3 max"
                              : "where |gradient| >= 1e-3 max";
    NPC_TRY(read_gradients(m, "expect/grad", grad, &most, err));
    for (uint32_t i = 0; i < m->given.len; i++) {
        const GivenTensor *g = &m->given.at[i];
        const char *tensor = verify_name(c, "expect/after/%s", g->theirs);
        double *got = ARENA_ARRAY(c->arena, double, (size_t)g->elems), *want;
        const Shape *s = &module_param(m->subject.module, g->ours)->shape;
        if (g->is_state)
            continue;
        NPC_TRY(verify_read(c, tensor, s->rank, s->size, &want, err));
        subject_read_tensor(&m->subject, g->ours, got);
        if (!grad[i])
            verify_compare(&still, tensor, got, want, g->elems);
        else if (is_alone)
            verify_compare(&row, tensor, got, want, g->elems);
        else if (!verify_model_vanishes(m->zero, g->theirs))
            compare_chosen(m, &row, tensor, got, want, well_determined(m, grad[i], g->elems, share),
                           g->elems);
    }
    verify_push(c, row);
    verify_push(c, still);
    return NPC_OK;
}

/* ---- the programs ---- */

/* Outputs of all recordings need all samples; gradients the samples that count. */
static Status compare_training(VerifyModel *m, int program, const char *label, const char *prefix,
                               const json_t *zero, Err *err)
{
    double loss;
    NPC_TRY(subject_run(&m->subject, program, m->whole, err));
    NPC_TRY(compare_outputs(m, program, label, err));
    NPC_TRY(compare_parts(m, program, label, err));
    NPC_TRY(verify_model_start(m, program, err));
    NPC_TRY(subject_run(&m->subject, program, m->ranges, err));
    NPC_TRY(subject_read(&m->subject, program, RESULT_LOSS, "loss", &loss, err));
    NPC_TRY(push_loss(m, label, loss, 0, err));
    return compare_gradients(m, program, label, prefix, zero, err);
}

static Status compare_step(VerifyModel *m, int program, Err *err)
{
    NPC_TRY(verify_model_start(m, program, err));
    NPC_TRY(subject_run(&m->subject, program, m->ranges, err));
    NPC_TRY(compare_parameters(m, "step", false, err));
    return compare_statistics(m, "step", err);
}

static Status compare_optimizer(VerifyModel *m, int program, Err *err)
{
    double **grad = ARENA_ARRAY(m->c->arena, double *, m->given.len + 1), most;
    NPC_TRY(verify_model_start(m, program, err));
    NPC_TRY(read_gradients(m, "expect/grad", grad, &most, err));
    const double loss_scale = 1; /* of the gradients in the file */
    subject_input(&m->subject, program, "loss_scale", &loss_scale);
    for (uint32_t i = 0; i < m->given.len; i++)
        if (grad[i])
            subject_tensor(&m->subject, verify_name(m->c, "grad/%s", m->given.at[i].ours), grad[i]);
    NPC_TRY(subject_run(&m->subject, program, m->ranges, err));
    return compare_parameters(m, "optimizer", true, err);
}

static Status verify_undropped(VerifyModel *m, Err *err)
{
    Subject *s = &m->subject;
    int eval, grad, step, update;
    NPC_TRY(verify_model_open(m, true, err));
    NPC_TRY(verify_model_parameters(m, err));
    NPC_TRY(subject_add(s, PROGRAM_EVAL, &eval, err));
    NPC_TRY(subject_add(s, PROGRAM_GRAD, &grad, err));
    NPC_TRY(subject_add(s, PROGRAM_STEP, &step, err));
    NPC_TRY(subject_add(s, PROGRAM_UPDATE, &update, err));
    NPC_TRY(subject_ready(s, err));
    NPC_TRY(compare_eval(m, eval, err));
    NPC_TRY(verify_model_start(m, grad, err));
    NPC_TRY(compare_training(m, grad, "train", "expect/grad", m->zero, err));
    NPC_TRY(compare_statistics(m, "train", err));
    NPC_TRY(compare_step(m, step, err));
    return compare_optimizer(m, update, err);
}

/* ---- given masks ---- */

static const char *const KEEP = "input/keep/";

/* The random mask of the part that the file calls `part`: the only one below the part's name. */
static Status find_mask(VerifyModel *m, int program, const char *part, const Node **out, Err *err)
{
    const Func *f = m->subject.programs.at[program];
    const char *ours =
        names_map(m->c->arena, m->subject.module, m->map, verify_name(m->c, "%s.keep", part));
    size_t n = ours ? strlen(ours) - strlen("keep") : 0; /* with the dot */
    *out = NULL;
    for (uint32_t i = 1; ours && i < f->nodes.len; i++) {
        const Node *node = &f->nodes.at[i];
        if (node->op != OP_RANDOM || strncmp(node->attrs.name, ours, n))
            continue;
        if (*out && strcmp((*out)->attrs.name, node->attrs.name))
            return err_set(err, NPC_ERR_INPUT, "%s: '%s%s': the model drops more than once there",
                           m->c->path, KEEP, part);
        *out = node;
    }
    return NPC_OK;
}

static Status set_mask(VerifyModel *m, int program, const SafetensorsEntry *e, Map *set, Err *err)
{
    const char *tensor = arena_strdup(m->c->arena, e->name), *part = tensor + strlen(KEEP);
    const Node *node;
    double *keep, *rows = ARENA_ARRAY(m->c->arena, double, e->elems);
    int64_t size[] = {m->batch, -1};
    NPC_TRY(find_mask(m, program, part, &node, err));
    if (node && node->shape.rank == 2)
        size[1] = node->shape.size[1];
    NPC_TRY(verify_read(m->c, tensor, node ? node->shape.rank : (int)e->rank,
                        node && node->shape.rank > 2 ? node->shape.size : size, &keep, err));
    if (node) {
        verify_model_rows(m, rows, keep, (int64_t)e->elems / m->batch);
        subject_input(&m->subject, program, node->attrs.name, rows);
        map_put(m->c->arena, set, node->attrs.name, (void *)1);
        return NPC_OK;
    }
    for (uint64_t i = 0; i < e->elems; i++)
        if (keep[i] != 1)
            return err_set(err, NPC_ERR_INPUT, "%s: '%s' drops something, the model never does",
                           m->c->path, tensor);
    return NPC_OK;
}

static Status set_masks(VerifyModel *m, int program, Err *err)
{
    VerifyCase *c = m->c;
    const Func *f = m->subject.programs.at[program];
    Map set = {0};
    for (size_t i = 0; i < c->file.n; i++)
        if (!strncmp(c->file.entry[i].name, KEEP, strlen(KEEP)))
            NPC_TRY(set_mask(m, program, &c->file.entry[i], &set, err));
    for (uint32_t i = 1; i < f->nodes.len; i++)
        if (f->nodes.at[i].op == OP_RANDOM && !map_get(&set, f->nodes.at[i].attrs.name))
            return err_set(err, NPC_ERR_INPUT, "%s: no tensor '%s..' gives the mask of '%s'",
                           c->path, KEEP, f->nodes.at[i].attrs.name);
    return NPC_OK;
}

static bool has_masks(const VerifyCase *c)
{
    for (size_t i = 0; i < c->file.n; i++)
        if (!strncmp(c->file.entry[i].name, KEEP, strlen(KEEP)))
            return true;
    return false;
}

static Status verify_masked(VerifyModel *m, Err *err)
{
    int grad;
    NPC_TRY(verify_model_open(m, false, err));
    NPC_TRY(subject_add(&m->subject, PROGRAM_GRAD, &grad, err));
    NPC_TRY(subject_ready(&m->subject, err));
    NPC_TRY(verify_model_start(m, grad, err));
    NPC_TRY(set_masks(m, grad, err));
    return compare_training(m, grad, "masked", "expect/masked/grad", m->zero_masked, err);
}

Status verify_model_case(VerifyCase *c, Err *err)
{
    VerifyModel *m = ARENA_NEW(c->arena, VerifyModel);
    m->c = c;
    if (!c->model_path)
        return err_set(err, NPC_ERR_USAGE, "%s is a model case: it needs a model", c->path);
    NPC_TRY(verify_model_read(m, err));
    NPC_TRY(verify_model_batch(m, err));
    NPC_TRY(verify_model_data(m, err));
    c->subject = &m->subject;
    NPC_TRY(verify_undropped(m, err));
    if (!has_masks(c))
        return NPC_OK;
    subject_close(&m->subject);
    return verify_masked(m, err);
}
