/* What programs read that is no tensor of the model: inputs sent ahead, random masks, planes. On
 * the interpreter and, where there is one, on generated code; `test_engine_inputs cuda` runs it on
 * a CUDA device. */
#include "runtime/inputs.h"
#include "data/philox.h"
#include "data/random_fill.h"
#include "tests/unit/engine_subject.h"

/* ---- inputs sent ahead ---- */

/* Inputs of step k, of other samples each time. Scalars come later. */
static const SampleRange *fill_step(const Subject *s, int k)
{
    static const SampleRange *const ranges[] = {both, parts, only_a, parts};
    fill_inputs(s, s->program, ranges[k]);
    engine_input(s->e, s->program, "clip")[k] = (float)k;
    engine_draw_masks(s->e, s->program, 3, (uint64_t)k);
    return ranges[k];
}

/* Every step's inputs are filled and sent while the step before may still run; so is, between them,
 * a program whose inputs are not sent, and one step is left to move its inputs itself. */
static void inputs_sent_ahead_are_those_of_the_next_run(void **state)
{
    (void)state;
    Err err = {0};
    Subject s[2];
    int eval[2];
    for (int i = 0; i < 2; i++) {
        s[i] = open_with_threads(PROGRAM_STEP, 1);
        eval[i] = also(&s[i], PROGRAM_EVAL);
        ready(&s[i]);
        fill_inputs(&s[i], eval[i], both);
    }
    for (int k = 0; k < 4; k++) {
        const SampleRange *ranges = fill_step(&s[0], k);
        *engine_input(s[0].e, s[0].program, "rate") = 0.1f * (float)(k + 1);
        assert_int_equal(engine_run(s[0].e, eval[0], both, &err), NPC_OK);
        run(s[0].e, s[0].program, ranges);
    }
    for (int k = 0; k < 4; k++) {
        const SampleRange *ranges = fill_step(&s[1], k);
        if (k != 2)
            assert_int_equal(engine_send(s[1].e, s[1].program, ranges, &err), NPC_OK);
        assert_int_equal(engine_send(s[1].e, eval[1], both, &err), NPC_OK);
        *engine_input(s[1].e, s[1].program, "rate") = 0.1f * (float)(k + 1);
        assert_int_equal(engine_run(s[1].e, eval[1], both, &err), NPC_OK);
        assert_int_equal(engine_run(s[1].e, s[1].program, ranges, &err), NPC_OK);
    }
    assert_int_equal(engine_fetch(s[1].e, &err), NPC_OK);
    assert_true(same_tensors(&s[0], &s[1], ""));
    for (int i = 0; i < 2; i++)
        model_close(s[i].model);
}

/* ---- masks ---- */

static void masks_are_a_function_of_seed_and_step(void **state)
{
    (void)state;
    enum { N = BATCH * 6 };
    if (device) /* makes masks where nobody sees them */
        skip();
    uint8_t first[N];
    Subject s = open_program(PROGRAM_STEP);
    Subject other = open_with_threads(PROGRAM_GRAD, 1);
    ready(&other);
    const uint8_t *at = engine_mask(s.e, s.program, "readout.a.dropout");
    assert_non_null(at);
    engine_draw_masks(s.e, s.program, 7, 1);
    memcpy(first, at, sizeof first);
    engine_draw_masks(s.e, s.program, 7, 2);
    assert_memory_not_equal(first, at, sizeof first);
    engine_draw_masks(s.e, s.program, 8, 1);
    assert_memory_not_equal(first, at, sizeof first);
    assert_memory_not_equal(engine_mask(s.e, s.program, "readout.b.dropout"), at, sizeof first);
    engine_draw_masks(s.e, s.program, 7, 1);
    assert_memory_equal(first, at, sizeof first);
    engine_draw_masks(other.e, other.program, 7, 1);
    assert_memory_equal(first, engine_mask(other.e, other.program, "readout.a.dropout"),
                        sizeof first);
    model_close(s.model);
    model_close(other.model);
}

/* Is the share of zeros within five standard deviations of the rate? */
static void check_rate(const Subject *s, const char *name, int n, double rate)
{
    enum { STEPS = 1000 };
    const uint8_t *at = engine_mask(s->e, s->program, name);
    int n_zero = 0;
    for (uint64_t step = 1; step <= STEPS; step++) {
        engine_draw_masks(s->e, s->program, 5, step);
        for (int i = 0; i < n; i++) {
            assert_true(at[i] <= 1);
            n_zero += at[i] == 0;
        }
    }
    double draws = (double)n * STEPS, deviation = sqrt(draws * rate * (1 - rate));
    assert_true(fabs(n_zero - draws * rate) < 5 * deviation);
}

static void masks_have_their_rate(void **state)
{
    (void)state;
    if (device)
        skip();
    Subject s = open_program(PROGRAM_STEP);
    check_rate(&s, "readout.a.dropout", BATCH * 6, 0.5);
    check_rate(&s, "core.layer1.drop_path", BATCH, 0.1);
    model_close(s.model);
}

/* Writes the masks of a step that engine_draw_masks stands for. */
static void write_masks(const Subject *s, uint64_t seed, uint64_t step)
{
    const Plan *p = engine_plan(s->e, s->program);
    for (uint32_t i = 0; i < p->buffers.len; i++) {
        const PlanBuffer *b = &p->buffers.at[i];
        if (b->random == RANDOM_MASK)
            mask_fill(seed, philox_stream(b->name), (int64_t)(step << 32),
                      shape_elems(&b->layout.shape), b->drop_rate,
                      engine_mask(s->e, s->program, b->name));
        if (b->random == RANDOM_BYTES)
            bytes_fill(seed, philox_stream(b->name), (int64_t)(step << 32),
                       shape_elems(&b->layout.shape), engine_mask(s->e, s->program, b->name));
    }
}

static void check_masks(void)
{
    Subject s[2] = {open_program(PROGRAM_STEP), open_program(PROGRAM_STEP)};
    for (uint64_t step = 1; step < 5; step++) {
        uint64_t seed = step * 0x123456789u;
        fill_inputs(&s[0], s[0].program, both);
        fill_inputs(&s[1], s[1].program, both);
        engine_draw_masks(s[0].e, s[0].program, seed, step);
        if (step == 3) /* as well as the host's in between */
            engine_draw_masks(s[1].e, s[1].program, seed, step);
        else
            write_masks(&s[1], seed, step);
        run(s[0].e, s[0].program, both);
        run(s[1].e, s[1].program, both);
        assert_true(same_tensors(&s[0], &s[1], ""));
    }
    model_close(s[0].model);
    model_close(s[1].model);
}

static void masks_of_a_device_are_those_of_the_host(void **state)
{
    (void)state;
    check_masks();
}

/* The bytes that dropped attention weights are made of. */
static void bytes_of_a_device_are_those_of_the_host(void **state)
{
    (void)state;
    const char *usual = subject_path;
    subject_path = "tests/models/dropped.nm";
    check_masks();
    subject_path = usual;
}

/* ---- planes ---- */

/* Of a recording with smaller pictures the larger k is. */
static SampleFrame frame_of(int k, const CutmixBox *box, const ClipShape *s)
{
    return (SampleFrame){s->height - (uint32_t)k % 4, s->width - (uint32_t)k % 3, box};
}

static bool is_in_picture(size_t pixel, const SampleFrame *f, const ClipShape *s)
{
    size_t top = (s->height - f->height) / 2, left = (s->width - f->width) / 2;
    size_t row = pixel / s->width - top, column = pixel % s->width - left;
    return row < f->height && column < f->width;
}

/* A clip whose second channel is a value per frame, and a clip like that with a box of another in
 * it. */
static void make_clip(float *x, int k, const SampleFrame *f, const ClipShape *s)
{
    size_t plane = (size_t)s->height * s->width, n = clip_input_elems(s);
    float *partner = calloc(n, sizeof *partner);
    for (size_t i = 0; i < n / 2; i++) {
        size_t frame = i / plane;
        bool is_in = is_in_picture(i % plane, f, s);
        x[i] = is_in ? (float)((int)(i * 7 + (size_t)k) % 11 - 5) : 0;
        x[n / 2 + i] = 0.5f + (float)frame - (float)k;
        partner[i] = is_in ? x[i] + 1 : 0;
        partner[n / 2 + i] = -x[n / 2 + i];
    }
    cutmix_input(x, partner, n / plane, s->height, s->width, f->box);
    free(partner);
}

static void planes_are_filled_from_their_values(void **state)
{
    (void)state;
    static const CutmixBox box[BATCH] = {
        {0, 0, 0, 0}, {0, 5, 0, 4}, {0, 2, 0, 3}, {2, 5, 1, 4}, {3, 4, 2, 2}};
    static const ClipShape shape = {
        .channels = CHANNEL_VIDEO, .colours = 2, .height = 5, .width = 4, .size = 3, .step = 1};
    Err err = {0};
    Subject s[2];
    Inputs in[2];
    float x[2 * 3 * 5 * 4];
    for (int i = 0; i < 2; i++) {
        s[i] = open_with_threads(PROGRAM_STEP, 2);
        if (i)
            engine_add_planes(s[i].e, s[i].program, "clip", 1);
        ready(&s[i]);
        fill_inputs(&s[i], s[i].program, both);
        assert_int_equal(inputs_find(&in[i], s[i].e, s[i].program, &shape, &err), NPC_OK);
        assert_true((in[i].planes != NULL) == i);
    }
    for (int step = 0; step < BATCH; step++) {
        for (int i = 0; i < 2; i++) {
            for (uint32_t k = 0; k < BATCH; k++) {
                int number = (int)k + step;
                SampleFrame frame = frame_of(number, &box[number % BATCH], &shape);
                make_clip(x, number, &frame, &shape);
                inputs_put(&in[i], k, x, &frame);
            }
            if (step % 2)
                assert_int_equal(engine_send(s[i].e, s[i].program, both, &err), NPC_OK);
            run(s[i].e, s[i].program, both);
        }
        assert_true(same_tensors(&s[0], &s[1], ""));
    }
    for (int i = 0; i < 2; i++)
        model_close(s[i].model);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(inputs_sent_ahead_are_those_of_the_next_run),
        cmocka_unit_test(masks_are_a_function_of_seed_and_step),
        cmocka_unit_test(masks_have_their_rate),
        cmocka_unit_test(masks_of_a_device_are_those_of_the_host),
        cmocka_unit_test(bytes_of_a_device_are_those_of_the_host),
        cmocka_unit_test(planes_are_filled_from_their_values),
    };
    return run_everywhere(tests, sizeof tests / sizeof *tests, argc, argv);
}
