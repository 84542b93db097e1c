/* How inputs come to a device must not show: trainings on the simulated one end with the same bits
 * when nothing is sent ahead, and when the host writes inputs whole instead of describing them.
 * Recordings are smaller than the models' inputs. */
#include "runtime/feed.h"
#include "tests/models/train_harness.h"

#define FRAMED "tests/models/framed.nm"

static bool sends_ahead = true, describes = true;

/* the linker sends calls of these functions here */
void __real_feed_ahead(Feed *f);
void __wrap_feed_ahead(Feed *f);
Status __real_engine_send(Engine *e, int program, const SampleRange *ranges, Err *err);
Status __wrap_engine_send(Engine *e, int program, const SampleRange *ranges, Err *err);
void __real_engine_add_planes(Engine *e, int program, const char *name, int64_t pictures);
void __wrap_engine_add_planes(Engine *e, int program, const char *name, int64_t pictures);

void __wrap_feed_ahead(Feed *f)
{
    if (sends_ahead)
        __real_feed_ahead(f);
}

Status __wrap_engine_send(Engine *e, int program, const SampleRange *ranges, Err *err)
{
    return sends_ahead ? __real_engine_send(e, program, ranges, err) : NPC_OK;
}

void __wrap_engine_add_planes(Engine *e, int program, const char *name, int64_t pictures)
{
    if (describes)
        __real_engine_add_planes(e, program, name, pictures);
}

static int make_data(void **state)
{
    SynthOptions o = small_recordings();
    o.width = 9;
    return make_recordings_of(state, &o);
}

static void train_on_device(const char *run, const char *model, const char *const sets[2])
{
    TrainOptions o = options(path(run));
    o.sets = sets;
    o.n_sets = !sets[0] ? 0 : !sets[1] ? 1 : 2;
    o.model_path = model;
    o.machine.device = "cuda";
    train_with(&o);
}

static void compare(const char *name, const char *model, const char *set, const char *set2)
{
    const char *sets[] = {set, set2};
    char run[3][64];
    static const char *const how[] = {"usual", "one_by_one", "whole"};
    for (int i = 0; i < 3; i++) {
        snprintf(run[i], sizeof run[i], "%s_%s", name, how[i]);
        sends_ahead = i != 1;
        describes = i != 2;
        train_on_device(run[i], model, sets);
        assert_same_file(checkpoint(run[0], 6), checkpoint(run[i], 6));
    }
}

static void clips_that_are_mixed(void **state)
{
    (void)state;
    compare("clips", FRAMED, NULL, NULL);
}

static void clips_in_chunks(void **state)
{
    (void)state;
    compare("chunks", FRAMED, "accumulate=3", NULL);
}

/* Three frames have few values, which become bytes; four do not. */
static void clips_of_many_values(void **state)
{
    (void)state;
    compare("many", FRAMED, "t=4", "data.clip.frames=4frames");
}

/* Predictions for the same clips are targets. */
static void clips_with_a_teacher(void **state)
{
    (void)state;
    char set[4200];
    snprintf(set, sizeof set, "teacher.run=\"%s\"", path("clips_usual"));
    compare("taught", FRAMED, set, "teacher.ratio=0.36");
}

static void inputs_by_name(void **state)
{
    (void)state;
    compare("named", "tests/models/named.nm", "data.pad.to=[h: 8, w: 12]", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clips_that_are_mixed), cmocka_unit_test(clips_in_chunks),
        cmocka_unit_test(clips_of_many_values), cmocka_unit_test(clips_with_a_teacher),
        cmocka_unit_test(inputs_by_name),
    };
    setenv("NPC_CUDA_LIBRARIES", SIM_LIBRARIES, 1);
    setenv("NPC_SIM_LATE", "1", 1); /* work happens as late as it may */
    return cmocka_run_group_tests(tests, make_data, scratch_remove);
}
