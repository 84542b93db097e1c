/* Results of everything that touches the world: a Status handed up, its text waiting in an Err.
 *
 *     Status npy_open(Npy *out, const char *path, Err *err);
 *     NPC_TRY(npy_open(&npy, path, err));
 *
 * Only main turns a Status into an exit code: 0 well, 1 the run failed, 2 usage or bad input. */
#ifndef NPC_BASE_STATUS_H
#define NPC_BASE_STATUS_H

typedef enum Status {
    NPC_OK = 0,
    NPC_ERR_FAILED,   /* the job ran and its result is a failure (verify found a difference) */
    NPC_ERR_USAGE,    /* the command line is wrong */
    NPC_ERR_INPUT,    /* a file of the user is wrong: model, recording, checkpoint */
    NPC_ERR_IO,       /* disk full, permission, vanished file */
    NPC_ERR_MEMORY,   /* a request for memory was refused */
    NPC_ERR_DEVICE,   /* code generation or the device failed */
    NPC_ERR_INTERNAL, /* a bug of ours */
} Status;

typedef struct Err {
    Status status;
    char text[2048]; /* one sentence: what, where, what was expected */
} Err;

/* Records status and text and returns the status. The first error wins. */
__attribute__((format(printf, 3, 4))) Status err_set(Err *err, Status status, const char *fmt, ...);
/* 0, 1 or 2. */
int status_exit_code(Status status);

#define NPC_TRY(call)                                                                              \
    do {                                                                                           \
        Status npc_try_status = (call);                                                            \
        if (npc_try_status != NPC_OK)                                                              \
            return npc_try_status;                                                                 \
    } while (0)

#endif
