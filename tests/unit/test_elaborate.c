/* From .nm text to modules: parameters, names, variants, overrides, the resolved text. */
#include "tests/models/golden_model.h"

#include "ir/base/file.h"
#include "tests/unit/scratch.h"

#include <stdlib.h>

typedef struct Build {
    Arena arena;
    Names names;
    Diags diags;
    Module *module;
    Elaborated info;
    SetOption sets[16];
    ElaborateOptions options;
} Build;

static Build *begin(const char *const *sets)
{
    Build *b = calloc(1, sizeof *b);
    assert_non_null(b);
    b->names.arena = &b->arena;
    diags_init(&b->diags, &b->arena);
    for (int i = 0; sets && sets[i]; i++)
        assert_true(parse_set(&b->arena, &b->names, &b->diags, sets[i], &b->sets[i]) &&
                    ++b->options.n_sets);
    b->options.sets = b->sets;
    return b;
}
#define SETS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void end(Build *b)
{
    arena_free(&b->arena);
    free(b);
}

static void build(Build *b, const char *path)
{
    b->module = elaborate(&b->arena, &b->names, &b->diags, path, &b->options, &b->info);
    if (!b->module) {
        diags_print(&b->diags, stderr);
        fail_msg("%s cannot be built", path);
    }
    const char *wrong = module_verify(b->module, &b->arena);
    if (wrong)
        fail_msg("%s: %s", path, wrong);
}

static const char *module_text(Build *b)
{
    Text t = {.arena = &b->arena};
    module_print(&t, b->module);
    return text_str(&t);
}

static const Param *param(const Build *b, const char *name)
{
    const Param *p = module_param(b->module, name);
    if (!p)
        fail_msg("there is no parameter %s", name);
    return p;
}

static int count(const Func *f, Op op)
{
    int n = 0;
    for (uint32_t i = 1; i < f->nodes.len; i++)
        n += f->nodes.at[i].op == op;
    return n;
}

/* ---- the published model ---- */

static void the_published_model_has_its_parameters(void **state)
{
    (void)state;
    Build *b = begin(NULL);
    int64_t learned = 0;
    int n_learned = 0, n_states = 0;
    b->options.model = "dwiseneuro";
    build(b, "models/dwiseneuro.nm");
    for (uint32_t i = 0; i < b->module->params.len; i++) {
        const Param *p = &b->module->params.at[i];
        n_states += p->is_state;
        n_learned += !p->is_state;
        learned += p->is_state ? 0 : shape_elems(&p->shape);
    }
    assert_int_equal(learned, 170656070);
    assert_int_equal(n_learned, 200);
    assert_int_equal(n_states, 9 + 104);
    assert_int_equal(b->module->sessions.len, 10);
    assert_int_equal(b->info.recipe.batch, 32);
    end(b);
}

static void the_second_stage_is_a_variant(void **state)
{
    (void)state;
    Build *b = begin(NULL);
    int64_t learned = 0;
    build(b, "models/dwiseneuro_distilled.nm");
    for (uint32_t i = 0; i < b->module->params.len; i++)
        if (!b->module->params.at[i].is_state)
            learned += shape_elems(&b->module->params.at[i].shape);
    assert_int_equal(learned, 170058402);
    assert_string_equal(b->module->model, "dwiseneuro_distilled");
    assert_string_equal(b->info.recipe.name, "distillation");
    assert_string_equal(b->info.recipe.teacher, "runs/competition");
    assert_int_equal(b->info.recipe.n_stages, 2);
    end(b);
}

static void assert_deviation(const Build *b, const char *name, double variance)
{
    const Init *init = &param(b, name)->init;
    assert_int_equal(init->kind, INIT_NORMAL);
    assert_true(fabs(init->b * init->b - variance) < 1e-12);
}

static void initial_values_follow_the_fan_out(void **state)
{
    (void)state;
    Build *b = begin(NULL);
    b->options.model = "dwiseneuro";
    b->options.sessions = &(Session){.name = "m", .neurons = 7863};
    b->options.n_sessions = 1;
    build(b, "models/dwiseneuro.nm");
    assert_deviation(b, "core.stem.weight", 2.0 / 64);
    assert_deviation(b, "core.block4.squeeze.weight", 2.0 / 28);
    assert_deviation(b, "core.block0.spatial.weight", 2.0 / 9);
    assert_deviation(b, "core.block0.temporal.weight", 2.0 / 5);
    assert_deviation(b, "cortex.layer1.mix.weight", 4.0 / 2048);
    assert_deviation(b, "readout.m.weight", 4.0 / 7864);
    assert_int_equal(param(b, "readout.m.bias")->init.kind, INIT_CONSTANT);
    assert_true(param(b, "core.stem.norm.scale")->init.a == 1);
    assert_true(param(b, "core.stem.norm.mean")->is_state);
    const Param *f = param(b, "core.block0.frequencies");
    assert_true(f->is_state && f->init.kind == INIT_DATA);
    assert_int_equal(shape_elems(&f->shape), 11);
    assert_true(f->init.data[0] == 1);
    assert_true(fabs(f->init.data[10] - pow(10000, -20.0 / 22)) < 1e-9);
    end(b);
}

static const NameMap *assert_published_names(Build *b, const char *model)
{
    build(b, model);
    const NameMap *map = names_find(&b->info, "published");
    assert_non_null(map);
    for (uint32_t i = 0; i < b->module->params.len; i++) {
        const char *ours = b->module->params.at[i].name;
        const char *theirs = names_unmap(&b->arena, b->module, map, ours);
        if (!theirs)
            fail_msg("%s has no published name", ours);
        assert_string_equal(names_map(&b->arena, b->module, map, theirs), ours);
    }
    return map;
}

static void every_parameter_has_a_published_name(void **state)
{
    (void)state;
    Build *b = begin(NULL);
    const NameMap *map = assert_published_names(b, "models/dwiseneuro.nm");
    const char *name = "core.blocks.17.temp_covn_dw.1.bn.running_var";
    assert_string_equal(names_map(&b->arena, b->module, map, name),
                        "core.block8.temporal.norm.var");
    assert_null(names_map(&b->arena, b->module, map, "core.blocks.16.temp_covn_dw.0.weight"));
    assert_null(names_map(&b->arena, b->module, map, "readouts.10.layer.1.weight"));
    assert_null(names_find(&b->info, "absent"));
    end(b);
}

static void a_name_map_leaves_out_what_the_model_does_without(void **state)
{
    (void)state;
    Build *b = begin(NULL);
    const NameMap *map = assert_published_names(b, "models/factorised.nm");
    const char *shape = names_map(&b->arena, b->module, map, "shifter.m.mlp.4.bias");
    assert_string_equal(shape, "readout.m.shifter.4.bias");
    const char *count = "core.features.layer2.norm.num_batches_tracked";
    assert_string_equal(names_map(&b->arena, b->module, map, count), "");
    assert_null(names_map(&b->arena, b->module, map, "core.features.layer2.norm.eps"));
    end(b);

    b = begin(NULL);
    map = assert_published_names(b, "models/gru.nm");
    const char *table = "core.features.layer1.hermite_conv.rotate_hermite.Rs.7";
    assert_string_equal(names_map(&b->arena, b->module, map, table), "");
    const char *gate = "gru_module.gru.out_gate_hidden.weight";
    assert_string_equal(names_map(&b->arena, b->module, map, gate),
                        "recurrence.out_gate_hidden.weight");
    end(b);
}

/* ---- golden cases ---- */

static void golden_parameters_have_our_names_and_shapes(void **state)
{
    static const char *const cases[] = {"tiny", "odd_sizes", "distilled", "frames64"};
    (void)state;
    for (size_t c = 0; c < 4; c++) {
        GoldenModel g;
        char path[96];
        snprintf(path, sizeof path, "tests/goldens/dwiseneuro/%s.safetensors", cases[c]);
        golden_open(&g, path, true);
        assert_int_equal(g.params.n, g.module->params.len);
        for (uint32_t i = 0; i < g.module->params.len; i++) {
            const Param *p = &g.module->params.at[i];
            const SafetensorsEntry *e = map_get(&g.params, p->name);
            if (!e)
                fail_msg("%s: nothing is called %s", path, p->name);
            assert_int_equal(e->rank, p->shape.rank);
            for (uint32_t k = 0; k < e->rank; k++)
                assert_int_equal(e->shape[k], p->shape.size[k]);
        }
        golden_close(&g);
    }
}

/* ---- forms ---- */

static void the_tiny_model_becomes_this_text(void **state)
{
    (void)state;
    static const char path[] = "tests/golden/tiny_model.ir";
    char *want;
    size_t n;
    Err err = {0};
    Build *b = begin(NULL);
    build(b, "tests/golden/tiny_model.nm");
    const char *got = module_text(b);
    if (getenv("NPC_UPDATE_GOLDEN"))
        assert_int_equal(file_write(path, got, strlen(got), &err), NPC_OK);
    if (file_read(&b->arena, path, 1 << 20, &want, &n, &err) != NPC_OK)
        fail_msg("%s", err.text);
    assert_string_equal(got, want);
    Module *again = module_parse(&b->arena, &b->names, &b->diags, path, got, strlen(got));
    assert_non_null(again);
    end(b);
}

static void masks_exist_in_training_only(void **state)
{
    (void)state;
    Build *b = begin(NULL);
    build(b, "tests/golden/tiny_model.nm");
    const Func *eval = module_func(b->module, "eval"), *train = module_func(b->module, "train");
    assert_int_equal(count(eval, OP_RANDOM), 0);
    assert_int_equal(count(train, OP_RANDOM), 3); /* layer1 and two readouts; layer0 has rate 0 */
    assert_null(func_find_result(eval, RESULT_LOSS, "loss"));
    assert_non_null(func_find_result(train, RESULT_LOSS, "loss"));
    assert_non_null(func_find_result(train, RESULT_STATE, "core.layer1.norm.var"));
    assert_non_null(func_find_result(train, RESULT_OUTPUT, "loss/b"));
    assert_null(func_find_result(train, RESULT_OUTPUT, "b"));
    assert_non_null(func_find_result(eval, RESULT_OUTPUT, "b"));
    end(b);

    b = begin(NULL);
    b->options.no_dropping = true;
    build(b, "tests/golden/tiny_model.nm");
    assert_int_equal(count(module_func(b->module, "train"), OP_RANDOM), 0);
    end(b);
}

static void attentions_drop_weights_in_training_only(void **state)
{
    (void)state;
    Build *b = begin(NULL);
    build(b, "tests/models/dropped.nm");
    const Func *eval = module_func(b->module, "eval"), *train = module_func(b->module, "train");
    const char *const stream[] = {"core.attention", "core.second"};
    const double rate[] = {0.4, 0.25};
    int found = 0;
    assert_int_equal(count(eval, OP_BYTES), 0);
    assert_int_equal(count(train, OP_BYTES), 2);
    for (uint32_t i = 1; i < train->nodes.len; i++) {
        const Node *n = &train->nodes.at[i];
        if (n->op != OP_ATTEND)
            continue;
        assert_string_equal(func_node(train, n->in[n->n_in - 1])->attrs.name, stream[found]);
        assert_true(n->attrs.k[2] == rate[found++]);
    }
    assert_int_equal(found, 2);
    end(b);

    b = begin(NULL);
    b->options.no_dropping = true;
    build(b, "tests/models/dropped.nm");
    assert_int_equal(count(module_func(b->module, "train"), OP_BYTES), 0);
    end(b);
}

static void nodes_of_a_readout_know_their_session(void **state)
{
    (void)state;
    Build *b = begin(NULL);
    build(b, "tests/golden/tiny_model.nm");
    const Func *f = module_func(b->module, "eval");
    for (int s = 0; s < 2; s++) {
        const char *name = b->module->sessions.at[s].name;
        Val v = func_find_result(f, RESULT_OUTPUT, name)->val;
        assert_int_equal(func_node(f, v)->session, s);
        assert_int_equal(param(b, arena_printf(&b->arena, "readout.%s.weight", name))->session, s);
    }
    assert_int_equal(f->nodes.at[1].session, -1);
    assert_int_equal(param(b, "core.spatial.weight")->session, -1);
    end(b);
}

static void every_model_file_can_be_built(void **state)
{
    (void)state;
    const char **name;
    size_t n;
    Err err = {0};
    Arena arena = {0};
    assert_int_equal(file_list(&arena, "models", &name, &n, &err), NPC_OK);
    assert_true(n >= 3);
    for (size_t i = 0; i < n; i++) {
        if (!strstr(name[i], ".nm") || !strcmp(name[i], "readouts.nm")) /* blocks, no model */
            continue;
        Build *b = begin(NULL);
        build(b, arena_printf(&arena, "models/%s", name[i]));
        end(b);
    }
    arena_free(&arena);
}

static void a_variant_replaces_parts_and_blocks(void **state)
{
    (void)state;
    Build *b = begin(NULL);
    build(b, "models/dwiseneuro_wide_cortex.nm");
    const Func *f = module_func(b->module, "eval");
    assert_int_equal(count(f, OP_SILU), 0);
    assert_int_equal(count(f, OP_ELU), 9 * 4 + 2);
    assert_null(module_param(b->module, "cortex.layer2.mix.weight"));
    assert_int_equal(param(b, "cortex.layer0.mix.weight")->shape.size[1], 192);
    assert_int_equal(b->info.recipe.batch, 16);
    assert_int_equal(b->info.recipe.n_stages, 2);
    assert_int_equal(b->info.recipe.stages[1].epochs, 12);
    end(b);
}

/* ---- overrides and the resolved text ---- */

static void check_resolved(const char *path, const char *const *sets, const char *model)
{
    Build *b = begin(sets), *again = begin(NULL);
    b->options.model = model;
    build(b, path);
    const char *text = b->info.resolved;
    again->module = elaborate_text(&again->arena, &again->names, &again->diags, "resolved.nm", text,
                                   strlen(text), &again->options, &again->info);
    if (!again->module) {
        diags_print(&again->diags, stderr);
        fail_msg("%s: the resolved text cannot be built", path);
    }
    assert_string_equal(module_text(b), module_text(again));
    assert_string_equal(text, again->info.resolved);
    assert_int_equal(b->info.maps.len, again->info.maps.len);
    end(again);
    end(b);
}

static void the_resolved_text_is_the_same_program(void **state)
{
    (void)state;
    check_resolved("models/dwiseneuro.nm", NULL, "dwiseneuro");
    check_resolved("models/dwiseneuro.nm",
                   SETS("expansion=3", "se_ratio=4", "widths=[8, 8, 12]", "strides=[2, 1, 3]",
                        "batch=3clips", "groups=3", "cortex_widths=[12, 6]", "path_drop=1/3", "t=8",
                        "h=15", "recipe.seed=7", "stage.train=2epochs"),
                   "dwiseneuro");
    check_resolved("models/dwiseneuro_wide_cortex.nm", SETS("beta=0.1", "precision=f32"), NULL);
    check_resolved("models/demo.nm", SETS("teacher=distill(\"a b\")", "mix=none"), NULL);
    check_resolved("tests/golden/tiny_model.nm", NULL, NULL);
}

static void overrides_reach_model_axes_and_recipe(void **state)
{
    (void)state;
    Build *b = begin(SETS("widths=[4, 8]", "model.t=5", "batch=3clips", "stage.train.lr.from=0.5",
                          "recipe.optimizer.beta1=0.5", "data.every=3frames"));
    build(b, "tests/golden/tiny_model.nm");
    const Func *f = module_func(b->module, "eval");
    const Shape *clip = &f->nodes.at[1].shape;
    assert_int_equal(clip->size[shape_axis(clip, "t")], 5);
    assert_int_equal(clip->size[shape_axis(clip, "b")], 3);
    assert_int_equal(param(b, "core.layer1.mix.weight")->shape.size[0], 8);
    assert_true(b->info.recipe.stages[0].from == 0.5 && b->info.recipe.beta1 == 0.5);
    assert_int_equal(b->info.recipe.clip_every, 3);
    end(b);
}

/* ---- files ---- */

static void put(const char *name, const char *text)
{
    scratch_write(name, text, strlen(text));
}

static void assert_message(const Build *b, DiagCode code, const char *text)
{
    for (uint32_t i = 0; i < b->diags.messages.len; i++)
        if (b->diags.messages.at[i].code == code && strstr(b->diags.messages.at[i].text, text))
            return;
    diags_print(&b->diags, stderr);
    fail_msg("no message %s: %s", diag_code_text(code), text);
}

static void imports_are_checked(void **state)
{
    (void)state;
    put("a.nm", "nm 1\nuse \"b.nm\" (x)\n");
    put("b.nm", "nm 1\nuse \"./c.nm\" (x)\n");
    put("c.nm", "nm 1\nuse \"a.nm\" (x)\n");
    put("d.nm", "nm 1\nuse \"e.nm\" (lyaer)\nuse \"f.nm\" (y)\nuse std (z)\n");
    put("e.nm", "nm 1\nblock layer(x: tensor) { return x }\n");

    Build *b = begin(NULL);
    assert_null(
        elaborate(&b->arena, &b->names, &b->diags, scratch_path("a.nm"), &b->options, &b->info));
    assert_message(b, DIAG_E0106, "imports form a cycle");
    bool has_chain = false;
    for (uint32_t i = 0; i < b->diags.messages.len; i++) {
        const char *text = b->diags.messages.at[i].text, *at = strstr(text, "a.nm uses ");
        has_chain |= at && (at = strstr(at, "b.nm uses ")) && (at = strstr(at, "c.nm uses ")) &&
                     strstr(at, "a.nm");
    }
    assert_true(has_chain);
    end(b);

    b = begin(NULL);
    assert_null(
        elaborate(&b->arena, &b->names, &b->diags, scratch_path("d.nm"), &b->options, &b->info));
    assert_message(b, DIAG_E0102, "defines no 'lyaer'");
    assert_message(b, DIAG_E0105, "f.nm");
    assert_message(b, DIAG_E0105, "there is no library named 'std'");
    end(b);
}

/* ---- the reference page ---- */

static void assert_page_holds(const char *page, const char *table)
{
    if (!strstr(page, table))
        fail_msg("docs/language.md does not hold this table:\n%s", table);
}

static void the_reference_page_holds_the_tables(void **state)
{
    (void)state;
    Arena arena = {0};
    Text ops = {.arena = &arena}, settings = {.arena = &arena};
    char *page;
    size_t n;
    Err err = {0};
    if (file_read(&arena, "docs/language.md", 1 << 20, &page, &n, &err) != NPC_OK)
        fail_msg("%s", err.text);
    elaborate_print_ops(&ops);
    recipe_print_settings(&settings);
    assert_page_holds(page, text_str(&ops));
    assert_page_holds(page, text_str(&settings));
    arena_free(&arena);
}

/* The first program of the page, without its fence, can be built. */
static void the_first_model_of_the_page_can_be_built(void **state)
{
    (void)state;
    char *page;
    size_t n;
    Err err = {0};
    Build *b = begin(NULL);
    assert_int_equal(file_read(&b->arena, "docs/language.md", 1 << 20, &page, &n, &err), NPC_OK);
    const char *at = strstr(page, "```nm\n") + 6, *stop = strstr(at, "```");
    b->module = elaborate_text(&b->arena, &b->names, &b->diags, "language.md", at,
                               (size_t)(stop - at), &b->options, &b->info);
    diags_print(&b->diags, stderr);
    assert_non_null(b->module);
    assert_int_equal(b->info.recipe.n_stages, 1);
    end(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_published_model_has_its_parameters),
        cmocka_unit_test(the_second_stage_is_a_variant),
        cmocka_unit_test(initial_values_follow_the_fan_out),
        cmocka_unit_test(every_parameter_has_a_published_name),
        cmocka_unit_test(a_name_map_leaves_out_what_the_model_does_without),
        cmocka_unit_test(golden_parameters_have_our_names_and_shapes),
        cmocka_unit_test(the_tiny_model_becomes_this_text),
        cmocka_unit_test(masks_exist_in_training_only),
        cmocka_unit_test(attentions_drop_weights_in_training_only),
        cmocka_unit_test(nodes_of_a_readout_know_their_session),
        cmocka_unit_test(every_model_file_can_be_built),
        cmocka_unit_test(a_variant_replaces_parts_and_blocks),
        cmocka_unit_test(the_resolved_text_is_the_same_program),
        cmocka_unit_test(overrides_reach_model_axes_and_recipe),
        cmocka_unit_test(imports_are_checked),
        cmocka_unit_test(the_reference_page_holds_the_tables),
        cmocka_unit_test(the_first_model_of_the_page_can_be_built),
    };
    return cmocka_run_group_tests(tests, scratch_make, scratch_remove);
}
