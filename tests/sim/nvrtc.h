/* Inside the stand-in for libnvrtc.so.13. */
#ifndef NPC_SIM_NVRTC_H
#define NPC_SIM_NVRTC_H

#include <stdbool.h>
#include <stddef.h>

/* Bytes that grow; a NUL behind them that len does not count. */
typedef struct Bytes {
    char *at;
    size_t len, room;
} Bytes;

void bytes_add(Bytes *b, const void *at, size_t n);
__attribute__((format(printf, 2, 3))) void bytes_print(Bytes *b, const char *format, ...);
void bytes_free(Bytes *b);

/* Writes the C program that stands for CUDA text: sim_abi.h, sim_device.h, the text with its
 * places, and the table of kernels. `names`: of the kernels, each with a NUL behind it. */
void nvrtc_write_c(Bytes *out, const char *text, const char *name, Bytes *names);

/* Translates a C program into a shared library. False: `log` says why. Warnings go there, too. */
bool nvrtc_translate(const Bytes *c, const char *options, Bytes *library, Bytes *log);

/* Does the shared memory of every kernel fit into 48 KiB? Says so in the log as ptxas does. */
bool nvrtc_check_shared(const Bytes *library, const Bytes *names, Bytes *log);

#endif
