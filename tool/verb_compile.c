/* npc compile: checks a model, says what it costs, shows any stage on the way to code, writes a
 * package. Nothing of the model runs. */
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "codegen/kernel.h"
#include "frontend/parse.h"
#include "runtime/compile_cuda.h"
#include "runtime/compile_report.h"
#include "tool/model_flags.h"
#include "tool/npc.h"
#include "runtime/package.h"
#include "tool/verb.h"

typedef struct Compile {
    ModelFlags flags;
    const char *path, *emit, *program, *output;
    bool json, time;
    OptionList targets; /* cuda:sm_90, ..; none: the CPU */
    ProgramKind kind;   /* of --program */
    Arena arena;        /* texts */
    Model *model;
    CompileReport report;
} Compile;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void note_time(Compile *c, const char *stage, double since)
{
    if (c->time && c->report.n_times < COMPILE_MAX_TIMES)
        c->report.time[c->report.n_times++] = (CompileTime){stage, now() - since};
}

/* ---- programs ---- */

static Status find_program(const char *text, ProgramKind *out, Err *err)
{
    for (int bit = 1; bit <= PROGRAM_LAST; bit <<= 1)
        if (!strcmp(program_kind_text((ProgramKind)bit), text)) {
            *out = (ProgramKind)bit;
            return NPC_OK;
        }
    return err_set(err, NPC_ERR_USAGE, "--program: there is no program '%s'", text);
}

static Status add_program(Compile *c, ProgramKind kind, Err *err)
{
    double start = now();
    int program;
    NPC_TRY(model_add(c->model, kind, &program, err));
    c->report.plan[c->report.n_plans++] = engine_plan(c->model->engine, program);
    note_time(c, arena_printf(&c->arena, "passes and plan, %s", program_kind_text(kind)), start);
    return NPC_OK;
}

static int n_threads(const Compile *c)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    return c->flags.threads ? (int)c->flags.threads : cores > 0 ? (int)cores : 1;
}

static Status generate(Compile *c, const char *cache, Text *llvm, Text *assembly, Err *err)
{
    VEC(const TileProgram *) all = {0};
    for (int i = 0; i < c->report.n_plans; i++)
        for (uint32_t k = 0; k < c->report.plan[i]->launches.len; k++)
            vec_push(&c->arena, &all, c->report.plan[i]->launches.at[k].tile);
    KernelSetOptions o = {.target = &c->model->machine.target,
                          .cache_folder = cache,
                          .n_threads = n_threads(c),
                          .emit_llvm = llvm,
                          .emit_asm = assembly};
    double start = now();
    KernelSet *set = NULL;
    NPC_TRY(kernel_set_compile(&set, all.at, (int)all.len, &o, err));
    kernel_set_free(set);
    note_time(c, "code generation", start);
    return NPC_OK;
}

static Status generate_cuda(Compile *c, const char *target, const char *cache, Err *err)
{
    double start = now();
    NPC_TRY(compile_cuda_code(target, c->report.plan, c->report.n_plans, n_threads(c), cache, err));
    note_time(c, arena_printf(&c->arena, "code generation, %s", target), start);
    return NPC_OK;
}

/* Without a package only --time asks for code. */
static Status time_generation(Compile *c, Err *err)
{
    if (!c->targets.n && kernel_have_llvm() && !c->flags.interpret)
        return generate(c, NULL, NULL, NULL, err);
    for (int i = 0; i < c->targets.n; i++)
        NPC_TRY(generate_cuda(c, c->targets.at[i], NULL, err));
    return NPC_OK;
}

/* ---- texts ---- */

static Status write_text(const Compile *c, const char *text, size_t len, Err *err)
{
    if (c->output)
        return file_write(c->output, text, len, err);
    fwrite(text, 1, len, stdout);
    return NPC_OK;
}

static Status emit_ast(Compile *c, Err *err)
{
    char *text;
    size_t len;
    NPC_TRY(file_read(&c->arena, c->path, PARSE_FILE_LIMIT, &text, &len, err));
    Names names = {.arena = &c->arena};
    Diags diags;
    Text out = {.arena = &c->arena};
    diags_init(&diags, &c->arena);
    AstFile *file = parse_file(&c->arena, &names, &diags, c->path, text, len);
    if (diags.n_errors) {
        diags_print(&diags, stderr);
        return err_set(err, NPC_ERR_INPUT, "%s: %u error%s", c->path, diags.n_errors,
                       diags.n_errors == 1 ? "" : "s");
    }
    ast_print(&out, file);
    return write_text(c, text_str(&out), out.len, err);
}

static const char *const EMIT[] = {"ast", "source", "ir", "plan", "tiles", "llvm", "asm"};

static Status check_target(const Compile *c, Err *err)
{
    const CudaArch *arch;
    bool is_cuda = c->emit && compile_cuda_emits(c->emit);
    bool is_cpu = c->emit && (!strcmp(c->emit, "llvm") || !strcmp(c->emit, "asm"));
    for (int i = 0; i < c->targets.n; i++)
        NPC_TRY(cuda_arch_find(c->targets.at[i], &arch, err));
    if (is_cuda && !c->targets.n)
        return err_set(err, NPC_ERR_USAGE, "--emit %s needs a target, as in --target cuda:sm_90",
                       c->emit);
    if (is_cpu && c->targets.n)
        return err_set(err, NPC_ERR_USAGE, "--emit %s is the CPU's: leave out --target", c->emit);
    return NPC_OK;
}

static Status check_emit(const char *emit, Err *err)
{
    if (compile_cuda_emits(emit))
        return NPC_OK;
    for (size_t i = 0; i < sizeof EMIT / sizeof *EMIT; i++)
        if (!strcmp(emit, EMIT[i]))
            return NPC_OK;
    const char *pass = emit + strlen("after:");
    bool is_after = !strncmp(emit, "after:", strlen("after:"));
    if (is_after && (!strcmp(pass, "all") || !strcmp(pass, "elaborate") || pass_find(pass) >= 0))
        return NPC_OK;
    if (!is_after)
        return err_set(err, NPC_ERR_USAGE,
                       "--emit: expected ast, source, ir, after:PASS, after:all, plan, tiles, "
                       "llvm, asm, cuda, ptx, sass or resources, found '%s'",
                       emit);
    char known[512] = "elaborate";
    for (int i = 0; i < pass_count(); i++) {
        size_t at = strlen(known);
        snprintf(known + at, sizeof known - at, ", %s", PASSES[i].name);
    }
    return err_set(err, NPC_ERR_USAGE, "--emit: there is no pass '%s'; the passes are %s", pass,
                   known);
}

/* What --emit asks for, of the one program that was planned. */
static Status emit_stage(Compile *c, Text *passes, Err *err)
{
    Text out = {.arena = &c->arena};
    const Plan *plan = c->report.plan[0];
    const char *what = c->emit;
    if (!strncmp(what, "after:", strlen("after:")))
        out = *passes;
    else if (!strcmp(what, "source"))
        text_add(&out, c->model->info.resolved);
    else if (!strcmp(what, "ir"))
        module_print(&out, c->model->module);
    else if (!strcmp(what, "plan"))
        plan_print(&out, plan);
    else if (!strcmp(what, "tiles"))
        plan_print_tiles(&out, plan);
    else if (compile_cuda_emits(what))
        NPC_TRY(compile_cuda_emit(what, c->targets.at[0], c->report.plan, c->report.n_plans,
                                  n_threads(c), &out, err));
    else if (!kernel_have_llvm())
        return err_set(err, NPC_ERR_DEVICE,
                       "--emit %s: this build has no code generator (LLVM); plan and tiles can be "
                       "shown",
                       what);
    else
        NPC_TRY(generate(c, NULL, !strcmp(what, "llvm") ? &out : NULL,
                         !strcmp(what, "asm") ? &out : NULL, err));
    return write_text(c, text_str(&out), out.len, err);
}

/* ---- package ---- */

typedef struct PackageParts {
    VEC(PackageEntry) entries;
    VEC(SafetensorsMeta) meta;
} PackageParts;

static void add_text(Compile *c, PackageParts *p, const char *name, const char *text)
{
    if (*text)
        vec_push(&c->arena, &p->entries, (PackageEntry){name, text, strlen(text)});
}

static void add_texts(Compile *c, PackageParts *p)
{
    Text ir = {.arena = &c->arena};
    module_print(&ir, c->model->module);
    add_text(c, p, "source", c->model->info.resolved);
    add_text(c, p, "ir", text_str(&ir));
    for (int i = 0; i < c->report.n_plans; i++) {
        const char *kind = program_kind_text(c->report.plan[i]->kind);
        Text plan = {.arena = &c->arena}, tiles = {.arena = &c->arena};
        plan_print(&plan, c->report.plan[i]);
        plan_print_tiles(&tiles, c->report.plan[i]);
        add_text(c, p, arena_printf(&c->arena, "plan/%s", kind), text_str(&plan));
        add_text(c, p, arena_printf(&c->arena, "tiles/%s", kind), text_str(&tiles));
    }
}

/* Compiles into an empty cache folder; the one file in it goes into the package. `target` NULL: for
 * the CPU. */
static Status add_code(Compile *c, PackageParts *p, const char *target, const char *folder,
                       Err *err)
{
    const char **names;
    size_t n, bytes;
    char *code;
    const char *entry = target ? arena_printf(&c->arena, "code/%s", target) : "code";
    if (target)
        NPC_TRY(generate_cuda(c, target, folder, err));
    else
        NPC_TRY(generate(c, folder, NULL, NULL, err));
    NPC_TRY(file_list(&c->arena, folder, &names, &n, err));
    if (n != 1)
        return err_set(err, NPC_ERR_IO, "%s: the generated code could not be kept", folder);
    const char *path = arena_printf(&c->arena, "%s/%s", folder, names[0]);
    Status s = file_read(&c->arena, path, (size_t)1 << 31, &code, &bytes, err);
    unlink(path);
    NPC_TRY(s);
    vec_push(&c->arena, &p->entries, (PackageEntry){entry, code, bytes});
    vec_push(&c->arena, &p->meta, (SafetensorsMeta){entry, names[0]});
    return NPC_OK;
}

static Status add_generated(Compile *c, PackageParts *p, const char *target, Err *err)
{
    const char *temporary = getenv("TMPDIR");
    char *folder =
        arena_printf(&c->arena, "%s/npc-XXXXXX", temporary && *temporary ? temporary : "/tmp");
    if (!mkdtemp(folder))
        return err_set(err, NPC_ERR_IO, "%s: cannot make a temporary folder", folder);
    Status s = add_code(c, p, target, folder, err);
    rmdir(folder);
    return s;
}

static Status write_package(Compile *c, Err *err)
{
    const Model *m = c->model;
    PackageParts p = {0};
    const SafetensorsMeta fixed[] = {
        {"npc", npc_version()},
        {"model", m->module->model},
        {"recipe", m->info.recipe.name ? m->info.recipe.name : ""},
        {"batch", arena_printf(&c->arena, "%lld", (long long)m->batch)},
        {"fuse", fuse_level_text(m->options.fuse)},
        {"recompute", c->flags.recompute},
        {"precision", precision_text(m->passes.precision)},
        {"target", m->target},
    };
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
        vec_push(&c->arena, &p.meta, fixed[i]);
    add_texts(c, &p);
    if (!c->targets.n && kernel_have_llvm())
        NPC_TRY(add_generated(c, &p, NULL, err));
    for (int i = 0; i < c->targets.n; i++)
        NPC_TRY(add_generated(c, &p, c->targets.at[i], err));
    NPC_TRY(package_write(c->output, p.entries.at, p.entries.len, p.meta.at, p.meta.len, err));
    c->report.package = c->output;
    return NPC_OK;
}

static bool is_package(const char *path)
{
    size_t n = strlen(path);
    return n > 4 && !strcmp(path + n - 4, ".npk");
}

/* Shows what a package holds, or with --emit one entry. */
static Status show_package(const Compile *c, Err *err)
{
    Package p;
    PackageEntry e;
    NPC_TRY(package_open(&p, c->path, err));
    Status s = NPC_OK;
    if (c->emit && package_find(&p, c->emit, &e)) {
        s = write_text(c, e.data, e.bytes, err);
    } else if (c->emit) {
        s = err_set(err, NPC_ERR_USAGE, "--emit: %s has no entry '%s'", c->path, c->emit);
    } else {
        for (size_t i = 0; i < p.file.n_meta; i++)
            if (strncmp(p.file.meta[i].key, "hash/", 5))
                printf("%-16s %s\n", p.file.meta[i].key, p.file.meta[i].value);
        for (size_t i = 0; i < p.file.n; i++)
            printf("%-16s %llu bytes\n", p.file.entry[i].name,
                   (unsigned long long)p.file.entry[i].bytes);
    }
    package_close(&p);
    return s;
}

/* ---- the verb ---- */

static Status report(Compile *c, Err *err)
{
    NPC_TRY(add_program(c, PROGRAM_EVAL, err));
    NPC_TRY(add_program(c, PROGRAM_STEP, err));
    if (c->model->info.recipe.ema > 0)
        NPC_TRY(add_program(c, PROGRAM_AVERAGE, err));
    if (c->output)
        NPC_TRY(write_package(c, err));
    else if (c->time)
        NPC_TRY(time_generation(c, err));
    c->report.model = c->model;
    (c->json ? compile_report_json : compile_report_print)(&c->report, stdout);
    return NPC_OK;
}

static Status compile(Compile *c, Err *err)
{
    ModelOptions o;
    Text passes = {.arena = &c->arena};
    if (is_package(c->path))
        return show_package(c, err);
    if (c->emit)
        NPC_TRY(check_emit(c->emit, err));
    NPC_TRY(check_target(c, err));
    NPC_TRY(find_program(c->program, &c->kind, err));
    if (c->emit && !strcmp(c->emit, "ast"))
        return emit_ast(c, err);
    NPC_TRY(model_flags_apply(&c->flags, c->path, &o, err));
    o.json_messages = c->json;
    if (c->targets.n) /* plans are the same for all of them */
        o.device = c->targets.at[0];
    if (c->emit && !strncmp(c->emit, "after:", strlen("after:"))) {
        o.emit_after = c->emit + strlen("after:");
        o.emit = &passes;
    }
    double start = now();
    NPC_TRY(model_open(&c->model, &o, err));
    note_time(c, "elaborate", start);
    if (!c->emit)
        return report(c, err);
    NPC_TRY(add_program(c, c->kind, err));
    return emit_stage(c, &passes, err);
}

static Status compile_safely(Compile *c, Err *err)
{
    jmp_buf exhausted;
    c->arena.exhausted = &exhausted;
    if (setjmp(exhausted))
        return err_set(err, NPC_ERR_MEMORY, "%s: not enough memory to compile it", c->path);
    return compile(c, err);
}

int verb_compile(int argc, char **argv)
{
    Compile c = {.program = "predict"};
    model_flags_init(&c.flags);
    c.flags.device = "cpu"; /* the same on every machine */
    const OptionRow options[] = {
        MODEL_FLAG_ROWS(c.flags),
        {"fuse", "full|elementwise|none", "how far kernels are joined", .text = &c.flags.fuse},
        {"target", "cuda:sm_NN",
         "plan and generate code for CUDA devices of this architecture; may "
         "be repeated",
         .list = &c.targets},
        {"emit", "WHAT",
         "print one stage: ast, source (resolved), ir, after:PASS, after:all, plan, tiles, llvm, "
         "asm; of a CUDA target cuda, ptx, sass, resources (registers, spills, occupancy)",
         .text = &c.emit},
        {"program", "PROGRAM",
         "which program --emit shows: predict, step, gradient, forward, average, accumulate, "
         "update, attention",
         .text = &c.program},
        {"output", "FILE", "write a package (.npk), or with --emit the text", .text = &c.output,
         .letter = 'o'},
        {"time", NULL, "seconds of every stage, code generation included", .flag = &c.time},
        {"json", NULL, "machine-readable output", .flag = &c.json},
        {.name = NULL},
    };
    const Command command = {
        .name = "compile",
        .arguments = "MODEL.nm",
        .help = "checks a model and says what it costs; shows what an .npk package holds",
        .options = options,
        .examples = "npc compile models/dwiseneuro.nm --model dwiseneuro --batch 4 --time\n"
                    "npc compile models/dwiseneuro.nm --emit after:fold_batch_norm\n"
                    "npc compile models/dwiseneuro.nm --output dwiseneuro.npk\n"
                    "npc compile models/dwiseneuro.nm --target cuda:sm_90 --emit cuda\n",
        .least = 1,
        .most = 1};
    Words words;
    Err err = {0};
    int code;
    if (command_read(&command, argc, argv, &words, &code))
        return code;
    c.path = words.at[0];
    Status s = compile_safely(&c, &err);
    model_close(c.model);
    arena_free(&c.arena);
    return command_finish(s, &err);
}
