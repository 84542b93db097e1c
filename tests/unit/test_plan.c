/* passes/plan_buffers.c: order of launches, lifetimes, what happens in place, clears, prepared
 * values. Plans are checked by playing them through on a map of memory: every 64 bytes know which
 * buffer was written there last, and whoever reads a buffer must find it whole. */
#include "ir/base/file.h"
#include "passes/plan.h"
#include "tests/ops/ir_harness.h"
#include "tests/ops/random_graph.h"

enum { LINE = 64, LANES = 4, NOBODY = -1 };

/* ---- playing a plan ---- */

typedef struct Play {
    const Plan *plan;
    const char *what; /* for messages */
    int *owner;       /* per line of the arena */
    size_t n_lines;
} Play;

static const PlanBuffer *buffer_at(const Play *p, int b)
{
    return &p->plan->buffers.at[b];
}

static int owner_of(const Play *p, int b)
{
    const PlanBuffer *x = buffer_at(p, b);
    int owner = p->owner[x->offset / LINE];
    for (size_t i = 0; i < x->bytes / LINE; i++)
        if (p->owner[x->offset / LINE + i] != owner)
            return NOBODY;
    return owner;
}

static void own(Play *p, int who, size_t offset, size_t bytes)
{
    if (offset % LINE || offset + bytes > p->n_lines * LINE)
        fail_msg("%s: bytes %zu.. of %zu lie outside of the arena", p->what, offset, bytes);
    for (size_t i = 0; i < (bytes + LINE - 1) / LINE; i++)
        p->owner[offset / LINE + i] = who;
}

static bool overlap(const PlanBuffer *a, const PlanBuffer *b)
{
    return a->offset < b->offset + b->bytes && b->offset < a->offset + a->bytes;
}

/* What a launch writes may lie on what it reads only where that was planned, element by element. */
static void check_in_place(const Play *p, int launch, const TileTensor *in, const TileTensor *out)
{
    const PlanBuffer *a = buffer_at(p, in->buffer), *b = buffer_at(p, out->buffer);
    if (!overlap(a, b))
        return;
    if (b->same_as != in->buffer || p->plan->launches.at[launch].tile->anchor != TILE_MAP ||
        !tile_layout_equal(&in->layout, &out->layout))
        fail_msg("%s: launch %d writes b%d over b%d, which it reads", p->what, launch, out->buffer,
                 in->buffer);
}

static bool is_in_arena(const Play *p, const TileTensor *t)
{
    return buffer_at(p, t->buffer)->kind == BUFFER_ARENA;
}

static void check_reads(const Play *p, int launch)
{
    const TileProgram *t = p->plan->launches.at[launch].tile;
    for (uint32_t i = 0; i < t->tensors.len; i++) {
        const TileTensor *in = &t->tensors.at[i];
        if (in->is_output || !is_in_arena(p, in))
            continue;
        if (owner_of(p, in->buffer) != in->buffer)
            fail_msg("%s: launch %d reads b%d, where b%d lies", p->what, launch, in->buffer,
                     owner_of(p, in->buffer));
        for (uint32_t k = 0; k < t->tensors.len; k++)
            if (t->tensors.at[k].is_output && is_in_arena(p, &t->tensors.at[k]))
                check_in_place(p, launch, in, &t->tensors.at[k]);
    }
}

/* The workspace is in use while the launch reads and writes. */
static void check_workspace(const Play *p, int launch)
{
    const Launch *l = &p->plan->launches.at[launch];
    const PlanBuffer work = {.offset = l->workspace_offset, .bytes = l->workspace_bytes};
    for (uint32_t i = 0; work.bytes && i < l->tile->tensors.len; i++)
        if (is_in_arena(p, &l->tile->tensors.at[i]) &&
            overlap(&work, buffer_at(p, l->tile->tensors.at[i].buffer)))
            fail_msg("%s: launch %d works on its own tensors", p->what, launch);
}

static void play_launch(Play *p, int launch)
{
    const Launch *l = &p->plan->launches.at[launch];
    check_reads(p, launch);
    check_workspace(p, launch);
    for (uint32_t i = 0; i < l->clear.len; i++)
        own(p, l->clear.at[i], buffer_at(p, l->clear.at[i])->offset,
            buffer_at(p, l->clear.at[i])->bytes);
    own(p, NOBODY, l->workspace_offset, l->workspace_bytes);
    for (uint32_t i = 0; i < l->tile->tensors.len; i++) {
        const TileTensor *out = &l->tile->tensors.at[i];
        if (out->is_output && is_in_arena(p, out))
            own(p, out->buffer, buffer_at(p, out->buffer)->offset,
                buffer_at(p, out->buffer)->bytes);
    }
}

static int stored_at(const Plan *plan, Val v)
{
    while (plan->buffer_of[v.id] < 0 && op_lowering(func_node(plan->f, v)->op) == LOWER_VIEW)
        v = func_node(plan->f, v)->in[0];
    return plan->buffer_of[v.id];
}

static void check_memory(const Plan *plan, const char *what)
{
    Play p = {.plan = plan, .what = what, .n_lines = plan->arena_bytes / LINE};
    p.owner = malloc((p.n_lines + 1) * sizeof *p.owner);
    for (size_t i = 0; i < p.n_lines; i++)
        p.owner[i] = NOBODY;
    for (uint32_t i = 0; i < plan->launches.len; i++)
        play_launch(&p, (int)i);
    for (uint32_t i = 0; i < plan->f->results.len; i++) {
        int b = stored_at(plan, plan->f->results.at[i].val);
        if (b < 0 || (buffer_at(&p, b)->kind == BUFFER_ARENA && owner_of(&p, b) != b))
            fail_msg("%s: result '%s' is not there in the end", what, plan->f->results.at[i].name);
    }
    free(p.owner);
}

/* ---- other promises ---- */

static bool is_old_value(const Plan *plan, const PlanBuffer *b)
{
    Op op = func_node(plan->f, b->val)->op;
    return op == OP_PARAM || op == OP_STATE;
}

/* The old value of a parameter or state is read before the new one is written over it. */
static void check_updates(const Plan *plan, const char *what)
{
    for (uint32_t i = 0; i < plan->launches.len; i++) {
        const TileProgram *w = plan->launches.at[i].tile;
        for (uint32_t k = 0; k < w->tensors.len; k++) {
            const PlanBuffer *out = &plan->buffers.at[w->tensors.at[k].buffer];
            if (!w->tensors.at[k].is_output || out->kind != BUFFER_PERSISTENT)
                continue;
            for (uint32_t j = i + 1; j < plan->launches.len; j++) {
                const TileProgram *r = plan->launches.at[j].tile;
                for (uint32_t n = 0; n < r->tensors.len; n++) {
                    const PlanBuffer *in = &plan->buffers.at[r->tensors.at[n].buffer];
                    if (in->kind == BUFFER_PERSISTENT && is_old_value(plan, in) &&
                        !strcmp(in->name, out->name))
                        fail_msg("%s: launch %u overwrites '%s', which launch %u reads", what, i,
                                 in->name, j);
                }
            }
        }
    }
}

static bool is_cleared(const Plan *plan, int b)
{
    const Launch *first = &plan->launches.at[plan->buffers.at[b].first];
    for (uint32_t i = 0; i < first->clear.len; i++)
        if (first->clear.at[i] == b)
            return true;
    return false;
}

static int maker_of(const Plan *plan, int b)
{
    for (uint32_t i = 0; i < plan->launches.len; i++)
        for (uint32_t k = 0; k < plan->launches.at[i].tile->tensors.len; k++) {
            const TileTensor *t = &plan->launches.at[i].tile->tensors.at[k];
            if (t->is_output && t->buffer == b)
                return (int)i;
        }
    return -1;
}

/* What one recording writes and others read is cleared; nothing else is. Returns how many. */
static int check_clears(const Plan *plan, const char *what)
{
    int n = 0;
    for (uint32_t b = 0; b < plan->buffers.len; b++) {
        int maker = maker_of(plan, (int)b);
        if (plan->buffers.at[b].kind != BUFFER_ARENA || maker < 0)
            continue;
        int session = plan->launches.at[maker].session;
        bool wanted = false;
        for (uint32_t i = 0; session >= 0 && i < plan->launches.len; i++)
            for (uint32_t k = 0; k < plan->launches.at[i].tile->tensors.len; k++)
                wanted |= plan->launches.at[i].tile->tensors.at[k].buffer == (int)b &&
                          plan->launches.at[i].session != session;
        if (wanted != is_cleared(plan, (int)b))
            fail_msg("%s: b%u is %s", what, b, wanted ? "not cleared" : "cleared");
        n += wanted;
    }
    return n;
}

static void check_prepared(const Plan *plan, const char *what)
{
    for (uint32_t i = 0; i < plan->launches.len; i++) {
        const Launch *l = &plan->launches.at[i];
        if (l->is_prepare != ((int)i < plan->n_prepare))
            fail_msg("%s: prepare launches do not come first", what);
        for (uint32_t k = 0; l->is_prepare && k < l->tile->tensors.len; k++) {
            BufferKind kind = plan->buffers.at[l->tile->tensors.at[k].buffer].kind;
            if (kind == BUFFER_INPUT || kind == BUFFER_ARENA)
                fail_msg("%s: prepare launch %u needs a batch", what, i);
        }
    }
    size_t end = 0;
    for (uint32_t i = 0; i < plan->buffers.len; i++) { /* kept forever: one after the other */
        const PlanBuffer *b = &plan->buffers.at[i];
        if (b->kind != BUFFER_PREPARED)
            continue;
        assert_int_equal(b->offset, end);
        end += b->bytes;
    }
    assert_int_equal(end, plan->prepared_bytes);
}

static int check_plan(const Plan *plan, const char *what)
{
    check_memory(plan, what);
    check_updates(plan, what);
    check_prepared(plan, what);
    return check_clears(plan, what);
}

static KernelCost some_cost(void *context, const TileProgram *tile)
{
    (void)context;
    return (KernelCost){tile->reductions.len ? 100 + 64 * tile->insts.len : 0, 0, 0};
}

static Plan *build(Module *m, ProgramKind kind, FuseLevel level)
{
    PassOptions o = {.fuse = level,
                     .target = traits_cpu(LANES),
                     .optimizer = {.beta1 = 0.9,
                                   .beta2 = 0.999,
                                   .eps = 1e-8,
                                   .weight_decay = 0.05,
                                   .ema_decay = 0.999},
                     .gradient_factor = 1,
                     .recompute = RECOMPUTE_EXPAND,
                     .verify = true};
    Func *f = passes_run(m, kind, &o);
    assert_non_null(f);
    return plan_build(m->arena, f, kind, &o, some_cost, NULL);
}

static const ProgramKind kinds[] = {PROGRAM_EVAL, PROGRAM_GRAD, PROGRAM_STEP, PROGRAM_ACCUMULATE};

static void random_graphs_find_their_values(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        ProgramKind kind = kinds[seed % 4];
        TestFunc *t = test_func();
        Module *m = module_new(&t->arena, &t->names, &t->diags);
        random_graph(m, seed, NULL)->name = kind == PROGRAM_EVAL ? "eval" : "train";
        for (int level = FUSE_NONE; level <= FUSE_FULL; level++) {
            char what[64];
            snprintf(what, sizeof what, "seed %d, fuse %s", (int)seed,
                     fuse_level_text((FuseLevel)level));
            check_plan(build(m, kind, (FuseLevel)level), what);
        }
        test_done(t);
    }
}

static Module *parse(TestFunc *t, const char *text)
{
    Module *m = module_parse(&t->arena, &t->names, &t->diags, "text", text, strlen(text));
    if (!m)
        fail_msg("%s", test_log(t));
    return m;
}

static void a_model_of_two_recordings_finds_its_values(void **state)
{
    (void)state;
    int n_clears = 0;
    for (int k = 0; k < 4; k++)
        for (int level = FUSE_NONE; level <= FUSE_FULL; level++) {
            TestFunc *t = test_func();
            char *text;
            size_t n;
            Err err = {0};
            assert_int_equal(
                file_read(&t->arena, "tests/golden/tiny_model.ir", 1 << 20, &text, &n, &err),
                NPC_OK);
            n_clears += check_plan(build(parse(t, text), kinds[k], (FuseLevel)level), "tiny_model");
            test_done(t);
        }
    assert_true(n_clears > 0);
}

/* ---- rules, one by one ---- */

static const char TABLES[] = "module \"m\"\n"
                             "session \"a\" neurons 3\n"
                             "param \"w\" : f32[c=40, k=40] normal(0, 1)\n"
                             "param \"v\" : f32[c=40] normal(0, 1)\n"
                             "state \"s\" : f32[c=40] constant(0)\n";

#define X "  %1 = input {name=\"x\"} : f32[b=2, c=40]\n"
#define OUT " : f32[b=2, c=40]"

typedef struct Planned {
    TestFunc *t;
    Plan *plan;
} Planned;

static Planned plan_text(const char *body, ProgramKind kind)
{
    Planned z = {.t = test_func()};
    PassOptions o = {.fuse = FUSE_NONE, .target = traits_cpu(LANES)};
    Module *m = parse(z.t, arena_printf(&z.t->arena, "%sfunc eval() {\n%s}\n", TABLES, body));
    z.plan = plan_build(m->arena, m->funcs.at[0], kind, &o, some_cost, NULL);
    check_plan(z.plan, "text");
    return z;
}

static const PlanBuffer *stored(const Planned *z, uint32_t id)
{
    assert_true(z->plan->buffer_of[id] >= 0);
    return &z->plan->buffers.at[z->plan->buffer_of[id]];
}

static bool in_place(const Planned *z, uint32_t out, uint32_t in)
{
    return stored(z, out)->same_as == z->plan->buffer_of[in];
}

static void a_chain_is_computed_in_place(void **state)
{
    (void)state;
    Planned z = plan_text(X "  %2 = exp %1" OUT "\n"
                            "  %3 = neg %2" OUT "\n"
                            "  %4 = abs %3" OUT "\n"
                            "  return output \"y\" = %4\n",
                          PROGRAM_FORWARD);
    assert_int_equal(stored(&z, 2)->same_as, -1); /* not over the input */
    assert_true(in_place(&z, 3, 2) && in_place(&z, 4, 3));
    assert_int_equal(z.plan->arena_bytes, stored(&z, 2)->bytes);
    test_done(z.t);
}

static void what_is_read_later_is_not_overwritten(void **state)
{
    (void)state;
    Planned z = plan_text(X "  %2 = exp %1" OUT "\n"
                            "  %3 = neg %2" OUT "\n"
                            "  %4 = add %2 %3" OUT "\n"
                            "  return output \"y\" = %4\n"
                            "  return output \"z\" = %3\n",
                          PROGRAM_FORWARD);
    assert_int_equal(stored(&z, 3)->same_as, -1);
    assert_true(in_place(&z, 4, 2)); /* %2 ends here, %3 is a result */
    test_done(z.t);
}

static void what_moves_is_not_computed_in_place(void **state)
{
    (void)state;
    Planned z = plan_text("  %1 = input {name=\"x\"} : f32[b=2, c=4]\n"
                          "  %2 = exp %1 : f32[b=2, c=4]\n"
                          "  %3 = index %2 {axis=c, to=c, table=[3, 2, 1, 0]} : f32[b=2, c=4]\n"
                          "  return output \"y\" = %3\n",
                          PROGRAM_FORWARD);
    assert_int_equal(stored(&z, 3)->same_as, -1);
    test_done(z.t);
}

static void a_product_is_not_written_over_its_operand(void **state)
{
    (void)state;
    Planned z = plan_text(X "  %2 = exp %1" OUT "\n"
                            "  %3 = rename %2 {axis=c, to=k} : f32[b=2, k=40]\n"
                            "  %4 = param {name=\"w\"} : f32[c=40, k=40]\n"
                            "  %5 = contract %3 %4 {over=[k], out=[b, c]}" OUT "\n"
                            "  return output \"y\" = %5\n",
                          PROGRAM_FORWARD);
    assert_int_equal(stored(&z, 5)->same_as, -1);
    assert_false(overlap(stored(&z, 2), stored(&z, 5)));
    test_done(z.t);
}

static void memory_is_used_again(void **state)
{
    (void)state;
    Planned z = plan_text(X "  %2 = exp %1" OUT "\n"
                            "  %3 = sum %2 {over=[b, c], k=[1]} : f32[]\n"
                            "  %4 = mul %1 %3" OUT "\n"
                            "  return output \"y\" = %4\n",
                          PROGRAM_FORWARD);
    assert_int_equal(stored(&z, 2)->offset, stored(&z, 4)->offset);
    assert_int_equal(stored(&z, 4)->last, z.plan->launches.len); /* a result outlives the run */
    test_done(z.t);
}

static void an_update_waits_for_every_reader(void **state)
{
    (void)state;
    Planned z = plan_text(X "  %2 = state {name=\"s\"} : f32[c=40]\n"
                            "  %3 = sum %1 {over=[b], k=[1]} : f32[c=40]\n"
                            "  %4 = lerp %2 %3 {k=[0.9, 0.1]} : f32[c=40]\n"
                            "  %5 = mul %1 %2" OUT "\n"
                            "  %6 = exp %5" OUT "\n"
                            "  return output \"y\" = %6\n"
                            "  return state \"s\" = %4\n",
                          PROGRAM_FORWARD);
    const PlanBuffer *update = stored(&z, 4);
    assert_int_equal(update->kind, BUFFER_PERSISTENT);
    assert_string_equal(update->name, "s");
    assert_true(update->first > stored(&z, 5)->first);
    assert_true(update->first < stored(&z, 6)->first); /* moved up to right behind the reader */
    test_done(z.t);
}

static const char SCALED[] = X "  %2 = param {name=\"v\"} : f32[c=40]\n"
                               "  %3 = exp %2 : f32[c=40]\n"
                               "  %4 = scale %3 {k=[2]} : f32[c=40]\n"
                               "  %5 = mul %1 %4" OUT "\n"
                               "  return output \"y\" = %5\n";

static void predictions_prepare_what_depends_on_parameters_only(void **state)
{
    (void)state;
    Planned z = plan_text(SCALED, PROGRAM_EVAL);
    assert_int_equal(z.plan->n_prepare, 2);
    assert_int_equal(stored(&z, 3)->kind, BUFFER_PREPARED);
    assert_int_equal(stored(&z, 4)->kind, BUFFER_PREPARED);
    assert_int_equal(stored(&z, 5)->kind, BUFFER_ARENA);
    test_done(z.t);
}

static void other_programs_prepare_nothing(void **state)
{
    (void)state;
    Planned z = plan_text(SCALED, PROGRAM_FORWARD);
    assert_int_equal(z.plan->n_prepare, 0);
    assert_int_equal(z.plan->prepared_bytes, 0);
    assert_int_equal(stored(&z, 3)->kind, BUFFER_ARENA);
    test_done(z.t);
}

static void what_a_recording_leaves_for_all_is_cleared(void **state)
{
    (void)state;
    Planned z = plan_text(X "  %2 = exp %1" OUT " @session 0\n"
                            "  %3 = neg %2" OUT " @session 0\n"
                            "  %4 = add %1 %3" OUT "\n"
                            "  return output \"y\" = %4\n",
                          PROGRAM_FORWARD);
    assert_false(is_cleared(z.plan, z.plan->buffer_of[2])); /* read by the recording alone */
    assert_true(is_cleared(z.plan, z.plan->buffer_of[3]));
    test_done(z.t);
}

static void inputs_of_one_name_are_one_buffer(void **state)
{
    (void)state;
    Planned z = plan_text(X "  %2 = input {name=\"x\"}" OUT " @session 0\n"
                            "  %3 = mul %1 %1" OUT "\n"
                            "  %4 = mul %2 %2" OUT " @session 0\n"
                            "  return output \"y\" = %3\n"
                            "  return output \"z\" = %4\n",
                          PROGRAM_FORWARD);
    assert_int_equal(z.plan->buffer_of[1], z.plan->buffer_of[2]);
    test_done(z.t);
}

static void a_result_that_nothing_computes_has_a_buffer(void **state)
{
    (void)state;
    Planned z = plan_text(X "  %2 = param {name=\"v\"} : f32[c=40]\n"
                            "  %3 = rename %1 {axis=c, to=n} : f32[b=2, n=40]\n"
                            "  return output \"x\" = %3\n"
                            "  return output \"v\" = %2\n",
                          PROGRAM_EVAL);
    assert_int_equal(z.plan->launches.len, 0);
    assert_int_equal(stored(&z, 1)->kind, BUFFER_INPUT);
    assert_int_equal(stored(&z, 2)->kind, BUFFER_PERSISTENT);
    test_done(z.t);
}

/* Every row of scores reads them: merged axes would be looked up for every key of every query. */
static void labels_of_attention_are_stored_as_they_are_read(void **state)
{
    (void)state;
    Planned z = plan_text("  %1 = input {name=\"x\"} : f32[b=2, n=4, c=8]\n"
                          "  %2 = rename %1 {axis=n, to=m} : f32[b=2, m=4, c=8]\n"
                          "  %3 = rename %2 {axis=c, to=e} : f32[b=2, m=4, e=8]\n"
                          "  %4 = fill {k=[0]} : f32[n=4, m=4]\n"
                          "  %5 = iota : f32[n=4]\n"
                          "  %6 = split %5 {axis=n, outer=p, inner=q, size=2} : f32[p=2, q=2]\n"
                          "  %7 = merge %6 {to=n, outer=q, inner=p} : f32[n=4]\n"
                          "  %8 = rename %7 {axis=n, to=m} : f32[m=4]\n"
                          "  %9 = attend %1 %2 %3 %4 %7 %8 {axis=n, keys=m, over=[c], k=[1, 0]} : "
                          "f32[b=2, n=4, e=8]\n  return output \"y\" = %9\n",
                          PROGRAM_EVAL);
    assert_true(z.plan->buffer_of[7] >= 0);
    assert_true(z.plan->buffer_of[8] >= 0);
    test_done(z.t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_graphs_find_their_values),
        cmocka_unit_test(a_model_of_two_recordings_finds_its_values),
        cmocka_unit_test(a_chain_is_computed_in_place),
        cmocka_unit_test(what_is_read_later_is_not_overwritten),
        cmocka_unit_test(what_moves_is_not_computed_in_place),
        cmocka_unit_test(a_product_is_not_written_over_its_operand),
        cmocka_unit_test(memory_is_used_again),
        cmocka_unit_test(an_update_waits_for_every_reader),
        cmocka_unit_test(predictions_prepare_what_depends_on_parameters_only),
        cmocka_unit_test(other_programs_prepare_nothing),
        cmocka_unit_test(what_a_recording_leaves_for_all_is_cleared),
        cmocka_unit_test(inputs_of_one_name_are_one_buffer),
        cmocka_unit_test(labels_of_attention_are_stored_as_they_are_read),
        cmocka_unit_test(a_result_that_nothing_computes_has_a_buffer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
