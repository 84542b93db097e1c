/* Operations as a model says them: texts in the language, with the tensors of the file as inputs.
 * They go through the frontend, the passes, the plan and the kernels that models take. The texts
 * are rows of a table for every family: verify_ops_transformer.c, verify_ops_windows.c.
 *
 * "eval" computes the result. In "train" those tensors that the file has gradients of are
 * parameters instead, and the loss is the sum of result * cotangent, so that gradients are those of
 * the file. A row with a `loss` is about the loss of a recipe, which only "train" has. */
#include <stdlib.h>

#include "ir/elaborate.h"
#include "runtime/loss_factors.h"
#include "verify/verify_ops_text.h"

static const char *expected_role(OpsCase *o, const char *role)
{
    return verify_name(o->c, "%s%s", o->roles->expect, role);
}

static const char *gradient_role(OpsCase *o, const OpsLeaf *leaf)
{
    return verify_name(o->c, "%sgrad_%s", o->roles->expect, leaf->role);
}

const OpsText *ops_text_find(OpsCase *o, const OpsText *rows)
{
    size_t n = strcspn(o->name, "/");
    for (const OpsText *row = rows; row->operation; row++) {
        const char *needs = row->needs;
        if (strlen(row->operation) != n || strncmp(row->operation, o->name, n))
            continue;
        if (!needs || json_object_get(o->attributes, needs) || ops_has(o, ops_input_role(o, needs)))
            return row;
    }
    return NULL;
}

/* ---- the module ---- */

/* Inputs that the file has gradients of become parameters. */
static void make_parameters(OpsCase *o, const OpsText *row, Func *f)
{
    Module *m = f->module;
    for (const OpsLeaf *leaf = row->leaf; leaf < ops_end_of_leaves(row); leaf++) {
        const char *name = name_intern(m->names, ops_called(leaf));
        for (uint32_t i = 1; i < f->nodes.len && ops_has(o, gradient_role(o, leaf)); i++) {
            Node *n = &f->nodes.at[i];
            if (n->op != OP_INPUT || n->attrs.name != name)
                continue;
            n->op = OP_PARAM;
            if (!module_param(m, name))
                module_add_param(m, (Param){.name = name, .shape = n->shape, .session = -1});
        }
    }
}

static Val result_of(OpsCase *o, Func *f, const OpsPart *part)
{
    const Result *r =
        func_find_result(f, RESULT_OUTPUT, verify_name(o->c, "probe/%s", ops_part_name(part)));
    AxisList axes = ops_axes(o, part->axes);
    return r ? func_reorder(f, r->val, &axes) : VAL_NONE;
}

/* The loss of a recipe, or what the parts end with; the first of them, which has gradients. */
static Val keep_results(OpsCase *o, const OpsText *row, Func *f)
{
    Val val[OPS_MAX_PARTS] = {VAL_NONE};
    int n = 0;
    if (row->loss)
        val[n++] = func_find_result(f, RESULT_LOSS, "loss")->val;
    for (const OpsPart *part = row->part; part < ops_end_of_parts(row); part++)
        val[n++] = result_of(o, f, part);
    f->results.len = 0;
    for (int i = 0; i < n && val[i].id; i++)
        func_result(f, RESULT_OUTPUT, name_intern(f->module->names, ops_part_name(&row->part[i])),
                    val[i]);
    return val[0];
}

static void add_loss(OpsCase *o, const OpsText *row, Func *f)
{
    Val y = keep_results(o, row, f);
    if (!y.id)
        return;
    const Shape s = *func_shape(f, y);
    AxisList all = {.n = s.rank};
    memcpy(all.name, s.name, sizeof all.name);
    Val dy = func_input(f, name_intern(f->module->names, "cotangent"), &s);
    Val loss = func_emit2(f, OP_MUL, y, dy);
    func_result(f, RESULT_LOSS, "loss", s.rank ? func_sum(f, loss, &all, 1) : loss);
    make_parameters(o, row, f);
}

/* ---- running ---- */

static Status read_counts(OpsCase *o, const Shape *prediction, LossCounts *out, Err *err)
{
    const json_t *trials = json_object_get(o->attributes, "trials"), *one;
    const char *mouse = json_string_value(json_object_get(o->attributes, "mouse")), *key;
    int64_t clips = ops_size_of(o, prediction, "b"), batch = clips;
    if (json_object_get(o->attributes, "batch"))
        NPC_TRY(ops_integer(o, "batch", 1, 1 << 20, &batch, err));
    *out = (LossCounts){.here = (uint64_t)clips,
                        .chunk = (uint64_t)clips,
                        .outputs = (uint64_t)ops_size_of(o, prediction, "t"),
                        .batch = (uint64_t)batch,
                        .full = (uint64_t)batch,
                        .recordings = 1,
                        .trials = (uint64_t)json_integer_value(trials)};
    if (!mouse)
        return NPC_OK;
    out->recordings = json_object_size(trials);
    out->trials = (uint64_t)json_integer_value(json_object_get(trials, mouse));
    json_object_foreach((json_t *)trials, key, one) out->sum_trials +=
        (uint64_t)json_integer_value(one);
    return out->trials ? NPC_OK : ops_refuse_attribute(o, "trials", "lacks the mouse", err);
}

static void fill(OpsCase *o, int program, const char *input, double value)
{
    const Node *n = subject_find_input(&o->subject, program, input);
    if (!n)
        return;
    double *at = ARENA_ARRAY(o->c->arena, double, (size_t)shape_elems(&n->shape));
    for (int64_t i = 0; i < shape_elems(&n->shape); i++)
        at[i] = value;
    subject_input(&o->subject, program, input, at);
}

static Status fill_factors(OpsCase *o, const OpsText *row, const Recipe *recipe, int program,
                           Err *err)
{
    double *values;
    Shape prediction;
    LossCounts counts;
    NPC_TRY(ops_read_leaf(o, row->leaf, &values, &prediction, err));
    NPC_TRY(read_counts(o, &prediction, &counts, err));
    LossFactors f = loss_factors(recipe, &counts);
    fill(o, program, "share/s", f.scale);
    fill(o, program, "scale/s", f.scale);
    fill(o, program, "mean/s", f.mean);
    return NPC_OK;
}

static Status misfit(OpsCase *o, const OpsLeaf *leaf, int64_t is, int64_t needed, Err *err)
{
    return err_set(err, NPC_ERR_INPUT, "%s: '%s' has %lld numbers, not %lld", o->c->path,
                   ops_tensor(o, ops_input_role(o, leaf->role)), (long long)is, (long long)needed);
}

/* A target in the order of the program's axes, of which it may have more entries: the last count.
 */
static bool arrange(OpsCase *o, const Shape *is, const Shape *needed, double **values)
{
    int64_t step[MAX_RANK], shift = 0, n = shape_elems(needed);
    double *out = ARENA_ARRAY(o->c->arena, double, (size_t)n);
    if (is->rank != needed->rank)
        return false;
    for (int i = 0; i < needed->rank; i++) {
        int axis = shape_axis(is, needed->name[i]);
        if (axis < 0 || is->size[axis] < needed->size[i])
            return false;
        step[i] = 1;
        for (int k = axis + 1; k < is->rank; k++)
            step[i] *= is->size[k];
        shift += (is->size[axis] - needed->size[i]) * step[i];
    }
    for (int64_t k = 0; k < n; k++) {
        int64_t at = shift, rest = k;
        for (int i = needed->rank - 1; i >= 0; rest /= needed->size[i], i--)
            at += rest % needed->size[i] * step[i];
        out[k] = (*values)[at];
    }
    *values = out;
    return true;
}

static Status fill_attribute(OpsCase *o, const OpsLeaf *leaf, int program, Err *err)
{
    const Node *n = subject_find_input(&o->subject, program, ops_called(leaf));
    const json_t *list = json_object_get(o->attributes, leaf->role);
    int64_t needed = n ? shape_elems(&n->shape) : 0;
    double *values = ARENA_ARRAY(o->c->arena, double, (size_t)needed);
    if (!ops_are_numbers(list) || (int64_t)json_array_size(list) != needed)
        return ops_refuse_attribute(
            o, leaf->role, verify_name(o->c, "is no list of %lld numbers", (long long)needed), err);
    for (int64_t i = 0; i < needed; i++)
        values[i] = json_number_value(json_array_get(list, (size_t)i));
    subject_input(&o->subject, program, ops_called(leaf), values);
    return NPC_OK;
}

/* A leaf, wherever the program has it: as a parameter or as an input. */
static Status fill_leaf(OpsCase *o, const OpsLeaf *leaf, int program, Err *err)
{
    double *values;
    Shape s;
    NPC_TRY(ops_read_leaf(o, leaf, &values, &s, err));
    const Module *m = o->subject.module;
    const Param *p = module_param(m, name_intern(m->names, ops_called(leaf)));
    const Node *n = subject_find_input(&o->subject, program, ops_called(leaf));
    const Shape *needed = p ? &p->shape : n ? &n->shape : &s;
    bool fits = leaf->kind == OPS_TARGET ? arrange(o, &s, needed, &values)
                                         : shape_elems(needed) == shape_elems(&s);
    if (!fits)
        return misfit(o, leaf, shape_elems(&s), shape_elems(needed), err);
    if (p)
        subject_tensor(&o->subject, p->name, values);
    subject_input(&o->subject, program, ops_called(leaf), values);
    return NPC_OK;
}

/* Parameters begin as the text says, or count. */
static void fill_parameters(OpsCase *o, const OpsText *row)
{
    const Module *m = o->subject.module;
    for (uint32_t i = 0; i < m->params.len; i++) {
        const Param *p = &m->params.at[i];
        bool counts = false;
        for (const OpsLeaf *leaf = row->leaf; leaf < ops_end_of_leaves(row); leaf++)
            counts |= leaf->kind == OPS_COUNTED && !strcmp(ops_called(leaf), p->name);
        double *at = ARENA_ARRAY(o->c->arena, double, (size_t)shape_elems(&p->shape));
        for (int64_t k = 0; k < shape_elems(&p->shape); k++)
            at[k] = counts ? (double)k : p->init.a;
        subject_tensor(&o->subject, p->name, at);
    }
}

static Status fill_leaves(OpsCase *o, const OpsText *row, int program, Err *err)
{
    fill_parameters(o, row);
    for (const OpsLeaf *leaf = row->leaf; leaf < ops_end_of_leaves(row); leaf++) {
        bool absent = leaf->kind == OPS_OPTIONAL && !ops_has(o, ops_input_role(o, leaf->role));
        if (leaf->kind == OPS_ATTRIBUTE)
            NPC_TRY(fill_attribute(o, leaf, program, err));
        else if (leaf->kind != OPS_COUNTED && !absent)
            NPC_TRY(fill_leaf(o, leaf, program, err));
    }
    return NPC_OK;
}

static Status fill_cotangent(OpsCase *o, int program, Err *err)
{
    const Node *n = subject_find_input(&o->subject, program, "cotangent");
    double *values;
    NPC_TRY(verify_read(o->c, ops_tensor(o, ops_input_role(o, o->roles->cotangent)), n->shape.rank,
                        n->shape.size, &values, err));
    subject_input(&o->subject, program, "cotangent", values);
    return NPC_OK;
}

static Status check_result(OpsCase *o, const OpsPart *part, int program, VerifyQuantity what,
                           Err *err)
{
    const char *name = ops_part_name(part);
    const char *role = expected_role(o, part->role ? part->role : o->roles->result);
    const Shape *s = subject_result(&o->subject, program, RESULT_OUTPUT, name);
    double *got = ARENA_ARRAY(o->c->arena, double, (size_t)shape_elems(s)), *want;
    NPC_TRY(subject_read(&o->subject, program, RESULT_OUTPUT, name, got, err));
    NPC_TRY(verify_read(o->c, ops_tensor(o, role), s->rank, s->size, &want, err));
    return ops_push(o, role, got, shape_elems(s), what, false, err);
}

static Status check_gradients(OpsCase *o, const OpsText *row, int program, Err *err)
{
    for (const OpsLeaf *leaf = row->leaf; leaf < ops_end_of_leaves(row); leaf++) {
        const char *role = gradient_role(o, leaf);
        const Shape *s = subject_result(&o->subject, program, RESULT_GRAD, ops_called(leaf));
        if (!ops_has(o, role))
            continue;
        if (!s)
            return err_set(err, NPC_ERR_INPUT, "%s: '%s' has no gradient", o->c->path,
                           ops_tensor(o, role));
        double *got = ARENA_ARRAY(o->c->arena, double, (size_t)shape_elems(s));
        NPC_TRY(subject_read(&o->subject, program, RESULT_GRAD, ops_called(leaf), got, err));
        NPC_TRY(ops_push(o, role, got, shape_elems(s), VERIFY_GRADIENTS, false, err));
    }
    return NPC_OK;
}

static bool any_gradient(OpsCase *o, const OpsText *row)
{
    bool any = false;
    for (const OpsLeaf *leaf = row->leaf; leaf < ops_end_of_leaves(row); leaf++)
        any |= ops_has(o, gradient_role(o, leaf));
    return any;
}

/* What does not fit is the file's mistake. */
static Status of_the_case(OpsCase *o, Status s, const Err *why, Err *err)
{
    return s == NPC_OK ? s : err_set(err, s, "%s: %s: %s", o->c->path, o->name, why->text);
}

static Status add(OpsCase *o, ProgramKind kind, int *program, Err *err)
{
    Err why = {0};
    return of_the_case(o, subject_add(&o->subject, kind, program, &why), &why, err);
}

static Status read_text(OpsCase *o, const char *text, int64_t batch, Recipe *recipe, Err *err)
{
    Err why = {0};
    return of_the_case(o, subject_read_text(&o->subject, text, batch, recipe, &why), &why, err);
}

static Status run_eval(OpsCase *o, const OpsText *row, int eval, Err *err)
{
    NPC_TRY(fill_leaves(o, row, eval, err));
    NPC_TRY(subject_run(&o->subject, eval, NULL, err));
    for (const OpsPart *part = row->part; part < ops_end_of_parts(row); part++)
        NPC_TRY(check_result(o, part, eval, VERIFY_OUTPUTS, err));
    return NPC_OK;
}

static Status run_grad(OpsCase *o, const OpsText *row, const Recipe *recipe, int grad, Err *err)
{
    NPC_TRY(fill_leaves(o, row, grad, err));
    NPC_TRY(fill_cotangent(o, grad, err));
    if (row->loss)
        NPC_TRY(fill_factors(o, row, recipe, grad, err));
    NPC_TRY(subject_run(&o->subject, grad, NULL, err));
    NPC_TRY(check_result(o, row->part, grad, row->loss ? VERIFY_LOSS : VERIFY_OUTPUTS, err));
    return check_gradients(o, row, grad, err);
}

Status ops_check_text(OpsCase *o, const OpsText *row, Err *err)
{
    Text text = {.arena = o->c->arena};
    int64_t batch;
    int eval, grad;
    Recipe recipe;
    bool has_gradients = ops_has(o, ops_input_role(o, o->roles->cotangent));
    bool evaluates = !row->loss && !row->only_trains;
    if (has_gradients && !any_gradient(o, row))
        return err_set(err, NPC_ERR_INPUT, "%s: there is no tensor '%s'", o->c->path,
                       ops_tensor(o, gradient_role(o, row->leaf)));
    NPC_TRY(ops_open(o, err));
    NPC_TRY(ops_check_fixed(o, row, err));
    NPC_TRY(ops_say(o, row, &text, &batch, err));
    if (row->rounding)
        NPC_TRY(row->rounding(o, row, err));
    NPC_TRY(read_text(o, text_str(&text), batch, &recipe, err));
    if (has_gradients)
        add_loss(o, row, module_func(o->subject.module, "train"));
    if (evaluates) {
        keep_results(o, row, module_func(o->subject.module, "eval"));
        NPC_TRY(add(o, PROGRAM_EVAL, &eval, err));
    }
    if (has_gradients)
        NPC_TRY(add(o, PROGRAM_GRAD, &grad, err));
    NPC_TRY(subject_ready(&o->subject, err));
    if (evaluates)
        NPC_TRY(run_eval(o, row, eval, err));
    return has_gradients ? run_grad(o, row, &recipe, grad, err) : NPC_OK;
}
