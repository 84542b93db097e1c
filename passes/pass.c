#include "passes/pass.h"

const PassRow PASSES[] = {
#define PASS(name, kinds, help) {#name, help, kinds, pass_##name},
#include "passes/passes.def"
#undef PASS
};

enum { N_PASSES = sizeof PASSES / sizeof *PASSES };

int pass_count(void)
{
    return N_PASSES;
}

int pass_find(const char *name)
{
    for (int i = 0; i < N_PASSES; i++)
        if (!strcmp(PASSES[i].name, name))
            return i;
    return -1;
}

const char *program_kind_text(ProgramKind kind)
{
    switch (kind) {
    case PROGRAM_EVAL:
        return "predict";
    case PROGRAM_GRAD:
        return "gradient";
    case PROGRAM_STEP:
        return "step";
    case PROGRAM_FORWARD:
        return "forward";
    case PROGRAM_AVERAGE:
        return "average";
    case PROGRAM_ACCUMULATE:
        return "accumulate";
    case PROGRAM_UPDATE:
        return "update";
    case PROGRAM_ATTENTION:
        return "attention";
    }
    return "";
}

static const char *FUSE_TEXT[] = {"none", "elementwise", "full"};

bool fuse_level_find(const char *text, FuseLevel *out)
{
    for (int i = 0; i < 3; i++)
        if (!strcmp(text, FUSE_TEXT[i])) {
            *out = (FuseLevel)i;
            return true;
        }
    return false;
}

const char *fuse_level_text(FuseLevel level)
{
    return FUSE_TEXT[level];
}

static void emit(const PassOptions *o, ProgramKind kind, const char *pass, const Func *f)
{
    if (!o->emit || !o->emit_after || (strcmp(o->emit_after, pass) && strcmp(o->emit_after, "all")))
        return;
    text_printf(o->emit, "; program: %s, after: %s\n", program_kind_text(kind), pass);
    func_print(o->emit, f);
}

static Func *start(Module *m, ProgramKind kind)
{
    bool is_eval = kind == PROGRAM_EVAL || kind == PROGRAM_ATTENTION;
    Func *f = module_func(m, is_eval ? "eval" : "train");
    if (kind != PROGRAM_AVERAGE && kind != PROGRAM_UPDATE)
        return f;
    return func_new(m, program_kind_text(kind)); /* these begin with nothing */
}

/* Verifies one function that the module does not list. */
static const char *verify_alone(Module *m, Func *f)
{
    Module listed = *m;
    memset(&m->funcs, 0, sizeof m->funcs);
    vec_push(m->arena, &m->funcs, f);
    const char *bad = module_verify(m, m->arena);
    m->funcs.at = listed.funcs.at;
    m->funcs.len = listed.funcs.len;
    m->funcs.cap = listed.funcs.cap;
    return bad;
}

Func *passes_run(Module *m, ProgramKind kind, const PassOptions *options)
{
    PassCx cx = {m->arena, options, kind};
    Func *f = start(m, kind);
    if (!f)
        return NULL;
    emit(options, kind, "elaborate", f);
    for (int i = 0; i < N_PASSES; i++) {
        if (!(PASSES[i].kinds & kind) || options->disabled >> i & 1)
            continue;
        /* folding is a fusion too: the honest baseline runs every norm of the source */
        if (PASSES[i].run == pass_fold_batch_norm && options->fuse != FUSE_FULL)
            continue;
        f = PASSES[i].run(&cx, f);
        f->name = program_kind_text(kind);
        emit(options, kind, PASSES[i].name, f);
        if (m->diags->n_errors)
            return NULL;
        if (options->verify) {
            const char *bad = verify_alone(m, f);
            if (bad) {
                diag_error(m->diags, DIAG_E0290, SPAN_NONE, "after pass %s (%s): %s",
                           PASSES[i].name, program_kind_text(kind), bad);
                return NULL;
            }
        }
    }
    return f;
}
