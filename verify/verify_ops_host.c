/* Operations that the runtime does outside of models: mixing, teaching, schedules, assembling
 * inputs, blending predictions, scores, hashes. */
#include "ir/elaborate.h"
#include "data/blend.h"
#include "runtime/cutmix.h"
#include "runtime/distill.h"
#include "data/metrics.h"
#include "runtime/schedule.h"
#include "verify/verify_ops_parts.h"
#include "data/video_hash.h"

static Status check_nearest(OpsCase *o, Err *err)
{
    int64_t stride, source;
    NPC_TRY(ops_integer(o, "stride", 1, 1 << 10, &stride, err));
    NPC_TRY(ops_integer(o, "source", 1, 1 << 20, &source, err));
    int64_t n = (source + stride - 1) / stride;
    double *got = ARENA_ARRAY(o->c->arena, double, (size_t)n);
    for (int64_t i = 0; i < n; i++)
        got[i] = resize_nearest(i, source, n);
    return ops_push_exact(o, "out", got, n, err);
}

/* ---- CutMix, teacher ---- */

static Status push_box(OpsCase *o, int64_t size, CutmixBox *out, Err *err)
{
    int64_t row, column;
    double fraction;
    NPC_TRY(ops_number(o, "fraction", &fraction, err));
    NPC_TRY(ops_integer(o, "row", 0, size - 1, &row, err));
    NPC_TRY(ops_integer(o, "column", 0, size - 1, &column, err));
    if (!(fraction >= 0 && fraction <= 1))
        return ops_misfit(o, "attribute 'fraction' is not in [0, 1]", err);
    CutmixBox b =
        cutmix_box((uint32_t)size, (uint32_t)size, fraction, (uint32_t)row, (uint32_t)column);
    *out = b;
    return ops_push_exact(o, "box", (double[]){b.top, b.bottom, b.left, b.right}, 4, err);
}

static Status check_cutmix(OpsCase *o, Err *err)
{
    CutmixBox box;
    int64_t side, x_size[4], y_size[2], other[4];
    float *x, *y, *px, *py;
    NPC_TRY(ops_integer(o, "size", 1, 1 << 12, &side, err));
    NPC_TRY(push_box(o, side, &box, err));
    NPC_TRY(ops_read_floats(o, "x", 4, &x, x_size, err));
    NPC_TRY(ops_read_floats(o, "partner_x", 4, &px, other, err));
    if (memcmp(x_size, other, sizeof other) || x_size[2] != side || x_size[3] != side)
        return ops_misfit(o, "'x', 'partner_x' and the attribute 'size' do not fit each other",
                          err);
    NPC_TRY(ops_read_floats(o, "y", 2, &y, y_size, err));
    NPC_TRY(ops_read_floats(o, "partner_y", 2, &py, other, err));
    if (memcmp(y_size, other, sizeof y_size))
        return ops_misfit(o, "'y' and 'partner_y' do not have the same sizes", err);
    int64_t planes = x_size[0] * x_size[1], n = y_size[0] * y_size[1];
    cutmix_input(x, px, (size_t)planes, (uint32_t)side, (uint32_t)side, &box);
    cutmix_target(y, py, (size_t)n, cutmix_share(&box, (uint32_t)side, (uint32_t)side));
    NPC_TRY(ops_push_floats(o, "out_x", x, planes * side * side, VERIFY_TIGHT, err));
    return ops_push_floats(o, "out_y", y, n, VERIFY_TIGHT, err);
}

static Status check_distill(OpsCase *o, Err *err)
{
    int64_t size[2];
    float *weights;
    double ratio;
    NPC_TRY(ops_number(o, "ratio", &ratio, err));
    NPC_TRY(ops_read_floats(o, "weights", 2, &weights, size, err));
    if (!(ratio >= 0 && ratio < 1))
        return ops_misfit(o, "attribute 'ratio' is not in [0, 1)", err);
    for (int64_t m = 0; m < size[1]; m++) {
        int64_t own[3], other[3];
        float *target, *teacher;
        NPC_TRY(ops_read_floats(o, verify_name(o->c, "target%d", (int)m), 3, &target, own, err));
        NPC_TRY(
            ops_read_floats(o, verify_name(o->c, "teacher%d", (int)m), 3, &teacher, other, err));
        if (memcmp(own, other, sizeof own) || own[0] != size[0])
            return ops_misfit(o, "weights, targets and teachers do not fit each other", err);
        distill_fill(target, teacher, weights + m, (size_t)size[1], (size_t)size[0],
                     (size_t)(own[1] * own[2]));
        NPC_TRY(ops_push_floats(o, verify_name(o->c, "out_target%d", (int)m), target,
                                own[0] * own[1] * own[2], VERIFY_TIGHT, err));
    }
    distill_fill_weights(weights, (size_t)(size[0] * size[1]), ratio);
    return ops_push_floats(o, "out_weights", weights, size[0] * size[1], VERIFY_TIGHT, err);
}

/* ---- schedule ---- */

static Status check_rate(OpsCase *o, Err *err)
{
    int64_t n, epoch, warmup, cosine;
    double peak, floor, *step;
    NPC_TRY(ops_number(o, "peak", &peak, err));
    NPC_TRY(ops_number(o, "floor", &floor, err));
    NPC_TRY(ops_integer(o, "steps_per_epoch", 1, 1 << 30, &epoch, err));
    NPC_TRY(ops_integer(o, "warmup_epochs", 0, 1 << 20, &warmup, err));
    NPC_TRY(ops_integer(o, "cosine_epochs", 0, 1 << 20, &cosine, err));
    NPC_TRY(ops_read(o, "step", 1, &step, &n, err));
    const ScheduleStage stages[] = {
        {SCHEDULE_LINEAR, 0, peak, (uint64_t)(epoch * warmup), 0},
        {SCHEDULE_COSINE, peak, floor, (uint64_t)(epoch * cosine), 0},
    };
    for (int64_t i = 0; i < n; i++) {
        if (!(step[i] >= 0))
            return ops_misfit(o, "a step is negative", err);
        step[i] = schedule_rate(stages, 2, (uint64_t)step[i]);
    }
    return ops_push(o, "out", step, n, VERIFY_TIGHT, false, err);
}

/* ---- inputs and predictions ---- */

static Status check_assemble(OpsCase *o, Err *err)
{
    int64_t side, video[3], behavior[2], pupil[2];
    RecordedArrays r = {0};
    float *v, *b, *p;
    NPC_TRY(ops_integer(o, "size", 1, 1 << 12, &side, err));
    NPC_TRY(ops_read_floats(o, "video", 3, &v, video, err));
    NPC_TRY(ops_read_floats(o, "behavior", 2, &b, behavior, err));
    NPC_TRY(ops_read_floats(o, "pupil", 2, &p, pupil, err));
    if (behavior[0] != 2 || pupil[0] != 2 || behavior[1] != video[2] || pupil[1] != video[2])
        return ops_misfit(o, "'video', 'behavior' and 'pupil' do not fit each other", err);
    r = (RecordedArrays){v, b, p, video[0], video[1], video[2], side, side};
    int64_t n = 5 * video[2] * side * side;
    float *x = ARENA_ARRAY(o->c->arena, float, (size_t)n);
    NPC_TRY(verify_assemble(o->c, &r, x, err));
    return ops_push_floats(o, "out", x, n, VERIFY_TIGHT, err);
}

static Status check_blend(OpsCase *o, Err *err)
{
    int64_t size, step, length, window[3], n_ends;
    float *windows;
    double *ends;
    NPC_TRY(ops_integer(o, "size", 1, 1 << 12, &size, err));
    NPC_TRY(ops_integer(o, "step", 1, 1 << 10, &step, err));
    NPC_TRY(ops_integer(o, "length", 1, 1 << 20, &length, err));
    NPC_TRY(ops_read_floats(o, "windows", 3, &windows, window, err));
    NPC_TRY(ops_read(o, "ends", 1, &ends, &n_ends, err));
    Blend b = {.length = (uint32_t)length,
               .size = (uint32_t)size,
               .step = (uint32_t)step,
               .n_neurons = (uint32_t)window[1]};
    int64_t n = blend_windows(&b);
    if (window[2] != size || window[0] != n)
        return ops_misfit(o, "'windows' does not fit the attributes", err);
    double *expected = ARENA_ARRAY(o->c->arena, double, (size_t)n + 1);
    float *sum = ARENA_ARRAY(o->c->arena, float, (size_t)(window[1] * length));
    for (int64_t i = 0; i < n; i++) {
        expected[i] = blend_first_end(&b) + (double)i;
        blend_add(&b, sum, windows + i * window[1] * size, (uint32_t)expected[i]);
    }
    blend_finish(&b, sum);
    NPC_TRY(ops_push_exact(o, "ends", expected, n, err));
    return ops_push_floats(o, "out", sum, window[1] * length, VERIFY_TIGHT, err);
}

static Status check_precision(OpsCase *o, Err *err)
{
    int64_t n;
    float *std;
    NPC_TRY(ops_read_floats(o, "std", 1, &std, &n, err));
    float *out = ARENA_ARRAY(o->c->arena, float, (size_t)n);
    response_precision(std, (size_t)n, out);
    return ops_push_floats(o, "out", out, n, VERIFY_TIGHT, err);
}

static Status check_correlation(OpsCase *o, Err *err)
{
    int64_t size[2], other[2], axis;
    double *a, *b, eps;
    NPC_TRY(ops_integer(o, "axis", 0, 1, &axis, err));
    NPC_TRY(ops_number(o, "eps", &eps, err));
    NPC_TRY(ops_read(o, "a", 2, &a, size, err));
    NPC_TRY(ops_read(o, "b", 2, &b, other, err));
    if (memcmp(size, other, sizeof size))
        return ops_misfit(o, "'a' and 'b' do not have the same sizes", err);
    int64_t n = size[axis], columns = size[1 - axis];
    int64_t along = axis == 0 ? size[1] : 1, across = axis == 0 ? 1 : size[1];
    double *x = ARENA_ARRAY(o->c->arena, double, (size_t)n),
           *y = ARENA_ARRAY(o->c->arena, double, (size_t)n);
    double *out = ARENA_ARRAY(o->c->arena, double, (size_t)columns);
    for (int64_t k = 0; k < columns; k++) {
        for (int64_t i = 0; i < n; i++) {
            x[i] = a[k * across + i * along];
            y[i] = b[k * across + i * along];
        }
        out[k] = metrics_correlation(x, y, (size_t)n, eps);
    }
    return ops_push(o, "out", out, columns, VERIFY_TIGHT, false, err);
}

/* ---- hashes ---- */

static void write_bits(uint64_t hash, double *out)
{
    for (int i = 0; i < 64; i++)
        out[i] = (double)(hash >> (63 - i) & 1);
}

static Status check_frame_hash(OpsCase *o, Err *err)
{
    int64_t size[3];
    float *frames;
    NPC_TRY(ops_read_floats(o, "frames", 3, &frames, size, err));
    double *bits = ARENA_ARRAY(o->c->arena, double, (size_t)size[0] * 64);
    for (int64_t i = 0; i < size[0]; i++) {
        uint64_t hash;
        VideoView v =
            video_view(frames + i * size[1] * size[2], (size_t)size[1], (size_t)size[2], 1);
        NPC_TRY(video_frame_hash(&v, 0, &hash, err));
        write_bits(hash, bits + 64 * i);
    }
    return ops_push_exact(o, "bits", bits, 64 * size[0], err);
}

static Status check_video_hash(OpsCase *o, Err *err)
{
    int64_t size[3];
    float *video;
    uint64_t hash;
    double bits[64];
    NPC_TRY(ops_read_floats(o, "video", 3, &video, size, err));
    VideoView v = video_view(video, (size_t)size[0], (size_t)size[1], (size_t)size[2]);
    NPC_TRY(video_hash(&v, &hash, err));
    write_bits(hash, bits);
    double fold = video_fold(hash, VIDEO_FOLDS);
    NPC_TRY(ops_push_exact(o, "bits", bits, 64, err));
    return ops_push_exact(o, "fold", &fold, 1, err);
}

const OpsRow VERIFY_OPS_HOST[] = {
    {.operation = "assemble", .check = check_assemble},
    {.operation = "blend", .check = check_blend},
    {.operation = "correlation", .check = check_correlation},
    {.operation = "cutmix", .check = check_cutmix},
    {.operation = "distill", .check = check_distill},
    {.operation = "frame_hash", .check = check_frame_hash},
    {.operation = "learning_rate", .check = check_rate},
    {.operation = "nearest", .check = check_nearest},
    {.operation = "precision", .check = check_precision},
    {.operation = "video_hash", .check = check_video_hash},
    {0},
};
