/* How the simulator is set from outside, the same for its three libraries: which call fails, what
 * is printed, numbers from the environment.
 *
 *   NPC_SIM_FAIL=CALL:N,..  the N-th call of that name fails, "cuMemAlloc:3",
 * "nvrtcCompileProgram:1". Endings _v2 do not belong to the name; cuMemcpyHtoD counts the calls of
 * cuMemcpyHtoDAsync too. Counting starts again when the variable changes and with every cuInit.
 *   NPC_SIM_FAIL=sticky:N   the N-th launch of a kernel and everything after it fails: the device
 *                           is lost. A launched graph counts as one launch.
 *   NPC_SIM_LOG=1           every call is printed to stderr
 *
 * What else can be set stands with what it sets:
 *   NPC_SIM_SM, NPC_SIM_DEVICES, NPC_SIM_DRIVER_VERSION   device.c
 *   NPC_SIM_MEMORY                                        memory.c
 *   NPC_SIM_SEED                                          launch.c
 *   NPC_SIM_LATE                                          stream.c
 *   NPC_SIM_CHECK                                         check.c
 *   NPC_SIM_BLAS_VERSION                                  cublas.c
 *   NPC_SIM_CC, NPC_SIM_OPTIMIZE, NPC_SIM_CACHE           nvrtc_translate.c */
#ifndef NPC_SIM_ENV_H
#define NPC_SIM_ENV_H

#include <stdbool.h>

/* A call of the interface begins: prints and counts it. Should it fail? */
bool sim_env_fails(const char *call);
/* Counting starts again. */
void sim_env_reset(void);
/* A number >= 0 from the environment. */
long long sim_env_number(const char *name, long long otherwise);
/* A sentence on stderr, which is also kept. */
__attribute__((format(printf, 1, 2))) void sim_env_say(const char *format, ...);
/* The last sentence of this library, or "". */
const char *sim_env_said(void);

#endif
