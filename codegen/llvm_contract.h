/* The special forms of products, behind contract_accepts and its companions. */
#ifndef NPC_CODEGEN_LLVM_CONTRACT_H
#define NPC_CODEGEN_LLVM_CONTRACT_H

#include "codegen/llvm_schedules.h"

/* acc[.., n] = sum over k of a[.., k, n] * b[n, k]: one reduced axis (llvm_contract.c). */
bool conv_accepts(const TileProgram *p, const Target *target);
KernelSchedule conv_schedule(const TileProgram *p, const Target *target);
void conv_emit(Emitter *e, const TileProgram *p, const char *const *symbol);

/* acc[m, n] = sum over samples and pixels of a[.., m] * b[.., n] (llvm_contract_dw.c). */
bool outer_product_accepts(const TileProgram *p, const Target *target);
/* The same of tokens: both operands lie in rows of v and u. */
bool token_gradient_accepts(const TileProgram *p, const Target *target);
KernelSchedule outer_product_schedule(const TileProgram *p, const Target *target);
void outer_product_emit(Emitter *e, const TileProgram *p, const char *const *symbol);

/* Matrices in plain storage, one of them bare (llvm_rows.c). */
bool rows_accepts(const TileProgram *p, const Target *target);
KernelSchedule rows_schedule(const TileProgram *p, const Target *target);
void rows_emit(Emitter *e, const TileProgram *p, const char *const *symbol);

#endif
