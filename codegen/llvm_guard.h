/* LLVM ends the process when memory runs out or when it meets what it cannot do. A guarded call
 * comes back with a status instead, by a jump over LLVM's frames (as LLVM's CrashRecoveryContext
 * does), so that the run ends as it would for any other reason and leaves nothing half-written.
 *
 * What LLVM had in hands is lost then, not freed, and locks it held stay locked: the process shall
 * not call it for anything else. Guards are per thread and do not nest. */
#ifndef NPC_CODEGEN_LLVM_GUARD_H
#define NPC_CODEGEN_LLVM_GUARD_H

#include "ir/base/arena.h"
#include "ir/base/status.h"

/* Once, before any guarded call. A failure outside of guarded calls is printed as one sentence and
 * ends the process with 1. */
void llvm_guard_install(void);

/* work(context, err) with `arena`'s exhaustion (NULL: of none) and LLVM's failures caught.
 * NPC_ERR_MEMORY, NPC_ERR_DEVICE: it did not come back by itself. */
Status llvm_guarded(Status (*work)(void *context, Err *err), void *context, Arena *arena, Err *err);

#endif
