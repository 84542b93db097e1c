/* Inside the CUDA device: device_cuda.c opens it and moves memory, device_cuda_inputs.c moves
 * inputs, device_cuda_random.c makes masks, device_cuda_planes.c fills planes,
 * device_cuda_library.c has products computed, device_cuda_run.c launches. */
#ifndef NPC_RUNTIME_DEVICE_CUDA_H
#define NPC_RUNTIME_DEVICE_CUDA_H

#include "codegen/cuda_api.h"
#include "codegen/cuda_compile.h"
#include "runtime/compile_cuda.h"
#include "runtime/device.h"

typedef struct CudaIdentity {
    char name[128];
    const CudaArch *arch;
} CudaIdentity;

/* The device and what code it takes. NPC_ERR_DEVICE: driver, compiler (if it is needed) or device
 * are missing. */
Status cuda_identify(int ordinal, bool needs_compiler, CudaIdentity *out, Err *err);

typedef struct CudaState {
    Device base;
    const CudaDriver *d;
    CudaDevice device;
    CudaIdentity identity;
    CudaContext context;
    CudaStream stream;
    const CudaBlas *blas; /* NULL: no product needs it */
    BlasHandle blas_handle;
    CudaSet *set;
    CudaModule *module; /* per unit, in the engine's arena */
    int n_modules;      /* loaded */
    CudaInputUnits units;
    CudaAddress memory; /* the one allocation */
    CudaAddress ranges; /* in it: of every program, one behind the other */
    CudaAddress tables; /* and of launches whose programs have members */
    char *shown;        /* pinned: what `look` shows */
    size_t shown_bytes;
    CudaEvent moved;   /* inputs of the run are on the device */
    CudaStream sender; /* moves inputs of runs to come.. */
    Region ahead;      /* ..here, laid out as the inputs.. */
    int ahead_of;      /* ..of this program; -1: none */
    CudaEvent sent;    /* they are there */
    bool is_lost;      /* a call failed; `lost` says which */
    Err lost;
} CudaState;

/* Where the bytes of inputs go: all of them, or with a session only its samples. */
typedef struct CudaUpload {
    size_t offset, bytes;
    int session;       /* -1: everything */
    size_t per_sample; /* bytes */
    bool is_scalar;    /* known when the run begins, not before */
    bool is_random;    /* not moved when the device makes it */
    bool is_packed;    /* pictures; how many bytes, their table says */
} CudaUpload;

typedef struct CudaLaunch {
    CudaFunction function[CUDA_MAX_PHASES];
    CudaSchedule schedule;
    CudaAddress *arg; /* tensors or table, workspace, range */
    void **params;    /* the addresses of arg[] */
} CudaLaunch;

/* A mask or noise, made by a launch of its own. */
typedef struct CudaDrawing {
    CudaFunction function;
    CudaAddress at, draw;
    unsigned long long n; /* elements */
    uint32_t stream_low, stream_high;
    float rate;
    unsigned blocks;
    void *params[6];
} CudaDrawing;

/* What it is made of; as kernels read it (cuda_random.cuh). */
typedef struct CudaDraw {
    uint32_t is_wanted, step, seed_low, seed_high;
} CudaDraw;

/* What fills an input of the program. */
typedef struct CudaPlanes {
    CudaFunction function;
    CudaAddress x, value, box, picture, palette, packed;
    int pictures, values, frames, height, width;
    unsigned blocks; /* 0: there is no such input */
    void *params[11];
} CudaPlanes;

typedef struct CudaProgram {
    CudaLaunch *launch; /* per launch of the plan */
    CudaUpload *upload;
    int n_uploads;
    CudaDrawing *drawing;
    int n_drawings;
    CudaDraw draw; /* of the next run */
    CudaPlanes planes;
    int32_t *range;     /* pinned, [sessions + 1] [2]; the last pair is for no recording; behind it
                           the draw of the run */
    CudaAddress ranges; /* the same on the device */
    size_t range_bytes;
    int32_t n_samples;   /* of a whole batch */
    CudaGraphExec graph; /* all launches but those that prepare; NULL: not yet recorded */
    CudaEvent *event;    /* per launch and one more; NULL: never timed */
} CudaProgram;

/* Keeps the first failure: what comes later has it as its cause. */
Status cuda_state_check(CudaState *c, CudaResult r, const char *what, Err *err);
/* Makes the device the calling thread's; fails when it is lost. */
Status cuda_state_enter(CudaState *c, Err *err);
CudaAddress cuda_storage(const DeviceImage *image, const DeviceProgram *p, Place place);

/* device_cuda_inputs.c */
size_t cuda_ahead_bytes(const DeviceImage *image);
size_t cuda_range_bytes(const DeviceProgram *p);
/* Constants move at once. */
Status cuda_bind_inputs(CudaState *c, const DeviceImage *image, const DeviceProgram *p,
                        CudaAddress ranges, Err *err);
Status cuda_send(Device *d, DeviceImage *image, int program, const SampleRange *ranges, Err *err);
/* The inputs of a run, and its ranges; `moved` comes when the host may write them again. */
Status cuda_move_inputs(CudaState *c, const DeviceImage *image, int program,
                        const SampleRange *ranges, Err *err);
uint32_t cuda_n_sessions(const DeviceProgram *p);

/* device_cuda_random.c */
Status cuda_bind_random(CudaState *c, const DeviceImage *image, const DeviceProgram *p, Err *err);
void cuda_draw(Device *d, DeviceImage *image, int program, uint64_t seed, uint64_t step);
Status cuda_launch_random(CudaState *c, const DeviceProgram *p, Err *err);

/* device_cuda_planes.c */
Status cuda_bind_planes(CudaState *c, const DeviceImage *image, const DeviceProgram *p, Err *err);
Status cuda_launch_planes(CudaState *c, const DeviceProgram *p, Err *err);

/* device_cuda_library.c */
bool cuda_has_library(void);
/* Behind the launches' own binding. */
Status cuda_bind_products(CudaState *c, const DeviceProgram *p, Err *err);
Status cuda_multiply(CudaState *c, const TileProgram *tile, const CudaLaunch *l, Err *err);
void cuda_close_library(CudaState *c);

/* device_cuda_run.c */
size_t cuda_tables_bytes(const DeviceProgram *p);
Status cuda_bind(Device *d, DeviceImage *image, Err *err);
Status cuda_run(Device *d, DeviceImage *image, int program, const SampleRange *ranges, bool prepare,
                Err *err);
void cuda_program_close(CudaState *c, CudaProgram *p, int n_launches);

#endif
