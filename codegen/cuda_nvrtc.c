#include "codegen/cuda_nvrtc.h"

#include <stdlib.h>

static Status check(const CudaNvrtc *c, NvrtcResult r, const NvrtcJob *job, const char *what,
                    Err *err)
{
    return r ? err_set(err, NPC_ERR_DEVICE, "CUDA: %s of %s: %s", what, job->name,
                       c->error_string(r))
             : NPC_OK;
}

/* Any of the compiler's outputs: a size, then the bytes, always ended by a 0. */
static Status fetch(const CudaNvrtc *c, const NvrtcJob *job, NvrtcProgram program, const char *what,
                    NvrtcResult (*size)(NvrtcProgram, size_t *),
                    NvrtcResult (*get)(NvrtcProgram, char *), CodeObject *out, Err *err)
{
    size_t bytes = 0;
    *out = (CodeObject){0};
    NPC_TRY(check(c, size(program, &bytes), job, what, err));
    char *data = calloc(1, bytes + 1);
    if (!data)
        return err_set(err, NPC_ERR_MEMORY, "no memory for the code of %s", job->name);
    Status s = check(c, get(program, data), job, what, err);
    if (s == NPC_OK)
        *out = (CodeObject){data, bytes};
    else
        free(data);
    return s;
}

static Status compile(const CudaNvrtc *c, NvrtcJob *job, NvrtcProgram program, Err *err)
{
    char arch[64];
    const char *options[6] = {arch, "--std=c++17", "--disable-warnings", "--ptxas-options=-v"};
    int n = 4;
    CodeObject log;
    Err unread = {0};
    snprintf(arch, sizeof arch, "--gpu-architecture=%s_%d", job->ptx ? "compute" : "sm",
             job->arch->number);
    if (job->line_info)
        options[n++] = "-lineinfo";
    if (job->is_exact)
        options[n++] = "--fmad=false";
    NvrtcResult r = c->compile(program, n, options);
    if (fetch(c, job, program, "the log", c->log_size, c->log, &log, &unread) == NPC_OK)
        job->log = log.data;
    NPC_TRY(check(c, r, job, "compilation", err));
    if (job->ptx)
        return fetch(c, job, program, "PTX", c->ptx_size, c->ptx, &job->out, err);
    return fetch(c, job, program, "machine code", c->cubin_size, c->cubin, &job->out, err);
}

Status nvrtc_run(const CudaNvrtc *c, NvrtcJob *job, Err *err)
{
    NvrtcProgram program = NULL;
    job->out = (CodeObject){0};
    job->log = NULL;
    Status s = check(c, c->create(&program, job->text, job->name, 0, NULL, NULL), job,
                     "beginning the compilation", err);
    if (s == NPC_OK)
        s = compile(c, job, program, err);
    if (program)
        c->destroy(&program);
    return s;
}

void nvrtc_job_free(NvrtcJob *job)
{
    free(job->out.data);
    free(job->log);
    job->out = (CodeObject){0};
    job->log = NULL;
}

Status nvrtc_knows(const CudaNvrtc *c, const CudaArch *arch, Err *err)
{
    int n = 0, archs[256];
    if (c->n_archs(&n) || n < 1 || n > 256 || c->archs(archs))
        return err_set(err, NPC_ERR_DEVICE, "CUDA: %s does not tell its architectures", c->path);
    for (int i = 0; i < n; i++)
        if (archs[i] == arch->number)
            return NPC_OK;
    return err_set(err, NPC_ERR_DEVICE,
                   "CUDA: the runtime compiler %s is version %d.%d and makes no code for %s: a %s "
                   "one is needed",
                   c->path, c->version_number / 1000, c->version_number % 1000 / 10, arch->name,
                   arch->number < archs[0] ? "older" : "newer");
}

/* ---- the log ---- */

int nvrtc_first_error(const char *log, char *message, size_t size)
{
    const char *at = log ? strstr(log, "error") : NULL;
    *message = 0;
    if (!at)
        return 0;
    const char *line = at, *end = at + strcspn(at, "\n");
    while (line > log && line[-1] != '\n')
        line--;
    snprintf(message, size, "%.*s", (int)(end - line), line);
    const char *open = memchr(line, '(', (size_t)(end - line));
    const char *colon = memchr(line, ':', (size_t)(end - line));
    const char *number = open ? open : colon; /* unit(12): error, or unit:12: error */
    return number ? atoi(number + 1) : 0;
}

/* "ptxas info    : Compiling entry function 'k_0' for 'sm_90'
 *  ptxas info    : Function properties for k_0
 *  ptxas         .     832 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
 *  ptxas info    : Used 29 registers, used 1 barriers, 1024 bytes smem" */
CudaResources nvrtc_resources(const char *log, const char *kernel)
{
    char entry[300];
    CudaResources r = {0};
    int stores = 0, loads = 0;
    snprintf(entry, sizeof entry, "entry function '%s'", kernel);
    const char *at = log ? strstr(log, entry) : NULL;
    const char *properties = at ? strstr(at, "Function properties") : NULL;
    const char *used = at ? strstr(at, "Used ") : NULL;
    if (!used)
        return r;
    if (properties && properties < used) {
        const char *line = strchr(properties, '\n');
        const char *number = line ? line + strcspn(line, "0123456789") : "";
        if (sscanf(number, "%d bytes stack frame, %d bytes spill stores, %d bytes spill loads",
                   &r.stack_bytes, &stores, &loads) == 3)
            r.spill_bytes = stores + loads;
    }
    size_t len = strcspn(used, "\n");
    r.registers = atoi(used + 5);
    for (const char *p = used; (p = strstr(p, " bytes smem")) && p < used + len; p++) {
        const char *digits = p;
        while (digits > used && digits[-1] >= '0' && digits[-1] <= '9')
            digits--;
        r.shared_bytes = atoi(digits);
    }
    return r;
}
