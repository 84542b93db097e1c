/* Operations of Dynamic-V1FM's file: texts in the language, and what the runtime does beside graphs
 * (specs/dynamic-v1fm.md): which neurons share a group, the learning rate, the order of batches,
 * places of neurons, stitched predictions. */
#include "ir/elaborate.h"
#include "data/blend.h"
#include "runtime/sampler.h"
#include "runtime/schedule.h"
#include "verify/verify_ops_text.h"

/* ---- windows ----
 *
 * As models/dynamic_v1fm.nm has them. */

/* Window and displacement for an extent in tokens, 1.4. */
#define FIT                                                                                        \
    "extent = {extent}\nwindow = {window}\n"                                                       \
    "size = [min(extent[0], window[0]), min(extent[1], window[1]), min(extent[2], window[2])]\n"   \
    "move = [0 if extent[0] <= window[0] else floor(window[0] / 2),\n"                             \
    "        0 if extent[1] <= window[1] else floor(window[1] / 2),\n"                             \
    "        0 if extent[2] <= window[2] else floor(window[2] / 2)]\n"
/* Windows that cover it, and the extent that these have together. */
#define COVER                                                                                      \
    "grid = [ceil(extent[0] / size[0]), ceil(extent[1] / size[1]), ceil(extent[2] / size[2])]\n"   \
    "full = [grid[0] * size[0], grid[1] * size[1], grid[2] * size[2]]\n"
#define COVERED "param x: [t: full[0], h: full[1], w: full[2]] = 0\n"
#define THREE(of) of "[0] + zero, " of "[1] + zero, " of "[2] + zero"
#define AXES(of) "[t: " of "[0], h: " of "[1], w: " of "[2]]"
#define PADDED_AND_ROLLED                                                                          \
    " |> pad(after: [t: full[0] - extent[0], h: full[1] - extent[1], w: full[2] - extent[2]])"     \
    " |> roll(" AXES("move") ")"
#define PAD_AND_ROLL "x = x" PADDED_AND_ROLLED "\n"
#define IN_WINDOWS ", t: grid[0], h: grid[1], w: grid[2])\n"
#define LABELS                                                                                     \
    "parts = x |> regions(" AXES("size") ", " AXES(                                                \
        "move") ")"                                                                                \
                " |> rearrange(\"(t tt) (h hh) (w ww) -> s:(t h w) n:(tt hh ww)\"" IN_WINDOWS
/* Queries, keys or values: tokens that are padded have the bias. */
#define CUT(name, range)                                                                           \
    name " = ((all |> take([j: " range "])" PADDED_AND_ROLLED ") + (qkv_bias |> take([j: " range   \
         "]))) |> rearrange(\"b (t tt) (h hh) (w ww) j -> b s:(t h w) n:(tt hh ww) j\", "          \
         "t: grid[0], h: grid[1], w: grid[2]) |> rearrange(\"b s n (a e) -> b s n a e\", a: "      \
         "{heads})\n"
#define CUTS CUT("q", "0..width") CUT("k", "width..2 * width") CUT("v", "2 * width..3 * width")
#define ATTENTION                                                                                  \
    "size = {window}\nmove = {moves}\nextent = [x.t, x.h, x.w]\nwidth = x.d\n" COVER               \
    "all = x |> dense([j: 3 * width], from: d, name: \"qkv\")\n" PAD_AND_ROLL LABELS CUTS          \
    "y = q |> attention(k, v, over: n, across: e, bias: bias, keys: m, labels: parts)"             \
    " |> rearrange(\"b s n a e -> b s n j:(a e)\")"                                                \
    " |> rearrange(\"b (t h w) (tt hh ww) j -> b t:(t tt) h:(h hh) w:(w ww) j\""                   \
    ", t: grid[0], h: grid[1], w: grid[2], tt: size[0], hh: size[1], ww: size[2])"                 \
    " |> roll([t: full[0] - move[0], h: full[1] - move[1], w: full[2] - move[2]])"                 \
    " |> take([t: 0..extent[0], h: 0..extent[1], w: 0..extent[2]])"                                \
    " |> dense([d: width], from: j, bias: yes, name: \"out\")"
#define BIAS                                                                                       \
    "window = {window}\nused = {used}\n"                                                           \
    "tokens = used[0] * used[1] * used[2]\n"
#define OFFSETS "y = table |> offsets(" AXES("window") ", over: o, to: [n: tokens, m: tokens])"

const OpsText VERIFY_TEXTS_WINDOWS[] = {
    {.operation = "fit_window",
     .part = {{.role = "window",
               .text = FIT "param zero: [i:1] = 0\ny = [" THREE("size") "] |> stack(along: i)",
               .axes = "i"},
              {.role = "moves", .text = "y = [" THREE("move") "] |> stack(along: i)", .axes = "i"},
              {.role = "padded",
               .text = COVER "y = [" THREE("full") "] |> stack(along: i)",
               .axes = "i"}}},
    {.operation = "partition",
     .leaf = {{"x", "t h w", NULL, OPS_INPUT}},
     .part =
         {{.text =
               "extent = [x.t, x.h, x.w]\n" FIT COVER PAD_AND_ROLL
               "y = x |> rearrange(\"(t tt) (h hh) (w ww) -> s:(t h w) n:(tt hh ww)\"" IN_WINDOWS,
           .axes = "s n"}}},
    {.operation = "regions",
     .part =
         {{.role = "time",
           .text = FIT COVER COVERED "y = x |> regions([t: size[0]], [t: move[0]])",
           .axes = "t"},
          {.role = "height", .text = "y = x |> regions([h: size[1]], [h: move[1]])", .axes = "h"},
          {.role = "width", .text = "y = x |> regions([w: size[2]], [w: move[2]])", .axes = "w"}}},
    /* labels are whole numbers; what attention adds where they differ, as its op says */
    {.operation = "mask",
     .part = {{.text = FIT COVER COVERED LABELS
               "y = (parts - (parts |> rename(n, m)) |> abs |> clamp(0, 1)) * -100",
               .axes = "s n m"}}},
    {.operation = "relative_index",
     .leaf = {{"table", "o", "result.table", OPS_COUNTED}},
     .part = {{.text = BIAS "param table: [o: (2 * window[0] - 1) * (2 * window[1] - 1) * (2 * "
                            "window[2] - 1)] = 0\n" OFFSETS,
               .axes = "n m"}}},
    {.operation = "relative_bias",
     .leaf = {{"table", "o a", NULL, OPS_INPUT}},
     .part = {{.text = BIAS OFFSETS, .axes = "a n m"}}},
    {.operation = "window_attention",
     .leaf = {{"x", "b t h w d", NULL, OPS_INPUT},
              {"qkv", "j d", "result.qkv.weight", OPS_MADE},
              {"qkv_bias", "j", NULL, OPS_INPUT},
              {"out_weight", "d j", "result.out.weight", OPS_MADE},
              {"out_bias", "d", "result.out.bias", OPS_MADE},
              {"bias", "a n m", NULL, OPS_INPUT}},
     .part = {{.text = ATTENTION, .axes = "b t h w d"}}},

    /* ---- the rest of the core ---- */

    {.operation = "patches",
     .leaf = {{"x", "b c t h w", NULL, OPS_INPUT},
              {"weight", "d c t h w", "result.embed.weight", OPS_MADE},
              {"bias", "d", "result.embed.bias", OPS_MADE},
              {"scale", "d", "result.norm.scale", OPS_MADE},
              {"shift", "d", "result.norm.shift", OPS_MADE}},
     .part =
         {{.text =
               "patch = {patch}\n"
               "y = x |> pad(after: [h: ceil(x.h / patch[1]) * patch[1] - x.h, w: ceil(x.w "
               "/ patch[2]) * patch[2] - x.w])"
               " |> conv([c: {bias}], kernel: " AXES("patch") ", stride: " AXES(
                   "patch") ", pad: [t: 0, h: 0, w: 0], bias: yes, name: \"embed\")"
                            " |> rename(c, d) |> layernorm(over: d, eps: {eps}, name: \"norm\")",
           .axes = "b t h w d"}}},
    {.operation = "state",
     .leaf = {{"s", "b t k", NULL, OPS_INPUT},
              {"first", "j k", "result.first.weight", OPS_MADE},
              {"first_bias", "j", "result.first.bias", OPS_MADE},
              {"second", "j k", "result.second.weight", OPS_MADE},
              {"second_bias", "j", "result.second.bias", OPS_MADE}},
     .part = {{.text =
                   "y = s |> dense([k: {first_bias}], from: k, bias: yes, name: \"first\") |> tanh"
                   " |> dense([k: {second_bias}], from: k, bias: yes, name: \"second\") |> tanh"
                   " |> rearrange(\"b (t j) k -> b t d:(j k)\", j: {frames})",
               .axes = "b t d"}}},
    {.operation = "gate",
     .leaf = {{"x", "b j", NULL, OPS_INPUT}},
     .part = {{.text = "y = (x |> take([j: 0..x.j / 2])) * (x |> take([j: x.j / 2..x.j]) |> silu)",
               .axes = "b j"}}},
    {.operation = "gelu", OPS_LINE("x", "gelu")},
    {.operation = "local",
     .leaf = {{"x", "b t h w j", NULL, OPS_INPUT},
              {"weight", "j t h w", "result.local.weight", OPS_MADE},
              {"bias", "j", "result.local.bias", OPS_MADE}},
     .part = {{.text = "y = x |> conv([j: {bias}], kernel: [t: 3, h: 3, w: 3], groups: {bias}, "
                       "bias: yes, name: \"local\")",
               .axes = "b t h w j"}}},
    {.operation = "drop_path",
     .leaf = {{"x", "b d", NULL, OPS_INPUT}, {"keep", "b", "result.path", OPS_ATTRIBUTE}},
     .part = {{.text = "y = x |> drop_path({rate}, name: \"path\")", .axes = "b d"}},
     .only_trains = true},

    /* ---- the readout ---- */

    {.operation = "bilinear",
     .leaf = {{"x", "b d h w", NULL, OPS_INPUT}, {"points", "b n k", NULL, OPS_INPUT}},
     .part = {{.text = "y = x |> sample(points, over: [h w], xy: k)", .axes = "b d n"}}},
    {.operation = "read",
     .leaf = {{"x", "b d h w", NULL, OPS_INPUT},
              {"points", "b n k", NULL, OPS_INPUT},
              {"features", "d n", NULL, OPS_INPUT}},
     .part = {{.text = "y = x |> sample(points |> resize([n: floor({neurons} / {level})]), over: "
                       "[h w], xy: k, times: features, across: d) |> resize([n: {neurons}])",
               .axes = "b n"}}},
    {.operation = "refine",
     .leaf = {{"x", "n", NULL, OPS_INPUT},
              {"slope", "u", NULL, OPS_INPUT},
              {"bias", "u", NULL, OPS_INPUT},
              {"mix", "u", NULL, OPS_INPUT}},
     .part = {{.text = "y = (x * slope + bias |> elu) * mix |> sum(over: u)", .axes = "n"}}},
    {.operation = "fuse",
     .leaf = {{"x", "b p t n", NULL, OPS_INPUT},
              {"first", "p j", "result.first.weight", OPS_MADE},
              {"first_bias", "p", "result.first.bias", OPS_MADE},
              {"second", "p j", "result.second.weight", OPS_MADE},
              {"second_bias", "p", "result.second.bias", OPS_MADE}},
     .part = {{.text = "y = x * (x |> mean(over: [t n])"
                       " |> dense([p: {first_bias}], from: p, bias: yes, name: \"first\") |> relu"
                       " |> dense([p: {second_bias}], from: p, bias: yes, name: \"second\")"
                       " |> sigmoid) |> sum(over: p)",
               .axes = "b t n"}}},
    {.operation = "mean",
     .leaf = {{"x", "b p t n", NULL, OPS_INPUT}},
     .part = {{.text = "y = x |> mean(over: p)", .axes = "b t n"}}},
    {.operation = "place",
     .leaf = {{"source", "n k", NULL, OPS_INPUT},
              {"w0", "j k", "result.first.weight", OPS_MADE},
              {"b0", "j", "result.first.bias", OPS_MADE},
              {"w1", "j k", "result.second.weight", OPS_MADE},
              {"b1", "j", "result.second.bias", OPS_MADE}},
     .part = {{.text = "y = source |> dense([k: {b0}], from: k, bias: yes, name: \"first\") |> elu"
                       " |> dense([k: {b1}], from: k, bias: yes, name: \"second\") |> tanh",
               .axes = "n k"}}},
    {.operation = "sample",
     .leaf = {{"place", "n k", NULL, OPS_INPUT},
              {"spread", "n k e", NULL, OPS_INPUT},
              {"noise", "b n e", NULL, OPS_INPUT},
              {"shift", "b k", NULL, OPS_INPUT}},
     .part = {{.text = "y = ((place + (noise * spread |> sum(over: e))) |> clamp(-1, 1)) + shift",
               .axes = "b n k"}},
     .fixed = {{"clamp", "[-1,1]"}}},
    {.operation = "shifter",
     .leaf = {{"pupil", "b k", NULL, OPS_INPUT},
              {"w0", "j k", "result.a.weight", OPS_MADE},
              {"b0", "j", "result.a.bias", OPS_MADE},
              {"w1", "j k", "result.b.weight", OPS_MADE},
              {"b1", "j", "result.b.bias", OPS_MADE},
              {"w2", "j k", "result.c.weight", OPS_MADE},
              {"b2", "j", "result.c.bias", OPS_MADE}},
     .part = {{.text = "y = pupil |> dense([k: {b0}], from: k, bias: yes, name: \"a\") |> tanh"
                       " |> dense([k: {b1}], from: k, bias: yes, name: \"b\") |> tanh"
                       " |> dense([k: {b2}], from: k, bias: yes, name: \"c\") |> tanh",
               .axes = "b k"}}},
    {.operation = "rate", OPS_LINE("x", "elu\ny = y + 1")},
    {.operation = "poisson",
     .leaf = {{"rates", "b t n", NULL, OPS_INPUT}, {"responses", "b n t", "target/s", OPS_TARGET}},
     .loss = "poisson(eps: {eps}, added: everywhere) |> scale(none)"},
    {0},
};

/* ---- the runtime ---- */

static Status check_nearest(OpsCase *o, Err *err)
{
    int64_t neurons, level;
    NPC_TRY(ops_integer(o, "neurons", 1, 1 << 20, &neurons, err));
    NPC_TRY(ops_integer(o, "level", 1, neurons, &level, err));
    int64_t groups = neurons / level;
    double *of_group = ARENA_ARRAY(o->c->arena, double, (size_t)(groups + neurons));
    double *of_neuron = of_group + groups;
    for (int64_t i = 0; i < groups; i++)
        of_group[i] = resize_nearest(i, neurons, groups);
    for (int64_t i = 0; i < neurons; i++)
        of_neuron[i] = resize_nearest(i, groups, neurons);
    NPC_TRY(ops_push_exact(o, "group_to_neuron", of_group, groups, err));
    return ops_push_exact(o, "neuron_to_group", of_neuron, neurons, err);
}

static Status check_rate(OpsCase *o, Err *err)
{
    int64_t n, epoch, flat, decay, warmup;
    double peak, floor, start, *step;
    NPC_TRY(ops_number(o, "peak", &peak, err));
    NPC_TRY(ops_number(o, "floor", &floor, err));
    NPC_TRY(ops_number(o, "start", &start, err));
    NPC_TRY(ops_integer(o, "steps_per_epoch", 1, 1 << 20, &epoch, err));
    NPC_TRY(ops_integer(o, "flat", 0, 1 << 20, &flat, err));
    NPC_TRY(ops_integer(o, "decay", 0, 1 << 20, &decay, err));
    NPC_TRY(ops_integer(o, "warmup", 0, epoch * flat, &warmup, err));
    NPC_TRY(ops_read(o, "step", 1, &step, &n, err));
    const ScheduleStage stages[] = {
        {SCHEDULE_LINEAR, start * peak, peak, (uint64_t)warmup, 0},
        {SCHEDULE_CONSTANT, peak, peak, (uint64_t)(epoch * flat - warmup), 0},
        {SCHEDULE_COSINE, peak, floor, (uint64_t)(epoch * decay), (uint64_t)epoch},
    };
    for (int64_t i = 0; i < n; i++) {
        if (!(step[i] >= 0))
            return ops_misfit(o, "a step is negative", err);
        step[i] = schedule_rate(stages, 3, (uint64_t)step[i]);
    }
    return ops_push(o, "rate", step, n, VERIFY_TIGHT, false, err);
}

static Status read_trials(OpsCase *o, Sampler *s, Err *err)
{
    const json_t *trials = json_object_get(o->attributes, "trials");
    s->n_sessions = (uint32_t)json_array_size(trials);
    SamplerSession *session = ARENA_ARRAY(o->c->arena, SamplerSession, s->n_sessions + 1);
    for (uint32_t m = 0; m < s->n_sessions; m++) {
        json_int_t n = json_integer_value(json_array_get(trials, m));
        if (n < 1 || n > 1 << 16)
            return ops_misfit(o, "attribute 'trials' is not a list of numbers from 1 to 65536",
                              err);
        session[m].n_trials = (uint32_t)n;
    }
    s->sessions = session;
    return s->n_sessions ? NPC_OK : ops_misfit(o, "the attributes lack the list 'trials'", err);
}

/* The recording of every step, and which batch of its pass over the trials this is. */
static Status check_order(OpsCase *o, Err *err)
{
    int64_t batch;
    Sampler s = {.seed = 1};
    Arena *arena = o->c->arena;
    NPC_TRY(ops_integer(o, "batch", 1, 1 << 12, &batch, err));
    NPC_TRY(read_trials(o, &s, err));
    sampler_set_rounds(&s, (uint32_t)batch, true);
    if (s.clips_per_epoch > 1 << 24)
        return ops_misfit(o, "the epoch is too long", err);
    uint32_t *order = ARENA_ARRAY(arena, uint32_t, sampler_order_size(&s));
    uint32_t *item = ARENA_ARRAY(arena, uint32_t, 2 * (size_t)batch), *session = item + batch;
    uint32_t *first = ARENA_ARRAY(arena, uint32_t, 2 * (size_t)s.n_sessions);
    uint32_t steps = sampler_steps(&s), own = s.clips_per_epoch / s.n_sessions;
    double *got = ARENA_ARRAY(arena, double, 2 * (size_t)steps);
    sampler_order(&s, 0, order);
    for (uint32_t k = 0; k < steps; k++) {
        sampler_plan(&s, order, k, item, session, first, first + s.n_sessions);
        uint32_t m = session[0], passes = (s.sessions[m].n_trials + s.rounds - 1) / s.rounds;
        got[2 * k] = m;
        got[2 * k + 1] = item[0] % own / s.rounds % passes;
    }
    return ops_push_exact(o, "out", got, 2 * (int64_t)steps, err);
}

static Status check_places(OpsCase *o, Err *err)
{
    float *coordinates;
    int64_t size[2];
    NPC_TRY(ops_read_floats(o, "coordinates", 2, &coordinates, size, err));
    if (size[1] != 2 && size[1] != 3)
        return ops_misfit(o, "'coordinates' have neither 2 nor 3 columns", err);
    Session s = {.neurons = size[0], .coordinates = coordinates, .n_coordinates = (int)size[1]};
    float *out = ARENA_ARRAY(o->c->arena, float, 2 * (size_t)size[0]);
    session_normalised_coordinates(&s, 2, out);
    return ops_push_floats(o, "out", out, 2 * size[0], VERIFY_TIGHT, err);
}

/* Every window predicts the numbers of its frames; those in front of `burn` are not in the file. */
static Status check_stitch(OpsCase *o, Err *err)
{
    int64_t length, burn, frames, steps, n = 0;
    NPC_TRY(ops_integer(o, "length", 1, 1 << 20, &length, err));
    NPC_TRY(ops_integer(o, "frames", 1, length, &frames, err));
    NPC_TRY(ops_integer(o, "steps", 1, frames, &steps, err));
    NPC_TRY(ops_integer(o, "burn", frames - steps, length - 1, &burn, err));
    Blend b = {.length = (uint32_t)length,
               .size = (uint32_t)frames,
               .step = 1,
               .n_neurons = 1,
               .outputs = (uint32_t)steps,
               .is_stitched = true,
               .from = (uint32_t)burn};
    double *starts = ARENA_ARRAY(o->c->arena, double, (size_t)length);
    float *sum = ARENA_ARRAY(o->c->arena, float, (size_t)(length + steps)), *window = sum + length;
    for (int64_t end = blend_first_end(&b); end < length; end++) {
        for (int64_t i = 0; i < steps; i++)
            window[i] = (float)(end - steps + 1 + i);
        if (!blend_takes(&b, (uint32_t)end))
            continue;
        blend_add(&b, sum, window, (uint32_t)end);
        if (end >= burn)
            starts[n++] = (double)(end - frames + 1);
    }
    blend_finish(&b, sum);
    NPC_TRY(ops_push_exact(o, "starts", starts, n, err));
    return ops_push_floats(o, "frame", sum + burn, length - burn, VERIFY_EXACT, err);
}

const OpsRow VERIFY_OPS_WINDOWS[] = {
    {.operation = "adamw", .check = ops_check_adamw},
    {.operation = "epoch_order", .check = check_order},
    {.operation = "learning_rate", .check = check_rate},
    {.operation = "nearest", .check = check_nearest},
    {.operation = "standard_places", .check = check_places},
    {.operation = "stitch", .check = check_stitch},
    {0},
};
