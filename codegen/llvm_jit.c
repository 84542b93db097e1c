/* From tile programs to machine code in memory: emission, optimisation, object files, ORC.
 *
 * Object files hold a table of their functions, npc_unit<number>, so that one symbol look-up per
 * unit finds all kernels. */
#include "codegen/llvm_jit.h"
#include "codegen/llvm_schedules.h"
#include <llvm-c/Analysis.h>
#include <llvm-c/LLJIT.h>
#include <llvm-c/Target.h>
#include <llvm-c/TargetMachine.h>
#include <llvm-c/Transforms/PassBuilder.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

/* The emitter writes loops and hoists by itself: what is left are addresses and small changes. */
static const char *const pipeline =
    "function(early-cse,instcombine<no-verify-fixpoint>,simplifycfg,loop-mssa(licm),early-cse)";

static void start_llvm(void)
{
    LLVMInitializeX86TargetInfo();
    LLVMInitializeX86Target();
    LLVMInitializeX86TargetMC();
    LLVMInitializeX86AsmPrinter();
}

static void start_llvm_once(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, start_llvm);
}

/* ---- which schedule ---- */

typedef struct Schedule {
    KernelSchedule (*schedule)(const TileProgram *p, const Target *target);
    void (*emit)(Emitter *e, const TileProgram *p, const char *const *symbol);
} Schedule;

static Schedule choose_schedule(const TileProgram *p, const Target *target)
{
    if (contract_accepts(p, target))
        return (Schedule){contract_schedule, contract_emit};
    if (stencil_accepts(p, target))
        return (Schedule){stencil_schedule, stencil_emit};
    if (stencil_dw_accepts(p, target))
        return (Schedule){stencil_dw_schedule, stencil_dw_emit};
    return (Schedule){map_schedule, map_emit};
}

static KernelSchedule schedule(const TileProgram *p, const Target *target)
{
    return choose_schedule(p, target).schedule(p, target);
}

/* ---- compiling ---- */

static LLVMTargetMachineRef target_machine(const Target *target, Err *err)
{
    static const char *const cpu[CPU_LEVEL_COUNT] = {"x86-64", "x86-64-v3", "x86-64-v4"};
    LLVMTargetRef t;
    char *message = NULL, *triple = LLVMGetDefaultTargetTriple();
    LLVMTargetMachineRef machine = NULL;

    start_llvm_once();
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
        choose_schedule(unit->programs[i], &e->target).emit(e, unit->programs[i], symbol);
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

static Status write_texts(LlvmUnit *unit, LLVMModuleRef module, LLVMTargetMachineRef machine,
                          Err *err)
{
    LLVMMemoryBufferRef buffer;

    if (unit->llvm) {
        char *text = LLVMPrintModuleToString(module);
        text_add(unit->llvm, text);
        LLVMDisposeMessage(text);
    }
    if (!unit->assembly)
        return NPC_OK;
    LLVMModuleRef copy = LLVMCloneModule(module); /* generating code changes the module */
    Status status = write_code(copy, machine, LLVMAssemblyFile, &buffer, err);
    LLVMDisposeModule(copy);
    NPC_TRY(status);
    text_add_n(unit->assembly, LLVMGetBufferStart(buffer), LLVMGetBufferSize(buffer));
    LLVMDisposeMemoryBuffer(buffer);
    return NPC_OK;
}

static Status write_object(LlvmUnit *unit, LLVMModuleRef module, LLVMTargetMachineRef machine,
                           Err *err)
{
    LLVMMemoryBufferRef buffer;

    NPC_TRY(write_code(module, machine, LLVMObjectFile, &buffer, err));
    unit->object.bytes = LLVMGetBufferSize(buffer);
    unit->object.data = malloc(unit->object.bytes);
    if (unit->object.data)
        memcpy(unit->object.data, LLVMGetBufferStart(buffer), unit->object.bytes);
    LLVMDisposeMemoryBuffer(buffer);
    return unit->object.data ? NPC_OK
                             : err_set(err, NPC_ERR_MEMORY, "no memory for generated code");
}

static Status compile(LlvmUnit *unit, const Target *target, Err *err)
{
    Arena arena = {0};
    char name[32];
    LLVMTargetMachineRef machine = target_machine(target, err);

    if (!machine)
        return NPC_ERR_DEVICE;
    LLVMContextRef context = LLVMContextCreate();
    snprintf(name, sizeof name, "unit%d", unit->number);
    Emitter *e = emitter_new(&arena, context, target, name);
    LLVMTargetDataRef layout = LLVMCreateTargetDataLayout(machine);
    char *triple = LLVMGetTargetMachineTriple(machine);
    LLVMSetModuleDataLayout(e->module, layout);
    LLVMSetTarget(e->module, triple);
    LLVMDisposeMessage(triple);
    LLVMDisposeTargetData(layout);

    emit_programs(e, unit);
    Status status = optimise(e->module, machine, err);
    if (status == NPC_OK)
        status = write_texts(unit, e->module, machine, err);
    if (status == NPC_OK)
        status = write_object(unit, e->module, machine, err);
    LLVMDisposeBuilder(e->builder);
    LLVMDisposeModule(e->module);
    LLVMContextDispose(context);
    LLVMDisposeTargetMachine(machine);
    arena_free(&arena);
    return status;
}

/* ---- loading ---- */

struct LlvmCode {
    LLVMOrcLLJITRef jit;
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

static Status jit_failure(LLVMErrorRef failure, Err *err)
{
    if (!failure)
        return NPC_OK;
    char *message = LLVMGetErrorMessage(failure);
    err_set(err, NPC_ERR_DEVICE, "loading generated code failed: %s", message);
    LLVMDisposeErrorMessage(message);
    return NPC_ERR_DEVICE;
}

static Status define_runtime(LLVMOrcLLJITRef jit, Err *err)
{
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
    return jit_failure(failure, err);
}

static Status add_objects(LlvmCode *code, const CodeObject *objects, int n_units,
                          const KernelPhase **phase, Err *err)
{
    LLVMOrcJITDylibRef dylib = LLVMOrcLLJITGetMainJITDylib(code->jit);
    LLVMOrcExecutorAddress address;
    char name[32];

    NPC_TRY(define_runtime(code->jit, err));
    for (int i = 0; i < n_units; i++) {
        LLVMMemoryBufferRef buffer =
            LLVMCreateMemoryBufferWithMemoryRangeCopy(objects[i].data, objects[i].bytes, "kernels");
        NPC_TRY(jit_failure(LLVMOrcLLJITAddObjectFile(code->jit, dylib, buffer), err));
    }
    for (int i = 0; i < n_units; i++) {
        snprintf(name, sizeof name, "npc_unit%d", i);
        NPC_TRY(jit_failure(LLVMOrcLLJITLookup(code->jit, &address, name), err));
        phase[i] = (const KernelPhase *)(uintptr_t)address;
    }
    return NPC_OK;
}

static void unload(LlvmCode *code)
{
    if (code && code->jit)
        LLVMConsumeError(LLVMOrcDisposeLLJIT(code->jit));
    free(code);
}

static Status load(LlvmCode **out, const CodeObject *objects, int n_units,
                   const KernelPhase **phase, Err *err)
{
    LlvmCode *code = calloc(1, sizeof *code);

    *out = NULL;
    if (!code)
        return err_set(err, NPC_ERR_MEMORY, "no memory for the code loader");
    start_llvm_once();
    Status status = jit_failure(LLVMOrcCreateLLJIT(&code->jit, NULL), err);
    if (status == NPC_OK)
        status = add_objects(code, objects, n_units, phase, err);
    if (status == NPC_OK)
        *out = code;
    else
        unload(code);
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
