/* The emitter: modules, functions, whole numbers, loops, memory and vectors. */
#include "codegen/llvm_emit.h"
#include <assert.h>
#include <stdio.h>

static void add_attribute(Emitter *e, Value function, unsigned place, const char *name)
{
    unsigned kind = LLVMGetEnumAttributeKindForName(name, strlen(name));
    LLVMAddAttributeAtIndex(function, place, LLVMCreateEnumAttribute(e->context, kind, 0));
}

Emitter *emitter_new(Arena *arena, LLVMContextRef context, const Target *target, const char *name)
{
    Emitter *e = ARENA_NEW(arena, Emitter);
    e->arena = arena;
    e->context = context;
    e->module = LLVMModuleCreateWithNameInContext(name, context);
    e->builder = LLVMCreateBuilderInContext(context);
    e->target = *target;
    e->has_fma = target->cpu != CPU_GENERIC;
    e->i1 = LLVMInt1TypeInContext(context);
    e->i8 = LLVMInt8TypeInContext(context);
    e->i32 = LLVMInt32TypeInContext(context);
    e->i64 = LLVMInt64TypeInContext(context);
    e->f32 = LLVMFloatTypeInContext(context);
    e->f64 = LLVMDoubleTypeInContext(context);
    e->ptr = LLVMPointerTypeInContext(context, 0);
    return e;
}

static Value call_field(Emitter *e, Type type, size_t offset)
{
    return emit_load_type(e, type, emit_at_bytes(e, e->call, emit_i64(e, (int64_t)offset)), 8);
}

void emit_function_begin(Emitter *e, const TileProgram *p, const char *symbol)
{
    Type parameters[] = {e->ptr, e->i64, e->ptr};
    Type type = LLVMFunctionType(LLVMVoidTypeInContext(e->context), parameters, 3, 0);

    e->program = p;
    e->function = LLVMAddFunction(e->module, symbol, type);
    add_attribute(e, e->function, (unsigned)LLVMAttributeFunctionIndex, "nounwind");
    add_attribute(e, e->function, 1, "noalias");
    add_attribute(e, e->function, 3, "noalias");
    LLVMAddAttributeAtIndex(
        e->function, (unsigned)LLVMAttributeFunctionIndex,
        LLVMCreateStringAttribute(e->context, "prefer-vector-width", 19, "512", 3));
    e->call = LLVMGetParam(e->function, 0);
    e->task = LLVMGetParam(e->function, 1);
    e->scratch = LLVMGetParam(e->function, 2);
    e->entry = LLVMAppendBasicBlockInContext(e->context, e->function, "");
    LLVMPositionBuilderAtEnd(e->builder, e->entry);

    Value tensors = call_field(e, e->ptr, offsetof(KernelCall, tensor));
    e->b0 = call_field(e, e->i64, offsetof(KernelCall, range.b0));
    e->b1 = call_field(e, e->i64, offsetof(KernelCall, range.b1));
    e->workspace = call_field(e, e->ptr, offsetof(KernelCall, workspace));
    e->tensor = ARENA_ARRAY(e->arena, Value, p->tensors.len);
    for (uint32_t i = 0; i < p->tensors.len; i++)
        e->tensor[i] =
            emit_load_type(e, e->ptr, emit_at_bytes(e, tensors, emit_i64(e, 8 * (int64_t)i)), 8);
}

void emit_function_end(Emitter *e)
{
    LLVMBuildRetVoid(e->builder);
    e->function = NULL;
}

/* ---- whole numbers ---- */

Value emit_i64(Emitter *e, int64_t n)
{
    return LLVMConstInt(e->i64, (unsigned long long)n, 1);
}

static bool is_number(Value v, int64_t n)
{
    return LLVMIsAConstantInt(v) && LLVMConstIntGetSExtValue(v) == n;
}

Value emit_add(Emitter *e, Value a, Value b)
{
    if (is_number(a, 0))
        return b;
    return is_number(b, 0) ? a : LLVMBuildNSWAdd(e->builder, a, b, "");
}

Value emit_sub(Emitter *e, Value a, Value b)
{
    return is_number(b, 0) ? a : LLVMBuildNSWSub(e->builder, a, b, "");
}

Value emit_mul(Emitter *e, Value a, Value b)
{
    if (is_number(a, 1))
        return b;
    return is_number(b, 1) ? a : LLVMBuildNSWMul(e->builder, a, b, "");
}

Value emit_add_n(Emitter *e, Value a, int64_t n)
{
    return emit_add(e, a, emit_i64(e, n));
}

Value emit_mul_n(Emitter *e, Value a, int64_t n)
{
    return emit_mul(e, a, emit_i64(e, n));
}

Value emit_div_n(Emitter *e, Value a, int64_t n)
{
    return n == 1 ? a : LLVMBuildUDiv(e->builder, a, emit_i64(e, n), "");
}

Value emit_mod_n(Emitter *e, Value a, int64_t n)
{
    return n == 1 ? emit_i64(e, 0) : LLVMBuildURem(e->builder, a, emit_i64(e, n), "");
}

Value emit_less(Emitter *e, Value a, Value b)
{
    return LLVMBuildICmp(e->builder, LLVMIntSLT, a, b, "");
}

Value emit_min(Emitter *e, Value a, Value b)
{
    return emit_select(e, emit_less(e, a, b), a, b);
}

Value emit_select(Emitter *e, Value condition, Value yes, Value no)
{
    return LLVMBuildSelect(e->builder, condition, yes, no, "");
}

void emit_digits(Emitter *e, Value flat, int n, const int64_t *size, Value *digit)
{
    for (int i = n - 1; i > 0; i--) {
        digit[i] = emit_mod_n(e, flat, size[i]);
        flat = emit_div_n(e, flat, size[i]);
    }
    if (n > 0)
        digit[0] = flat;
}

/* ---- control flow ---- */

static Block new_block(Emitter *e)
{
    return LLVMAppendBasicBlockInContext(e->context, e->function, "");
}

void emit_loop_begin(Emitter *e, EmitLoop *l, Value lo, Value hi, int64_t step, int n_carried,
                     const Value *init)
{
    assert(n_carried <= EMIT_MAX_CARRIED);
    l->before = LLVMGetInsertBlock(e->builder);
    l->body = new_block(e);
    l->after = new_block(e);
    l->hi = hi;
    l->step = step;
    l->n_carried = n_carried;
    LLVMBuildCondBr(e->builder, emit_less(e, lo, hi), l->body, l->after);
    LLVMPositionBuilderAtEnd(e->builder, l->body);
    l->index = LLVMBuildPhi(e->builder, e->i64, "");
    LLVMAddIncoming(l->index, &lo, &l->before, 1);
    for (int i = 0; i < n_carried; i++) {
        l->init[i] = init[i];
        l->carried[i] = LLVMBuildPhi(e->builder, LLVMTypeOf(init[i]), "");
        LLVMAddIncoming(l->carried[i], &l->init[i], &l->before, 1);
    }
}

void emit_loop_end(Emitter *e, EmitLoop *l, const Value *next)
{
    Value index = LLVMBuildNSWAdd(e->builder, l->index, emit_i64(e, l->step), "");
    Block latch = LLVMGetInsertBlock(e->builder);

    LLVMBuildCondBr(e->builder, emit_less(e, index, l->hi), l->body, l->after);
    LLVMAddIncoming(l->index, &index, &latch, 1);
    LLVMMoveBasicBlockAfter(l->after, latch);
    LLVMPositionBuilderAtEnd(e->builder, l->after);
    for (int i = 0; i < l->n_carried; i++) {
        Value from[2] = {l->init[i], next[i]};
        Block at[2] = {l->before, latch};
        LLVMAddIncoming(l->carried[i], &from[1], &latch, 1);
        l->result[i] = LLVMBuildPhi(e->builder, LLVMTypeOf(next[i]), "");
        LLVMAddIncoming(l->result[i], from, at, 2);
    }
}

void emit_if_begin(Emitter *e, EmitIf *c, Value condition)
{
    Block yes = new_block(e);

    c->no = new_block(e);
    c->after = new_block(e);
    c->has_else = false;
    LLVMBuildCondBr(e->builder, condition, yes, c->no);
    LLVMPositionBuilderAtEnd(e->builder, yes);
}

void emit_if_else(Emitter *e, EmitIf *c)
{
    LLVMBuildBr(e->builder, c->after);
    LLVMMoveBasicBlockAfter(c->no, LLVMGetInsertBlock(e->builder));
    LLVMPositionBuilderAtEnd(e->builder, c->no);
    c->has_else = true;
}

void emit_if_end(Emitter *e, EmitIf *c)
{
    if (!c->has_else)
        emit_if_else(e, c);
    LLVMBuildBr(e->builder, c->after);
    LLVMMoveBasicBlockAfter(c->after, LLVMGetInsertBlock(e->builder));
    LLVMPositionBuilderAtEnd(e->builder, c->after);
}

/* ---- memory ---- */

static Value element(Emitter *e, Type type, Value base, Value index)
{
    return is_number(index, 0) ? base
                               : LLVMBuildInBoundsGEP2(e->builder, type, base, &index, 1, "");
}

Value emit_at(Emitter *e, Value base, Value index)
{
    return element(e, e->f32, base, index);
}

Value emit_at_f64(Emitter *e, Value base, Value index)
{
    return element(e, e->f64, base, index);
}

Value emit_at_bytes(Emitter *e, Value base, Value bytes)
{
    return element(e, e->i8, base, bytes);
}

Value emit_load_type(Emitter *e, Type type, Value address, unsigned align)
{
    Value v = LLVMBuildLoad2(e->builder, type, address, "");
    LLVMSetAlignment(v, align);
    return v;
}

Value emit_load(Emitter *e, Value address, int n, unsigned align)
{
    return emit_load_type(e, emit_vector_type(e, e->f32, n), address, align);
}

Value emit_element(Emitter *e, Value base, Value index, Storage type)
{
    assert(type == STORAGE_F32 || type == STORAGE_U8);
    return type == STORAGE_U8 ? emit_at_bytes(e, base, index) : emit_at(e, base, index);
}

Value emit_load_stored(Emitter *e, Value address, int n, unsigned align, Storage type)
{
    if (type == STORAGE_F32)
        return emit_load(e, address, n, align);
    Value bytes = emit_load_type(e, emit_vector_type(e, e->i8, n), address, 1);
    return LLVMBuildUIToFP(e->builder, bytes, emit_vector_type(e, e->f32, n), "");
}

void emit_store(Emitter *e, Value address, Value value, unsigned align)
{
    LLVMSetAlignment(LLVMBuildStore(e->builder, value, address), align);
}

void emit_store_masked(Emitter *e, Value address, Value value, Value mask, unsigned align)
{
    unsigned id = LLVMLookupIntrinsicID("llvm.masked.store", 17);
    Type overload[] = {LLVMTypeOf(value), e->ptr};
    Value args[] = {value, address, LLVMConstInt(e->i32, align, 0), mask};

    LLVMBuildCall2(e->builder, LLVMIntrinsicGetType(e->context, id, overload, 2),
                   LLVMGetIntrinsicDeclaration(e->module, id, overload, 2), args, 4, "");
}

Value emit_alloca(Emitter *e, Type type, int64_t n, unsigned align)
{
    Block here = LLVMGetInsertBlock(e->builder);

    LLVMPositionBuilderBefore(e->builder, LLVMGetFirstInstruction(e->entry));
    Value v = LLVMBuildArrayAlloca(e->builder, type, emit_i64(e, n), "");
    LLVMSetAlignment(v, align);
    LLVMPositionBuilderAtEnd(e->builder, here);
    return v;
}

void emit_prefetch(Emitter *e, Value address)
{
    unsigned id = LLVMLookupIntrinsicID("llvm.prefetch", 13);
    Value args[] = {address, LLVMConstInt(e->i32, 0, 0), LLVMConstInt(e->i32, 3, 0),
                    LLVMConstInt(e->i32, 1, 0)};

    LLVMBuildCall2(e->builder, LLVMIntrinsicGetType(e->context, id, &e->ptr, 1),
                   LLVMGetIntrinsicDeclaration(e->module, id, &e->ptr, 1), args, 4, "");
}

static Value written_table(Emitter *e, const void *at, int64_t n)
{
    for (uint32_t i = 0; i < e->tables.len; i++)
        if (e->tables.at[i].at == at && e->tables.at[i].n == n)
            return e->tables.at[i].global;
    return NULL;
}

static Value write_table(Emitter *e, const void *at, Type type, Value *v, int64_t n)
{
    Value data = LLVMConstArray2(type, v, (uint64_t)n);
    char name[32];

    snprintf(name, sizeof name, "table%u", e->n_globals++);
    Value g = LLVMAddGlobal(e->module, LLVMTypeOf(data), name);
    LLVMSetInitializer(g, data);
    LLVMSetGlobalConstant(g, 1);
    LLVMSetLinkage(g, LLVMPrivateLinkage);
    LLVMSetAlignment(g, 64);
    vec_push(e->arena, &e->tables, (EmitTable){at, n, g});
    return g;
}

Value emit_table_i32(Emitter *e, const int32_t *at, int64_t n)
{
    Value known = written_table(e, at, n);
    if (known)
        return known;
    Value *v = ARENA_ARRAY(e->arena, Value, (size_t)n);
    for (int64_t i = 0; i < n; i++)
        v[i] = LLVMConstInt(e->i32, (unsigned long long)(int64_t)at[i], 1);
    return write_table(e, at, e->i32, v, n);
}

Value emit_table_f64(Emitter *e, const double *at, int64_t n)
{
    Value known = written_table(e, at, n);
    if (known)
        return known;
    Value *v = ARENA_ARRAY(e->arena, Value, (size_t)n);
    for (int64_t i = 0; i < n; i++)
        v[i] = LLVMConstReal(e->f64, at[i]);
    return write_table(e, at, e->f64, v, n);
}

/* ---- vectors ---- */

Type emit_vector_type(Emitter *e, Type element_type, int n)
{
    (void)e;
    return n == 1 ? element_type : LLVMVectorType(element_type, (unsigned)n);
}

bool emit_is_vector(Value v)
{
    return LLVMGetTypeKind(LLVMTypeOf(v)) == LLVMVectorTypeKind;
}

int emit_width(Value v)
{
    return emit_is_vector(v) ? (int)LLVMGetVectorSize(LLVMTypeOf(v)) : 1;
}

Value emit_splat(Emitter *e, Value v, int n)
{
    if (n == 1 || emit_is_vector(v))
        return v;
    Type type = LLVMVectorType(LLVMTypeOf(v), (unsigned)n);
    Value first =
        LLVMBuildInsertElement(e->builder, LLVMGetPoison(type), v, LLVMConstInt(e->i32, 0, 0), "");
    Value zeros = LLVMConstNull(LLVMVectorType(e->i32, (unsigned)n));
    return LLVMBuildShuffleVector(e->builder, first, LLVMGetPoison(type), zeros, "");
}

Value emit_extract(Emitter *e, Value v, int i)
{
    if (!emit_is_vector(v))
        return v;
    return LLVMBuildExtractElement(e->builder, v, LLVMConstInt(e->i32, (unsigned)i, 0), "");
}

Value emit_insert(Emitter *e, Value v, Value x, int i)
{
    return LLVMBuildInsertElement(e->builder, v, x, LLVMConstInt(e->i32, (unsigned)i, 0), "");
}

Value emit_undef(Emitter *e, Type t)
{
    (void)e;
    return LLVMGetPoison(t);
}

Value emit_zero(Emitter *e, Type t)
{
    (void)e;
    return LLVMConstNull(t);
}

Value emit_shuffle(Emitter *e, Value a, Value b, const int *index, int n)
{
    Value at[64];

    assert(n <= 64);
    for (int i = 0; i < n; i++)
        at[i] = LLVMConstInt(e->i32, (unsigned)index[i], 0);
    return LLVMBuildShuffleVector(e->builder, a, b, LLVMConstVector(at, (unsigned)n), "");
}

Value emit_lane_mask(Emitter *e, Value first, int64_t size, int n)
{
    Value lane[64];
    Value left = emit_min(e, emit_sub(e, emit_i64(e, size), first), emit_i64(e, n));
    Value left32 = LLVMBuildTrunc(e->builder, left, e->i32, "");

    if (n == 1)
        return LLVMBuildICmp(e->builder, LLVMIntSGT, left32, LLVMConstInt(e->i32, 0, 0), "");
    for (int i = 0; i < n; i++)
        lane[i] = LLVMConstInt(e->i32, (unsigned)i, 0);
    return LLVMBuildICmp(e->builder, LLVMIntSGT, emit_splat(e, left32, n),
                         LLVMConstVector(lane, (unsigned)n), "");
}

/* ---- float arithmetic ---- */

Value emit_f32(Emitter *e, double x)
{
    return LLVMConstReal(e->f32, x);
}

/* Broadcasts a scalar that meets a vector. */
static void match(Emitter *e, Value *a, Value *b)
{
    *a = emit_splat(e, *a, emit_width(*b));
    *b = emit_splat(e, *b, emit_width(*a));
}

Value emit_fadd(Emitter *e, Value a, Value b)
{
    match(e, &a, &b);
    return LLVMBuildFAdd(e->builder, a, b, "");
}

Value emit_fsub(Emitter *e, Value a, Value b)
{
    match(e, &a, &b);
    return LLVMBuildFSub(e->builder, a, b, "");
}

Value emit_fmul(Emitter *e, Value a, Value b)
{
    match(e, &a, &b);
    return LLVMBuildFMul(e->builder, a, b, "");
}

Value emit_fdiv(Emitter *e, Value a, Value b)
{
    match(e, &a, &b);
    return LLVMBuildFDiv(e->builder, a, b, "");
}

Value emit_fma(Emitter *e, Value a, Value b, Value c)
{
    if (!e->has_fma)
        return emit_fadd(e, emit_fmul(e, a, b), c);
    match(e, &a, &b);
    match(e, &a, &c);
    b = emit_splat(e, b, emit_width(a));
    Value args[] = {a, b, c};
    return emit_intrinsic(e, "llvm.fma", LLVMTypeOf(a), args, 3);
}

Value emit_to_f64(Emitter *e, Value v)
{
    return LLVMBuildFPExt(e->builder, v, emit_vector_type(e, e->f64, emit_width(v)), "");
}

Value emit_to_f32(Emitter *e, Value v)
{
    return LLVMBuildFPTrunc(e->builder, v, emit_vector_type(e, e->f32, emit_width(v)), "");
}

Value emit_sum_lanes(Emitter *e, Value v)
{
    for (int n = emit_width(v) / 2; n >= 1; n /= 2) {
        int low[32], high[32];
        for (int i = 0; i < n; i++) {
            low[i] = i;
            high[i] = n + i;
        }
        if (n == 1)
            return LLVMBuildFAdd(e->builder, emit_extract(e, v, 0), emit_extract(e, v, 1), "");
        v = LLVMBuildFAdd(e->builder, emit_shuffle(e, v, v, low, n), emit_shuffle(e, v, v, high, n),
                          "");
    }
    return v;
}

Value emit_intrinsic(Emitter *e, const char *name, Type overload, Value *args, int n)
{
    unsigned id = LLVMLookupIntrinsicID(name, strlen(name));

    return LLVMBuildCall2(e->builder, LLVMIntrinsicGetType(e->context, id, &overload, 1),
                          LLVMGetIntrinsicDeclaration(e->module, id, &overload, 1), args,
                          (unsigned)n, "");
}
