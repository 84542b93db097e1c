/* Operations of the files of ViV1T and V1T: texts in the language, and what the runtime does beside
 * graphs: attention rollout, maps over pixels, correlation, learning rates of a plateau, AdamW
 * without a schedule. */
#include <math.h>
#include <string.h>

#include "runtime/attention_maps.h"
#include "data/metrics.h"
#include "runtime/plateau.h"
#include "runtime/schedule.h"
#include "verify/verify_ops_text.h"

/* ---- what float32 cannot do better ----
 *
 * Single operations have inputs that no model has: scores of thousands, rows far from zero. There a
 * number on the way is large against what it decides, and half a unit in its last place is more
 * than a page allows for responses. (PyTorch in float32 is off by 2e-5 in layer_norm/rows, too.) */

#define HALF_UNIT 0x1p-24

/* A weight is the exponential of a score's distance from the largest. Where multiply-adds are fused
 * scores are good enough; processors without these round every term. */
static Status round_scores(OpsCase *o, const OpsText *row, Err *err)
{
    const char *cpu = o->c->options->cpu;
    double *q, *k, most = 0;
    Shape s, other;
    if (!cpu || strcmp(cpu, "generic"))
        return NPC_OK;
    NPC_TRY(ops_read_leaf(o, &row->leaf[0], &q, &s, err));
    NPC_TRY(ops_read_leaf(o, &row->leaf[1], &k, &other, err));
    int64_t n = s.size[2], d = s.size[3];
    for (int i = 0; i < 4; i++)
        if (s.size[i] != other.size[i])
            return NPC_OK; /* refused later, by name */
    for (int64_t i = 0; i < s.size[0] * s.size[1] * n * n; i++) {
        const double *x = q + i / n * d, *y = k + (i / (n * n) * n + i % n) * d;
        double score = 0;
        for (int64_t e = 0; e < d; e++)
            score += x[e] * y[e];
        most = fmax(most, fabs(score) / sqrt((double)d));
    }
    o->rounding = HALF_UNIT * most;
    return NPC_OK;
}

/* What is left of a row without its mean, in units of its deviation. */
static Status round_means(OpsCase *o, const OpsText *row, Err *err)
{
    double *x, most = 0;
    Shape s;
    NPC_TRY(ops_read_leaf(o, &row->leaf[0], &x, &s, err));
    int64_t d = s.size[1];
    for (int64_t i = 0; i < s.size[0]; i++) {
        double mean = 0, square = 0;
        for (int64_t k = 0; k < d; k++)
            mean += x[i * d + k] / (double)d;
        for (int64_t k = 0; k < d; k++)
            square += (x[i * d + k] - mean) * (x[i * d + k] - mean) / (double)d;
        most = square > 0 ? fmax(most, fabs(mean) / sqrt(square)) : most;
    }
    o->rounding = HALF_UNIT * most;
    return NPC_OK;
}

/* ---- in the language ---- */

#define LOSS_LEAVES                                                                                \
    {                                                                                              \
        {"prediction", "b n t", NULL, OPS_INPUT},                                                  \
        {                                                                                          \
            "target", "b n t", "target/s", OPS_TARGET                                              \
        }                                                                                          \
    }

const OpsText VERIFY_TEXTS_TRANSFORMER[] = {
    {.operation = "attention",
     .leaf = {{"query", "b a n e", NULL, OPS_INPUT},
              {"key", "b a n e", NULL, OPS_INPUT},
              {"value", "b a n e", NULL, OPS_INPUT}},
     .part = {{.text = "y = query |> attention(key, value, over: n, across: e, causal: {causal})",
               .axes = "b a n e"}},
     .fixed = {{"scale", "\"head_dim^-0.5\""}},
     .rounding = round_scores},
    {.operation = "elu1", OPS_LINE("x", "elu\ny = y + 1")},
    {.operation = "gaussian_readout",
     .needs = "points",
     .leaf = {{"features", "b d h w", NULL, OPS_INPUT}, {"points", "b n k", NULL, OPS_INPUT}},
     .part = {{.text = "y = features |> sample(points, over: [h w], xy: k)", .axes = "b d n"}}},
    {.operation = "gaussian_readout",
     .leaf = {{"features", "b d h w", NULL, OPS_INPUT},
              {"centre", "n k", NULL, OPS_INPUT},
              {"sigma", "n k e", NULL, OPS_INPUT},
              {"noise", "b n e", NULL, OPS_INPUT},
              {"shift", "b k", NULL, OPS_INPUT}},
     .part = {{.text = "at = ((centre + (noise * sigma |> sum(over: e))) |> clamp(-1, 1)) + shift\n"
                       "y = features |> sample(at, over: [h w], xy: k)",
               .axes = "b d n"}}},
    {.operation = "gelu", OPS_LINE("input", "gelu"), .fixed = {{"form", "\"erf\""}}},
    {.operation = "layer_norm",
     .leaf = {{"x", "b d", NULL, OPS_INPUT},
              {"weight", "d", "result.norm.scale", OPS_OPTIONAL},
              {"bias", "d", "result.norm.shift", OPS_OPTIONAL}},
     .part = {{.text = "y = x |> layernorm(over: d, eps: {eps}, name: \"norm\")", .axes = "b d"}},
     .rounding = round_means},
    {.operation = "loss",
     .needs = "mouse",
     .leaf = LOSS_LEAVES,
     .loss = "poisson(eps: 2 ^ -23, added: everywhere) |> scale(balanced)"},
    {.operation = "loss",
     .needs = "trials",
     .leaf = LOSS_LEAVES,
     .loss = "poisson(eps: 2 ^ -23, added: everywhere) |> correlation(1000) |> scale(trials)"},
    {.operation = "loss",
     .needs = "weight",
     .leaf = LOSS_LEAVES,
     .loss = "poisson(eps: 2 ^ -23, added: everywhere) |> correlation({weight}) |> scale(none)"},
    {.operation = "loss",
     .leaf = LOSS_LEAVES,
     .loss = "poisson(eps: {eps}, added: everywhere) |> scale(none)"},
    {.operation = "rotary",
     .leaf = {{"x", "b a n e", NULL, OPS_INPUT}},
     .part = {{.text =
                   "y = x |> rotary(over: n, across: e, length: {length}, registers: {registers})",
               .axes = "b a n e"}}},
    {.operation = "softplus",
     OPS_LINE("input", "softplus(beta: {beta})"),
     .fixed = {{"threshold", "20"}}},
    {.operation = "swiglu",
     .leaf = {{"x", "b j", NULL, OPS_INPUT}},
     .part = {{.text = "y = (x |> take([j: 0..x.j / 2])) * (x |> take([j: x.j / 2..x.j]) |> silu)",
               .axes = "b j"}},
     .fixed = {{"order", "\"first half is the value, second half the gate\""}}},
    {.operation = "tubelets",
     .leaf = {{"x", "b c t h w", NULL, OPS_INPUT}},
     .part = {{.text = "y = x |> unfold(kernel: [t: {tube}, h: {patch}, w: {patch}], stride: [t: "
                       "{tube_stride}, h: {patch_stride}, w: {patch_stride}])"
                       " |> rearrange(\"b c t h w kt kh kw -> b t p:(h w) d:(c kt kh kw)\")",
               .axes = "b t p d"}}},
    {0},
};

/* ---- attention ---- */

/* The whole product, row by row: line i of the identity goes through the blocks. */
static Status check_rollout(OpsCase *o, Err *err)
{
    double *weights;
    int64_t size[4]; /* blocks heads n n */
    NPC_TRY(ops_read(o, "input/weights", 4, &weights, size, err));
    int64_t n = size[2], block = size[1] * n * n;
    if (size[3] != n)
        return ops_misfit(o, "'weights' are not square", err);
    double *out = ARENA_ARRAY(o->c->arena, double, (size_t)(n * n));
    double *scratch = ARENA_ARRAY(o->c->arena, double, (size_t)(2 * n));
    for (int64_t i = 0; i < n; i++) {
        out[i * n + i] = 1;
        for (int64_t k = size[0] - 1; k >= 0; k--)
            rollout_through(size[1], n, weights + k * block, out + i * n, scratch);
    }
    return ops_push(o, "expect/result", out, n * n, VERIFY_OUTPUTS, false, err);
}

/* Patches in rows, as far as they lie inside of a picture with padding in front. */
static OriginRange patch_range(int64_t at, int64_t patch, int64_t stride, int64_t front,
                               int64_t size)
{
    int64_t first = at * stride - front, end = first + patch;
    return (OriginRange){(int32_t)(first < 0 ? 0 : first), (int32_t)(end > size ? size : end)};
}

static Status check_fold(OpsCase *o, Err *err)
{
    enum { LEFT, RIGHT, TOP, BOTTOM, SIDES };
    int64_t patch, stride, height, width, pad[SIDES], size[2];
    const json_t *padding = json_object_get(o->attributes, "padding");
    double *values;
    NPC_TRY(ops_integer(o, "patch", 1, 1 << 12, &patch, err));
    NPC_TRY(ops_integer(o, "patch_stride", 1, 1 << 12, &stride, err));
    NPC_TRY(ops_integer(o, "height", 1, 1 << 12, &height, err));
    NPC_TRY(ops_integer(o, "width", 1, 1 << 12, &width, err));
    NPC_TRY(ops_read(o, "input/values", 2, &values, size, err));
    for (int i = 0; i < SIDES; i++) {
        pad[i] = json_integer_value(json_array_get(padding, (size_t)i));
        if (!json_is_integer(json_array_get(padding, (size_t)i)) || pad[i] < 0 || pad[i] > 1 << 12)
            return ops_misfit(o, "attribute 'padding' is not a list of whole numbers", err);
    }
    int64_t columns = (width + pad[LEFT] + pad[RIGHT] - patch) / stride + 1;
    int64_t rows = (height + pad[TOP] + pad[BOTTOM] - patch) / stride + 1, pixels = height * width;
    if (rows < 1 || columns < 1 || size[1] != rows * columns)
        return ops_misfit(o, "'values' does not fit the attributes", err);
    AttentionPlace *place = ARENA_ARRAY(o->c->arena, AttentionPlace, (size_t)size[1]);
    for (int64_t i = 0; i < size[1]; i++)
        place[i] =
            (AttentionPlace){.rows = patch_range(i / columns, patch, stride, pad[TOP], height),
                             .columns = patch_range(i % columns, patch, stride, pad[LEFT], width)};
    double *map = ARENA_ARRAY(o->c->arena, double, (size_t)(size[0] * pixels));
    double *scratch = ARENA_ARRAY(o->c->arena, double, (size_t)pixels);
    for (int64_t i = 0; i < size[0]; i++)
        attention_fold(place, size[1], values + i * size[1], height, width, map + i * pixels,
                       scratch);
    return ops_push(o, "expect/result", map, size[0] * pixels, VERIFY_TIGHT, false, err);
}

/* ---- scores and rates ---- */

static Status check_metric(OpsCase *o, Err *err)
{
    int64_t size[2], other[2];
    double *a, *b, eps;
    NPC_TRY(ops_number(o, "eps", &eps, err));
    NPC_TRY(ops_read(o, "input/a", 2, &a, size, err));
    NPC_TRY(ops_read(o, "input/b", 2, &b, other, err));
    if (memcmp(size, other, sizeof size))
        return ops_misfit(o, "'a' and 'b' do not have the same sizes", err);
    size_t n = (size_t)size[0];
    double *x = ARENA_ARRAY(o->c->arena, double, 2 * n), *y = x + n;
    double *out = ARENA_ARRAY(o->c->arena, double, (size_t)size[1]);
    for (int64_t k = 0; k < size[1]; k++) {
        for (size_t i = 0; i < n; i++) {
            x[i] = a[(int64_t)i * size[1] + k];
            y[i] = b[(int64_t)i * size[1] + k];
        }
        out[k] = metrics_correlation(x, y, n, eps);
    }
    return ops_push(o, "expect/result", out, size[1], VERIFY_TIGHT, false, err);
}

/* Of attributes that a file leaves out: specs/viv1t.md 6. */
#define LEAST_RATE 0x1p-23

static Status check_plateau(OpsCase *o, Err *err)
{
    static const char *const names[] = {[PLATEAU_BEST] = "best",
                                        [PLATEAU_WAIT] = "wait",
                                        [PLATEAU_REDUCE] = "reduce",
                                        [PLATEAU_END] = "stop"};
    const json_t *codes = json_object_get(o->attributes, "actions");
    RecipeStage stage = {.plateau = {.floor = LEAST_RATE}};
    double *scores;
    int64_t n;
    NPC_TRY(ops_number(o, "lr", &stage.from, err));
    NPC_TRY(ops_number(o, "factor", &stage.plateau.factor, err));
    NPC_TRY(ops_integer(o, "patience", 1, 1 << 20, &stage.plateau.patience, err));
    NPC_TRY(ops_integer(o, "reductions", 0, 1 << 20, &stage.plateau.reductions, err));
    if (json_object_get(o->attributes, "floor"))
        NPC_TRY(ops_number(o, "floor", &stage.plateau.floor, err));
    NPC_TRY(ops_read(o, "input/scores", 1, &scores, &n, err));
    double *rate = ARENA_ARRAY(o->c->arena, double, 2 * (size_t)n), *action = rate + n;
    Plateau p = plateau_start(&stage);
    for (int64_t i = 0; i < n; i++) {
        PlateauAction a = plateau_step(&p, &stage.plateau, scores[i]);
        const json_t *code = json_object_get(codes, names[a]);
        if (!json_is_integer(code))
            return ops_misfit(o, "attribute 'actions' lacks a code", err);
        action[i] = (double)json_integer_value(code);
        rate[i] = p.rate;
    }
    NPC_TRY(ops_push(o, "expect/lr", rate, n, VERIFY_TIGHT, false, err));
    return ops_push(o, "expect/action", action, n, VERIFY_EXACT, true, err);
}

/* ---- the optimizer ---- */

static Status read_schedule_free(OpsCase *o, double *rate, double *beta2, int64_t *warmup, Err *err)
{
    OptimizerAttrs *a = &o->subject.passes.optimizer;
    const json_t *betas = json_object_get(o->attributes, "betas");
    double r, power;
    NPC_TRY(ops_number(o, "lr", rate, err));
    NPC_TRY(ops_number(o, "decay", &a->weight_decay, err));
    NPC_TRY(ops_number(o, "eps", &a->eps, err));
    NPC_TRY(ops_integer(o, "warmup", 0, 1 << 20, warmup, err));
    NPC_TRY(ops_number(o, "r", &r, err));
    NPC_TRY(ops_number(o, "lr_power", &power, err));
    if (!json_is_number(json_array_get(betas, 0)) || !json_is_number(json_array_get(betas, 1)))
        return ops_misfit(o, "the attributes lack two 'betas'", err);
    if (r != 0 || power != 2)
        return ops_misfit(o, "only averages with 'r' 0 and 'lr_power' 2 are known", err);
    a->beta1 = json_number_value(json_array_get(betas, 0));
    a->beta2 = *beta2 = json_number_value(json_array_get(betas, 1));
    a->schedule_free = true;
    return NPC_OK;
}

static Status check_schedule_free(OpsCase *o, Err *err)
{
    Subject *s = &o->subject;
    double *start, *grads, rate = 0, beta2 = 0, power = 1;
    int64_t size[2], warmup = 0;
    int update, average;
    ScheduleFree free = {0};
    NPC_TRY(ops_open_vector(o, "input/start", "input/gradients", &start, &grads, size, err));
    NPC_TRY(read_schedule_free(o, &rate, &beta2, &warmup, err));
    NPC_TRY(subject_add(s, PROGRAM_UPDATE, &update, err));
    NPC_TRY(subject_add(s, PROGRAM_AVERAGE, &average, err));
    NPC_TRY(subject_ready(s, err));
    int64_t n = size[1], all = size[0] * n;
    double *weights = ARENA_ARRAY(o->c->arena, double, 2 * (size_t)all), *means = weights + all;
    subject_tensor(s, "w", start);
    subject_tensor(s, "free_z/w", start);
    for (int64_t k = 0; k < size[0]; k++) {
        ScheduleFreeStep step = schedule_free_step(&free, rate, (uint64_t)k, (uint64_t)warmup);
        double bias2 = 1 - (power *= beta2);
        subject_tensor(s, "grad/w", grads + k * n);
        subject_input(s, update, "rate", &step.rate);
        subject_input(s, update, "mix", &step.mix);
        subject_input(s, update, "bias2", &bias2);
        subject_input(s, update, "loss_scale", &(double){1});
        NPC_TRY(subject_run(s, update, NULL, err));
        NPC_TRY(subject_run(s, average, NULL, err));
        subject_read_tensor(s, "w", weights + k * n);
        subject_read_tensor(s, "ema/w", means + k * n);
    }
    NPC_TRY(ops_push(o, "expect/training_weights", weights, all, VERIFY_STEP, false, err));
    return ops_push(o, "expect/averaged_weights", means, all, VERIFY_STEP, false, err);
}

const OpsRow VERIFY_OPS_TRANSFORMER[] = {
    {.operation = "metric", .check = check_metric},
    {.operation = "patch_fold", .check = check_fold},
    {.operation = "plateau", .check = check_plateau},
    {.operation = "rollout", .check = check_rollout},
    {.operation = "schedule_free", .check = check_schedule_free},
    {0},
};
