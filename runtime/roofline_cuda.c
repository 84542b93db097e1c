/* The roof of a CUDA device: the rate of matrix units (or of multiply-adds, in float32) by a kernel
 * that does nothing else, and the driver's own copy. The kernel uses the instruction that generated
 * kernels use; others may go faster. */
#include <stdlib.h>

#include "codegen/cuda_api.h"
#include "codegen/cuda_nvrtc.h"
#include "runtime/device_cuda.h"
#include "runtime/roofline.h"

enum { THREADS = 256, CHAINS = 8, TRIES = 5, MULTIPROCESSORS = 16 /* attribute */ };
static const size_t COPIED = (size_t)256 << 20;

/* CHAINS independent sums per thread or warp; MMA is one of the prelude, or empty. */
static const char KERNEL[] = "\n"
                             "NPC_KERNEL(256) npc_roof(float *out, const int *n)\n"
                             "{\n"
                             "    float d[8][4];\n"
                             "    uint32_t a[4], b[2];\n"
                             "    const int thread = (int)(blockIdx.x * 256 + threadIdx.x);\n"
                             "    for (int i = 0; i < 4; i++)\n"
                             "        a[i] = 0;\n"
                             "    b[0] = b[1] = 0;\n"
                             "    for (int j = 0; j < 8; j++)\n"
                             "        for (int i = 0; i < 4; i++)\n"
                             "            d[j][i] = (float)(thread + j + i);\n"
                             "    for (int k = 0; k < n[0]; k++)\n"
                             "        for (int j = 0; j < 8; j++) {\n"
                             "            ROOF\n"
                             "        }\n"
                             "    float sum = 0.0f;\n"
                             "    for (int j = 0; j < 8; j++)\n"
                             "        for (int i = 0; i < 4; i++)\n"
                             "            sum += d[j][i];\n"
                             "    out[thread] = sum + NPC_BITS_FLOAT(a[0] + b[0]);\n"
                             "}\n";

typedef struct RoofMode {
    const char *text;  /* of the inner loop */
    double operations; /* of a thread, each time */
} RoofMode;

static const RoofMode MODE[PRECISION_COUNT] = {
    [PRECISION_F32] = {"for (int i = 0; i < 4; i++) d[j][i] = fmaf(d[j][i], 0.5f, 1.0f);", 8},
    [PRECISION_TF32] = {"npc_mma_tf32(d[j], a, b);", 2 * 16 * 8 * 8 / 32.0},
    [PRECISION_BF16] = {"npc_mma_bf16(d[j], a, b);", 2 * 16 * 8 * 16 / 32.0},
    [PRECISION_F16] = {"npc_mma_f16(d[j], a, b);", 2 * 16 * 8 * 16 / 32.0},
};

typedef struct Bench {
    const CudaDriver *d;
    CudaDevice device;
    CudaContext context;
    CudaStream stream;
    CudaEvent begin, end;
    CudaModule module;
    CudaFunction function;
    CudaAddress memory;
    int blocks;
} Bench;

static Status compile(const CudaArch *arch, PrecisionMode p, CodeObject *cubin, Err *err)
{
    Arena arena = {0};
    jmp_buf exhausted;
    const CudaNvrtc *nvrtc;
    Text text = {.arena = &arena};
    NPC_TRY(cuda_nvrtc_open(&nvrtc, err));
    arena.exhausted = &exhausted;
    if (setjmp(exhausted)) {
        arena_free(&arena);
        return err_set(err, NPC_ERR_MEMORY, "no memory to measure the device");
    }
    text_printf(&text, "%s\n#define ROOF %s\n%s", cuda_prelude, MODE[p].text, KERNEL);
    NvrtcJob job = {.text = text_str(&text), .name = "roofline.cu", .arch = arch};
    Status s = nvrtc_run(nvrtc, &job, err);
    if (s == NPC_OK) {
        *cubin = job.out;
        job.out = (CodeObject){0};
    }
    nvrtc_job_free(&job);
    arena_free(&arena);
    return s;
}

#define CHECK(call, what) NPC_TRY(cuda_check(b->d, b->d->call, what, err))

static Status open_bench(Bench *b, int ordinal, const CodeObject *cubin, Err *err)
{
    CHECK(device_get(&b->device, ordinal), "find the device");
    CHECK(device_attribute(&b->blocks, MULTIPROCESSORS, b->device), "count multiprocessors");
    b->blocks *= 8;
    CHECK(context_retain(&b->context, b->device), "open the device");
    CHECK(context_use(b->context), "use the device");
    CHECK(stream_create(&b->stream, CUDA_STREAM_NON_BLOCKING), "make a stream");
    CHECK(event_create(&b->begin, 0), "make an event");
    CHECK(event_create(&b->end, 0), "make an event");
    CHECK(module_load(&b->module, cubin->data), "load code");
    CHECK(module_function(&b->function, b->module, "npc_roof"), "find a kernel in its code");
    CHECK(memory_alloc(&b->memory, 2 * COPIED), "allocate memory to measure copies");
    CHECK(fill(b->memory, 0, 2 * COPIED, b->stream), "clear memory");
    return NPC_OK;
}

static void close_bench(Bench *b)
{
    if (!b->context)
        return;
    if (b->memory)
        b->d->memory_free(b->memory);
    if (b->module)
        b->d->module_unload(b->module);
    if (b->begin)
        b->d->event_destroy(b->begin);
    if (b->end)
        b->d->event_destroy(b->end);
    if (b->stream)
        b->d->stream_destroy(b->stream);
    b->d->context_release(b->device);
}

static Status seconds_between(Bench *b, double *seconds, Err *err)
{
    float ms = 0;
    CHECK(event_wait(b->end), "finish a run");
    CHECK(event_ms(&ms, b->begin, b->end), "time a run");
    *seconds = (double)ms * 1e-3;
    return NPC_OK;
}

static Status run_kernel(Bench *b, int32_t n, double *seconds, Err *err)
{
    CudaAddress out = b->memory + 256, count = b->memory;
    void *params[] = {&out, &count};
    CHECK(copy_to_device(count, &n, sizeof n, b->stream), "copy to the device");
    CHECK(event_record(b->begin, b->stream), "record an event");
    CHECK(launch(b->function, (unsigned)b->blocks, 1, 1, THREADS, 1, 1, 0, b->stream, params, NULL),
          "launch a kernel");
    CHECK(event_record(b->end, b->stream), "record an event");
    return seconds_between(b, seconds, err);
}

/* Longer until it takes a few milliseconds, then the best of several. */
static Status measure_peak(Bench *b, PrecisionMode p, double *peak, Err *err)
{
    double seconds = 0, best = 0;
    int32_t n = 16;
    for (; n < 1 << 20; n *= 4) {
        NPC_TRY(run_kernel(b, n, &seconds, err));
        if (seconds > 2e-3)
            break;
    }
    for (int i = 0; i < TRIES; i++) {
        NPC_TRY(run_kernel(b, n, &seconds, err));
        double rate = MODE[p].operations * CHAINS * n * THREADS * b->blocks / seconds;
        best = rate > best ? rate : best;
    }
    *peak = best;
    return NPC_OK;
}

static Status measure_copy(Bench *b, double *copy, Err *err)
{
    for (int i = 0; i < TRIES; i++) {
        double seconds = 0;
        CHECK(event_record(b->begin, b->stream), "record an event");
        CHECK(copy_on_device(b->memory + COPIED, b->memory, COPIED, b->stream), "copy memory");
        CHECK(event_record(b->end, b->stream), "record an event");
        NPC_TRY(seconds_between(b, &seconds, err));
        double rate = 2 * (double)COPIED / seconds;
        *copy = rate > *copy ? rate : *copy;
    }
    return NPC_OK;
}

Status roofline_measure_cuda(Roofline *out, int ordinal, PrecisionMode precision, Err *err)
{
    Bench b = {0};
    CudaIdentity id;
    CodeObject cubin;
    *out = (Roofline){0};
    NPC_TRY(cuda_identify(ordinal, true, &id, err));
    NPC_TRY(cuda_driver_open(&b.d, err));
    NPC_TRY(compile(id.arch, precision, &cubin, err));
    Status s = open_bench(&b, ordinal, &cubin, err);
    if (s == NPC_OK)
        s = measure_peak(&b, precision, &out->peak, err);
    if (s == NPC_OK)
        s = measure_copy(&b, &out->copy, err);
    out->read = out->copy;
    close_bench(&b);
    free(cubin.data);
    snprintf(out->device, sizeof out->device, "%s", id.name);
    return s;
}
