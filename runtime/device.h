/* Where programs run: how a device is named, and what an engine asks of one.
 *
 * An engine names things and knows what lies where (plans, places of buffers); a device has memory,
 * makes kernels and launches them. Memory comes in regions. A region that the host fills or reads
 * (tensors that outlive a call, inputs) has a side for the host; on the CPU that is the memory that
 * kernels use, elsewhere it is a copy, which push and pull move. Calls happen in the order they are
 * made; what a run reads was pushed before it.
 *
 * Failures of a device are NPC_ERR_DEVICE, memory that does not suffice NPC_ERR_MEMORY with the
 * numbers of the plan; afterwards a device can only be closed. */
#ifndef NPC_RUNTIME_DEVICE_H
#define NPC_RUNTIME_DEVICE_H

#include "codegen/cuda_arch.h"
#include "codegen/kernel.h"
#include "passes/plan.h"
#include "runtime/pack.h"
#include "runtime/workers.h"

/* Samples of a recording in the batch: [first, first + count). */
typedef struct SampleRange {
    int64_t first, count;
} SampleRange;

typedef struct Region {
    char *host;      /* NULL: kernels' own */
    uint64_t device; /* address for kernels; 0 where that is `host` */
    size_t bytes;
} Region;

typedef enum RegionKind {
    REGION_PERSISTENT, /* parameters and states of the module */
    REGION_ARENA,      /* activations; programs share it */
    REGION_PREPARED,   /* a program's */
    REGION_INPUTS,     /* a program's inputs, masks and constants */
} RegionKind;

typedef struct Place {
    RegionKind region;
    size_t offset;
} Place;

/* An input [samples, pictures + values, frames, height, width] that a device fills when the program
 * runs, so that less moves. Its last rows hold one value per sample and frame, and another inside
 * of the sample's box; nobody writes these rows. Where the host's side is a copy (is_packed) nobody
 * writes the pictures either: they stand without the zeros around them, one sample behind the
 * other, as floats or, where a sample's have few different values, as bytes that number them. What
 * is read for it lies behind the inputs in their region. */
typedef struct InputPlanes {
    int buffer;
    int pictures, values, frames, height, width;
    int64_t samples; /* 0: there is no such input */
    bool is_packed;
    size_t value_offset;   /* float [samples, values, frames, 2]: outside, inside */
    size_t box_offset;     /* int32_t [samples, 4]: top, bottom, left, right; ends exclusive */
    size_t picture_offset; /* PackedPicture [samples] */
    size_t palette_offset; /* float [samples, PALETTE] */
    size_t packed_offset;  /* [pictures, frames, height, width] of each sample's own sizes */
} InputPlanes;

/* Pictures of a sample, in the middle of its planes; as kernels read it (cuda_planes.cuh). */
typedef struct PackedPicture {
    uint64_t at;           /* bytes from packed_offset on */
    int32_t height, width; /* 0: none */
    int32_t is_coded;      /* bytes, numbers in the palette */
    int32_t unused;
} PackedPicture;

/* Where the next sample's may begin. */
static inline uint64_t packed_end(const InputPlanes *s, const PackedPicture *p)
{
    uint64_t pixels =
        (uint64_t)s->pictures * (uint64_t)s->frames * (uint64_t)p->height * (uint64_t)p->width;
    return p->at + ((pixels * (p->is_coded ? 1 : sizeof(float)) + 63) & ~(uint64_t)63);
}

typedef struct DeviceProgram {
    const Plan *plan;
    Place *place; /* per buffer */
    Region prepared, inputs;
    InputPlanes planes;
    double *seconds; /* per launch, added up while is_timed */
    bool is_timed;
    bool is_drawn; /* masks and noise are what `draw` said; else what the host's side holds */
    void *own;     /* the device's */
} DeviceProgram;

typedef struct DeviceImage {
    DeviceProgram *program;
    int n;
    Region persistent, arena;
    Arena *memory; /* the engine's, for bookkeeping */
} DeviceImage;

typedef struct DeviceKind DeviceKind;

enum { DEVICE_NOTE = 512 };

/* Which plain products of a CUDA device a library computes. */
typedef enum LibraryUse {
    LIBRARY_LARGE, /* matrices large enough to be what it is tuned for */
    LIBRARY_ALL,
    LIBRARY_NONE,
    LIBRARY_COUNT
} LibraryUse;

typedef struct DeviceOptions {
    const DeviceKind *kind; /* NULL: the CPU */
    Target target;          /* CPU: vector unit */
    int ordinal;            /* CUDA: which device */
    const CudaArch *arch;   /* CUDA: what code is for */
    int threads;            /* 0: one per core */
    LibraryUse library;     /* CUDA */
    bool (*has_library)(void);
    const char *cache_folder; /* of machine code; NULL: none */
    const char *package;      /* CUDA: .npk whose cubins are used where they fit; NULL: none */
    bool interpret;           /* tile programs run on the interpreter: slow, needs no LLVM */
    Text *emit_llvm, *emit_asm;
} DeviceOptions;

/* What every device begins with. */
typedef struct Device {
    const DeviceKind *kind;
    DeviceOptions options;
    Workers *workers;     /* the engine's; there when programs run */
    size_t scratch_bytes; /* per worker, known after compile */
    int n_kernels;        /* distinct, known after compile */
    bool from_cache;
    char note[DEVICE_NOTE]; /* what became of the package, known after compile; "" without one */
} Device;

struct DeviceKind {
    const char *name;
    bool packs_pictures; /* the host's side of inputs is a copy: InputPlanes */
    /* Memory that a kernel wants while it runs, and what it reads again: a function of program and
     * options alone. */
    KernelCost (*cost)(const DeviceOptions *options, const TileProgram *tile);

    Status (*open)(Device **out, const DeviceOptions *options, Err *err);
    void (*close)(Device *d, DeviceImage *image); /* frees the regions as well */
    /* Makes the kernels of all programs. */
    Status (*compile)(Device *d, DeviceImage *image, Err *err);
    /* Gives the regions their memory, zeroed; their bytes are set. */
    Status (*allocate)(Device *d, DeviceImage *image, Err *err);
    /* Binds kernels to their storage; places are known, constants written. */
    Status (*bind)(Device *d, DeviceImage *image, Err *err);

    /* Runs the launches of a program in order, those that prepare only on request, on its inputs as
     * they are now. May return before the launches are done, but inputs may be written again. */
    Status (*run)(Device *d, DeviceImage *image, int program, const SampleRange *ranges,
                  bool prepare, Err *err);
    /* May move the inputs of a program's next run, which has the same ranges, while runs before it
     * are not done; scalars are left to that run. Until it has returned they stay as they are. */
    Status (*send)(Device *d, DeviceImage *image, int program, const SampleRange *ranges, Err *err);
    /* Makes masks and noise of the program's next runs of seed and step: the same bits everywhere.
     */
    void (*draw)(Device *d, DeviceImage *image, int program, uint64_t seed, uint64_t step);
    /* Host side of tensors to device; it may change again when the next run has returned. */
    Status (*push)(Device *d, const Region *r, size_t offset, size_t bytes, Err *err);
    /* Device to host side; it is there on return. */
    Status (*pull)(Device *d, const Region *r, size_t offset, size_t bytes, Err *err);
    Status (*wait)(Device *d, Err *err); /* for all runs */
    Status (*zero)(Device *d, const Region *r, size_t offset, size_t bytes, Err *err);
    /* Waits for what runs, and shows bytes of any region to the host until the next call. */
    Status (*look)(Device *d, const Region *r, size_t offset, size_t bytes, const void **at,
                   Err *err);
};

extern const DeviceKind device_cpu, device_cuda;

/* What `text` names, into kind, ordinal and arch:
 *     cpu (also NULL)   cuda, cuda:N   a device that must be there
 *     cuda:sm_90        no device: plans and code for the architecture, nothing can run
 *     auto              a CUDA device when driver, compiler and device are there, else the CPU
 * With a package the compiler may be missing: kernels that are not in it then fail to compile.
 * `note` (may be NULL) receives a line to show when auto found a device. NPC_ERR_DEVICE: what is
 * missing. */
Status device_find(const char *text, DeviceOptions *options, char *note, Err *err);
/* `text`; an explicit choice of the CPU's code (is_cpu) makes auto the CPU. */
const char *device_choice(const char *text, bool is_cpu);
/* "large", "all", "none". NULL: large. */
Status device_find_library(const char *text, DeviceOptions *options, Err *err);
/* If a program wanted a library that is missing or too old: a sentence, once. */
void device_say_library(FILE *out);
/* What passes know of it. */
TargetTraits device_traits(const DeviceOptions *o);
/* "avx512", "cuda:sm_90"; lives in the arena. */
const char *device_target_name(const DeviceOptions *o, Arena *arena);
static inline bool device_is_cuda(const DeviceOptions *o)
{
    return o->kind == &device_cuda;
}

#endif
