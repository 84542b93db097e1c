/* The special schedules of anchors, each behind the same three questions. A program that none
 * accepts is compiled by the general loops (llvm_map.c).
 *
 *   accepts   can it be compiled this way, and would that be good? Arithmetic only.
 *   schedule  tasks and memory. Arithmetic only.
 *   emit      writes phase functions symbol[0 .. schedule.n_phases - 1] */
#ifndef NPC_CODEGEN_LLVM_SCHEDULES_H
#define NPC_CODEGEN_LLVM_SCHEDULES_H

#include "codegen/llvm_emit.h"

bool contract_accepts(const TileProgram *p, const Target *target);
KernelSchedule contract_schedule(const TileProgram *p, const Target *target);
void contract_emit(Emitter *e, const TileProgram *p, const char *const *symbol);

/* Products that are dot products along a summed axis (llvm_dots.c). */
bool dots_accepts(const TileProgram *p, const Target *target);
KernelSchedule dots_schedule(const TileProgram *p, const Target *target);
void dots_emit(Emitter *e, const TileProgram *p, const char *const *symbol);

/* Sums of rows that are read at computed positions (llvm_gathered.c). */
bool gathered_accepts(const TileProgram *p, const Target *target);
KernelSchedule gathered_schedule(const TileProgram *p, const Target *target);
void gathered_emit(Emitter *e, const TileProgram *p, const char *const *symbol);

/* Convolutions that sum over channels (llvm_conv.c). */
bool dense_accepts(const TileProgram *p, const Target *target);
KernelSchedule dense_schedule(const TileProgram *p, const Target *target);
void dense_emit(Emitter *e, const TileProgram *p, const char *const *symbol);

/* Their weight gradients (llvm_conv_dw.c). */
bool dense_dw_accepts(const TileProgram *p, const Target *target);
KernelSchedule dense_dw_schedule(const TileProgram *p, const Target *target);
void dense_dw_emit(Emitter *e, const TileProgram *p, const char *const *symbol);

bool stencil_accepts(const TileProgram *p, const Target *target);
KernelSchedule stencil_schedule(const TileProgram *p, const Target *target);
void stencil_emit(Emitter *e, const TileProgram *p, const char *const *symbol);

bool stencil_dw_accepts(const TileProgram *p, const Target *target);
KernelSchedule stencil_dw_schedule(const TileProgram *p, const Target *target);
void stencil_dw_emit(Emitter *e, const TileProgram *p, const char *const *symbol);

bool attend_accepts(const TileProgram *p, const Target *target);
KernelSchedule attend_schedule(const TileProgram *p, const Target *target);
void attend_emit(Emitter *e, const TileProgram *p, const char *const *symbol);

bool scatter_accepts(const TileProgram *p, const Target *target);
KernelSchedule scatter_schedule(const TileProgram *p, const Target *target);
void scatter_emit(Emitter *e, const TileProgram *p, const char *const *symbol);

/* Every legal program of other anchors. */
KernelSchedule map_schedule(const TileProgram *p, const Target *target);
void map_emit(Emitter *e, const TileProgram *p, const char *const *symbol);

#endif
