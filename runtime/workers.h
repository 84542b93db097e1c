/* Persistent thread pool. workers_run splits tasks 0..n-1 over the threads (the caller is one of
 * them) and returns when all are done. Which thread runs a task never influences a result. */
#ifndef NPC_RUNTIME_WORKERS_H
#define NPC_RUNTIME_WORKERS_H

#include "ir/base/status.h"
#include <stddef.h>
#include <stdint.h>

typedef struct Workers Workers;
typedef void (*WorkerTask)(void *context, int64_t task, void *scratch);

/* n_threads 0: one per core this process may run on. Each thread owns scratch_bytes, 64-byte
 * aligned. */
Status workers_start(Workers **out, int n_threads, size_t scratch_bytes, Err *err);
int workers_n(const Workers *w);
void workers_run(Workers *w, WorkerTask task, void *context, int64_t n_tasks);
void workers_stop(Workers *w);

#endif
