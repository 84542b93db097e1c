/* From tile programs to machine code in memory: emission, optimisation, object files, ORC.
 *
 * Object files hold a table of their functions, npc_unit<number>, so that one symbol look-up per
 * unit finds all kernels. */
#include "codegen/llvm_jit.h"
#include "codegen/llvm_guard.h"
#include "codegen/llvm_schedules.h"
#include <llvm-c/Analysis.h>
#include <llvm-c/LLJIT.h>
#include <llvm-c/Target.h>
#include <llvm-c/TargetMachine.h>
#include <llvm-c/Transforms/PassBuilder.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

/* The emitter writes loops and hoists by itself: what is left are addresses and small changes. */
static const char *const pipeline =
    "function(early-cse,instcombine<no-verify-fixpoint>,simplifycfg,loop-mssa(licm),early-cse)";

static Err not_started;

static Status initialise(void *context, Err *err)
{
    (void)context;
    (void)err;
    LLVMInitializeX86TargetInfo();
    LLVMInitializeX86Target();
    LLVMInitializeX86TargetMC();
    LLVMInitializeX86AsmPrinter();
    return NPC_OK;
}

static void start_llvm(void)
{
    llvm_guard_install();
    llvm_guarded(initialise, NULL, NULL, &not_started);
}

/* Outside of guarded calls: a jump must not leave pthread_once. */
static Status start_llvm_once(Err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, start_llvm);
    return not_started.status ? err_set(err, not_started.status, "%s", not_started.text) : NPC_OK;
}

/* ---- which schedule ---- */

typedef struct Schedule {
    bool (*accepts)(const TileProgram *p, const Target *target);
    KernelSchedule (*schedule)(const TileProgram *p, const Target *target);
    void (*emit)(Emitter *e, const TileProgram *p, const char *const *symbol);
    bool takes_positions; /* loads at computed positions */
} Schedule;

static bool map_accepts(const TileProgram *p, const Target *target)
{
    (void)p;
    (void)target;
    return true;
}

/* The first that accepts a program is the one. */
static const Schedule SCHEDULES[] = {
    {attend_accepts, attend_schedule, attend_emit, true},
    {scatter_accepts, scatter_schedule, scatter_emit, true},
    {contract_accepts, contract_schedule, contract_emit, true},
    {dots_accepts, dots_schedule, dots_emit, true},
    {gathered_accepts, gathered_schedule, gathered_emit, true},
    {dense_accepts, dense_schedule, dense_emit, false},
    {dense_dw_accepts, dense_dw_schedule, dense_dw_emit, false},
    {stencil_accepts, stencil_schedule, stencil_emit, false},
    {stencil_dw_accepts, stencil_dw_schedule, stencil_dw_emit, false},
    {map_accepts, map_schedule, map_emit, true},
};

static const Schedule *choose_schedule(const TileProgram *p, const Target *target)
{
    bool positions = tile_computes_positions(p);
    const Schedule *s = SCHEDULES;

    while ((positions && !s->takes_positions) || !s->accepts(p, target))
        s++;
    return s;
}

static KernelSchedule schedule(const TileProgram *p, const Target *target)
{
    return choose_schedule(p, target)->schedule(p, target);
}

/* ---- compiling ---- */

static LLVMTargetMachineRef target_machine(const Target *target, Err *err)
{
    static const char *const cpu[CPU_LEVEL_COUNT] = {"x86-64", "x86-64-v3", "x86-64-v4"};
    LLVMTargetRef t;
    char *message = NULL, *triple = LLVMGetDefaultTargetTriple();
    LLVMTargetMachineRef machine = NULL;

    if (LLVMGetTargetFromTriple(triple, &t, &message))
        err_set(err, NPC_ERR_DEVICE, "LLVM cannot generate code for %s: %s", triple, message);
    else
        machine = LLVMCreateTargetMachine(t, triple, cpu[target->cpu], "", LLVMCodeGenLevelDefault,
                                          LLVMRelocPIC, LLVMCodeModelSmall);
    LLVMDisposeMessage(message);
    LLVMDisposeMessage(triple);
    return machine;
}

static void emit_programs(Emitter *e, LlvmUnit *unit)
{
    char name[KERNEL_MAX_PHASES][64];
    const char *symbol[KERNEL_MAX_PHASES];
    Value *entry = ARENA_ARRAY(e->arena, Value, (size_t)unit->n * KERNEL_MAX_PHASES);

    for (int i = 0; i < unit->n; i++) {
        for (int k = 0; k < KERNEL_MAX_PHASES; k++) {
            snprintf(name[k], sizeof name[k], "kernel%d_%d_phase%d", unit->number, i, k);
            symbol[k] = name[k];
        }
        choose_schedule(unit->programs[i], &e->target)->emit(e, unit->programs[i], symbol);
        for (int k = 0; k < KERNEL_MAX_PHASES; k++) {
            Value f = LLVMGetNamedFunction(e->module, symbol[k]);
            entry[i * KERNEL_MAX_PHASES + k] = f ? f : LLVMConstNull(e->ptr);
        }
    }
    Value table = LLVMConstArray2(e->ptr, entry, (uint64_t)unit->n * KERNEL_MAX_PHASES);
    snprintf(name[0], sizeof name[0], "npc_unit%d", unit->number);
    LLVMSetInitializer(LLVMAddGlobal(e->module, LLVMTypeOf(table), name[0]), table);
}

static Status optimise(LLVMModuleRef module, LLVMTargetMachineRef machine, Err *err)
{
    char *message = NULL;

    if (LLVMVerifyModule(module, LLVMReturnStatusAction, &message)) {
        err_set(err, NPC_ERR_INTERNAL, "generated code is malformed: %.1500s", message);
        LLVMDisposeMessage(message);
        return NPC_ERR_INTERNAL;
    }
    LLVMDisposeMessage(message);
    LLVMPassBuilderOptionsRef options = LLVMCreatePassBuilderOptions();
    LLVMErrorRef failure = LLVMRunPasses(module, pipeline, machine, options);
    LLVMDisposePassBuilderOptions(options);
    if (!failure)
        return NPC_OK;
    message = LLVMGetErrorMessage(failure);
    err_set(err, NPC_ERR_INTERNAL, "LLVM's passes failed: %s", message);
    LLVMDisposeErrorMessage(message);
    return NPC_ERR_INTERNAL;
}

static Status write_code(LLVMModuleRef module, LLVMTargetMachineRef machine,
                         LLVMCodeGenFileType type, LLVMMemoryBufferRef *out, Err *err)
{
    char *message = NULL;

    if (!LLVMTargetMachineEmitToMemoryBuffer(machine, module, type, &message, out))
        return NPC_OK;
    err_set(err, NPC_ERR_DEVICE, "LLVM could not generate code: %s", message);
    LLVMDisposeMessage(message);
    return NPC_ERR_DEVICE;
}

/* A unit being compiled, and what LLVM made of it. */
typedef struct Compilation {
    LlvmUnit *unit;
    const Target *target;
    Arena arena;
    char *llvm;
    LLVMMemoryBufferRef assembly, object;
} Compilation;

static Status make_texts(Compilation *c, LLVMModuleRef module, LLVMTargetMachineRef machine,
                         Err *err)
{
    if (c->unit->llvm)
        c->llvm = LLVMPrintModuleToString(module);
    if (!c->unit->assembly)
        return NPC_OK;
    LLVMModuleRef copy = LLVMCloneModule(module); /* generating code changes the module */
    Status status = write_code(copy, machine, LLVMAssemblyFile, &c->assembly, err);
    LLVMDisposeModule(copy);
    return status;
}

static Status generate(void *context, Err *err)
{
    Compilation *c = context;
    LlvmUnit *unit = c->unit;
    char name[32];
    LLVMTargetMachineRef machine = target_machine(c->target, err);

    if (!machine)
        return NPC_ERR_DEVICE;
    LLVMContextRef llvm = LLVMContextCreate();
    snprintf(name, sizeof name, "unit%d", unit->number);
    Emitter *e = emitter_new(&c->arena, llvm, c->target, name);
    LLVMTargetDataRef layout = LLVMCreateTargetDataLayout(machine);
    char *triple = LLVMGetTargetMachineTriple(machine);
    LLVMSetModuleDataLayout(e->module, layout);
    LLVMSetTarget(e->module, triple);
    LLVMDisposeMessage(triple);
    LLVMDisposeTargetData(layout);

    emit_programs(e, unit);
    Status status = optimise(e->module, machine, err);
    if (status == NPC_OK)
        status = make_texts(c, e->module, machine, err);
    if (status == NPC_OK)
        status = write_code(e->module, machine, LLVMObjectFile, &c->object, err);
    LLVMDisposeBuilder(e->builder);
    LLVMDisposeModule(e->module);
    LLVMContextDispose(llvm);
    LLVMDisposeTargetMachine(machine);
    return status;
}

/* Outside of the guard: the texts' arena has a way out of its own. */
static Status hand_over(Compilation *c, Err *err)
{
    LlvmUnit *unit = c->unit;

    if (c->llvm)
        text_add(unit->llvm, c->llvm);
    if (c->assembly)
        text_add_n(unit->assembly, LLVMGetBufferStart(c->assembly), LLVMGetBufferSize(c->assembly));
    unit->object.bytes = LLVMGetBufferSize(c->object);
    unit->object.data = malloc(unit->object.bytes);
    if (!unit->object.data)
        return err_set(err, NPC_ERR_MEMORY, "no memory for generated code");
    memcpy(unit->object.data, LLVMGetBufferStart(c->object), unit->object.bytes);
    return NPC_OK;
}

static Status compile(LlvmUnit *unit, const Target *target, Err *err)
{
    Compilation c = {.unit = unit, .target = target};

    NPC_TRY(start_llvm_once(err));
    Status status = llvm_guarded(generate, &c, &c.arena, err);

    if (status == NPC_OK)
        status = hand_over(&c, err);
    if (c.llvm)
        LLVMDisposeMessage(c.llvm);
    if (c.assembly)
        LLVMDisposeMemoryBuffer(c.assembly);
    if (c.object)
        LLVMDisposeMemoryBuffer(c.object);
    arena_free(&c.arena);
    return status;
}

/* ---- loading ---- */

struct LlvmCode {
    LLVMOrcLLJITRef jit;
    char said[512]; /* the first thing that the loader reported; what it returns says less */
};

/* All that generated code may call. */
static const struct {
    const char *name;
    void *address;
} runtime_symbols[] = {
    {"memcpy", (void *)memcpy},
    {"memmove", (void *)memmove},
    {"memset", (void *)memset},
};

enum { N_RUNTIME_SYMBOLS = sizeof runtime_symbols / sizeof *runtime_symbols };

static void keep_report(void *context, LLVMErrorRef failure)
{
    LlvmCode *code = context;
    char *message = LLVMGetErrorMessage(failure);

    if (!code->said[0])
        snprintf(code->said, sizeof code->said, "%s", message);
    LLVMDisposeErrorMessage(message);
}

static Status jit_failure(const LlvmCode *code, LLVMErrorRef failure, Err *err)
{
    if (!failure)
        return NPC_OK;
    char *message = LLVMGetErrorMessage(failure);
    const char *why = code->said[0] ? code->said : message;
    Status status = strstr(why, strerror(ENOMEM)) ? NPC_ERR_MEMORY : NPC_ERR_DEVICE;
    err_set(err, status, "loading generated code failed: %s", why);
    LLVMDisposeErrorMessage(message);
    return status;
}

static Status define_runtime(LlvmCode *code, Err *err)
{
    LLVMOrcLLJITRef jit = code->jit;
    LLVMOrcCSymbolMapPair pair[N_RUNTIME_SYMBOLS];

    for (int i = 0; i < N_RUNTIME_SYMBOLS; i++) {
        pair[i].Name = LLVMOrcLLJITMangleAndIntern(jit, runtime_symbols[i].name);
        pair[i].Sym.Address = (LLVMOrcExecutorAddress)(uintptr_t)runtime_symbols[i].address;
        pair[i].Sym.Flags = (LLVMJITSymbolFlags){
            LLVMJITSymbolGenericFlagsExported | LLVMJITSymbolGenericFlagsCallable, 0};
    }
    LLVMOrcMaterializationUnitRef unit = LLVMOrcAbsoluteSymbols(pair, N_RUNTIME_SYMBOLS);
    LLVMErrorRef failure = LLVMOrcJITDylibDefine(LLVMOrcLLJITGetMainJITDylib(jit), unit);
    if (failure)
        LLVMOrcDisposeMaterializationUnit(unit);
    return jit_failure(code, failure, err);
}

typedef struct Loading {
    LlvmCode *code;
    const CodeObject *objects;
    int n_units;
    const KernelPhase **phase;
    bool came_back; /* false: stopped by the guard, and what the loader has cannot be used */
} Loading;

static Status add_objects(const Loading *l, Err *err)
{
    LlvmCode *code = l->code;
    LLVMOrcJITDylibRef dylib = LLVMOrcLLJITGetMainJITDylib(code->jit);
    LLVMOrcExecutorAddress address;
    char name[32];

    NPC_TRY(define_runtime(code, err));
    for (int i = 0; i < l->n_units; i++) {
        LLVMMemoryBufferRef buffer = LLVMCreateMemoryBufferWithMemoryRangeCopy(
            l->objects[i].data, l->objects[i].bytes, "kernels");
        NPC_TRY(jit_failure(code, LLVMOrcLLJITAddObjectFile(code->jit, dylib, buffer), err));
    }
    for (int i = 0; i < l->n_units; i++) {
        snprintf(name, sizeof name, "npc_unit%d", i);
        NPC_TRY(jit_failure(code, LLVMOrcLLJITLookup(code->jit, &address, name), err));
        l->phase[i] = (const KernelPhase *)(uintptr_t)address;
    }
    return NPC_OK;
}

static Status start_loader(void *context, Err *err)
{
    Loading *l = context;
    Status status = jit_failure(l->code, LLVMOrcCreateLLJIT(&l->code->jit, NULL), err);

    if (status == NPC_OK) {
        LLVMOrcExecutionSessionSetErrorReporter(LLVMOrcLLJITGetExecutionSession(l->code->jit),
                                                keep_report, l->code);
        status = add_objects(l, err);
    }
    l->came_back = true;
    return status;
}

static Status dispose(void *context, Err *err)
{
    LlvmCode *code = context;

    (void)err;
    if (code->jit)
        LLVMConsumeError(LLVMOrcDisposeLLJIT(code->jit));
    return NPC_OK;
}

static void unload(LlvmCode *code)
{
    Err ignored = {0};

    if (code)
        llvm_guarded(dispose, code, NULL, &ignored);
    free(code);
}

static Status load(LlvmCode **out, const CodeObject *objects, int n_units,
                   const KernelPhase **phase, Err *err)
{
    Loading l = {NULL, objects, n_units, phase, false};

    *out = NULL;
    NPC_TRY(start_llvm_once(err));
    l.code = calloc(1, sizeof *l.code);
    if (!l.code)
        return err_set(err, NPC_ERR_MEMORY, "no memory for the code loader");
    Status status = llvm_guarded(start_loader, &l, NULL, err);
    if (status == NPC_OK)
        *out = l.code;
    else if (l.came_back)
        unload(l.code);
    return status;
}

static void describe(Text *t)
{
    unsigned major, minor, patch;

    LLVMGetVersion(&major, &minor, &patch);
    text_printf(t, "LLVM %u.%u.%u", major, minor, patch);
}

__attribute__((visibility("default"))) const LlvmApi *npc_llvm_api(void);

const LlvmApi *npc_llvm_api(void)
{
    static const LlvmApi api = {describe, schedule, compile, load, unload};
    return &api;
}
