/* The batch of a case as training makes it: frames assembled, clips mixed, gaps filled by a
 * teacher. What the file holds of these steps must lead to the input, targets and weights that it
 * gives the model. */
#include "runtime/cutmix.h"
#include "runtime/distill.h"
#include "verify/verify_model_parts.h"

static Status push_floats(VerifyModel *m, VerifyRow *row, const char *tensor, const float *got,
                          int64_t n, Err *err)
{
    return verify_against(m->c, row, tensor, verify_widened(m->c, got, n), n, err);
}

/* ---- frames ---- */

static Status check_assembly(VerifyModel *m, Err *err)
{
    VerifyCase *c = m->c;
    const SafetensorsEntry *video = verify_find(c, "input/video");
    float *frames, *behavior, *pupil;
    if (!video)
        return NPC_OK;
    NPC_TRY(
        verify_read_floats(c, "input/video", 4, (int64_t[]){m->batch, -1, -1, m->t}, &frames, err));
    NPC_TRY(
        verify_read_floats(c, "input/behavior", 3, (int64_t[]){m->batch, 2, m->t}, &behavior, err));
    NPC_TRY(verify_read_floats(c, "input/pupil", 3, (int64_t[]){m->batch, 2, m->t}, &pupil, err));
    if (m->channels != 5)
        return err_set(err, NPC_ERR_INPUT,
                       "%s: video, behaviour and pupil make 5 channels, 'input/x' has %lld",
                       c->path, (long long)m->channels);
    int64_t rows = verify_size(video, 1), columns = verify_size(video, 2);
    int64_t elems = m->channels * m->t * m->h * m->w;
    float *x = ARENA_ARRAY(c->arena, float, (size_t)(m->batch * elems));
    for (int64_t b = 0; b < m->batch; b++) {
        RecordedArrays r = {.video = frames + b * rows * columns * m->t,
                            .behavior = behavior + b * 2 * m->t,
                            .pupil = pupil + b * 2 * m->t,
                            .rows = rows,
                            .columns = columns,
                            .frames = m->t,
                            .height = m->h,
                            .width = m->w};
        NPC_TRY(verify_assemble(c, &r, x + b * elems, err));
    }
    VerifyRow row = verify_row(c, "data: frames to input", VERIFY_TIGHT);
    NPC_TRY(push_floats(m, &row, "input/x", x, m->batch * elems, err));
    verify_push(c, row);
    return NPC_OK;
}

/* ---- CutMix ---- */

static Status read_boxes(VerifyModel *m, CutmixBox *box, int64_t *partner, Err *err)
{
    VerifyCase *c = m->c;
    double *who, *sides;
    NPC_TRY(verify_read(c, "input/cutmix/partner", 1, &m->batch, &who, err));
    NPC_TRY(verify_read(c, "input/cutmix/box", 2, (int64_t[]){m->batch, 4}, &sides, err));
    for (int64_t b = 0; b < m->batch; b++) {
        const double *s = sides + 4 * b;
        bool fits = s[0] >= 0 && s[0] <= s[1] && s[1] <= (double)m->h && s[2] >= 0 &&
                    s[2] <= s[3] && s[3] <= (double)m->w;
        if (!fits || !(who[b] >= 0 && who[b] < (double)m->batch))
            return err_set(err, NPC_ERR_INPUT,
                           "%s: 'input/cutmix/%s' of sample %lld does not fit the batch", c->path,
                           fits ? "partner" : "box", (long long)b);
        partner[b] = (int64_t)who[b];
        box[b] = (CutmixBox){(uint32_t)s[0], (uint32_t)s[1], (uint32_t)s[2], (uint32_t)s[3]};
    }
    return NPC_OK;
}

/* The recording whose clips are mixed: that of the first sample. */
static Status read_owner(VerifyModel *m, int *owner, Err *err)
{
    json_t *owners;
    NPC_TRY(verify_meta(m->c, "owners", &owners, err));
    json_int_t first = json_integer_value(json_array_get(owners, 0));
    bool fits = json_is_integer(json_array_get(owners, 0)) && first >= 0 && first < m->n_sessions;
    *owner = (int)first;
    return fits
               ? NPC_OK
               : err_set(err, NPC_ERR_INPUT, "%s: metadata 'owners' name no recording", m->c->path);
}

static Status check_cutmix(VerifyModel *m, Err *err)
{
    VerifyCase *c = m->c;
    CutmixBox *box = ARENA_ARRAY(c->arena, CutmixBox, (size_t)m->batch);
    int64_t *partner = ARENA_ARRAY(c->arena, int64_t, (size_t)m->batch);
    int owner;
    float *x, *y;
    if (!verify_find(c, "input/cutmix/x"))
        return NPC_OK;
    NPC_TRY(read_boxes(m, box, partner, err));
    NPC_TRY(read_owner(m, &owner, err));
    int64_t target_size[] = {m->batch, m->sessions[owner].neurons, m->t};
    NPC_TRY(verify_read_floats(c, "input/cutmix/x", 5,
                               (int64_t[]){m->batch, m->channels, m->t, m->h, m->w}, &x, err));
    NPC_TRY(verify_read_floats(c, "input/cutmix/target", 3, target_size, &y, err));

    int64_t planes = m->channels * m->t, elems = planes * m->h * m->w;
    int64_t answers = target_size[1] * target_size[2];
    float *mixed = ARENA_ARRAY(c->arena, float, (size_t)(m->batch * elems));
    float *target = ARENA_ARRAY(c->arena, float, (size_t)(m->batch * answers));
    memcpy(mixed, x, (size_t)(m->batch * elems) * sizeof *x);
    memcpy(target, y, (size_t)(m->batch * answers) * sizeof *y);
    for (int64_t b = 0; b < m->batch; b++) {
        double share = cutmix_share(&box[b], (uint32_t)m->h, (uint32_t)m->w);
        cutmix_input(mixed + b * elems, x + partner[b] * elems, (size_t)planes, (uint32_t)m->h,
                     (uint32_t)m->w, &box[b]);
        cutmix_target(target + b * answers, y + partner[b] * answers, (size_t)answers, share);
    }
    VerifyRow row = verify_row(c, "data: CutMix", VERIFY_TIGHT);
    const char *own = verify_name(c, "input/own_target/mouse%d", owner);
    if (!verify_find(c, own))
        own = verify_name(c, "input/target/mouse%d", owner);
    NPC_TRY(push_floats(m, &row, "input/x", mixed, m->batch * elems, err));
    NPC_TRY(push_floats(m, &row, own, target, m->batch * answers, err));
    verify_push(c, row);
    return NPC_OK;
}

/* ---- distillation ---- */

static Status check_distillation(VerifyModel *m, Err *err)
{
    VerifyCase *c = m->c;
    json_t *ratio;
    float *weights;
    int64_t n = m->batch * m->n_sessions;
    if (!verify_find(c, "input/own_weights"))
        return NPC_OK;
    NPC_TRY(verify_meta(c, "distill_ratio", &ratio, err));
    double rho = json_number_value(ratio);
    if (!json_is_number(ratio) || rho < 0 || rho >= 1)
        return err_set(err, NPC_ERR_INPUT, "%s: metadata 'distill_ratio' is not in [0, 1)",
                       c->path);
    NPC_TRY(verify_read_floats(c, "input/own_weights", 2, (int64_t[]){m->batch, m->n_sessions},
                               &weights, err));
    VerifyRow row = verify_row(c, "data: teacher's targets and weights", VERIFY_TIGHT);
    for (int s = 0; s < m->n_sessions; s++) {
        int64_t size[] = {m->batch, m->sessions[s].neurons, m->t}, elems = size[1] * size[2];
        float *own, *teacher;
        NPC_TRY(verify_read_floats(c, verify_name(c, "input/own_target/mouse%d", s), 3, size, &own,
                                   err));
        NPC_TRY(verify_read_floats(c, verify_name(c, "input/teacher/mouse%d", s), 3, size, &teacher,
                                   err));
        distill_fill(own, teacher, weights + s, (size_t)m->n_sessions, (size_t)m->batch,
                     (size_t)elems);
        NPC_TRY(push_floats(m, &row, verify_name(c, "input/target/mouse%d", s), own,
                            m->batch * elems, err));
    }
    distill_fill_weights(weights, (size_t)n, rho);
    NPC_TRY(push_floats(m, &row, "input/weights", weights, n, err));
    verify_push(c, row);
    return NPC_OK;
}

Status verify_model_data(VerifyModel *m, Err *err)
{
    NPC_TRY(check_assembly(m, err));
    NPC_TRY(check_cutmix(m, err));
    return check_distillation(m, err);
}
