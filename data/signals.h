/* Signals of a run.
 *
 * SIGINT, SIGTERM     the first asks to finish the step, save and stop; the second ends the process
 * at once with status 130 or 143 SIGPIPE             ignored: a closed reader is a failing write
 * SIGBUS              a mapped file became shorter while in use: message with its name, exit 2 */
#ifndef NPC_DATA_SIGNALS_H
#define NPC_DATA_SIGNALS_H

#include <stdbool.h>
#include <stddef.h>

/* Once, at the start of main. Standard streams that are closed are opened on /dev/null, so that no
 * file of ours takes their number and receives messages. */
void signals_install(void);
bool signals_stop_requested(void);
/* The exit status after an orderly stop: 128 + its number, 0 when none was asked for. */
int signals_exit_code(void);
/* As if SIGTERM had come; for tests and for embedding programs. */
void signals_request_stop(void);
/* After an orderly stop, before the next job of the same process. */
void signals_forget_stop(void);

/* Lets the SIGBUS message name the file. `path` is copied (shortened when long). At most 1024 maps
 * are known at a time; more are harmless, they just stay nameless. */
void signals_add_map(const void *data, size_t bytes, const char *path);
void signals_remove_map(const void *data);

#endif
