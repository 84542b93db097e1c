/* Recipes: settings, inheritance, overrides, text. */
#include "ir/recipe.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>

typedef struct Test {
    Arena arena;
    Names names;
    Diags diags;
    Recipe r;
} Test;

static Test *begin(void)
{
    Test *t = calloc(1, sizeof *t);
    assert_non_null(t);
    t->names.arena = &t->arena;
    diags_init(&t->diags, &t->arena);
    recipe_default(&t->r);
    return t;
}

static void end(Test *t)
{
    arena_free(&t->arena);
    free(t);
}

/* Applies the settings of a recipe's body. */
static void apply(Test *t, const char *body)
{
    const char *text = arena_printf(&t->arena, "nm 1\nrecipe r for m {\n%s\n}\n", body);
    AstFile *ast = parse_file(&t->arena, &t->names, &t->diags, "r.nm", text, strlen(text));
    assert_int_equal(ast->decls.len, 1);
    recipe_read(&t->arena, &t->names, &t->diags, &ast->decls.at[0]->body, &t->r);
}

static void set(Test *t, const char *text)
{
    SetOption option = {0};
    assert_true(parse_set(&t->arena, &t->names, &t->diags, text, &option));
    recipe_set(&t->arena, &t->names, &t->diags, &option, 0, &t->r);
}

static void assert_fine(const Test *t)
{
    diags_print(&t->diags, stderr);
    assert_int_equal(t->diags.n_errors, 0);
    assert_true(recipe_check((Diags *)&t->diags, SPAN_NONE, &t->r));
}

static void assert_error(const Test *t, DiagCode code, const char *text)
{
    for (uint32_t i = 0; i < t->diags.messages.len; i++)
        if (t->diags.messages.at[i].code == code && strstr(t->diags.messages.at[i].text, text))
            return;
    diags_print(&t->diags, stderr);
    fail_msg("no message %s: %s", diag_code_text(code), text);
}

static const char *text_of(Test *t)
{
    Text out = {.arena = &t->arena};
    t->r.model = "m";
    t->r.name = "r";
    recipe_print(&out, &t->r);
    return text_str(&out);
}

static const char *const everything =
    "rate = 25 Hz\n"
    "data = recordings(channels: [pupil, video], longest: 10 sec)\n"
    "       |> clip(8 frames, every: 0.12 sec, start: not_last)\n"
    "       |> standardise(all_range, responses: range, statistics: computed)\n"
    "       |> pad([h: 30, w: 40], value: -1.5)\n"
    "split = folds(5, validate: 2)\n"
    "mix = cutmix(alpha: 0.3, chance: 0.25)\n"
    "batch = 12 clips\n accumulate = 3\n epoch = 36 clips\n"
    "pick = uniform(trials)\n"
    "loss = poisson(eps: 1e-6, added: everywhere, weight: 2)"
    " |> squares(3) |> correlation(weight: 1000, eps: 1e-7) |> scale(balanced)"
    " |> l1(\"core\", 0.5) |> l1(\"readout.*.features\", weight: 0.25, counts: every)\n"
    "optimizer = adamw(weight_decay: 0.1, beta1: 0.8, beta2: 0.9, eps: 1e-5, absent: zero)"
    " |> clip(2) |> group(\"core\", rate: 4 / 3) |> group(\"out\", weight_decay: 0)\n"
    "average = ema(0.9)\n precision = mixed(bf16)\n seed = 9007199254740993\n"
    "stage warm(2 epochs) { lr = linear(from: 0, to: 0.1); keep = none }\n"
    "stage slow(1 epoch) { lr = cosine(from: 0.1, to: 0, each: epoch) }\n"
    "stage cool(7 steps) { lr = plateau(from: 0.01, patience: 3, factor: 0.5, reductions: 0, "
    "floor: 2 ^ -23, best: 0, collapse: 0.05, restore: 2, restores: 9, margin: 0.01); "
    "keep = best }\n"
    "predict = sliding(9 frames, every: 4 frames, blend: ramp, last: 299 frames)\n"
    "score = correlation(burn_in: 7 frames)\n"
    "checkpoints = save(every: 100 steps, last: 5)\n validation = 2 epochs\n";

static void every_setting_is_read(void **state)
{
    (void)state;
    Test *t = begin();
    apply(t, everything);
    assert_fine(t);
    const Recipe *r = &t->r;
    assert_true(r->rate == 25 && r->clip_frames == 8 && r->clip_every == 3);
    assert_true(r->n_channels == 2 && r->channels[0] == RECIPE_PUPIL);
    assert_true(r->pad_h == 30 && r->pad_w == 40 && r->pad_value == -1.5);
    assert_true(r->folds == 5 && r->validate == 2);
    assert_true(r->has_cutmix && r->cutmix_alpha == 0.3 && r->cutmix_chance == 0.25);
    assert_true(r->batch == 12 && r->accumulate == 3 && r->epoch == 36);
    assert_true(r->pick == RECIPE_PICK_TRIALS && r->loss_eps == 1e-6);
    assert_true(r->loss_added == RECIPE_ADDED_EVERYWHERE && r->loss_weight == 2);
    assert_true(r->squares_weight == 3);
    assert_true(r->correlation_weight == 1000 && r->correlation_eps == 1e-7);
    assert_true(r->loss_scale == RECIPE_SCALE_BALANCED && r->n_penalties == 2);
    assert_string_equal(r->penalties[1].which.of, "readout.*.features");
    assert_true(r->penalties[0].weight == 0.5 && r->penalties[1].weight == 0.25);
    assert_true(!r->penalties[0].counts && r->penalties[1].counts == RECIPE_COUNTS_EVERY);
    assert_true(r->weight_decay == 0.1 && r->beta1 == 0.8 && r->beta2 == 0.9);
    assert_true(r->adam_eps == 1e-5 && r->ema == 0.9 && r->precision == RECIPE_MIXED_BF16);
    assert_true(r->seed == 9007199254740993u);
    assert_true(r->absent == RECIPE_ABSENT_ZERO && r->clip_norm == 2 && r->n_groups == 2);
    assert_true(r->groups[0].rate == 4.0 / 3 && r->groups[0].weight_decay < 0);
    assert_true(r->groups[1].rate == 1 && r->groups[1].weight_decay == 0);
    assert_true(r->n_stages == 3 && r->stages[0].epochs == 2 && r->stages[2].steps == 7);
    assert_true(r->stages[0].schedule == RECIPE_LINEAR && r->stages[0].to == 0.1);
    assert_true(r->stages[1].each == RECIPE_EACH_EPOCH && r->stages[0].each == RECIPE_EACH_STEP);
    assert_true(r->stages[2].from == 0.01 && r->stages[2].keep == RECIPE_KEEP_BEST);
    const RecipePlateau *p = &r->stages[2].plateau;
    assert_true(r->stages[2].schedule == RECIPE_PLATEAU && p->patience == 3 && p->factor == 0.5);
    assert_true(p->restore == 2 && p->restores == 9 && p->margin == 0.01);
    assert_true(p->floor == 0x1p-23 && p->best == 0 && p->collapse == 0.05 && !p->reductions);
    assert_true(r->predict_frames == 9 && r->predict_every == 4);
    assert_true(r->predict_blend == RECIPE_BLEND_RAMP && r->burn_in == 7 && r->predict_last == 299);
    assert_true(r->checkpoint_steps == 100 && !r->checkpoint_epochs && r->keep_last == 5);
    assert_int_equal(r->validate_epochs, 2);
    assert_true(r->longest == 250 && r->clip_start == RECIPE_START_NOT_LAST);
    assert_true(r->inputs == RECIPE_INPUTS_ALL_RANGE && r->responses == RECIPE_RESPONSES_RANGE);
    assert_true(r->statistics == RECIPE_STATISTICS_COMPUTED);
    assert_int_equal(recipe_epoch_steps(r), 3);
    assert_int_equal(recipe_steps(r, 3), 3 * 3 + 7);

    /* the text says the same */
    const char *text = text_of(t), *body = strchr(text, '{') + 1;
    Test *again = begin();
    apply(again, arena_strndup(&again->arena, body, strlen(body) - 2));
    assert_fine(again);
    assert_string_equal(text, text_of(again));
    end(again);
    end(t);
}

static void defaults_print_and_read_back(void **state)
{
    (void)state;
    Test *t = begin(), *again = begin();
    recipe_complete(&t->r);
    assert_fine(t);
    const char *text = text_of(t), *body = strchr(text, '{') + 1;
    apply(again, arena_strndup(&again->arena, body, strlen(body) - 2));
    assert_fine(again);
    assert_string_equal(text, text_of(again));
    end(again);
    end(t);
}

static void a_teacher_is_read(void **state)
{
    (void)state;
    Test *t = begin(), *again = begin();
    apply(t, "teacher = distill(\"runs/\\\"one\\\" \\{x\\}\", ratio: 0.5)");
    assert_string_equal(t->r.teacher, "runs/\"one\" {x}");
    assert_true(t->r.teacher_ratio == 0.5);
    assert_fine(t);
    const char *text = text_of(t), *body = strchr(text, '{') + 1;
    apply(again, arena_strndup(&again->arena, body, strlen(body) - 2));
    assert_string_equal(text, text_of(again));
    end(again);
    end(t);
}

static void a_stage_of_the_same_name_is_changed(void **state)
{
    (void)state;
    Test *t = begin();
    apply(t, "stage a(1 epoch) { lr = linear(from: 0, to: 1) }\nstage b(5 steps) { lr = 0.5 }");
    apply(t, "stage a(4 epochs) { }\nstage c(1 step) { }");
    assert_fine(t);
    assert_int_equal(t->r.n_stages, 3);
    assert_int_equal(t->r.stages[0].epochs, 4);
    assert_true(t->r.stages[0].schedule == RECIPE_LINEAR && t->r.stages[0].to == 1);
    assert_true(t->r.stages[1].from == 0.5 && t->r.stages[1].to == 0.5);
    end(t);
}

static void overrides_name_settings_arguments_and_stages(void **state)
{
    (void)state;
    Test *t = begin();
    apply(t, "stage train(1 epoch) { lr = cosine(from: 1, to: 0) }");
    set(t, "batch=6clips");
    set(t, "optimizer.eps=0.5");
    set(t, "data.clip.frames=5frames");
    set(t, "data.every=2frames");
    set(t, "mix=cutmix(chance: 0.1)");
    set(t, "precision=mixed(f16)");
    set(t, "stage.train=3steps");
    set(t, "stage.train.lr.to=0.25");
    set(t, "stage.train.keep=none");
    set(t, "stage.train.lr.each=epoch");
    assert_int_equal(t->r.stages[0].each, RECIPE_EACH_EPOCH);
    set(t, "checkpoints.every=9steps");
    assert_fine(t);
    assert_true(t->r.batch == 6 && t->r.adam_eps == 0.5 && t->r.clip_frames == 5);
    assert_true(t->r.clip_every == 2 && t->r.has_cutmix && t->r.cutmix_chance == 0.1);
    assert_true(t->r.precision == RECIPE_MIXED_F16 && t->r.stages[0].steps == 3);
    assert_true(!t->r.stages[0].epochs && t->r.stages[0].to == 0.25);
    assert_true(t->r.stages[0].keep == RECIPE_KEEP_NONE && t->r.checkpoint_steps == 9);
    set(t, "split=folds(3)");
    set(t, "split=tiers(train: released)");
    assert_true(!t->r.folds && t->r.train_tiers == RECIPE_TIERS_RELEASED);
    set(t, "split=none");
    assert_true(t->r.train_tiers == RECIPE_TIERS_TRAIN);
    set(t, "predict=whole");
    set(t, "data.inputs=published");
    assert_true(t->r.predict_frames == 0 && t->r.inputs == RECIPE_INPUTS_PUBLISHED);
    set(t, "loss=l1(\"core\", 2) |> l1(\"readout\", 3)"); /* a list: by names, .. */
    set(t, "loss=l1(\"core\", weight: 4)");
    set(t, "loss.l1.core.stem.weight=5");
    assert_true(t->r.n_penalties == 3 && t->r.penalties[0].weight == 4);
    assert_true(t->r.penalties[1].weight == 3 && t->r.penalties[2].weight == 5);
    assert_string_equal(t->r.penalties[2].which.of, "core.stem");
    set(t, "optimizer=group(\"core\", rate: 2) |> group(\"core.stem\", rate: 3)");
    set(t, "optimizer.group.core.weight_decay=0.5");
    assert_true(t->r.n_groups == 2 && t->r.groups[0].rate == 2);
    assert_true(t->r.groups[0].weight_decay == 0.5 && t->r.groups[1].weight_decay < 0);
    assert_ptr_equal(recipe_group(t->r.groups, 2, "core.stem.weight"), &t->r.groups[1]);
    assert_ptr_equal(recipe_group(t->r.groups, 2, "core.weight"), &t->r.groups[0]);
    assert_null(recipe_group(t->r.groups, 2, "readout.weight"));
    set(t, "optimizer=schedule_free(warmup: 7 steps) |> autoclip(10)");
    assert_true(t->r.schedule_free && t->r.warmup == 7 && t->r.clip_percentile == 10);
    assert_non_null(strstr(text_of(t), "schedule_free(weight_decay: "));
    set(t, "optimizer=adamw()");
    assert_false(t->r.schedule_free);
    set(t, "pick=uniform(trials)");
    set(t, "pick=rounds");
    assert_true(t->r.pick == RECIPE_PICK_ROUNDS && recipe_epoch_steps(&t->r) == 1);
    assert_non_null(strstr(text_of(t), "  pick = rounds\n"));
    set(t, "pick=turns");
    assert_true(t->r.pick == RECIPE_PICK_TURNS && recipe_epoch_steps(&t->r) == 1);
    assert_non_null(strstr(text_of(t), "  pick = turns\n"));
    set(t, "pick=uniform()");
    assert_true(t->r.pick == RECIPE_PICK_SESSIONS);
    set(t, "mix=none");
    set(t, "precision=f32");
    assert_true(!t->r.has_cutmix && t->r.precision == RECIPE_F32);
    end(t);
}

static void wrong_overrides_are_reported(void **state)
{
    (void)state;
    Test *t = begin();
    apply(t, "stage train(1 epoch) { }");
    set(t, "bach=6clips");
    assert_error(t, DIAG_E0301, "a recipe has no setting 'bach'");
    assert_string_equal(t->diags.messages.at[1].text, "did you mean 'batch'?");
    set(t, "optimizer.beta3=0.5");
    assert_error(t, DIAG_E0301, "'optimizer' has no 'beta3'");
    set(t, "stage.trian=3steps");
    assert_error(t, DIAG_E0301, "there is no stage 'trian'");
    set(t, "stage.train.lr.from=-1");
    assert_error(t, DIAG_E0302, "'from' is between 0 and 100");
    set(t, "stage.train=3clips");
    assert_error(t, DIAG_E0304, "'stage' is counted in epochs, not in clips");
    set(t, "predict.sliding.blend=rmap");
    assert_error(t, DIAG_E0302, "'blend' is one of: uniform, ramp");
    set(t, "loss.l1.weight=3");
    assert_error(t, DIAG_E0301, "'l1' has no 'weight'");
    set(t, "loss=l1(weight: 3)");
    assert_error(t, DIAG_E0302, "'l1' begins with names of parameters");
    for (int i = 0; i < RECIPE_MAX_PENALTIES; i++)
        set(t, arena_printf(&t->arena, "loss=l1(\"part%d\", 1)", i));
    assert_int_equal(t->r.n_penalties, RECIPE_MAX_PENALTIES);
    set(t, "loss=l1(\"more\", 1)");
    assert_error(t, DIAG_E0004, "'l1' stands at most 8 times in 'loss'");
    set(t, "seed=-1");
    assert_error(t, DIAG_E0302, "'seed' is not negative");
    set(t, "data.clip.every=0.01sec");
    assert_error(t, DIAG_E0302, "no whole number of frames");
    end(t);
}

static void names_select_parameters(void **state)
{
    (void)state;
    static const struct {
        const char *of, *name;
        bool selects;
    } cases[] = {
        {"core", "core", true},
        {"core", "core.stem.weight", true},
        {"core", "cores.weight", false},
        {"core.stem", "core", false},
        {"readout.*.features", "readout.A.features", true},
        {"readout.*.features", "readout.a.b.features.x", true},
        {"readout.*.features", "readout.A.features2", false},
        {"*", "anything.at.all", true},
        {"*.bias", "bias", false},
        {"*.bias", "core.bias", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (recipe_selects(cases[i].of, cases[i].name) != cases[i].selects)
            fail_msg("\"%s\" and \"%s\"", cases[i].of, cases[i].name);
}

static void a_recipe_is_checked_as_a_whole(void **state)
{
    (void)state;
    static const char *const wrong[][2] = {
        {"split = folds(3, validate: 3)", "'validate' of 'folds'"},
        {"batch = 8 clips\naccumulate = 3", "'accumulate' does not divide"},
        {"data = pad([h: 4])", "'pad' needs both"},
        {"loss = poisson(weight: 0) |> squares(0)", "no part of the loss"},
        {"optimizer = schedule_free()\naverage = ema(0.9)", "averages itself"},
        {"stage a(1 epoch) { lr = plateau(from: 1) }\nstage b(1 epoch) { }", "is the last one"},
        {"stage a(1 epoch) { lr = plateau(from: 1); keep = none }", "keep = best"},
        {"optimizer = clip(1) |> autoclip(10)", "there is one limit"},
        {"teacher = distill(\"a\")\npick = rounds", "needs pick = uniform"},
        {"teacher = distill(\"a\")\npick = turns", "needs pick = uniform"},
        {"teacher = distill(\"a\")\nloss = scale(trials)", "write scale(share)"},
        {"teacher = distill(\"a\")\nloss = correlation(1)", "no loss with 'correlation'"},
        {"epoch = 1000000000000 clips\nbatch = 1 clips\nstage a(1000000 epochs) { }", "too many"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        Test *t = begin();
        apply(t, wrong[i][0]);
        assert_int_equal(t->diags.n_errors, 0);
        assert_false(recipe_check(&t->diags, SPAN_NONE, &t->r));
        assert_error(t, DIAG_E0302, wrong[i][1]);
        end(t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_setting_is_read),
        cmocka_unit_test(defaults_print_and_read_back),
        cmocka_unit_test(a_stage_of_the_same_name_is_changed),
        cmocka_unit_test(overrides_name_settings_arguments_and_stages),
        cmocka_unit_test(wrong_overrides_are_reported),
        cmocka_unit_test(names_select_parameters),
        cmocka_unit_test(a_teacher_is_read),
        cmocka_unit_test(a_recipe_is_checked_as_a_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
