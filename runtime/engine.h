/* Runs plans on a device.
 *
 * An engine owns the tensors that outlive a call (parameters, running statistics, optimizer
 * moments, averages), the machine code of all its programs, one arena that the programs share (they
 * never run at the same time), and the threads. Everything is allocated by engine_ready; nothing is
 * afterwards.
 *
 *     engine_create -> engine_add (each plan) -> engine_ready
 *     -> engine_input (fill) -> engine_run -> engine_read
 *
 * The caller works on the host's side of tensors and inputs, plain float32 in logical order. On the
 * CPU kernels use the same memory; on another device inputs are moved with every run, and tensors
 * when the caller says that it wrote them (engine_tensors_changed) or wants to read what programs
 * wrote (engine_fetch). So that code works on every device:
 *
 *   - before reading tensors, or writing only some, engine_fetch, if a program may have changed
 * them
 *   - after writing tensors engine_tensors_changed
 *
 * Results have the same bits for any number of threads. */
#ifndef NPC_RUNTIME_ENGINE_H
#define NPC_RUNTIME_ENGINE_H

#include "runtime/device.h"

typedef struct Engine Engine;
typedef DeviceOptions EngineOptions;

/* Memory in bytes, all fixed by engine_ready. */
typedef struct EngineMemory {
    size_t persistent, arena, prepared, inputs, scratch;
} EngineMemory;

/* The module is the caller's and outlives the engine. */
Status engine_create(Engine **out, const Module *module, const EngineOptions *options, Err *err);
void engine_free(Engine *e);

/* The cost of a kernel for plan_build: the context is the engine. */
KernelCost engine_cost(void *engine, const TileProgram *tile);

/* Gives the program a number. The plan outlives the engine. */
Status engine_add(Engine *e, const Plan *plan, int *program, Err *err);
/* Before engine_ready: the device fills this input, whose first rows are pictures (InputPlanes in
 * device.h). Without effect when it has no such input, or nothing is left to fill. */
void engine_add_planes(Engine *e, int program, const char *name, int64_t pictures);
/* Opens the device, compiles and allocates. NPC_ERR_MEMORY names what the plan needs. */
Status engine_ready(Engine *e, Err *err);

/* The host's side of a parameter or state in logical row-major order; NULL when there is none of
 * that name. */
float *engine_tensor(Engine *e, const char *name);
/* Brings the host's side up to date with what programs wrote. */
Status engine_fetch(Engine *e, Err *err);
/* Tell the engine that parameters or states were written from outside. */
void engine_tensors_changed(Engine *e);
/* Sets a tensor to zero, after all runs before and before all after. */
Status engine_zero(Engine *e, const char *name, Err *err);

/* The host's side of an input, logical row-major; NULL when the program has none of that name. */
float *engine_input(Engine *e, int program, const char *name);
/* The input that the device fills; NULL: the program has none. What it is filled from lies at the
 * offsets in the region *host. */
const InputPlanes *engine_planes(const Engine *e, int program, char **host);
/* The same of a random mask, 0 or 1, and of random bytes. Whoever asks for the host's side of what
 * is random may write it, and it counts until the next engine_draw_masks. */
uint8_t *engine_mask(Engine *e, int program, const char *name);
/* Draws every random mask of the program, 0 with the probability of its rate, otherwise 1: a
 * function of seed, step, the mask's name and the element. And noise, standard normal, and bytes. A
 * device makes them itself: only on the CPU are they on the host's side. */
void engine_draw_masks(Engine *e, int program, uint64_t seed, uint64_t step);

/* Sends the inputs of the program's next run ahead, all but scalars, while runs before it are still
 * computed. It has the same ranges, and until it has returned nobody writes these inputs or draws
 * masks. A device may leave this to the run. */
Status engine_send(Engine *e, int program, const SampleRange *ranges, Err *err);

/* Runs a program. ranges: per session of the module; NULL: every sample counts for everyone.
 * NPC_ERR_DEVICE: something failed on the device, perhaps in an earlier run; what programs wrote is
 * lost, what was fetched before is not. */
Status engine_run(Engine *e, int program, const SampleRange *ranges, Err *err);

/* Waits until all runs are done: reading does so itself. */
Status engine_wait(Engine *e, Err *err);

/* Copies a result out in logical order (shape of the result's value). NPC_ERR_INTERNAL when the
 * program has no such result, or it was not stored. */
Status engine_read(Engine *e, int program, ResultRole role, const char *name, float *out, Err *err);

/* Seconds that each launch took on its device, added up over the runs since
 * engine_time_launches(true); NULL when they are not timed. */
void engine_time_launches(Engine *e, int program, bool on);
const double *engine_launch_seconds(const Engine *e, int program);

const Plan *engine_plan(const Engine *e, int program);
const Module *engine_module(const Engine *e);
EngineMemory engine_memory(const Engine *e);
int engine_n_kernels(const Engine *e); /* distinct */
/* What became of the package of code, in a sentence; "" when there was none. */
const char *engine_note(const Engine *e);
bool engine_from_cache(const Engine *e);
int engine_threads(const Engine *e);
Workers *engine_workers(Engine *e);

#endif
